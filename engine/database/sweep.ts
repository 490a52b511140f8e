import { NO_ACCOUNT } from './answers';
import type { Database } from './database';
import { isOutOfLocks, translate } from './failures';
import { MAX_LOCKED_ACCOUNTS, tryLockAccounts } from './locks';
import type { Session } from './session';
import { isBillingError } from '../kernel';

/**
 * Work on what is due, by pages along an index and by chunks of paying accounts, each chunk in a
 * transaction that holds their locks: any number of processes may sweep at once, and be killed anywhere.
 */

/** Before everything of its kind; `latest`: of ids that are read backwards. */
const FIRST = {
  instant: '-infinity',
  uuid: NO_ACCOUNT,
  latest: 'ffffffff-ffff-ffff-ffff-ffffffffffff',
  number: '0',
  text: '',
} as const;

/** The columns by which rows are ordered, and their kinds: where a page goes on behind the last one. */
export type Keyset<Row> = { [Column in keyof Row]?: keyof typeof FIRST };

export interface Pages<Row> {
  key: Keyset<Row>;
  /** At most so many rows in all. Default: no end. */
  limit?: number;
  /** How many of those given so far do not count: they stay due, and must not keep others from their turn. */
  passedOver?: () => number;
  size: number;
  /**
   * Gives the rows behind a place, in order.
   *
   * @param after the values of the key's columns, in its order, as SQL takes them
   */
  find: (after: unknown[], size: number) => Promise<Row[]>;
}

/** Reads rows page by page; each begins behind the last row of the one before. Locks nothing. */
export async function* pages<Row extends object>({
  key,
  limit = Number.POSITIVE_INFINITY,
  passedOver = () => 0,
  size,
  find,
}: Pages<Row>): AsyncGenerator<Row[], void> {
  const kinds = Object.entries(key) as Array<[keyof Row, keyof typeof FIRST]>;
  let after: unknown[] = kinds.map(([, kind]) => FIRST[kind]);
  for (let given = 0; given - passedOver() < limit;) {
    const wanted = Math.min(size, limit + passedOver() - given);
    const rows = await find(after, wanted);
    if (rows.length > 0) yield rows;
    if (rows.length < wanted) return;
    given += rows.length;
    const last = rows.at(-1)!;
    after = kinds.map(([column]) => last[column]);
  }
}

export interface Sweep<Row, Done = void> extends Omit<Pages<Row>, 'size'> {
  /** Rows read at once. Default: as many as accounts may be locked at once. */
  size?: number;
  /** In whose name a row is locked. */
  payerOf: (row: Row) => string;
  /** Works on rows whose payers are locked; reads them again, since they may have been done meanwhile. */
  work: (session: Session, rows: Row[]) => Promise<Done>;
  /** Told what the work gave, once that is committed. */
  committed?: (done: Done) => void;
}

/** An account whose work failed while that of the others was done. */
export interface FailedPayer {
  payerId: string;
  error: unknown;
}

export interface Swept {
  /** Rows that were found due, whatever became of them. */
  found: number;
  /** Accounts that somebody is writing just now: left to them, or to the next run. */
  busy: string[];
  failed: FailedPayer[];
}

/**
 * Works on all that is due. Accounts that somebody is writing are passed over, and one whose work fails
 * fails alone: the chunk it was in is taken apart until only it is left.
 *
 * @throws database_unavailable, lock_timeout and the like, which concern all
 */
export async function sweep<Row extends object, Done = void>(
  database: Database,
  { payerOf, work, committed, size = MAX_LOCKED_ACCOUNTS, ...paging }: Sweep<Row, Done>,
): Promise<Swept> {
  const swept: Swept = { found: 0, busy: [], failed: [] };
  /** Rows of accounts that are busy or failed: they stay due, as those do that the work passes over. */
  let undone = 0;
  const passedOver = () => undone + (paging.passedOver?.() ?? 0);
  for await (const rows of pages({ ...paging, passedOver, size })) {
    swept.found += rows.length;
    const byPayer = grouped(rows, payerOf);
    for (const some of slices([...byPayer.keys()], MAX_LOCKED_ACCOUNTS)) {
      await workOn(database, some, byPayer, { work, committed }, swept);
    }
    const without = new Set([...swept.busy, ...swept.failed.map(({ payerId }) => payerId)]);
    undone += rows.filter((row) => without.has(payerOf(row))).length;
  }
  return swept;
}

/** Rows by what they have in common. */
export function grouped<Row>(
  rows: readonly Row[],
  keyOf: (row: Row) => string,
): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const own = groups.get(keyOf(row));
    if (own === undefined) groups.set(keyOf(row), [row]);
    else own.push(row);
  }
  return groups;
}

async function workOn<Row, Done>(
  database: Database,
  payerIds: readonly string[],
  byPayer: ReadonlyMap<string, Row[]>,
  { work, committed }: Pick<Sweep<Row, Done>, 'work' | 'committed'>,
  swept: Swept,
): Promise<void> {
  try {
    const { busy, done } = await database.transaction(undefined, async (session) => {
      const locked = await tryLockAccounts(session, payerIds);
      const free = payerIds.filter((id) => locked.has(id));
      const rows = free.flatMap((id) => byPayer.get(id)!);
      return {
        busy: payerIds.filter((id) => !locked.has(id)),
        done: rows.length === 0 ? [] : [await work(session, rows)],
      };
    });
    swept.busy.push(...busy);
    if (committed !== undefined) done.forEach(committed);
  } catch (error) {
    const wantsFewer = isOutOfLocks(error) && payerIds.length > 1;
    if (concernsAll(error) && !wantsFewer) throw error;
    if (payerIds.length === 1) {
      swept.failed.push({ payerId: payerIds[0]!, error });
      return;
    }
    for (const half of slices(payerIds, Math.ceil(payerIds.length / 2))) {
      await workOn(database, half, byPayer, { work, committed }, swept);
    }
  }
}

/** What no smaller chunk would mend: the database is gone, slow or busy. */
export const concernsAll = (error: unknown): boolean => {
  const told = translate(error);
  return isBillingError(told) && /^(database|lock|retry)_/.test(told.code);
};

function* slices<T>(all: readonly T[], size: number): Generator<T[]> {
  for (let start = 0; start < all.length; start += size) yield all.slice(start, start + size);
}
