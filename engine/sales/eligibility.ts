import type { ResolvedAccount } from '../accounts';
import type { Offer } from '../catalog';
import type { Session } from '../database';
import type { DenialReason, Instant } from '../kernel';
import { placesOf, takePlaces, takenPlaces } from './purchase-marks';

/** Why an account can neither order nor be given anything, or null. */
export function statusReason({ status, payerStatus }: ResolvedAccount): DenialReason | null {
  if ([status, payerStatus].includes('closed')) return 'account_closed';
  return [status, payerStatus].includes('suspended') ? 'account_suspended' : null;
}

/** Whether an offer is for sale to an account at all: on sale, and no other's custom plan. */
export const isOnSaleFor = (
  offer: Offer,
  account: { accountId: string; payerId: string },
): boolean =>
  offer.active &&
  (offer.accountId === null ||
    offer.accountId === account.accountId ||
    offer.accountId === account.payerId);

/**
 * Why an account may not have an offer, or null. Exact under the payer's lock. Private offers are not
 * looked at: who may be told of them is not who may have them.
 */
export async function reasonAgainst(
  session: Session,
  account: ResolvedAccount,
  offer: Offer,
  now: Instant,
): Promise<DenialReason | null> {
  if (!isOnSaleFor(offer, account)) return 'offer_unavailable';
  if (!offer.oncePerAccount) return null;
  const { skus } = await takenPlaces(session, account, [offer.sku], now);
  return skus.size > 0 ? 'already_purchased' : null;
}

/** Takes the place of an offer that is had once, by other ways than an order. The payer is locked. */
export async function takePlaceOf(
  session: Session,
  account: ResolvedAccount,
  offer: Offer,
  now: Instant,
): Promise<void> {
  await takePlaces(session, placesOf([offer]), account, now);
}
