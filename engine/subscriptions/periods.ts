import { decimalsOfPrice, offerPrice, type Offer } from '../catalog';
import {
  Decimal,
  ZERO,
  addByWallClock,
  addDuration,
  dayOfMonth,
  localDay,
  monthsOf,
  round,
  startOfDay,
  type Duration,
  type Instant,
} from '../kernel';
import { shareOf, type Days } from './proration';
import type { OpenedPeriod } from './stored-period';
import type { StoredSubscription } from './stored-subscription';

/**
 * When periods begin and end, and what they cost. Pure. Trial phases come first, one after the other;
 * where they end the offer's own periods are anchored, and from there on each boundary is reckoned from
 * the anchor, never from the boundary before.
 */

type Anchor = Pick<StoredSubscription, 'anchorAt' | 'anchorZone' | 'anchorNumber'>;

const times = ({ unit, count }: Duration, factor: number): Duration => ({
  unit,
  count: count * factor,
});

/** Where own periods are counted from when the period `number` begins at an instant. */
export function anchorFor(offer: Offer, startsAt: Instant, number: number, zone: string): Anchor {
  const base = offer.collect?.dates === 'midnight' ? startOfDay(startsAt, zone) : startsAt;
  const wanted = offer.collect?.anchorDay ?? null;
  const months = monthsOf(offer.interval!);
  if (wanted === null || months === null) {
    return { anchorAt: base, anchorZone: zone, anchorNumber: number };
  }
  // The month in which the first period ends; it is a whole one when it begins on the anchor's day.
  const inMonth = (away: number) => dayOfMonth(base, wanted, away, zone);
  const isBefore = inMonth(0).at > base;
  const isWhole = inMonth(0).at === base;
  const end = isBefore ? 0 : isWhole ? months : 1;
  // The anchor shows the day itself, not the last one of a shorter month, where any month of it does.
  let steps = isWhole ? 1 : 0;
  let best = steps;
  for (; steps * months <= 48; steps += 1) {
    if (inMonth(end - steps * months).day > inMonth(end - best * months).day) best = steps;
  }
  return {
    anchorAt: inMonth(end - best * months).at,
    anchorZone: zone,
    anchorNumber: number + 1 - best,
  };
}

/** When an own period of a number begins, as the anchor has it. */
export const boundary = (
  anchor: Anchor,
  interval: Duration,
  number: number,
  zone: string,
): Instant =>
  addByWallClock(
    anchor.anchorAt,
    anchor.anchorZone,
    times(interval, number - anchor.anchorNumber),
    zone,
  );

/** What a period of an offer costs: a trial phase, or a whole own period. */
export function feeOf(offer: Offer, phase: number | null, quantity: number): Decimal {
  if (phase === null) return offerPrice(offer, new Decimal(quantity));
  const price = new Decimal(offer.trialPhases[phase - 1]!.price);
  return round(price.times(quantity), decimalsOfPrice(offer));
}

function phaseEnd(offer: Offer, phase: number, startsAt: Instant, zone: string): Instant {
  const base = offer.collect?.dates === 'midnight' ? startOfDay(startsAt, zone) : startsAt;
  const end = addDuration(base, offer.trialPhases[phase - 1]!.length, zone);
  // Phases shorter than a day have no midnight to end at.
  return end > startsAt ? end : addDuration(startsAt, offer.trialPhases[phase - 1]!.length, zone);
}

/**
 * The period that follows, as the subscription stands, and the subscription with it.
 *
 * @param offer the subscription's, in its version
 * @param zone the payer's present one
 * @param terms `at`: it begins then, and own periods are anchored there; left out: where the present
 *   period ends. `anew`: own periods are anchored where it begins. `quantity`: of this period only;
 *   `begunAnew`: the subscription was over
 */
export function nextPeriod(
  subscription: StoredSubscription,
  offer: Offer,
  zone: string,
  terms: {
    at?: Instant;
    anew?: boolean;
    quantity?: number;
    isFirstOwn?: boolean;
    begunAnew?: boolean;
    orderId?: string | null;
  } = {},
): { subscription: StoredSubscription; period: OpenedPeriod } {
  const { at, anew = at !== undefined, quantity = subscription.quantity, orderId = null } = terms;
  const number = subscription.periodNumber + 1;
  const startsAt = at ?? subscription.periodEnd;
  const phase = number <= subscription.trialPhases ? number : null;
  const isAfterPhases = number === subscription.trialPhases + 1;
  let anchor: Anchor = subscription;
  let endsAt: Instant;
  let share: Days | null = null;
  let fee = feeOf(offer, phase, quantity);
  if (phase !== null) {
    endsAt = phaseEnd(offer, phase, startsAt, zone);
  } else {
    const interval = offer.interval!;
    const isAnchored = anew || isAfterPhases;
    if (isAnchored) anchor = anchorFor(offer, startsAt, number, zone);
    endsAt = boundary(anchor, interval, number + 1, zone);
    // A zone far to the east may have its next boundary behind this one: then it is the one after.
    while (endsAt <= startsAt) {
      anchor = { ...anchor, anchorNumber: anchor.anchorNumber - 1 };
      endsAt = boundary(anchor, interval, number + 1, zone);
    }
    if (isAnchored && (offer.collect?.anchorDay ?? null) !== null) {
      share = partOf(boundary(anchor, interval, number, zone), startsAt, endsAt, zone);
      if (share !== null) fee = shareOf(fee, share, decimalsOfPrice(offer));
    }
  }
  const { payerId, subscriptionId, accountId, currency } = subscription;
  return {
    subscription: {
      ...subscription,
      ...pick(anchor),
      sku: offer.sku,
      version: offer.version,
      phase,
      periodNumber: number,
      periodStart: startsAt,
      periodEnd: endsAt,
    },
    period: {
      payerId,
      subscriptionId,
      accountId,
      number,
      phase,
      sku: offer.sku,
      version: offer.version,
      quantity,
      fee,
      currency,
      startsAt,
      endsAt,
      resumed: at !== undefined && number > 1 && at !== subscription.periodEnd,
      begunAnew: terms.begunAnew === true,
      share,
      cycle: null,
      carriedFrom: null,
      credited: ZERO,
      isFirstOwn: phase === null && (isAfterPhases || terms.isFirstOwn === true),
      orderId,
      firstUnpaid: false,
    },
  };
}

/**
 * The period whose first payment came after its time, as it begins now: as long as what was paid for, and
 * those that follow are counted from there.
 *
 * @param period as it was opened
 * @param offer its own, in its version
 */
export function beginAnew(
  one: StoredSubscription,
  { share, quantity }: Pick<OpenedPeriod, 'share' | 'quantity'>,
  offer: Offer,
  zone: string,
  now: Instant,
): StoredSubscription {
  const before = { ...one, periodNumber: one.periodNumber - 1 };
  // No day of the month to begin on: a whole interval was paid, or so many days of one.
  const collect = offer.collect && { ...offer.collect, anchorDay: null };
  const whole = nextPeriod(before, { ...offer, collect }, zone, { at: now, anew: true, quantity });
  const { subscription } = whole;
  if (share === null) return subscription;
  const anchorAt = addDuration(now, { unit: 'day', count: Math.max(share.left, 1) }, zone);
  const anchorNumber = one.periodNumber + 1;
  return { ...subscription, periodEnd: anchorAt, anchorAt, anchorZone: zone, anchorNumber };
}

const pick = ({ anchorAt, anchorZone, anchorNumber }: Anchor): Anchor => ({
  anchorAt,
  anchorZone,
  anchorNumber,
});

/** The days of a period that begins later than a whole one would; null when it is a whole one. */
function partOf(whole: Instant, startsAt: Instant, endsAt: Instant, zone: string): Days | null {
  const [from, start, end] = [whole, startsAt, endsAt].map((at) => localDay(at, zone));
  if (start! <= from!) return null;
  return { left: Math.max(end! - start!, 0), of: Math.max(end! - from!, 1) };
}

/** So many days before a period ends people are reminded of what follows. */
export const REMINDER_DAYS = 3;
const DAY = 86_400_000;

/** When the reminder of a subscription's present period is due; null when none is. */
export function reminderAt(one: StoredSubscription): Instant | null {
  const goesOn =
    one.renews &&
    one.cancelAt === null &&
    one.pauseAt === null &&
    one.endedAt === null &&
    !one.firstUnpaid &&
    one.status !== 'paused';
  if (!goesOn || one.periodNumber === 0 || one.remindedNumber === one.periodNumber) return null;
  const at = one.periodEnd - REMINDER_DAYS * DAY;
  // A period as short as that would be announced at its beginning.
  return at > one.periodStart ? at : null;
}

/** When a subscription has to be looked at next; null: never by itself. */
export function nextDueOf(one: StoredSubscription): Instant | null {
  if (one.endedAt !== null) return null;
  if (one.firstUnpaid) {
    const last = one.renews ? null : one.periodEnd;
    const ends = [one.lapsesAt ?? last, one.cancelAt].filter((at) => at !== null);
    return ends.length === 0 ? null : Math.min(...ends);
  }
  const next = one.status === 'paused' ? one.resumeAt : (reminderAt(one) ?? one.periodEnd);
  return next === null || one.graceUntil === null
    ? (next ?? one.graceUntil)
    : Math.min(next, one.graceUntil);
}
