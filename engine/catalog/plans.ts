import type { Session } from '../database';
import { findProducts } from './products';
import type { Offer } from './offer-records';

/** What an offer brings anew with each period. */
const refilled = ({ items, billing }: Offer): string[] =>
  billing === 'recurring' ? items.filter(({ refill }) => refill).map(({ product }) => product) : [];

const standsBeside = ({ collect }: Offer): boolean => collect?.whenInForce === 'beside';

/**
 * Whether an account has one of two offers, or the other: both bring a same counted product anew with
 * each period, and neither is sold beside others.
 */
export async function areAlternatives(
  session: Session,
  one: Offer,
  other: Offer,
): Promise<boolean> {
  if (one.sku === other.sku || standsBeside(one) || standsBeside(other)) return false;
  const brought = new Set(refilled(one));
  const shared = refilled(other).filter((product) => brought.has(product));
  if (shared.length === 0) return false;
  return [...(await findProducts(session, shared)).values()].some(
    ({ kind }) => kind === 'quantity',
  );
}
