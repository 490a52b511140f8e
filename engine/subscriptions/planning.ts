import { decimalsOfPrice, type Offer } from '../catalog';
import type { NewEvent } from '../events';
import { formatMoney, isoTime, type Instant } from '../kernel';
import type { Units } from './allowance';
import { nextPeriod, reminderAt, feeOf } from './periods';
import type { OpenedPeriod } from './stored-period';
import type { Receiver } from './period-units';
import { changedTo, type QueuedChange } from './queued-changes';
import type { EndReason, StoredSubscription } from './stored-subscription';

/**
 * What time does to a subscription. Pure: given how it stands and what the clock says, it tells what
 * is to be written. Whatever was missed is made up for, one boundary after the other.
 */

/** A subscription as it stands, with all that decides about it. */
export interface Standing {
  subscription: StoredSubscription;
  /** Who gets its units, in which ledger. */
  receiver: Receiver;
  /** The account or its payer is closed: nothing is renewed any more. */
  isClosed: boolean;
  /** There is nothing to charge, and its offer cares. Left out: there is, or it does not matter. */
  lacksMethod?: boolean;
}

/** A period that was opened, with what follows from it. */
export interface Opening {
  period: OpenedPeriod;
  offer: Offer;
  /** Its units are given now; else they wait for a payment, or are missed. */
  gives: boolean;
  /** It is what a change left of an interval: its fee is a charge for that, and no period's fee. */
  isRest?: boolean;
  /** What it costs was asked for before. */
  isBilled?: boolean;
  /** When its fee is due. Default: as the offer is billed. */
  dueAt?: Instant;
  /** What its refilled items bring, where that is not their share of the period. */
  comes?: Units;
}

/** What is to be written of a subscription. */
export interface Outcome {
  receiver: Receiver;
  subscription: StoredSubscription;
  openings: Opening[];
  events: NewEvent[];
  /** What its products may be used for has changed. */
  changesAccess: boolean;
  /** A queued change that took force, with the period that began with it. */
  applied: { change: QueuedChange; periodNumber: number; at: Instant } | null;
  /** A queued change that can never take force any more. */
  dropsChange: boolean;
  /** It ended before its first payment came: what it took is free again. Null: it did not. */
  neverPaidAt: Instant | null;
}

/** An outcome in which nothing else happens than what is said. */
export const outcomeOf = (
  { receiver, subscription }: Pick<Standing, 'receiver' | 'subscription'>,
  more: Partial<Outcome> = {},
): Outcome => ({
  receiver,
  subscription,
  openings: [],
  events: [],
  changesAccess: false,
  applied: null,
  dropsChange: false,
  neverPaidAt: null,
  ...more,
});

export type OfferOf = (sku: string, version: number) => Offer;

type SubscriptionEvent = Extract<NewEvent['type'], `subscription.${string}`>;
type PlainEvent = Exclude<
  SubscriptionEvent,
  | 'subscription.cancelled'
  | 'subscription.catch_up_needed'
  | 'subscription.ended'
  | 'subscription.renewal_due'
  | 'subscription.trial_ending'
>;

/** An event of a subscription as it stands. */
export function eventOf(
  type: PlainEvent,
  one: StoredSubscription,
  at: Instant,
  now: Instant,
): NewEvent {
  return { type, ...eventBase(one, at, now), data: eventData(one) };
}

/** The event of its end. */
export function endEventOf(one: StoredSubscription, now: Instant): NewEvent {
  const type = one.status === 'cancelled' ? 'subscription.cancelled' : 'subscription.ended';
  return {
    type,
    ...eventBase(one, one.endedAt!, now),
    data: { ...eventData(one), reason: one.endReason },
  };
}

/** The event of periods that were missed and are not opened unasked. @param one as it stands */
export const catchUpEventOf = (
  one: StoredSubscription,
  missed: number,
  now: Instant,
): NewEvent => ({
  type: 'subscription.catch_up_needed',
  ...eventBase(one, one.periodEnd, now),
  data: { ...eventData(one), missed },
});

const eventBase = (one: StoredSubscription, at: Instant, now: Instant) => ({
  payerId: one.payerId,
  accountId: one.accountId,
  at,
  recordedAt: now,
});

const eventData = (one: StoredSubscription) => ({
  subscriptionId: one.subscriptionId,
  sku: one.sku,
  status: one.status,
  periodStart: one.periodNumber === 0 ? null : isoTime(one.periodStart),
  periodEnd: one.periodNumber === 0 ? null : isoTime(one.periodEnd),
});

/** A subscription that is over from a moment on. */
export const ended = (
  one: StoredSubscription,
  reason: EndReason,
  at: Instant,
): StoredSubscription => ({
  ...one,
  status: reason === 'cancelled' ? 'cancelled' : 'ended',
  endedAt: at,
  endReason: reason,
  cancelAt: null,
  followedBy: null,
  pauseAt: null,
  resumeAt: null,
  overdue: false,
  graceUntil: null,
  awaitingPayment: false,
  lapsesAt: null,
});

/**
 * Opens the period that follows.
 *
 * @param terms as `nextPeriod` takes them; `isFirst`: nothing was paid before, so that all waits for
 *   its payment; `isAhead`: it is bought before it begins, and its units wait for that; `isTrusted`:
 *   what is to be paid first comes before that. Default: as its start, or the offer, says
 */
export function openNext(
  one: StoredSubscription,
  offer: Offer,
  zone: string,
  terms: NonNullable<Parameters<typeof nextPeriod>[3]> & {
    isFirst?: boolean;
    isAhead?: boolean;
    isTrusted?: boolean;
  },
  now: Instant,
): { subscription: StoredSubscription; opening: Opening } {
  const { subscription, period } = nextPeriod(one, offer, zone, terms);
  const { phase, fee, orderId } = period;
  const isPaidAhead = offer.collect?.bill !== 'arrears' && orderId === null && fee.greaterThan(0);
  const isTrusted = terms.isTrusted ?? (one.access ?? offer.collect?.access) === 'at_once';
  const firstUnpaid = isPaidAhead && !isTrusted && terms.isFirst === true;
  const waits =
    firstUnpaid ||
    (isPaidAhead &&
      ((terms.isAhead === true && !isTrusted) ||
        one.awaitingPayment ||
        (phase === null && offer.collect?.renewalGrants === 'payment')));
  return {
    subscription: {
      ...subscription,
      status: one.status === 'past_due' ? 'past_due' : phase === null ? 'active' : 'trialing',
      awaitingPayment: waits,
      firstUnpaid,
      lapsesAt: null,
    },
    opening: {
      period: { ...period, firstUnpaid },
      offer,
      gives: !waits && orderId === null && period.endsAt > now,
    },
  };
}

/**
 * Brings a subscription up to date.
 *
 * @param offerOf the versions of offers that it and its queued change name
 */
export function planAdvance(
  { subscription, receiver, isClosed, lacksMethod = false }: Standing,
  offerOf: OfferOf,
  queued: QueuedChange | undefined,
  now: Instant,
): Outcome {
  const outcome = outcomeOf({ receiver, subscription });
  const zone = receiver.timeZone;
  let one = subscription;
  let change = queued;

  const end = (reason: EndReason, at: Instant): void => {
    if (one.firstUnpaid) outcome.neverPaidAt = at;
    // What was never paid is over with it.
    const periodEnd = one.firstUnpaid
      ? Math.max(one.periodStart, Math.min(one.periodEnd, at))
      : one.periodEnd;
    const { pauseAt, resumeAt } = one;
    one = { ...ended(one, reason, at), periodEnd };
    // Begun by late money it rests when that was wanted.
    if (reason === 'payment_lapsed') one = { ...one, pauseAt, resumeAt };
    outcome.events.push(endEventOf(one, now));
    outcome.changesAccess = true;
    outcome.dropsChange = change !== undefined;
  };
  const open = (at?: Instant): void => {
    const isBeginning = one.periodNumber === 0;
    const isResuming = at !== undefined;
    const old = offerOf(one.sku, one.version);
    const isFirst = isBeginning || isInFreePhase(one, old);
    let offer = old;
    let anew = isResuming;
    let isOther = false;
    const applies = change;
    if (applies !== undefined && !isBeginning) {
      offer = offerOf(applies.sku, applies.version);
      const changed = changedTo(one, offer, applies.quantity, old);
      one = changed.subscription;
      anew ||= changed.anew;
      isOther = changed.isOther;
      change = undefined;
    }
    const isFirstOwn = isOther && applies!.isNew;
    const next = openNext(one, offer, zone, { at, anew, isFirstOwn, isFirst }, now);
    one = next.subscription;
    const { period } = next.opening;
    outcome.openings.push(next.opening);
    if (applies !== undefined && !isBeginning) {
      outcome.applied = { change: applies, periodNumber: period.number, at: period.startsAt };
      outcome.events.push(eventOf('subscription.changed', one, period.startsAt, now));
    }
    const type = isBeginning
      ? 'subscription.started'
      : isResuming
        ? 'subscription.resumed'
        : 'subscription.renewed';
    outcome.events.push(eventOf(type, one, period.startsAt, now));
    outcome.changesAccess ||= isBeginning || isResuming || isOther || one.firstUnpaid;
  };
  const rest = (at: Instant): void => {
    one = { ...one, status: 'paused', pauseAt: null };
    outcome.events.push(eventOf('subscription.paused', one, at, now));
    outcome.changesAccess = true;
  };

  for (;;) {
    if (one.endedAt !== null) break;
    if (one.firstUnpaid) {
      // Nothing begins before it is paid; what ends it first does.
      const [over] = endsOfWaiting(one, isClosed, now);
      if (over !== undefined) end(over.reason, over.at);
      break;
    }
    if (one.status === 'paused') {
      const { resumeAt } = one;
      if (resumeAt === null || resumeAt > now) break;
      const owes = one.overdue || one.graceUntil !== null;
      one = { ...one, status: owes ? 'past_due' : 'active', resumeAt: null };
      // A clock that goes back does not make periods overlap.
      const at = Math.max(resumeAt, one.periodEnd);
      if (isClosed) end('account_closed', at);
      else open(at);
      continue;
    }
    const at = one.periodEnd;
    if (at > now) break;
    if (one.cancelAt !== null && one.cancelAt <= at) {
      end('cancelled', at);
    } else if (isClosed) {
      end('account_closed', at);
    } else if (one.periodNumber > 0 && !one.renews) {
      end('expired', at);
    } else if (one.periodNumber > 0 && one.pauseAt !== null && one.pauseAt <= at) {
      // A pause pays nothing: what is overdue stays so.
      rest(at);
    } else {
      const without = withoutMethod(one, offerOf, lacksMethod);
      if (without === 'cancel') end('no_payment_method', at);
      else if (without === 'pause') rest(at);
      else open();
    }
  }

  const { graceUntil } = one;
  // While the first payment is awaited there is no access that could end.
  if (graceUntil !== null && graceUntil <= now && !one.firstUnpaid) {
    one = { ...one, overdue: true, graceUntil: null };
    outcome.events.push(eventOf('subscription.overdue', one, graceUntil, now));
    outcome.changesAccess = true;
  }

  const remindsAt = reminderAt(one);
  if (one.endedAt === null && remindsAt !== null && remindsAt <= now) {
    outcome.events.push(reminderOf(one, offerOf, change, zone, remindsAt, now));
    one = { ...one, remindedNumber: one.periodNumber };
  }
  return { ...outcome, subscription: one };
}

/** Whether it is in a trial phase that costs nothing. */
export const isInFreePhase = (one: StoredSubscription, offer: Offer): boolean =>
  one.phase !== null && feeOf(offer, one.phase, one.quantity).isZero();

/** Whether it matters that there is nothing to charge when its period ends. */
export const asksForMethod = (one: StoredSubscription, offer: Offer): boolean =>
  (offer.collect?.withoutMethod ?? 'invoice') !== 'invoice' &&
  (one.collection === 'charge' || one.sendsByDefault) &&
  one.collectedBy === 'engine' &&
  isInFreePhase(one, offer) &&
  !feeOf(
    offer,
    one.periodNumber < one.trialPhases ? one.periodNumber + 1 : null,
    one.quantity,
  ).isZero();

/** What its offer says of a free phase that ends without anything to charge; null: nothing. */
function withoutMethod(
  one: StoredSubscription,
  offerOf: OfferOf,
  lacksMethod: boolean,
): 'cancel' | 'pause' | null {
  if (!lacksMethod || one.periodNumber === 0) return null;
  const offer = offerOf(one.sku, one.version);
  if (!asksForMethod(one, offer)) return null;
  return offer.collect!.withoutMethod === 'pause' ? 'pause' : 'cancel';
}

/** What ends one by now that waits for its first payment, the earliest first. */
function endsOfWaiting(
  one: StoredSubscription,
  isClosed: boolean,
  now: Instant,
): Array<{ reason: EndReason; at: Instant }> {
  const ends: Array<{ reason: EndReason; at: Instant | null }> = [
    { reason: 'cancelled', at: one.cancelAt },
    { reason: 'account_closed', at: isClosed ? one.periodEnd : null },
    // What its customer had cancelled does not begin by late money.
    { reason: one.cancelAt === null ? 'payment_lapsed' : 'cancelled', at: one.lapsesAt },
    // Nothing would follow it, and nothing was asked for.
    { reason: 'expired', at: one.renews || one.lapsesAt !== null ? null : one.periodEnd },
  ];
  return ends
    .flatMap(({ reason, at }) => (at === null || at > now ? [] : [{ reason, at }]))
    .toSorted((a, b) => a.at - b.at);
}

/** Tells what follows when the present period is over, and for how much. */
function reminderOf(
  one: StoredSubscription,
  offerOf: OfferOf,
  change: QueuedChange | undefined,
  zone: string,
  at: Instant,
  now: Instant,
): NewEvent {
  const old = offerOf(one.sku, one.version);
  const offer = change === undefined ? old : offerOf(change.sku, change.version);
  const then =
    change === undefined
      ? { subscription: one, anew: false }
      : changedTo(one, offer, change.quantity, old);
  const { period } = nextPeriod(then.subscription, offer, zone, { anew: then.anew });
  return {
    type: one.phase === null ? 'subscription.renewal_due' : 'subscription.trial_ending',
    ...eventBase(one, at, now),
    data: {
      subscriptionId: one.subscriptionId,
      sku: period.sku,
      renewsAt: isoTime(one.periodEnd),
      price: formatMoney(period.fee, decimalsOfPrice(offer)),
      currency: one.currency,
    },
  };
}
