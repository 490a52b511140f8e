import { lapseCoupon } from '../catalog';
import type { Session } from '../database';
import type { Instant } from '../kernel';
import { freePlaceWithoutOrder } from '../sales';
import { dropFees } from './giving-back';
import { cutPeriods, openPeriods } from './period-records';
import type { Receiver } from './period-units';
import type { Outcome } from './planning';
import type { StoredSubscription } from './stored-subscription';

/** What becomes of subscriptions that end before their first payment came: as of orders that lapse. */

const WAS_PAID = `
select 1 as found from {schema}.subscription_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and granted_at is not null
  and (fee > 0 or order_id is not null)
limit 1`;

/** Its place of an offer that is sold once is free, and that of its coupon, unless it was paid before. */
export async function freePlaces(
  session: Session,
  { payerId, subscriptionId, sku }: StoredSubscription,
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  if ((await session.query(WAS_PAID, [payerId, subscriptionId])).length > 0) return;
  await freePlaceWithoutOrder(session, [payerId, receiver.payerId], sku, now);
  await lapseCoupon(session, payerId, subscriptionId, now);
}

/**
 * Gives up what waited: its period ends with it, and its fee is not billed any more, unless it is on an
 * invoice. That one can still be paid. The payers are locked, and the subscriptions written.
 */
export async function giveUpUnpaid(
  session: Session,
  outcomes: readonly Outcome[],
  now: Instant,
): Promise<void> {
  for (const { subscription, receiver, neverPaidAt } of outcomes) {
    if (neverPaidAt === null) continue;
    await dropFees(session, subscription, [subscription.periodNumber], now);
    const open = await openPeriods(session, subscription, neverPaidAt);
    await cutPeriods(session, subscription, open, neverPaidAt);
    await freePlaces(session, subscription, receiver, now);
  }
}
