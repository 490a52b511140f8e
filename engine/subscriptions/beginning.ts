import type { ResolvedAccount } from '../accounts';
import type { Coupon, Offer } from '../catalog';
import type { Session } from '../database';
import type { Collection } from '../payments';
import { newId, type Instant } from '../kernel';
import { prolongLeftOver } from './period-units';
import {
  eventOf,
  openNext,
  outcomeOf,
  type Opening,
  type Outcome,
  type Standing,
} from './planning';
import { insertSubscription, saveDetails } from './records';
import type { StoredSubscription } from './stored-subscription';
import { writeOutcomes } from './writing';

/** How a subscription begins, and how one that is in force gets its next period ahead of time. */

export interface Beginning {
  offer: Offer;
  quantity: number;
  /** When its first period begins: now or later. */
  startsAt: Instant;
  /** How many of the offer's trial phases come first. */
  trialPhases: number;
  renews: boolean;
  /** Said for good; else the usual one, of which `send` becomes `charge` with a method on file. */
  collection?: Collection;
  usualCollection: Collection;
  collectedBy?: 'engine' | 'provider';
  coupon?: Coupon | null;
  /** The order that has paid its first period, whose units come from there. */
  orderId?: string | null;
  /** Whether units wait for their payment; left out: as the offer says. */
  access?: StoredSubscription['access'];
  /** Left out: a new one. */
  subscriptionId?: string;
  metadata?: Record<string, unknown>;
}

const periodsOf = (coupon: Coupon): number | null => {
  if (coupon.duration === 'forever') return null;
  return coupon.duration === 'once' ? 1 : coupon.duration.times;
};

/**
 * Begins a subscription. The payer is locked; whether the account may have it was asked before.
 *
 * @returns how it stands: its first period is open unless it begins later
 */
export async function beginSubscription(
  session: Session,
  account: ResolvedAccount,
  beginning: Beginning,
  now: Instant,
): Promise<StoredSubscription> {
  const { offer, startsAt, trialPhases, coupon = null, orderId = null } = beginning;
  const one: StoredSubscription = {
    payerId: account.payerId,
    subscriptionId: beginning.subscriptionId ?? newId(),
    accountId: account.accountId,
    sku: offer.sku,
    version: offer.version,
    quantity: beginning.quantity,
    status: trialPhases > 0 ? 'trialing' : 'active',
    currency: offer.currency,
    createdAt: now,
    startedAt: startsAt,
    anchorAt: startsAt,
    anchorZone: account.timeZone,
    anchorNumber: 1,
    trialPhases,
    phase: null,
    periodNumber: 0,
    periodStart: now,
    periodEnd: startsAt,
    nextDueAt: startsAt,
    remindedNumber: null,
    renews: beginning.renews,
    cancelAt: null,
    followedBy: null,
    pauseAt: null,
    resumeAt: null,
    endedAt: null,
    endReason: null,
    collection: beginning.collection ?? beginning.usualCollection,
    sendsByDefault: beginning.collection === undefined && beginning.usualCollection === 'send',
    collectedBy: beginning.collectedBy ?? 'engine',
    coupon: coupon?.code ?? null,
    couponLeft: coupon === null ? null : periodsOf(coupon),
    awaitingPayment: false,
    overdue: false,
    graceUntil: null,
    firstUnpaid: false,
    lapsesAt: null,
    access: beginning.access ?? null,
  };
  await insertSubscription(session, one);
  await saveDetails(session, one, { metadata: beginning.metadata });
  // What is paid already is opened ahead of its time.
  if (startsAt > now && orderId === null) return one;
  const outcome = openingOf(
    { subscription: one, receiver: account, isClosed: false },
    offer,
    { isFirst: true, orderId },
    'subscription.started',
    now,
  );
  await writeOutcomes(session, [outcome], now);
  return outcome.subscription;
}

/**
 * The outcome of opening the period that follows, whatever the clock says. `writeOutcomes` writes it.
 *
 * @param terms as `openNext` takes them
 */
export function openingOf(
  { subscription, receiver }: Standing,
  offer: Offer,
  terms: Parameters<typeof openNext>[3],
  type:
    | 'subscription.started'
    | 'subscription.renewed'
    | 'subscription.resumed'
    | 'subscription.changed',
  now: Instant,
): Outcome {
  const next = openNext(subscription, offer, receiver.timeZone, terms, now);
  const at = Math.min(next.opening.period.startsAt, now);
  return outcomeOf(
    { receiver, subscription: next.subscription },
    {
      openings: [next.opening],
      events: [eventOf(type, next.subscription, at, now)],
      changesAccess: true,
    },
  );
}

/**
 * Somebody buys an offer again that is in force: the period that follows is opened ahead of time, so
 * that the subscription lasts an interval longer, and what is left over lasts with it. It has a fee of
 * its own, unless an order has paid it, and brings its units once that is paid.
 *
 * @param quantity of that period
 */
export async function extendSubscription(
  session: Session,
  standing: Standing,
  offer: Offer,
  { quantity, orderId = null }: { quantity: number; orderId?: string | null },
  now: Instant,
): Promise<StoredSubscription> {
  const before = standing.subscription;
  const outcome = openingOf(
    standing,
    offer,
    { isAhead: true, quantity, orderId },
    'subscription.renewed',
    now,
  );
  const { periodEnd } = outcome.subscription;
  const extended: StoredSubscription = {
    ...outcome.subscription,
    // What was to happen at its end happens at its later end.
    cancelAt: before.cancelAt === null ? null : periodEnd,
    pauseAt: before.pauseAt === null ? null : periodEnd,
  };
  const [{ period }] = outcome.openings as [Opening];
  // Paid already: what is left over lasts longer at once.
  if (orderId !== null) {
    await prolongLeftOver(session, [{ receiver: standing.receiver, period, offer }], now);
  }
  await writeOutcomes(session, [{ ...outcome, subscription: extended }], now);
  return extended;
}
