import { BillingError } from './errors';

/** Milliseconds since 1970-01-01T00:00:00Z, the engine's one form of an instant. */
export type Instant = number;

/**
 * Where the engine gets its time. A plain object with `now()` will do, and `now()` may give a Date,
 * milliseconds since 1970, or an ISO string.
 */
export interface Clock {
  now(): Date | number | string;
}

export const systemClock: Clock = { now: () => new Date() };

/** Reads a clock once. A clock that gives no valid time is an error, never "now". */
export function readClock(clock: Clock): Instant {
  const time = clock.now();
  const instant = time instanceof Date ? time.getTime() : new Date(time).getTime();
  if (!Number.isFinite(instant)) {
    throw new BillingError('invalid_input', 'The clock gave no valid time.', {
      parameter: 'clock',
      advice: 'Let its now() return a Date, milliseconds since 1970, or an ISO 8601 string.',
    });
  }
  return Math.floor(instant);
}

/** Rows of a set mostly share their times. */
let lastWritten = { instant: 0, text: '1970-01-01T00:00:00.000Z' };

/** An instant as it goes out: ISO 8601, UTC, milliseconds. '2027-01-31T00:00:00.000Z'; null stays null. */
export function isoTime(instant: Instant): string;
export function isoTime(instant: Instant | null): string | null;
export function isoTime(instant: Instant | null): string | null {
  if (instant === null) return null;
  if (instant !== lastWritten.instant) {
    lastWritten = { instant, text: new Date(instant).toISOString() };
  }
  return lastWritten.text;
}

/** A clock that stands still until it is moved. For tests and for trying out a month in a minute. */
export class TestClock implements Clock {
  private instant: Instant;

  /** @param start the first time it shows; the system's time when left out */
  constructor(start: Date | number | string = systemClock.now()) {
    this.instant = readClock({ now: () => start });
  }

  now(): Date {
    return new Date(this.instant);
  }

  /** Moves the clock to a moment. */
  set(time: Date | number | string): void {
    this.instant = readClock({ now: () => time });
  }

  /** Moves the clock on (or back, when negative) by milliseconds. */
  advance(milliseconds: number): void {
    this.set(this.instant + milliseconds);
  }
}
