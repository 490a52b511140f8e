import type { ResolvedAccount } from '../accounts';
import { findOfferVersion, type Offer } from '../catalog';
import { column, table, type RowOf, type Session } from '../database';
import { recordEvents } from '../events';
import type { Instant } from '../kernel';
import type { OrderSubscriptions, RecurringLine } from '../sales';
import { advancePayers } from './advancing';
import { releaseBrake } from './brake';
import { reckonChange, takeForceNow } from './applying-changes';
import { lapseChanges } from './awaiting-records';
import { beginSubscription, extendSubscription, openingOf } from './beginning';
import { endNow } from './cancelling';
import { NO_INVOICES, type PeriodPorts, type SubscriptionPorts } from './giving-back';
import { linkGrants } from './period-grants';
import { cutPeriods, markGranted, openPeriods } from './period-records';
import { eventOf, type Standing } from './planning';
import { alternativesTo, lastToFollow, placeOf, planInForce } from './plans-in-force';
import type { Target } from './quoting';
import { findSubscription, saveSubscriptions } from './records';
import { lapseBeforeRefund, periodsRefunded } from './refunded-periods';
import type { StoredSubscription } from './stored-subscription';
import { ownSubscriptionTo } from './starting';
import { OfferVersions } from './offer-versions';
import { allowOverage, writeOutcomes } from './writing';

/**
 * Orders that pay for a period of a subscription: they begin one, or make the one that is in force
 * longer. Such a period has no fee to invoice, and its units are the order's, with their value.
 */

const ORDER_PERIODS = table('order_periods', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  number: column.integer().named('period_number'),
  orderId: column.uuid(),
  position: column.integer(),
  paid: column.decimal(),
});

type OrderPeriod = RowOf<typeof ORDER_PERIODS>;

const FIND = `
select ${ORDER_PERIODS.select('o')} from {schema}.order_periods o
where o.order_id = $1::uuid and o.position = any($2::smallint[])
order by o.position`;

type OrderOfPeriods = Parameters<OrderSubscriptions['opened']>[1];

/** What was ordered is a whole interval, from whatever day on. */
const wholeInterval = (offer: Offer): Offer => ({
  ...offer,
  collect: offer.collect === null ? null : { ...offer.collect, anchorDay: null },
});

/**
 * The subscription that a line makes longer: of the same offer and quantity, in force, and owing
 * nothing. Money was paid, so that nothing is refused here: else another one begins.
 */
async function extendable(
  session: Session,
  account: ResolvedAccount,
  { offer, quantity, phase }: RecurringLine,
  now: Instant,
): Promise<Standing | null> {
  if (phase !== null) return null;
  const standing = await ownSubscriptionTo(session, account, offer.sku);
  if (standing === null) return null;
  const { subscription: one } = standing;
  const isInForce =
    (one.status === 'active' || one.status === 'trialing') &&
    one.periodNumber > 0 &&
    one.periodEnd > now;
  return isInForce && one.quantity === quantity && !one.awaitingPayment ? standing : null;
}

/** A trial phase gives way to the period that was bought. */
async function replaceTrial(
  session: Session,
  standing: Standing,
  offer: Offer,
  orderId: string,
  now: Instant,
): Promise<StoredSubscription> {
  const { subscription } = standing;
  const periods = await openPeriods(session, subscription, now);
  await cutPeriods(session, subscription, periods, now);
  const trialPhases = Math.min(subscription.trialPhases, subscription.periodNumber);
  const cut = { ...standing, subscription: { ...subscription, trialPhases, periodEnd: now } };
  const terms = { at: now, orderId };
  const outcome = openingOf(cut, offer, terms, 'subscription.changed', now);
  await writeOutcomes(session, [outcome], now);
  return outcome.subscription;
}

/**
 * A dearer plan that was paid takes over at once, for a whole period; what is left of the one before stays
 * beside its own units, and what was to happen at its end happens at the new one.
 */
async function takeOver(
  session: Session,
  standing: Standing,
  { orderId, renews }: OrderOfPeriods,
  { offer, quantity }: RecurringLine,
  now: Instant,
): Promise<StoredSubscription> {
  const { subscription: before } = standing;
  const { sku } = offer;
  await lapseChanges(session, [before], now, sku);
  const goesOn = { ...before, renews: renews ?? before.renews, cancelAt: null, pauseAt: null };
  const at = { ...standing, subscription: goesOn };
  const target: Target = {
    old: await findOfferVersion(session, before.sku, before.version),
    fresh: wholeInterval(offer),
    ...{ quantity, mode: 'add', byTime: false, atOnce: true, later: false, orderId },
  };
  const change = await reckonChange(session, at, target, now);
  await takeForceNow(session, NO_INVOICES, at, target, change, { sku, quantity }, now);
  const { subscription: taken } = change.next;
  const { periodEnd } = taken;
  const after = {
    ...taken,
    cancelAt: before.cancelAt === null ? null : periodEnd,
    pauseAt: before.pauseAt === null ? null : periodEnd,
  };
  await saveSubscriptions(session, [after]);
  return after;
}

/**
 * What waits for its first payment gives way to what is paid, of the same offer or of another: nobody is
 * charged for it any more.
 */
async function endAwaited(
  session: Session,
  ports: PeriodPorts,
  account: ResolvedAccount,
  offer: Offer,
  now: Instant,
): Promise<void> {
  const own = await ownSubscriptionTo(session, account, offer.sku);
  const others = await alternativesTo(session, account, offer);
  for (const standing of own === null ? others : [own, ...others]) {
    if (!standing.subscription.firstUnpaid) continue;
    await endNow(session, ports, standing, 'cancelled', { credit: false }, now);
  }
}

/**
 * What a line begins, or takes the place of. A cheaper plan follows the last of those that are there,
 * which is cancelled for that.
 *
 * @param behind what it follows in any case; null: as it turns out
 */
async function beginFor(
  session: Session,
  ports: PeriodPorts,
  order: OrderOfPeriods,
  line: RecurringLine,
  behind: Standing | null,
  now: Instant,
): Promise<StoredSubscription> {
  const { orderId, account, renews, collection } = order;
  const { offer, quantity, phase } = line;
  await endAwaited(session, ports, account, offer, now);
  // A trial phase was sold where there was no other plan.
  const place =
    behind !== null
      ? { follows: behind }
      : phase === null
        ? await placeOf(session, account, offer, quantity, now)
        : null;
  if (place !== null && 'replaces' in place) {
    return takeOver(session, place.replaces, order, line, now);
  }
  const before = place?.follows.subscription;
  const goesOn = before !== undefined && before.renews && before.cancelAt === null;
  const one = await beginSubscription(
    session,
    account,
    {
      offer: wholeInterval(offer),
      quantity,
      startsAt: before?.periodEnd ?? now,
      trialPhases: phase === null ? 0 : offer.trialPhases.length,
      renews: renews ?? (phase !== null || goesOn),
      usualCollection: collection,
      orderId,
    },
    now,
  );
  if (goesOn) {
    const cancelAt = before.periodEnd;
    const cancelled = { ...before, cancelAt, followedBy: one.subscriptionId };
    await saveSubscriptions(session, [cancelled]);
    await recordEvents(session, [eventOf('subscription.cancel_scheduled', cancelled, now, now)]);
  }
  return one;
}

async function openFor(
  session: Session,
  ports: PeriodPorts,
  order: OrderOfPeriods,
  line: RecurringLine,
  now: Instant,
): Promise<StoredSubscription> {
  const { orderId, account, renews } = order;
  const standing = await extendable(session, account, line, now);
  // Made longer it would overlap with the plan that follows it.
  const behind =
    standing === null ? null : await lastToFollow(session, account, standing.subscription, now);
  let one: StoredSubscription;
  if (standing === null || behind !== null) {
    one = await beginFor(session, ports, order, line, behind, now);
  } else {
    const kept = { ...standing.subscription, renews: renews ?? standing.subscription.renews };
    const asked = { ...standing, subscription: kept };
    const offer = wholeInterval(line.offer);
    const terms = { quantity: line.quantity, orderId };
    one =
      kept.phase === null
        ? await extendSubscription(session, asked, offer, terms, now)
        : await replaceTrial(session, asked, offer, orderId, now);
  }
  const { payerId, subscriptionId, periodNumber: number } = one;
  const { position, paid } = line;
  await ORDER_PERIODS.write(session, [
    { payerId, subscriptionId, number, orderId, position, paid },
  ]);
  return one;
}

async function periodsOf(
  session: Session,
  orderId: string,
  positions: readonly number[],
): Promise<OrderPeriod[]> {
  if (positions.length === 0) return [];
  return ORDER_PERIODS.rows(session, FIND, [orderId, positions]);
}

const isRecurring = ({ billing }: Offer): boolean => billing === 'recurring';

const met: OrderSubscriptions['met'] = async (session, account, offers, now) => {
  const skus: string[] = [];
  for (const offer of offers.filter(isRecurring)) {
    // The same again makes it longer.
    if ((await ownSubscriptionTo(session, account, offer.sku)) !== null) continue;
    if ((await planInForce(session, account, offer, now)) !== null) skus.push(offer.sku);
  }
  return skus;
};

/** Fills the port of orders. */
export const orderSubscriptions = (ports: SubscriptionPorts): OrderSubscriptions => ({
  met,

  async meeting(session, account, offers, now) {
    if (offers.some(isRecurring)) await advancePayers(session, ports, [account.payerId], now);
    return met(session, account, offers, now);
  },

  async opened(session, order, lines, now) {
    if (lines.length === 0) return new Map();
    // What is paid for follows what is there: that has to be the present period.
    await releaseBrake(session);
    await advancePayers(session, ports, [order.account.payerId], now);
    const opened: Array<{ position: number; one: StoredSubscription }> = [];
    for (const line of lines) {
      opened.push({
        position: line.position,
        one: await openFor(session, ports, order, line, now),
      });
    }
    // Of two lines of one offer the second makes the first last longer.
    const ends = new Map(opened.map(({ one }) => [one.subscriptionId, one.periodEnd]));
    return new Map(opened.map(({ position, one }) => [position, ends.get(one.subscriptionId)!]));
  },

  async granted(session, { orderId, account }, grants, now) {
    const positions = [...new Set(grants.map(({ position }) => position))];
    for (const row of await periodsOf(session, orderId, positions)) {
      const { payerId, subscriptionId, number } = row;
      const period = { payerId, subscriptionId, number };
      const counted: Record<'order' | 'bonus', number> = { order: 0, bonus: 0 };
      const ofLine = grants.filter(({ position }) => position === row.position);
      await linkGrants(
        session,
        ofLine.map(({ sequence, product, bonus }) => {
          const kind = bonus ? 'bonus' : 'order';
          counted[kind] += 1;
          const position = counted[kind];
          const ledgerId = account.payerId;
          return { ...period, kind, position, ledgerId, sequence, product };
        }),
      );
      await markGranted(session, [period], now);
      const one = await findSubscription(session, row.subscriptionId);
      const offers = new OfferVersions();
      await offers.load(session, [one]);
      const offer = offers.of(one.sku, one.version);
      await allowOverage(session, [{ receiver: account, period: one, offer }]);
    }
  },

  async refunding(session, { orderId }, positions, now) {
    return lapseBeforeRefund(session, ports, await periodsOf(session, orderId, positions), now);
  },

  async refunded(session, { orderId }, positions, now) {
    await periodsRefunded(session, ports, await periodsOf(session, orderId, positions), now);
  },
});
