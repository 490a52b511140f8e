import { isBillingError, type ErrorCode } from '../kernel';
import {
  MAX_LOCKED_ACCOUNTS,
  isOutOfLocks,
  lockAccounts,
  lockTimeout,
  tryLockAccounts,
  type Context,
  type Session,
} from '../database';

/**
 * Work on many payers, a chunk at a time: each chunk is a transaction in which its payers are locked,
 * so that it may be killed between any two. Payers that somebody else is writing are left for the
 * end, where they are waited for: by then they may be done, since others may be doing the same work.
 */

/** A payer, and the ids under which something of it may stand: its own, and those merged into it. */
export interface PayerNames {
  payerId: string;
  names: string[];
}

/** All names of payers: what is locked, and under which things stand. */
export const namesIn = (payers: readonly PayerNames[]): string[] =>
  payers.flatMap(({ names }) => names);

/** Of an alias the one it was merged into answers. */
const FIND_NAMES = `
select coalesce(a.merged_into, a.account_id)::text as payer_id,
       array(select m.account_id::text from {schema}.accounts m
             where m.merged_into = coalesce(a.merged_into, a.account_id)) as aliases
from unnest($1::uuid[]) as w (account_id)
cross join lateral (
  select * from {schema}.accounts a where a.account_id = w.account_id offset 0) as a`;

export async function findNames(
  session: Session,
  payerIds: readonly string[],
): Promise<PayerNames[]> {
  const rows = await session.query<{ payer_id: string; aliases: string[] }>(FIND_NAMES, [
    [...new Set(payerIds)],
  ]);
  const found = new Map(
    rows.map(({ payer_id, aliases }) => [
      payer_id,
      { payerId: payer_id, names: [payer_id, ...aliases] },
    ]),
  );
  return [...found.values()];
}

/** What was not done of something, and why; it is done by the next run. */
export interface RunProblem {
  code: ErrorCode;
  message: string;
}

/** What failed, as it is told beside what was done. */
export function problemOf(error: unknown): RunProblem {
  if (isBillingError(error)) return { code: error.code, message: error.message };
  return {
    code: 'internal_error',
    message: error instanceof Error ? error.message : String(error),
  };
}

/** An account, or whatever else is asked for, was held by somebody else for too long. */
export function problemOfBusy(error: unknown): RunProblem | null {
  return isBillingError(error) && error.code === 'lock_timeout' ? problemOf(error) : null;
}

export const BUSY: RunProblem = problemOf(lockTimeout('this account'));

/** Waits for accounts that somebody is writing, as long as for any lock. They may be busy still. */
export async function waitForPayers(
  { database }: Context,
  payerIds: readonly string[],
): Promise<void> {
  try {
    await database.transaction(undefined, async (session) => {
      const payers = await findNames(session, payerIds);
      await lockAccounts(session, namesIn(payers).slice(0, MAX_LOCKED_ACCOUNTS));
    });
  } catch (error) {
    if (problemOfBusy(error) === null) throw error;
  }
}

/**
 * Runs the work for payers in one transaction, in smaller ones where they and the accounts merged into
 * them are too many, or the server has no room for so many locks.
 *
 * @param wait false: payers that are locked are left out, and given back
 */
export async function inChunk<T>(
  context: Context,
  payerIds: readonly string[],
  wait: boolean,
  work: (session: Session, payers: PayerNames[]) => Promise<T>,
  join: (one: T, other: T) => T,
): Promise<{ done: T | null; busy: string[] }> {
  if (payerIds.length === 0) return { done: null, busy: [] };
  try {
    const chunk = await context.database.transaction(undefined, async (session) => {
      const payers = await findNames(session, payerIds);
      const all = namesIn(payers);
      if (all.length > MAX_LOCKED_ACCOUNTS && payerIds.length > 1) return null;
      if (wait) {
        await lockAccounts(session, all);
        return { done: await work(session, payers), busy: [] };
      }
      const locked = await tryLockAccounts(session, all);
      const isFree = ({ names }: PayerNames) => names.every((name) => locked.has(name));
      const free = payers.filter(isFree);
      const busy = payers.filter((payer) => !isFree(payer)).map(({ payerId }) => payerId);
      return { done: free.length === 0 ? null : await work(session, free), busy };
    });
    if (chunk !== null) return chunk;
  } catch (error) {
    if (!isOutOfLocks(error) || payerIds.length === 1) throw error;
  }
  const middle = Math.ceil(payerIds.length / 2);
  const first = await inChunk(context, payerIds.slice(0, middle), wait, work, join);
  const second = await inChunk(context, payerIds.slice(middle), wait, work, join);
  const done =
    first.done !== null && second.done !== null
      ? join(first.done, second.done)
      : (first.done ?? second.done);
  return { done, busy: [...first.busy, ...second.busy] };
}

/** While one chunk is reckoned the database writes the other. */
const AT_ONCE = 2;

/**
 * Works on chunks until there are no more, two at once where there are connections for that. They are
 * asked for one after the other; chunks of the same payers are sorted out by their locks.
 *
 * @param next gives the next chunk; null: that was all
 */
export async function eachChunk<T>(
  { database }: Context,
  next: () => Promise<T | null>,
  work: (chunk: T) => Promise<void>,
): Promise<void> {
  let isOver = false;
  let turn: Promise<T | null> = Promise.resolve(null);
  const take = (): Promise<T | null> => {
    turn = turn.then(async () => {
      const chunk = isOver ? null : await next();
      isOver ||= chunk === null;
      return chunk;
    });
    return turn;
  };
  const worker = async (): Promise<void> => {
    try {
      for (let chunk = await take(); chunk !== null; chunk = await take()) await work(chunk);
    } finally {
      // What fails for one ends the other, too, once its chunk is done.
      isOver = true;
    }
  };
  const workers = Array.from({ length: Math.min(AT_ONCE, database.connections) }, worker);
  for (const ended of await Promise.allSettled(workers)) {
    if (ended.status === 'rejected') throw ended.reason;
  }
}

export function* chunksOf<T>(all: readonly T[], size = MAX_LOCKED_ACCOUNTS): Generator<T[]> {
  for (let start = 0; start < all.length; start += size) yield all.slice(start, start + size);
}
