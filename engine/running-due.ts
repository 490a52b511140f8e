import { BillingError, input, integer, isBillingError, parse } from './kernel';
import { translate } from './database';

/**
 * Everything whose time has come, room by room. Each part looks after itself: it takes what is due in
 * chunks of a transaction each, under its own locks or leases, so that any number of processes may run
 * it at once and it may be killed at any moment.
 */

export interface RunDueRequest {
  /** At most so many of each. Default 10,000. */
  limit?: number;
}

/** A part that could not be done; the others were. It is tried again by the next run. */
export interface FailedPart {
  part: string;
  /** An error code, or `internal`. */
  code: string;
  message: string;
}

/** What one room has to do. Gives how much it did, by name. */
export interface DuePart<Done extends object> {
  part: string;
  run(limit: number): Promise<Done>;
}

const DEFAULT_LIMIT = 10_000;
const dueInput = input({ limit: integer(1, 1_000_000).optional() });

/** How much of a part was done when it failed is not known; it counts as nothing. */
function failureOf(part: string, error: unknown): FailedPart {
  const told = translate(error);
  if (isBillingError(told)) return { part, code: told.code, message: told.message };
  return { part, code: 'internal', message: told instanceof Error ? told.message : String(told) };
}

/**
 * Runs the parts one after the other. One that fails does not keep the others from running.
 *
 * @param none what is answered of a part that failed
 * @throws invalid_input; what the first part threw, when none could be done
 */
export async function runParts<Done extends object>(
  parts: ReadonlyArray<DuePart<Partial<Done>>>,
  none: Done,
  request: RunDueRequest = {},
): Promise<Done & { failed: FailedPart[] }> {
  const { limit = DEFAULT_LIMIT } = parse(dueInput, request);
  const done = { ...none };
  const failed: FailedPart[] = [];
  const errors: unknown[] = [];
  for (const { part, run } of parts) {
    try {
      Object.assign(done, await run(limit));
    } catch (error) {
      errors.push(error);
      failed.push(failureOf(part, error));
    }
  }
  if (errors.length === parts.length) throw firstOf(errors);
  return { ...done, failed };
}

/** The reason why nothing works says more than what fell over in its course. */
const firstOf = (errors: readonly unknown[]): unknown => {
  const told = errors.map(translate);
  return told.find((error) => error instanceof BillingError) ?? told[0];
};
