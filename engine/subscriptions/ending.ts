import type { Session } from '../database';
import type { Instant } from '../kernel';
import { freePlaceWithoutOrder } from '../sales';
import { dropFees } from './giving-back';
import { endRest } from './left-over-units';
import { cutPeriods, openPeriods } from './period-records';
import type { OpenPeriod } from './stored-period';
import type { Receiver } from './period-units';
import { endEventOf, ended, outcomeOf, type Outcome, type Standing } from './planning';
import type { EndReason, StoredSubscription } from './stored-subscription';
import { OfferVersions } from './offer-versions';

/** How subscriptions end before their periods do. */

const HAS_BROUGHT = `
select 1 as found from {schema}.subscription_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and granted_at is not null limit 1`;

/**
 * A subscription ends: of one that never brought anything, since nobody paid for it, the place of an
 * offer that is sold once is free, as that of an order that is cancelled.
 */
async function freePlace(
  session: Session,
  { payerId, subscriptionId, sku }: StoredSubscription,
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  if ((await session.query(HAS_BROUGHT, [payerId, subscriptionId])).length > 0) return;
  await freePlaceWithoutOrder(session, [payerId, receiver.payerId], sku, now);
}

/**
 * Ends a subscription now: what would last as long as its period ends with it. Of periods that wait for
 * their payment, what is on no invoice yet is dropped. `writeOutcomes` writes the rest.
 *
 * @param giveBack done before the periods end
 */
export async function endEarly(
  session: Session,
  standing: Standing,
  reason: EndReason,
  offers: OfferVersions,
  now: Instant,
  giveBack?: (periods: readonly OpenPeriod[]) => Promise<void>,
): Promise<Outcome> {
  const { subscription, receiver } = standing;
  const periods = await openPeriods(session, subscription, now);
  await offers.load(session, periods);
  await dropFees(session, subscription, periods, now);
  await freePlace(session, subscription, receiver, now);
  await giveBack?.(periods);
  await endRest(session, subscription, periods, receiver, offers, now);
  await cutPeriods(session, subscription, periods, now);
  const { periodStart, periodEnd } = subscription;
  const over: StoredSubscription = {
    ...ended(subscription, reason, now),
    periodEnd: Math.min(periodEnd, Math.max(now, periodStart)),
  };
  return outcomeOf(
    { ...standing, subscription: over },
    { events: [endEventOf(over, now)], changesAccess: true, dropsChange: true },
  );
}
