/**
 * How long what is waited for. The server has limits of its own for statements and locks; these here
 * hold also where it, a pooler before it or the network between has gone silent.
 */

/** Milliseconds. */
export interface Timeouts {
  /** The longest a statement may run. */
  statement: number;
  /** The same, for statements that read whole tables. */
  scan: number;
  /** The longest to wait for another transaction, or for a connection that others hold. */
  lock: number;
  /** The longest that making a connection may take. */
  connect: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = {
  statement: 30_000,
  scan: 600_000,
  lock: 10_000,
  connect: 10_000,
};

/** So much later than the server's own limit an answer is given up: the server's says more. */
const LATENESS = 5_000;

/** How long the answer to a statement is waited for that the server lets run so long. */
export const answerLimit = (running: number): number => running + Math.min(LATENESS, running);

/** Of a connection of `pg`, what ends it without a word. */
export interface Cuttable {
  /** Knex drops a connection from its pool once this is set. */
  __knex__disposed?: unknown;
  connection?: { stream?: { destroy?(): unknown } };
  on?(event: 'error', listener: () => void): unknown;
}

const silence = (limit: number): Error =>
  Object.assign(new Error(`no answer came within ${limit} ms`), { code: 'ETIMEDOUT' });

/**
 * Ends a connection that has not answered. It never goes back to the pool: what is still on its way
 * would be taken for the answer to another statement.
 */
export function cutOff(connection: Cuttable, reason: unknown): void {
  connection.__knex__disposed ??= reason;
  // Its death is told once more, as an event, and kills the process where nobody listens.
  connection.on?.('error', () => undefined);
  connection.connection?.stream?.destroy?.();
}

/** Cuts a connection off unless that is called off in time; gives the function that does so. */
export function cutOffAfter(limit: number, connection: Cuttable): () => void {
  const timer = setTimeout(() => cutOff(connection, silence(limit)), limit);
  return () => clearTimeout(timer);
}

/**
 * Waits for an answer no longer than that, and ends the connection with it.
 *
 * @throws ETIMEDOUT, and whatever the answer's own error is
 */
export function answerWithin<T>(
  limit: number,
  connection: Cuttable,
  answer: Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const error = silence(limit);
      cutOff(connection, error);
      reject(error);
    }, limit);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
