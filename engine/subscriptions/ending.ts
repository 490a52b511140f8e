import { decimalsOfPrice } from '../catalog';
import type { Session } from '../database';
import type { Instant } from '../kernel';
import { ledgerTime } from '../ledger';
import { freePlaceWithoutOrder } from '../sales';
import { cycleAtHand, lapseGivenBack } from './cycles';
import { dropFees, lowerFees } from './giving-back';
import { endRest } from './left-over-units';
import { freePlaces } from './never-paid';
import { findFee, hastenItems } from './pending-items';
import { cutPeriods, openPeriods, replacedPeriods } from './period-records';
import { daysLeft, partLeft, shareOf } from './proration';
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
  subscription: StoredSubscription,
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  const { payerId, subscriptionId, sku, firstUnpaid } = subscription;
  if (firstUnpaid) return freePlaces(session, subscription, receiver, now);
  if ((await session.query(HAS_BROUGHT, [payerId, subscriptionId])).length > 0) return;
  await freePlaceWithoutOrder(session, [payerId, receiver.payerId], sku, now);
}

/** Whether what a period costs is asked for when it is over. */
const isInArrears = ({ orderId, sku, version }: OpenPeriod, offers: OfferVersions): boolean =>
  orderId === null && offers.of(sku, version).collect?.bill === 'arrears';

/** Of periods that are billed in arrears the days had are billed: the day of their end is none. */
async function billDaysHad(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  { offers, zone }: { offers: OfferVersions; zone: string },
  at: Instant,
): Promise<void> {
  const lowered = [];
  for (const period of periods) {
    const fee = await findFee(session, subscription, period.number);
    if (fee === null || fee.isTaken) continue;
    const serviceTo = Math.max(at, period.startsAt);
    const decimals = decimalsOfPrice(offers.of(period.sku, period.version));
    const left = shareOf(fee.amount, daysLeft(period, serviceTo, zone), decimals);
    lowered.push({ fee, amount: fee.amount.minus(left), serviceTo });
  }
  await lowerFees(session, subscription, lowered, at);
}

/**
 * Ends a subscription now: what would last as long as its period ends with it. Of periods that wait for
 * their payment, what is on no invoice yet is dropped; of those billed in arrears the days had are
 * billed, with everything else that waits, at once. `writeOutcomes` writes the rest.
 *
 * @param now the end is never before the last line of the ledger: that may be of a clock ahead
 * @param giveBack of periods that are not billed in arrears, done before they end; what it answers is done
 *   when the units that end with them have ended
 */
export async function endEarly(
  session: Session,
  standing: Standing,
  reason: EndReason,
  offers: OfferVersions,
  now: Instant,
  giveBack?: (
    periods: readonly OpenPeriod[],
    at: Instant,
  ) => Promise<(() => Promise<void>) | undefined>,
): Promise<Outcome> {
  const { subscription, receiver } = standing;
  const at = await ledgerTime(session, receiver.payerId, now);
  const periods = await openPeriods(session, subscription, at);
  const replaced = periods.length === 0 ? [] : await replacedPeriods(session, periods[0]!);
  const all = [...replaced, ...periods];
  await offers.load(session, all);
  const unbrought = periods.filter(({ grantedAt }) => grantedAt === null);
  await dropFees(
    session,
    subscription,
    unbrought.map(({ number }) => number),
    at,
  );
  await freePlace(session, subscription, receiver, at);
  const inArrears = periods.filter((period) => isInArrears(period, offers));
  const hand =
    inArrears.length === 0
      ? null
      : await cycleAtHand(session, standing, inArrears[0]!, offers, null, at);
  await billDaysHad(session, subscription, inArrears, { offers, zone: receiver.timeZone }, at);
  const afterwards = await giveBack?.(
    periods.filter((period) => !inArrears.includes(period)),
    at,
  );
  await hastenItems(session, subscription, at);
  await endRest(session, subscription, all, receiver, offers, at);
  await afterwards?.();
  if (hand !== null) {
    const notHad = inArrears.map(
      (one) =>
        [
          one.number,
          partLeft(daysLeft(one, Math.max(at, one.startsAt), receiver.timeZone)),
        ] as const,
    );
    await lapseGivenBack(session, standing, hand, new Map(notHad), at);
  }
  await cutPeriods(session, subscription, periods, at);
  const { periodStart, periodEnd } = subscription;
  const over: StoredSubscription = {
    ...ended(subscription, reason, at),
    periodEnd: Math.min(periodEnd, Math.max(at, periodStart)),
  };
  return outcomeOf(
    { ...standing, subscription: over },
    { events: [endEventOf(over, now)], changesAccess: true, dropsChange: true },
  );
}
