import { sweep, type Context, type Session } from '../database';
import { input, integer, isoTime, parse, readClock, type Instant, type RequestOf } from '../kernel';
import type { ProductKind } from '../catalog';
import { openJournal, writeJournal } from './journal-store';

/**
 * What comes due by itself: ends of grants and of holds, and of the time for which first answers are
 * kept. Balances go by the clock, and whoever writes next puts what was due on record; this does it
 * for those for whom nobody writes, so that the entries say what was lost and when.
 */

export interface DueDone {
  /** Entries of kind `expiry` that were written. */
  expiries: number;
  /** Holds that were over and are ended now. */
  holds: number;
  /** First answers deleted. */
  answers: number;
}

const dueInput = input({
  /** At most so many grants and holds, and so many answers. Default 10,000. */
  limit: integer(1, 1_000_000).optional(),
});
export type RunDueRequest = RequestOf<typeof dueInput>;
const DEFAULT_LIMIT = 10_000;
/** Answers deleted in one transaction. */
const ANSWERS = 5_000;

const due = (table: string, at: string, isOpen: string): string => `
  (select payer_id, product, ${at} as at, sequence from {schema}.${table}
   where ${isOpen} and ${at} <= $1::timestamptz and ${at} >= $2::timestamptz
     and (${at}, payer_id, sequence) > ($2::timestamptz, $3::uuid, $4::bigint)
   order by ${at}, payer_id, sequence limit $5::integer)`;

/**
 * What has been due for longest, by the indexes grants_due, grants_ended and holds_due. Locks nothing: what was
 * written meanwhile is seen once the payers are locked. $2 and $3 go on behind what was looked at.
 */
const FIND_DUE = `
select due.payer_id::text as payer_id, due.product, p.kind, due.at::text as at, due.sequence::text as sequence
from (
  ${due('grants', 'expires_at', 'live')}
  union all
  -- Those that got an earlier end: few.
  ${due('grants', 'ended_at', 'live')}
  union all
  ${due('holds', 'expires_at', 'ended_at is null')}
) as due
join {schema}.products p on p.key = due.product
order by due.at, due.payer_id, due.sequence limit $5::integer`;

/**
 * Answers somebody is replacing are left to them. Those over for longest first: by the index
 * answers_expiry, so that the work is as much as is deleted, however many are kept.
 */
export const DELETE_ANSWERS = `
with gone as (
  delete from {schema}.answers
  where ctid = any(array(
    select ctid from {schema}.answers where expires_at <= $1::timestamptz
    order by expires_at limit $2::integer for update skip locked))
  returning 1
)
select count(*)::integer as deleted from gone`;

interface DueRow {
  payer_id: string;
  product: string;
  kind: ProductKind;
  at: string;
  sequence: string;
}

/**
 * Writes what is due and was not written yet, longest due first, and deletes answers whose time is
 * over. Any number of processes may do so at once, and it may be killed at any moment: each chunk is
 * a transaction. Accounts that somebody is writing just now are left to them, or to the next run.
 *
 * @throws invalid_input, database_unavailable (also when the right to delete answers is missing)
 */
export async function runDue(context: Context, request: RunDueRequest = {}): Promise<DueDone> {
  const { limit = DEFAULT_LIMIT } = parse(dueInput, request);
  const now = readClock(context.clock);
  const written = await writeDue(context, now, limit);
  const answers = await deleteAnswers(context, now, limit);
  return { ...written, answers };
}

async function writeDue(
  { database }: Context,
  now: Instant,
  limit: number,
): Promise<Omit<DueDone, 'answers'>> {
  const written = { expiries: 0, holds: 0 };
  const { failed } = await sweep<DueRow, typeof written>(database, {
    key: { at: 'instant', payer_id: 'uuid', sequence: 'number' },
    limit,
    find: (after, size) => database.query(FIND_DUE, [isoTime(now), ...after, size]),
    payerOf: (row) => row.payer_id,
    work: (session, rows) =>
      writeDueOf(
        session,
        rows.map(({ payer_id: payerId, product, kind }) => ({ payerId, product, kind })),
        now,
      ),
    committed: ({ expiries, holds }) => {
      written.expiries += expiries;
      written.holds += holds;
    },
  });
  if (failed.length > 0) throw failed[0]!.error;
  return written;
}

/** Writes what is due of some products of payers that are locked. */
export async function writeDueOf(
  session: Session,
  pockets: ReadonlyArray<{ payerId: string; product: string; kind: ProductKind }>,
  now: Instant,
): Promise<Omit<DueDone, 'answers'>> {
  const journal = await openJournal(session, now, pockets);
  // A pocket named twice has nothing due any more the second time.
  for (const { payerId, product } of pockets) journal.writeDue(journal.pocket(payerId, product));
  await writeJournal(session, journal, [], now);
  return { expiries: journal.written('expiry'), holds: journal.written('release') };
}

async function deleteAnswers({ database }: Context, now: Instant, limit: number): Promise<number> {
  let deleted = 0;
  while (deleted < limit) {
    const size = Math.min(limit - deleted, ANSWERS);
    const [row] = await database.transaction(undefined, (session) =>
      session.query<{ deleted: number }>(DELETE_ANSWERS, [isoTime(now), size]),
    );
    deleted += row!.deleted;
    if (row!.deleted < size) break;
  }
  return deleted;
}
