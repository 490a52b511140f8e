import { DateTime, IANAZone } from 'luxon';

import type { Instant } from './clock';
import { BillingError } from './errors';

/** The units of a duration, as they go out. On the way in the plural is fine too. */
export const DURATION_UNITS = ['second', 'minute', 'hour', 'day', 'week', 'month', 'year'] as const;
export type DurationUnit = (typeof DURATION_UNITS)[number];

export interface Duration {
  unit: DurationUnit;
  count: number;
}

export function isTimeZone(zone: string): boolean {
  return IANAZone.isValidZone(zone);
}

const DAY = 86_400_000;
/** Times have four-digit years; what lasts longer has no expiry. */
const LAST_INSTANT = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

const offsetAt = (zone: string, instant: Instant): number =>
  IANAZone.create(zone).offset(instant) * 60_000;

/**
 * The instant at which clocks in a zone show a wall-clock time. `wall` is that time written as if it
 * were UTC. In an overlap (clocks set back) the first of the two; in a gap (clocks set forward) the
 * first valid instant after it. Rule: billing-rules.md, Time.
 */
function instantOfWallClock(wall: Instant, zone: string): Instant {
  const offsets = [offsetAt(zone, wall - DAY), offsetAt(zone, wall + DAY)];
  const candidates = offsets
    .map((offset) => ({ instant: wall - offset, offset }))
    .filter(({ instant, offset }) => offsetAt(zone, instant) === offset)
    .map(({ instant }) => instant);
  if (candidates.length > 0) return Math.min(...candidates);

  // A gap: look for the moment of the change between the two readings, to the millisecond.
  let before = wall - Math.max(...offsets);
  let after = wall - Math.min(...offsets);
  const offsetBefore = offsetAt(zone, before);
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (offsetAt(zone, middle) === offsetBefore) before = middle;
    else after = middle;
  }
  return after;
}

/**
 * Adds a duration. Seconds, minutes and hours are exact time; days, weeks, months and years keep the
 * local wall-clock time of the zone, and a day that the month lacks becomes its last one.
 *
 * For boundaries that repeat, add the whole count to the anchor at once (31 Jan + 1 month is 28 Feb,
 * 31 Jan + 2 months is 31 Mar); never add to the boundary before, which would lose the 31st.
 */
export function addDuration(start: Instant, duration: Duration, zone: string): Instant {
  const end = addUnchecked(start, duration, zone);
  if (end <= LAST_INSTANT) return end;
  throw new BillingError(
    'invalid_input',
    `${duration.count} ${duration.unit}s end after the year 9999.`,
    {
      parameter: 'expiresAfter',
      advice: 'Leave it out for something that never ends.',
    },
  );
}

function addUnchecked(start: Instant, { unit, count }: Duration, zone: string): Instant {
  if (unit === 'second' || unit === 'minute' || unit === 'hour') {
    return DateTime.fromMillis(start, { zone: 'utc' })
      .plus({ [unit]: count })
      .toMillis();
  }
  const wall = DateTime.fromMillis(start + offsetAt(zone, start), { zone: 'utc' });
  const moved = wall.plus({ [unit]: count }).toMillis();
  return moved <= LAST_INSTANT ? instantOfWallClock(moved, zone) : Number.POSITIVE_INFINITY;
}

/**
 * A boundary that repeats: so long after an anchor, by the wall clock that its zone showed then, in a
 * zone that may have become another since. In one zone it is `addDuration` for days and longer.
 *
 * @param duration days, weeks, months or years; its count may be below 0
 */
export function addByWallClock(
  anchor: Instant,
  anchorZone: string,
  duration: Duration,
  zone: string,
): Instant {
  const { unit, count } = duration;
  const wall = DateTime.fromMillis(anchor + offsetAt(anchorZone, anchor), { zone: 'utc' });
  const moved = wall.plus({ [unit]: count }).toMillis();
  if (moved <= LAST_INSTANT) return instantOfWallClock(moved, zone);
  return addDuration(anchor, duration, zone);
}

/** The beginning of the day that a zone's calendar shows. */
export function startOfDay(instant: Instant, zone: string): Instant {
  return instantOfWallClock(localDay(instant, zone) * DAY, zone);
}

/**
 * A day of the month so many months away, at the time of day of an instant; the month's last day when
 * it has fewer. `day` is the one it really is.
 */
export function dayOfMonth(
  instant: Instant,
  wanted: number,
  months: number,
  zone: string,
): { at: Instant; day: number } {
  const wall = DateTime.fromMillis(instant + offsetAt(zone, instant), { zone: 'utc' });
  const first = wall.set({ day: 1 }).plus({ months });
  const day = Math.min(wanted, first.daysInMonth!);
  return { at: instantOfWallClock(first.set({ day }).toMillis(), zone), day };
}

/** A duration in whole months, or null when it is not made of months. */
export function monthsOf(duration: Duration): number | null {
  if (duration.unit === 'month') return duration.count;
  if (duration.unit === 'year') return duration.count * 12;
  return null;
}

/** The day that a zone's calendar shows, counted from 1 January 1970; days apart are their difference. */
export function localDay(instant: Instant, zone: string): number {
  return Math.floor((instant + offsetAt(zone, instant)) / DAY);
}
