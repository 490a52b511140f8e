import { addDuration, monthsOf, type Duration, type Instant } from '../kernel';
import { hasExpired } from './order-of-use';
import type { Grant, Pocket } from './pockets';

/** When a grant counts. Pure: no database, no clock of its own. */

/** The end of a grant: at a moment, or counted from its beginning, `lead` behind that; null: never. */
export type GrantEnd = { at: Instant } | { after: Duration; lead?: Duration | null } | null;

export type Validity = Pick<Grant, 'validFrom' | 'expiresAt' | 'anchorAt' | 'anchorMonths'>;

/**
 * When a grant counts. Access for a time, granted while access is in force, begins where that ends
 * and keeps its first day: 31 Jan, 28 Feb, 31 Mar. Everything else begins now.
 */
export function validityOf(
  pocket: Pick<Pocket, 'kind' | 'grants'>,
  ends: GrantEnd,
  timeZone: string,
  now: Instant,
): Validity {
  const plain = { validFrom: now, expiresAt: null, anchorAt: null, anchorMonths: null };
  if (ends === null) return plain;
  if ('at' in ends) return { ...plain, expiresAt: ends.at };
  const { after, lead = null } = ends;
  const behind = (end: Instant): Instant =>
    lead === null ? end : addDuration(end, lead, timeZone);
  const last = pocket.kind === 'period' ? lastToEnd(pocket.grants, now) : null;
  const months = monthsOf(after);
  const validFrom = last?.expiresAt ?? now;
  if (months === null) {
    return { ...plain, validFrom, expiresAt: behind(addDuration(validFrom, after, timeZone)) };
  }
  const anchorAt = last?.anchorAt ?? validFrom;
  const anchorMonths = (last?.anchorMonths ?? 0) + months;
  const span: Duration = { unit: 'month', count: anchorMonths };
  return {
    validFrom,
    expiresAt: behind(addDuration(anchorAt, span, timeZone)),
    anchorAt,
    anchorMonths,
  };
}

/**
 * Of the grants not over yet, the one that ends last; null when none is in force, or none ends. One
 * that begins later, since what it followed was taken back, keeps nobody waiting.
 */
function lastToEnd(grants: readonly Grant[], now: Instant): Grant | null {
  const isInForce = grants.some((grant) => grant.validFrom <= now && !hasExpired(grant, now));
  if (!isInForce) return null;
  const [last = null] = grants
    .filter((grant) => grant.expiresAt !== null && grant.expiresAt > now)
    .sort((a, b) => b.expiresAt! - a.expiresAt!);
  return last;
}
