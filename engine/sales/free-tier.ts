import type { ResolvedAccount } from '../accounts';
import { findFreeTier } from '../catalog';
import { lockAccounts, type Session } from '../database';
import type { Instant } from '../kernel';
import { giveUnits } from '../ledger';
import { givenContent } from './offer-content';
import { placesOf, takePlaces } from './purchase-marks';

export const FREE_TIER_SOURCE = 'free tier';

/**
 * Gives a new account what everybody gets for nothing. In the transaction that makes the account, of
 * which there is one however often and at once a person is met for the first time.
 */
export async function grantFreeTier(
  session: Session,
  account: ResolvedAccount,
  now: Instant,
): Promise<void> {
  const offers = await findFreeTier(session);
  if (offers.length === 0) return;
  await lockAccounts(session, [account.payerId]);
  const gift = { quantity: 1, source: FREE_TIER_SOURCE };
  const orders = offers.flatMap((offer) => givenContent(offer, account, gift, now));
  await giveUnits(session, account, orders, now);
  await takePlaces(session, placesOf(offers), account, now);
}
