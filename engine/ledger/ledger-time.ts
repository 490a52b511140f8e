import { atTime, column, table, toInstant, type Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import type { LastLine } from './journal-lines';
import { LINE } from './tables';

/**
 * The time that counts in a payer's ledger: the clock's, and never before its last line, which may be of
 * a process whose clock is ahead, or of before a clock was put back. Who writes and who reads go by it
 * alike, so that nobody is told otherwise than a use would be decided.
 */

/** The same in SQL, of a moment that a clock shows. One look-up by the primary key of `entries`. */
export const ledgerTimeSql = (payer: string, now: string): string => `greatest(${now}, (
  select e.recorded_at from {schema}.entries e
  where e.payer_id = ${payer} order by e.sequence desc limit 1))`;

const LAST_LINES = table('entries', { ...LINE, recordedAt: column.instant() });

/** The last line of each payer. Index order on the primary key: one row read a payer. */
const READ_LAST_LINES = `
select ${LAST_LINES.select('last')}
from unnest($1::uuid[]) as p (payer_id)
cross join lateral (
  select e.payer_id, e.sequence, e.recorded_at
  from {schema}.entries e where e.payer_id = p.payer_id
  order by e.sequence desc limit 1
) as last`;

/** Of payers that have a line. */
export async function readLastLines(
  session: Session,
  payerIds: readonly string[],
): Promise<LastLine[]> {
  if (payerIds.length === 0) return [];
  return (await session.query<object>(READ_LAST_LINES, [payerIds])).map(LAST_LINES.read);
}

/** What counts of payers by their last lines. */
export function timesBy(
  lastLines: readonly LastLine[],
  now: Instant,
): (payerId: string) => Instant {
  const times = new Map(
    lastLines.map(({ payerId, recordedAt }) => [payerId, Math.max(now, recordedAt)]),
  );
  return (payerId) => times.get(payerId) ?? now;
}

const READ_TIME = `select ${atTime(ledgerTimeSql('$1::uuid', '$2::timestamptz'))} as at`;

/** The time that counts in one payer's ledger. */
export async function ledgerTime(
  session: Session,
  payerId: string,
  now: Instant,
): Promise<Instant> {
  const [row] = await session.query<{ at: string }>(READ_TIME, [payerId, isoTime(now)]);
  return toInstant(row!.at);
}
