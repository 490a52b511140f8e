import {
  MAX_LOCKED_ACCOUNTS,
  arrayLiteral,
  column,
  packed,
  pages,
  table,
  tryLockAccounts,
  type Context,
  type RowOf,
  type Session,
} from '../database';
import { input, integer, isoTime, parse, readClock, type Instant } from '../kernel';
import { EARNING_KINDS } from '../ledger';
import { postFees } from './fees';
import { earnedPosting, postAll } from './posting';

/**
 * What was earned. Each line of the ledger carries the value that its units took along; the book
 * follows with one posting for each paying account, currency and day (UTC), from deferred to revenue.
 * A mark for each ledger says how far the book has come. Lines never change, so what lies beyond the
 * mark can be added up at any time: that is what readers do with what is not posted yet.
 */

/** Lines that one statement adds up. */
export const LINES = 20_000;

/**
 * What lines have earned, by payer, currency and day. Goes on from `marks` (payer_id, after). Grants
 * and lines are looked up by their keys: behind the fences (`offset 0`) no plan can be made that
 * reads a whole table, however empty it was when the plan was made.
 *
 * @param limit lines of each payer at most
 */
export const earnedBeyond = (limit: string): string => `
lines as materialized (
  select l.* from marks m
  cross join lateral (
    select e.payer_id, e.sequence, e.kind, e.grant_sequences, e.grant_values, e.effective_at
    from {schema}.entries e
    where e.payer_id = m.payer_id and e.sequence > m.after
    order by e.sequence limit ${limit}
  ) as l
), moved as (
  select l.payer_id, t.grant_sequence, (l.effective_at at time zone 'UTC')::date as day,
         max(l.effective_at) as at, -sum(t.value) as amount
  from lines l
  cross join lateral unnest(l.grant_sequences, l.grant_values) as t (grant_sequence, value)
  where l.kind in (${EARNING_KINDS.map((kind) => `'${kind}'`).join(', ')}) and t.value <> 0
  group by l.payer_id, t.grant_sequence, day
), earned as materialized (
  select m.payer_id, g.currency, m.day, max(m.at) as at, sum(m.amount) as amount
  from moved m
  cross join lateral (
    select g.currency from {schema}.grants g
    where g.payer_id = m.payer_id and g.sequence = m.grant_sequence and g.currency is not null
    offset 0) as g
  group by m.payer_id, g.currency, m.day
)`;

/** What a ledger earned in a currency on a day: less than 0 when more was restored than used. */
const EARNED = table('postings', {
  payerId: column.uuid(),
  currency: column.text(),
  day: column.text(),
  /** When the last line of it counts. */
  at: column.instant(),
  amount: column.decimal(),
});
export type Earned = RowOf<typeof EARNED>;

/** Of each payer the last line that was added up, and what the lines earned on each day. */
export const EARNED_JSON = `
  'lines', (select json_agg(json_build_array(l.payer_id, l.count, l.last::text))
            from (select payer_id, count(*)::integer as count, max(sequence) as last
                  from lines group by payer_id) as l),
  'earned', (select json_agg(${EARNED.selectArray('e')} order by e.payer_id, e.currency, e.day)
             from earned e)`;

/** $1 payers, $2 the line after which to begin with each, $3 lines of each at most. */
export const READ_EARNED = `
with marks as (
  select * from unnest($1::uuid[], $2::bigint[]) as m (payer_id, after)
), ${earnedBeyond('$3::integer')}
select json_build_object(${EARNED_JSON})::text as found`;

export interface EarnedRow {
  lines: Array<[payerId: string, count: number, last: string]> | null;
  earned: unknown[][] | null;
}

export const earnedOf = ({ earned }: EarnedRow): Earned[] => (earned ?? []).map(EARNED.readArray);

/** A ledger with lines that the book has not followed yet. */
export interface Followed {
  payerId: string;
  /** The last line that is posted; null: the ledger has no mark. */
  mark: bigint | null;
  /** Lines beyond it. */
  pending: number;
}

export interface FollowedRow {
  payer_id: string;
  mark: string | null;
  pending: string;
}

export const followedOf = (row: FollowedRow): Followed => ({
  payerId: row.payer_id,
  mark: row.mark === null ? null : BigInt(row.mark),
  pending: Number.parseInt(row.pending, 10),
});

/** A payer's mark, and how many lines lie beyond: lines are numbered without gaps. */
export const FOLLOWED = `
  m.posted_sequence::text as mark,
  case when m.posted_sequence is null then 0 else greatest(0, coalesce((
    select e.sequence from {schema}.entries e where e.payer_id = payers.payer_id
    order by e.sequence desc limit 1), 0) - m.posted_sequence) end::text as pending`;

/** Ledgers to take together: at most so many, of few lines each beyond their marks, or one long one. */
export const packedLedgers = (ledgers: readonly Followed[], most: number): Generator<Followed[]> =>
  packed(ledgers, ({ pending }) => pending, LINES, most);

/** What is due for longest, by the index book_marks_due; goes on behind ($2, $3). Locks nothing. */
const FIND_DUE = `
select payers.payer_id::text as payer_id, payers.due_at::text as due_at, ${FOLLOWED}
from (
  select m.payer_id, m.due_at from {schema}.book_marks m
  where m.due_at <= $1::timestamptz and m.due_at >= $2::timestamptz
    and (m.due_at, m.payer_id) > ($2::timestamptz, $3::uuid)
  order by m.due_at, m.payer_id limit $4::integer
) as payers
cross join lateral (
  select m.posted_sequence from {schema}.book_marks m where m.payer_id = payers.payer_id offset 0
) as m
order by payers.due_at, payers.payer_id`;

/** Under the payers' locks: how far the book has come by now. */
const READ_MARKS = `
select m.payer_id::text as payer_id, m.posted_sequence::text as mark
from {schema}.book_marks m where m.payer_id = any($1::uuid[])`;

const MOVE_MARKS = `
update {schema}.book_marks m
set posted_sequence = n.mark, due_at = coalesce(n.due_at, m.due_at)
from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) as n (payer_id, mark, due_at)
where m.payer_id = n.payer_id`;

/**
 * Ledgers without a line beyond their mark are looked at again another day. Needs no payer's lock: what
 * is written meanwhile follows then. Waits for nobody: a mark that another run is moving is left to it.
 */
const POSTPONE_IDLE = `
with idle as (
  select m.payer_id from {schema}.book_marks m
  where m.payer_id = any($1::uuid[]) and m.due_at < $2::timestamptz
  order by m.payer_id for update skip locked
)
update {schema}.book_marks m set due_at = $2::timestamptz
from idle where m.payer_id = idle.payer_id`;

const dueInput = input({ limit: integer(1, 1_000_000).optional() });
const DEFAULT_LIMIT = 10_000;

export interface EarnedDone {
  /** Postings of what was earned. */
  postings: number;
}

interface DueRow extends FollowedRow {
  due_at: string;
}

/** A day of UTC has always so many milliseconds. */
const DAY = 86_400_000;

/** The next midnight, UTC: each ledger is followed once a day. */
const nextDay = (now: Instant): Instant => (Math.floor(now / DAY) + 1) * DAY;

/**
 * Posts what was earned since the book last followed a ledger, and what fees have earned on the days
 * that are over: longest due first, each once a day. Any number of processes may do so at once, and it may be killed at any moment: each chunk is
 * a transaction that moves its marks with its postings. It never waits for an account that somebody is
 * writing; that one is left to the next run.
 *
 * @param request `limit`: at most so many accounts, and so many fees. Default 10,000
 * @throws invalid_input, database_unavailable
 */
export async function postEarned(
  context: Context,
  request: { limit?: number } = {},
): Promise<EarnedDone> {
  const { limit = DEFAULT_LIMIT } = parse(dueInput, request);
  const now = readClock(context.clock);
  const due = pages<DueRow>({
    key: { due_at: 'instant', payer_id: 'uuid' },
    limit,
    size: MAX_LOCKED_ACCOUNTS,
    find: (after, size) => context.database.query(FIND_DUE, [isoTime(now), ...after, size]),
  });
  let postings = 0;
  for await (const rows of due) {
    const ledgers = rows.map(followedOf);
    await postpone(
      context,
      now,
      ledgers.filter(({ pending }) => pending === 0),
    );
    const behind = ledgers.filter(({ pending }) => pending > 0);
    for (const chunk of packedLedgers(behind, MAX_LOCKED_ACCOUNTS)) {
      postings += await follow(context, now, chunk);
    }
  }
  return { postings: postings + (await postFees(context, limit)) };
}

async function postpone(
  { database }: Context,
  now: Instant,
  idle: readonly Followed[],
): Promise<void> {
  if (idle.length === 0) return;
  await database.transaction(undefined, (session) =>
    session.query(POSTPONE_IDLE, [idle.map(({ payerId }) => payerId), isoTime(nextDay(now))]),
  );
}

/** Follows some ledgers to their ends, a long one in slices. */
async function follow(
  { database }: Context,
  now: Instant,
  ledgers: readonly Followed[],
): Promise<number> {
  let wanted = ledgers.map(({ payerId }) => payerId);
  let postings = 0;
  while (wanted.length > 0) {
    const slice = await database.transaction(undefined, (session) =>
      followSlice(session, now, wanted),
    );
    postings += slice.postings;
    wanted = slice.unfinished;
  }
  return postings;
}

async function followSlice(
  session: Session,
  now: Instant,
  wanted: readonly string[],
): Promise<{ postings: number; unfinished: string[] }> {
  const locked = [...(await tryLockAccounts(session, wanted))];
  if (locked.length === 0) return { postings: 0, unfinished: [] };
  const marks = new Map(
    (await session.query<{ payer_id: string; mark: string }>(READ_MARKS, [locked])).map((row) => [
      row.payer_id,
      row.mark,
    ]),
  );
  const payers = [...marks.keys()];
  const [row] = await session.query<{ found: string }>(READ_EARNED, [
    payers,
    arrayLiteral([...marks.values()]),
    LINES,
  ]);
  const found = JSON.parse(row!.found) as EarnedRow;
  const lines = new Map(
    (found.lines ?? []).map(([payerId, count, last]) => [payerId, { count, last }]),
  );
  const unfinished = payers.filter((payerId) => lines.get(payerId)?.count === LINES);
  const postings = earnedOf(found)
    .filter(({ amount }) => !amount.isZero())
    .map(({ payerId, ...earned }) => {
      const first = BigInt(marks.get(payerId)!) + 1n;
      const id = `${payerId}.${first}-${lines.get(payerId)!.last}`;
      return earnedPosting(payerId, { ...earned, reference: { type: 'lines', id } });
    });
  await postAll(session, postings);
  const due = isoTime(nextDay(now));
  await session.query(MOVE_MARKS, [
    payers,
    arrayLiteral(payers.map((payerId) => lines.get(payerId)?.last ?? marks.get(payerId)!)),
    payers.map((payerId) => (unfinished.includes(payerId) ? null : due)),
  ]);
  return { postings: postings.length, unfinished };
}
