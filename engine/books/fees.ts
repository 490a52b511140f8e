import type { MergePart } from '../accounts';
import { column, sweep, table, type Context, type RowOf, type Session } from '../database';
import { Decimal, isoTime, readClock, type Instant } from '../kernel';
import { moveHeldFees, takeHeldFees, type HeldFee } from './held-fees';
import { earnedPosting, movePostings, post, postAll } from './posting';
import { FEES } from './tables';

/**
 * Fees for a time: deferred when they are invoiced, and earned evenly from the first moment of it to the
 * last. The book follows with one posting for each paying account, currency and day (UTC); what is not
 * posted yet is added by readers. How much a fee has earned says one function of the database,
 * `fee_earned` (migrations/0006-books.ts).
 */

/** A fee with the time it is for, without its last instant. */
export interface DeferredFee extends HeldFee {
  from: Instant;
  to: Instant;
}

/** SQL for what a fee has earned by a moment. */
export const earnedBy = (fee: string, at: string): string => `{schema}.fee_earned(
  ${fee}.amount, ${fee}.starts_at, ${fee}.ends_at, ${fee}.ended_at, ${fee}.kept, ${at})`;

/** The midnight (UTC) behind a column, or the end of the fee if that comes first. */
const dueAfter = (start: string, end: string): string => `
  least(${end}, (date_trunc('day', ${start} at time zone 'UTC') + interval '1 day') at time zone 'UTC')`;

const DEFER = `
insert into {schema}.fees (${FEES.names}, posted_to, due_at)
select ${FEES.names}, n.starts_at, ${dueAfter('n.starts_at', 'n.ends_at')}
from ${FEES.unnest()}`;

/**
 * Remembers what fees are for, so that they are earned by the day. The payers must be locked, and the
 * amounts be credited to `deferred` by a posting of the caller's.
 */
export async function deferFees(session: Session, fees: readonly DeferredFee[]): Promise<void> {
  const rows = fees.map(({ from, to, reference, ...fee }) => ({
    ...fee,
    startsAt: from,
    endsAt: to,
    referenceType: reference.type,
    referenceId: reference.id,
  }));
  await writeFees(session, rows);
}

async function writeFees(session: Session, fees: ReadonlyArray<RowOf<typeof FEES>>): Promise<void> {
  const some = fees.filter(({ amount }) => !amount.isZero());
  if (some.length > 0) await session.query(DEFER, FEES.values(some));
}

/**
 * The time of fees is known that waited for it: they are earned by the day from there on. Others are left
 * out. The payers are locked.
 *
 * @param payerIds in whose books they may be: of a payer that was merged into another, both
 */
export async function releaseFees(
  session: Session,
  payerIds: readonly string[],
  fees: ReadonlyArray<{ feeId: string; from: Instant; to: Instant }>,
  now: Instant,
): Promise<void> {
  if (fees.length === 0) return;
  const times = new Map(fees.map(({ feeId, from, to }) => [feeId, { startsAt: from, endsAt: to }]));
  const released = await takeHeldFees(session, payerIds, [...times.keys()], now);
  await writeFees(
    session,
    released.map((fee) => ({ ...fee, ...times.get(fee.feeId)! })),
  );
}

/**
 * What is posted beyond the end is taken back by a posting; `due_at` is from when on the rest of what
 * was earned can be posted.
 */
const END = `
with wanted as (
  select f.*, ${earnedBy('f', '$3::timestamptz')} as earned,
         ${earnedBy('f', "'infinity'")} as whole
  from unnest($2::uuid[]) as n (fee_id)
  cross join lateral (
    select * from {schema}.fees f where f.payer_id = $1::uuid and f.fee_id = n.fee_id
    offset 0) as f
), ended as (
  update {schema}.fees f
  set ended_at = least(f.ended_at, $3::timestamptz), kept = w.earned,
      posted = case when w.posted_to > $3::timestamptz then w.earned else w.posted end,
      posted_to = greatest(w.starts_at, least(w.posted_to, $3::timestamptz)),
      due_at = case
        when w.posted_to >= $3::timestamptz then null
        else least(w.due_at, $3::timestamptz) end
  from wanted w
  where f.payer_id = w.payer_id and f.fee_id = w.fee_id
    and $3::timestamptz < coalesce(w.ended_at, w.ends_at)
)
select fee_id::text as fee_id, currency, (whole - earned)::text as left_over,
       case when posted_to > $3::timestamptz then posted - earned else 0 end::text as too_much
from wanted`;

/**
 * Ends fees before their time: what is not earned by then is taken off, all of one that waits for it.
 * Whoever calls posts where that goes, from `deferred`. What was posted as earned beyond the moment is
 * given back to `deferred` here. The payer must be locked.
 *
 * @param at the end; a fee that ended before, or is over by then, stays as it is
 * @returns what was taken off each fee, signed as its amount; fees that do not exist are left out
 */
export async function endFees(
  session: Session,
  payerId: string,
  feeIds: readonly string[],
  at: Instant,
): Promise<Map<string, Decimal>> {
  if (feeIds.length === 0) return new Map();
  const ids = [...new Set(feeIds)];
  const rows = await session.query<{
    fee_id: string;
    currency: string;
    left_over: string;
    too_much: string;
  }>(END, [payerId, ids, isoTime(at)]);
  for (const { fee_id, currency, too_much } of rows) {
    const amount = new Decimal(too_much);
    if (amount.isZero()) continue;
    const back = { currency, at, amount: amount.negated() };
    const reference = { type: 'fee', id: fee_id };
    await post(session, earnedPosting(payerId, { ...back, reference }));
  }
  const held = await takeHeldFees(session, [payerId], ids, at);
  return new Map([
    ...rows.map((row) => [row.fee_id, new Decimal(row.left_over)] as const),
    ...held.map(({ feeId, amount }) => [feeId, amount] as const),
  ]);
}

/** By the primary keys. $1 payers, $2 fees. */
const FIND_RUNNING = `
select f.fee_id::text as fee_id from {schema}.fees f
where f.payer_id = any($1::uuid[]) and f.fee_id = any($2::uuid[])
  and coalesce(f.ended_at, f.ends_at) > $3::timestamptz
union
select h.fee_id::text from {schema}.held_fees h
where h.payer_id = any($1::uuid[]) and h.fee_id = any($2::uuid[]) and h.released_at is null`;

/**
 * Of fees those that earn beyond a moment, or will when their time is known. The payers are locked.
 *
 * @param payerIds in whose books they may be
 */
export async function runningFees(
  session: Session,
  payerIds: readonly string[],
  feeIds: readonly string[],
  at: Instant,
): Promise<Set<string>> {
  const values = [payerIds, feeIds, isoTime(at)];
  const rows = await session.query<{ fee_id: string }>(FIND_RUNNING, values);
  return new Set(rows.map((row) => row.fee_id));
}

/** What is left of fees that are not over, as fees of their own. */
const READ_LEFT = `
select ${FEES.select('one')}
from (
  select $3::uuid as payer_id, f.fee_id, f.currency, f.reference_type, f.reference_id,
         ${earnedBy('f', "'infinity'")} - ${earnedBy('f', '$2::timestamptz')} as amount,
         greatest(f.starts_at, $2::timestamptz) as starts_at,
         coalesce(f.ended_at, f.ends_at) as ends_at
  from {schema}.fees f
  where f.payer_id = $1::uuid and f.due_at is not null
    and coalesce(f.ended_at, f.ends_at) > $2::timestamptz
) as one
order by one.fee_id`;

/**
 * Of fees that are not over, what is not earned yet goes to another payer, under the same ids: when
 * accounts are merged, or a child is attached with what it has. Both payers must be locked.
 */
export const moveFees: MergePart = async (session, { from, into, now, dryRun }) => {
  const left = await FEES.rows(session, READ_LEFT, [from.payerId, isoTime(now), into.payerId]);
  const held = await moveHeldFees(session, { from, into, now, dryRun });
  const count = left.length + held.length;
  if (dryRun || count === 0) return { fees: count };
  await endFees(
    session,
    from.payerId,
    left.map(({ feeId }) => feeId),
    now,
  );
  await writeFees(session, left);
  await postAll(
    session,
    [...left, ...held]
      .filter(({ amount }) => !amount.isZero())
      .flatMap(({ feeId, currency, amount }) =>
        movePostings(
          { from: from.payerId, into: into.payerId },
          { currency, amount, at: now, reference: { type: 'fee', id: feeId } },
        ),
      ),
  );
  return { fees: count };
};

/** Fees that one statement looks at, and days of each that it follows: memory stays flat. */
const FEES_AT_ONCE = 2_000;
const DAYS = 31;

/** Due for longest, by the index fees_due; goes on behind ($2, $3, $4). Locks nothing. */
const FIND_DUE = `
select f.payer_id::text as payer_id, f.fee_id::text as fee_id, f.due_at::text as due_at
from {schema}.fees f
where f.due_at <= $1::timestamptz and f.due_at >= $2::timestamptz
  and (f.due_at, f.payer_id, f.fee_id) > ($2::timestamptz, $3::uuid, $4::uuid)
order by f.due_at, f.payer_id, f.fee_id limit $5::integer`;

/** What fees earned on a day, up to its last moment. */
const EARNED = table('fees', {
  payerId: column.uuid(),
  currency: column.text(),
  day: column.text(),
  ends: column.instant(),
  amount: column.decimal(),
});

/**
 * Follows fees up to the last midnight, or to their ends, and gives what they earned by payer, currency
 * and day. A day's part counts at the last millisecond of it, or of the fee's time.
 *
 * $1 payers, $2 fees, $3 now, $4 days at most
 */
const FOLLOW = `
with due as materialized (
  select f.* from unnest($1::uuid[], $2::uuid[]) as n (payer_id, fee_id)
  cross join lateral (
    select * from {schema}.fees f
    where f.payer_id = n.payer_id and f.fee_id = n.fee_id and f.due_at <= $3::timestamptz
    offset 0) as f
), reached as materialized (
  select d.payer_id, d.fee_id, least(
           case when coalesce(d.ended_at, d.ends_at) <= $3::timestamptz
             then coalesce(d.ended_at, d.ends_at)
             else date_trunc('day', $3::timestamptz at time zone 'UTC') at time zone 'UTC' end,
           (date_trunc('day', d.posted_to at time zone 'UTC') + $4::integer * interval '1 day')
             at time zone 'UTC') as upto
  from due d
), days as (
  select d.payer_id, d.fee_id, d.currency, days.starts as starts,
         least(r.upto, days.starts + interval '24 hours') as ends,
         ${earnedBy('d', "least(r.upto, days.starts + interval '24 hours')")}
         - ${earnedBy('d', 'greatest(d.posted_to, days.starts)')} as amount
  from due d
  join reached r on r.payer_id = d.payer_id and r.fee_id = d.fee_id
  cross join lateral generate_series(
    date_trunc('day', d.posted_to at time zone 'UTC') at time zone 'UTC',
    r.upto - interval '1 millisecond', interval '24 hours') as days (starts)
), earned as (
  select payer_id, currency, starts, max(ends) as ends, sum(amount) as amount
  from days group by payer_id, currency, starts having sum(amount) <> 0
), moved as (
  update {schema}.fees f
  set posted = ${earnedBy('f', 'r.upto')}, posted_to = r.upto,
      due_at = case when r.upto < coalesce(f.ended_at, f.ends_at)
        then ${dueAfter('r.upto', 'coalesce(f.ended_at, f.ends_at)')} end
  from reached r
  where f.payer_id = r.payer_id and f.fee_id = r.fee_id
)
select ${EARNED.select('e')}
from (
  select payer_id, currency, starts, to_char(starts at time zone 'UTC', 'YYYY-MM-DD') as day, ends, amount
  from earned
) as e
order by e.payer_id, e.currency, e.starts`;

interface DueRow {
  payer_id: string;
  fee_id: string;
  due_at: string;
}

/**
 * Posts what fees have earned on the days that are over, longest due first. Any number of processes may
 * do so at once, and it may be killed at any moment: each chunk is a transaction. Payers that somebody
 * is writing are left to the next run.
 *
 * @param limit fees at most
 * @returns how many postings were written
 */
export async function postFees(context: Context, limit: number): Promise<number> {
  const now = readClock(context.clock);
  let postings = 0;
  let left = limit;
  let worked: number;
  do {
    worked = 0;
    // Fees that are not done after so many days are due again behind the last one.
    const { found, failed } = await sweep<DueRow, { fees: number; postings: number }>(
      context.database,
      {
        key: { due_at: 'instant', payer_id: 'uuid', fee_id: 'uuid' },
        limit: left,
        size: FEES_AT_ONCE,
        find: (after, size) => context.database.query(FIND_DUE, [isoTime(now), ...after, size]),
        payerOf: (row) => row.payer_id,
        work: async (session, due) => ({
          fees: due.length,
          postings: await follow(session, now, due),
        }),
        committed: (done) => {
          worked += done.fees;
          postings += done.postings;
        },
      },
    );
    if (failed.length > 0) throw failed[0]!.error;
    left -= found;
  } while (left > 0 && worked > 0);
  return postings;
}

/** Follows fees of payers that are locked. */
async function follow(session: Session, now: Instant, due: readonly DueRow[]): Promise<number> {
  const earned = await EARNED.rows(session, FOLLOW, [
    due.map((row) => row.payer_id),
    due.map((row) => row.fee_id),
    isoTime(now),
    DAYS,
  ]);
  await postAll(
    session,
    earned.map(({ payerId, day, ends, ...one }) => {
      const reference = { type: 'fees', id: `${payerId}.${day}` };
      return earnedPosting(payerId, { ...one, at: ends - 1, reference });
    }),
  );
  return earned.length;
}
