import { Decimal, addDuration, localDay, round, type Duration, type Instant } from '../kernel';

/**
 * What time and units are worth when a period is changed in its middle. Pure. Days are whole days of
 * the account's calendar, and the day of the change counts as the new offer's.
 */

export interface Span {
  startsAt: Instant;
  endsAt: Instant;
}

/** A part of a whole number of days. */
export interface Days {
  left: number;
  of: number;
}

/**
 * Divisions leave dust behind the digits that parts are kept with. It is wiped off amounts before they
 * are rounded, so that a third and two thirds are a whole.
 */
const PART_DECIMALS = 48;
const DUST_DECIMALS = 30;
export const exactly = (amount: Decimal): Decimal => round(amount, DUST_DECIMALS);
export const asPart = (part: Decimal): Decimal => round(part, PART_DECIMALS);

/** How many days of a span are left when it is changed at a moment, that day included. */
export function daysLeft({ startsAt, endsAt }: Span, at: Instant, zone: string): Days {
  const first = localDay(startsAt, zone);
  const end = localDay(endsAt, zone);
  const today = localDay(at, zone);
  // A span within one day has nothing to share.
  return { left: Math.min(Math.max(end - today, 0), end - first), of: Math.max(end - first, 1) };
}

/** Money or units of the days left, rounded once. */
export function shareOf(
  amount: Decimal,
  days: Days,
  decimals: number,
  mode: 'half-up' | 'down' = 'half-up',
): Decimal {
  return round(amount.times(days.left).dividedBy(days.of), decimals, mode);
}

/** The part of a whole that days are, from 0 to 1. */
export const partLeft = ({ left, of }: Days): Decimal => asPart(new Decimal(left).dividedBy(of));

/** A part of an amount, from 0 to 1, rounded once. */
export const takePart = (amount: Decimal, part: Decimal, decimals: number): Decimal =>
  round(exactly(amount.times(part)), decimals);

/** Whether two intervals are one, however they are written. */
export const isSameInterval = (one: Duration, other: Duration): boolean =>
  canonical(one) === canonical(other);

function canonical({ unit, count }: Duration): string {
  if (unit === 'year') return `month ${count * 12}`;
  if (unit === 'week') return `day ${count * 7}`;
  return `${unit} ${count}`;
}

/**
 * Whether an offer is dearer than another by the price of a day, both in one currency. Intervals of the
 * same length are compared by their prices, others by the days they have from a moment on.
 */
export function isDearer(
  fresh: { price: Decimal; interval: Duration },
  old: { price: Decimal; interval: Duration },
  at: Instant,
  zone: string,
): boolean {
  if (isSameInterval(fresh.interval, old.interval)) return fresh.price.greaterThan(old.price);
  const days = (interval: Duration): number =>
    Math.max(localDay(addDuration(at, interval, zone), zone) - localDay(at, zone), 1);
  return fresh.price.times(days(old.interval)).greaterThan(old.price.times(days(fresh.interval)));
}
