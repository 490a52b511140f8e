import { atTime, toInstant, waitingFor, type Session } from '../database';
import { isoTime, type Instant } from '../kernel';

/**
 * Numbers of papers: 1, 2, 3 ... along a series, without gaps, in the order of issue dates. The one
 * row that all payers share: whoever takes numbers makes others wait until its transaction ends, so
 * numbers are taken for a whole chunk at once, and last of all before the commit. Undone with the
 * transaction, so that none goes missing.
 */
const TAKE = `
insert into {schema}.invoice_series as s (series, next_number, last_issued_at)
values ($1, 1 + $2::bigint, $3::timestamptz)
on conflict (series) do update
set next_number = s.next_number + $2::bigint,
    last_issued_at = greatest(s.last_issued_at, excluded.last_issued_at)
returning (s.next_number - $2::bigint)::text as first, ${atTime('s.last_issued_at')} as issued_at`;

export interface TakenNumbers {
  first: bigint;
  /** The date of issue: now, or that of the last paper of the series where a clock has gone back. */
  issuedAt: Instant;
}

/** Takes the next numbers of a series. Payers are locked before; nothing is waited for after. */
export async function takeNumbers(
  session: Session,
  series: string,
  count: number,
  now: Instant,
): Promise<TakenNumbers> {
  const [row] = await waitingFor(
    `the number series ${series}`,
    session.query<{ first: string; issued_at: string }>(TAKE, [series, count, isoTime(now)]),
  );
  return { first: BigInt(row!.first), issuedAt: toInstant(row!.issued_at) };
}

/** 'INV-000042'. */
export const numberText = (series: string, number: bigint, digits: number): string =>
  `${series}-${String(number).padStart(digits, '0')}`;
