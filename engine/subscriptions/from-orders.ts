import type { ResolvedAccount } from '../accounts';
import type { Offer } from '../catalog';
import type { Session } from '../database';
import type { Instant } from '../kernel';
import type { OrderSubscriptions, RecurringLine } from '../sales';
import { advancePayers } from './advancing';
import { readStandings } from './standings';
import { beginSubscription, extendSubscription, openingOf } from './beginning';
import { endNow } from './cancelling';
import { NO_INVOICES, cutPeriods, openPeriods, shortenRest } from './closing-periods';
import { linkGrants } from './period-grants';
import { markGranted } from './period-units';
import type { Standing } from './planning';
import { findSubscription, saveSubscriptions } from './records';
import type { StoredSubscription } from './stored-subscription';
import { standingOf } from './starting';
import { allowOverage, OfferVersions, writeOutcomes } from './writing';

/**
 * Orders that pay for a period of a subscription: they begin one, or make the one that is in force
 * longer. Such a period has no fee to invoice, and its units are the order's, with their value.
 */

const WRITE = `
insert into {schema}.order_periods
  (payer_id, subscription_id, period_number, order_id, position, paid)
values ($1::uuid, $2::uuid, $3::integer, $4::uuid, $5::smallint, $6::numeric)`;

const FIND = `
select payer_id::text as payer_id, subscription_id::text as subscription_id, period_number,
       position::integer as position
from {schema}.order_periods
where order_id = $1::uuid and position = any($2::smallint[])
order by position`;

interface PaidPeriodRow {
  payer_id: string;
  subscription_id: string;
  period_number: number;
  position: number;
}

interface OrderOfPeriods {
  orderId: string;
  account: ResolvedAccount;
  renews: boolean | null;
}

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
  const standing = await standingOf(session, account, offer.sku);
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

async function openFor(
  session: Session,
  { orderId, account, renews }: OrderOfPeriods,
  line: RecurringLine,
  now: Instant,
): Promise<StoredSubscription> {
  const standing = await extendable(session, account, line, now);
  let one: StoredSubscription;
  if (standing === null) {
    one = await beginSubscription(
      session,
      account,
      {
        offer: wholeInterval(line.offer),
        quantity: line.quantity,
        startsAt: now,
        trialPhases: line.phase === null ? 0 : line.offer.trialPhases.length,
        renews: renews ?? line.phase !== null,
        orderId,
      },
      now,
    );
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
  await session.query(WRITE, [
    one.payerId,
    one.subscriptionId,
    one.periodNumber,
    orderId,
    line.position,
    line.paid.toFixed(),
  ]);
  return one;
}

async function periodsOf(
  session: Session,
  orderId: string,
  positions: readonly number[],
): Promise<PaidPeriodRow[]> {
  if (positions.length === 0) return [];
  return session.query<PaidPeriodRow>(FIND, [orderId, positions]);
}

/** Fills the port of orders. */
export const orderSubscriptions: OrderSubscriptions = {
  async opened(session, order, lines, now) {
    if (lines.length === 0) return new Map();
    await advancePayers(session, [order.account.payerId], now);
    const opened: Array<{ position: number; one: StoredSubscription }> = [];
    for (const line of lines) {
      opened.push({ position: line.position, one: await openFor(session, order, line, now) });
    }
    // Of two lines of one offer the second makes the first last longer.
    const ends = new Map(opened.map(({ one }) => [one.subscriptionId, one.periodEnd]));
    return new Map(opened.map(({ position, one }) => [position, ends.get(one.subscriptionId)!]));
  },

  async granted(session, { orderId, account }, grants, now) {
    const positions = [...new Set(grants.map(({ position }) => position))];
    for (const row of await periodsOf(session, orderId, positions)) {
      const period = {
        payerId: row.payer_id,
        subscriptionId: row.subscription_id,
        number: row.period_number,
      };
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
      const one = await findSubscription(session, row.subscription_id);
      const offers = new OfferVersions();
      await offers.load(session, [one]);
      const offer = offers.of(one.sku, one.version);
      await allowOverage(session, [{ receiver: account, period: one, offer }]);
    }
  },

  async refunded(session, { orderId }, positions, now) {
    for (const row of await periodsOf(session, orderId, positions)) {
      const named = await findSubscription(session, row.subscription_id);
      await advancePayers(session, [named.payerId], now);
      const [standing] = await readStandings(session, [named]);
      const { subscription } = standing!;
      if (subscription.endedAt !== null) continue;
      const open = await openPeriods(session, subscription, now);
      const paid = open.find(({ number }) => number === row.period_number);
      if (paid === undefined) continue;
      if (open.length === 1) {
        await endNow(session, NO_INVOICES, standing!, 'refunded', { credit: false }, now);
        continue;
      }
      // Only what was bought last can be taken off; before it, its units are all that goes.
      if (paid !== open.at(-1)) continue;
      await shortenRest(session, subscription, open, standing!.receiver, now);
      await cutPeriods(session, subscription, [paid], now);
      const ends = paid.startsAt;
      await saveSubscriptions(session, [
        {
          ...subscription,
          // Its number is spent: the period that follows begins where it would have.
          anchorNumber: subscription.anchorNumber + 1,
          periodStart: ends,
          periodEnd: ends,
          cancelAt: subscription.cancelAt === null ? null : ends,
          pauseAt: subscription.pauseAt === null ? null : ends,
        },
      ]);
    }
  },
};
