import {
  BillingError,
  flag,
  input,
  integer,
  isBillingError,
  parse,
  type RequestOf,
} from './kernel';
import type { EarnedDone } from './books';
import { translate, type Context, type DuePart } from './database';
import type { DeliveriesDone, RetentionDone } from './events';
import type { CollectDueDone, ForgottenPapers, Invoicing, TopUpsDone } from './invoicing';
import type { DueDone } from './ledger';
import { requireClock, type AdvanceDone } from './subscriptions';

/**
 * Everything whose time has come, room by room. Each part looks after itself: it takes what is due in
 * chunks of a transaction each, under its own locks or leases, so that any number of processes may run
 * it at once and it may be killed at any moment.
 */

/** A part that could not be done, or one thing in it; the others were. The next run tries again. */
export interface FailedPart {
  part: string;
  /** An error code, or that of a run's problem. */
  code: string;
  message: string;
}

/** How much was done of what was due. */
export type RunDueAnswer = DueCounts & {
  /** Parts that could not be done, or things in them; the others were. */
  failed: FailedPart[];
};

export type DueCounts = Omit<AdvanceDone, 'left' | 'behind'> &
  DueDone &
  EarnedDone &
  CollectDueDone &
  TopUpsDone &
  DeliveriesDone &
  RetentionDone &
  ForgottenPapers;

const NOTHING_DUE: DueCounts = {
  subscriptions: 0,
  periods: 0,
  expiries: 0,
  holds: 0,
  answers: 0,
  postings: 0,
  attempts: 0,
  invoicesPaid: 0,
  paymentsFailed: 0,
  dunningSteps: 0,
  refundsSent: 0,
  topUpsBought: 0,
  topUpsFailed: 0,
  papersForgotten: 0,
  webhooksSent: 0,
  webhooksFailed: 0,
  webhooksGivenUp: 0,
  eventsDeleted: 0,
};

type DueParts = ReadonlyArray<DuePart<Partial<DueCounts>>>;

const DEFAULT_LIMIT = 10_000;
const dueInput = input({
  /** At most so many of each. Default 10,000. */
  limit: integer(1, 1_000_000).optional(),
  /**
   * Also where the clock is far ahead of the database's own, and of subscriptions that have missed many
   * periods. Default false.
   */
  catchUp: flag().optional(),
});
export type RunDueRequest = RequestOf<typeof dueInput>;

/** How much of a part was done when it failed is not known; it counts as nothing. */
function failureOf(part: string, error: unknown): FailedPart {
  const told = translate(error);
  if (isBillingError(told)) return { part, code: told.code, message: told.message };
  return {
    part,
    code: 'internal_error',
    message: told instanceof Error ? told.message : String(told),
  };
}

/**
 * Runs the parts one after the other. One that fails does not keep the others from running.
 *
 * @param none what is answered of a part that failed
 * @throws what the first part threw, when none could be done
 */
async function runParts<Done extends object>(
  parts: ReadonlyArray<DuePart<Partial<Done>>>,
  none: Done,
  { limit, catchUp }: { limit: number; catchUp?: boolean },
): Promise<Done & { failed: FailedPart[] }> {
  const done = { ...none };
  const failed: FailedPart[] = [];
  const errors: unknown[] = [];
  for (const { part, run } of parts) {
    try {
      const { problems = [], ...counts } = await run(limit, { catchUp });
      Object.assign(done, counts);
      failed.push(...problems.map(({ code, message }) => ({ part, code, message })));
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

/** @throws invalid_input, clock_ahead; as `runParts` */
export async function runAllDue(
  context: Context,
  parts: DueParts,
  request: RunDueRequest = {},
): Promise<RunDueAnswer> {
  const { limit = DEFAULT_LIMIT, catchUp } = parse(dueInput, request);
  await requireClock(context, catchUp);
  return runParts(parts, NOTHING_DUE, { limit, catchUp });
}

/** On a day of a sandbox everything that is due is done. */
const MOST_DUE = 1_000_000;

const NO_INVOICES = { invoicesIssued: 0, invoicesSent: 0, periodsOpened: 0, chargesFailed: 0 };

/** What is done on a day of a sandbox: the billing cycle, then all that is due. */
export async function runDay(invoicing: Invoicing, parts: DueParts) {
  const problems: FailedPart[] = [];
  const cycle = { part: 'invoices', run: () => invoicesOfDay(invoicing, problems) };
  const { failed, ...done } = await runParts<DueCounts & typeof NO_INVOICES>(
    [cycle, ...parts],
    { ...NOTHING_DUE, ...NO_INVOICES },
    { limit: MOST_DUE },
  );
  return { done, failed: [...problems, ...failed] };
}

/**
 * The billing cycle on a day of a sandbox, under names that say what was done.
 *
 * @param problems where drafts are added that could not be reckoned
 */
async function invoicesOfDay(
  invoicing: Invoicing,
  problems: FailedPart[],
): Promise<typeof NO_INVOICES> {
  const { created, dispatched } = await invoicing.runBillingCycle();
  for (const { code, message, ...of } of dispatched.problems) {
    const about = 'invoiceId' in of ? `${of.invoiceId}: ` : '';
    problems.push({ part: 'invoices', code, message: `${about}${message}` });
  }
  return {
    invoicesIssued: dispatched.issued,
    invoicesSent: dispatched.sent,
    periodsOpened: created.periods,
    chargesFailed: dispatched.failed,
  };
}
