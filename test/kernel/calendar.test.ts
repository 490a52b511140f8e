import fc from 'fast-check';

import {
  DURATION_UNITS,
  addDuration,
  isBillingError,
  isTimeZone,
  monthsOf,
  type DurationUnit,
} from '../../engine/kernel';

const at = (iso: string): number => Date.parse(iso);
const iso = (instant: number): string => new Date(instant).toISOString();
const add = (start: string, count: number, unit: DurationUnit, zone = 'UTC'): string =>
  iso(addDuration(at(start), { unit, count }, zone));

/**
 * An oracle of its own: Intl shows what clocks in a zone say (luxon is not asked), and the instant
 * of a wall-clock time is found by walking forward until the clocks there first show it or later.
 */
const formats = new Map<string, Intl.DateTimeFormat>();
function wallClock(instant: number, zone: string): number {
  let format = formats.get(zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(zone, format);
  }
  const parts = Object.fromEntries(
    format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]),
  );
  const { year, month, day, hour, minute, second } = parts;
  const milliseconds = ((instant % 1000) + 1000) % 1000;
  return Date.UTC(year!, month! - 1, day, hour, minute, second, milliseconds);
}

const MINUTE = 60_000;
const STEP = 15 * MINUTE;
function firstInstantShowing(wall: number, zone: string): number {
  // Zones change on quarter hours; at 15 h before, no zone's clock can show the time yet.
  let instant = Math.floor((wall - 15 * 60 * MINUTE) / STEP) * STEP;
  for (;;) {
    const shown = wallClock(instant, zone);
    if (shown >= wall) return instant;
    if (shown + STEP > wall) return instant + (wall - shown);
    instant += STEP;
  }
}

const daysIn = (year: number, month: number): number =>
  new Date(Date.UTC(year, month + 1, 0)).getUTCDate();

/** Where a count of a unit leads from a wall-clock time, by the calendar alone. */
function movedWall(wall: number, unit: DurationUnit, count: number): number {
  const day = 86_400_000;
  if (unit === 'day') return wall + count * day;
  if (unit === 'week') return wall + count * 7 * day;
  const date = new Date(wall);
  const months = date.getUTCMonth() + (unit === 'year' ? 12 * count : count);
  const year = date.getUTCFullYear() + Math.floor(months / 12);
  const month = ((months % 12) + 12) % 12;
  const dayOfMonth = Math.min(date.getUTCDate(), daysIn(year, month));
  return Date.UTC(year, month, dayOfMonth) + (wall % day);
}

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'Europe/Dublin',
  'America/New_York',
  'America/St_Johns',
  'America/Havana',
  'America/Sao_Paulo',
  'America/Asuncion',
  'Africa/Casablanca',
  'Africa/Cairo',
  'Asia/Beirut',
  'Asia/Gaza',
  'Asia/Kathmandu',
  'Asia/Kolkata',
  'Asia/Tehran',
  'Australia/Lord_Howe',
  'Australia/Adelaide',
  'Pacific/Chatham',
  'Pacific/Kiritimati',
  'Pacific/Apia',
  'Pacific/Niue',
  'Antarctica/Troll',
];

describe('months', () => {
  test('I6: monthly from 31 January: 31 Jan, 28 Feb, 31 Mar, 30 Apr', () => {
    const anchor = '2027-01-31T00:00:00Z';
    expect([1, 2, 3, 4, 11, 12].map((count) => add(anchor, count, 'month').slice(0, 10))).toEqual([
      '2027-02-28',
      '2027-03-31',
      '2027-04-30',
      '2027-05-31',
      '2027-12-31',
      '2028-01-31',
    ]);
  });

  test.each([
    ['2027-01-31T00:00:00Z', 13, 'month', '2028-02-29T00:00:00.000Z'],
    ['2028-01-30T10:00:00Z', 1, 'month', '2028-02-29T10:00:00.000Z'],
    ['2027-11-30T23:59:59.999Z', 3, 'month', '2028-02-29T23:59:59.999Z'],
    ['2028-02-29T00:00:00Z', 1, 'year', '2029-02-28T00:00:00.000Z'],
    ['2028-02-29T00:00:00Z', 4, 'year', '2032-02-29T00:00:00.000Z'],
    ['2028-02-29T00:00:00Z', 12, 'month', '2029-02-28T00:00:00.000Z'],
    ['2096-02-29T00:00:00Z', 4, 'year', '2100-02-28T00:00:00.000Z'],
    ['2027-12-31T23:59:59.999Z', 1, 'day', '2028-01-01T23:59:59.999Z'],
    ['2027-12-31T12:00:00Z', 2, 'month', '2028-02-29T12:00:00.000Z'],
    ['2027-12-31T12:00:00Z', 1, 'week', '2028-01-07T12:00:00.000Z'],
    ['2027-12-31T23:59:59Z', 1, 'second', '2028-01-01T00:00:00.000Z'],
    ['2028-02-28T12:00:00Z', 1, 'day', '2028-02-29T12:00:00.000Z'],
    ['2027-01-31T00:00:00Z', 120, 'month', '2037-01-31T00:00:00.000Z'],
  ] as const)('%s + %i %s is %s', (start, count, unit, expected) => {
    expect(add(start, count, unit)).toBe(expected);
  });

  test('the day is the local one, not the one in UTC', () => {
    // 31 January, 00:30 in Berlin is still the 30th in UTC.
    expect(add('2027-01-30T23:30:00Z', 1, 'month', 'Europe/Berlin')).toBe(
      '2027-02-27T23:30:00.000Z',
    );
    // UTC+14: the 1st of March there, the last of February in UTC.
    expect(add('2027-02-28T10:30:00Z', 1, 'month', 'Pacific/Kiritimati')).toBe(
      '2027-03-31T10:30:00.000Z',
    );
    expect(add('2027-01-31T09:00:00Z', 1, 'month', 'Pacific/Kiritimati')).toBe(
      '2027-02-28T09:00:00.000Z',
    );
    expect(add('2027-01-31T18:30:00Z', 1, 'month', 'Asia/Kathmandu')).toBe(
      '2027-02-28T18:30:00.000Z',
    );
  });

  test('adding months to the anchor never drifts, wherever and whenever it lies', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ZONES),
        fc.integer({ min: at('1995-01-01T00:00:00Z'), max: at('2060-01-01T00:00:00Z') }),
        fc.integer({ min: 1, max: 240 }),
        (zone, anchor, count) => {
          const end = addDuration(anchor, { unit: 'month', count }, zone);
          const wall = movedWall(wallClock(anchor, zone), 'month', count);
          expect(iso(end)).toBe(iso(firstInstantShowing(wall, zone)));
          // Years are twelve months, and nothing else.
          if (count % 12 === 0) {
            expect(addDuration(anchor, { unit: 'year', count: count / 12 }, zone)).toBe(end);
          }
          // A longer span ends later.
          expect(addDuration(anchor, { unit: 'month', count: count + 1 }, zone)).toBeGreaterThan(
            end,
          );
        },
      ),
      { numRuns: 400 },
    );
  });

  test('a duration in months is told', () => {
    expect(monthsOf({ unit: 'month', count: 5 })).toBe(5);
    expect(monthsOf({ unit: 'year', count: 2 })).toBe(24);
    for (const unit of ['second', 'minute', 'hour', 'day', 'week'] as const) {
      expect(monthsOf({ unit, count: 30 })).toBeNull();
    }
  });
});

describe('clocks that are set', () => {
  test.each([
    // Berlin, 28 March 2027: 02:00 to 03:00 does not exist.
    ['2027-03-27T02:30:00+01:00', 1, 'day', 'Europe/Berlin', '2027-03-28T03:00:00+02:00'],
    ['2027-02-28T02:30:00+01:00', 1, 'month', 'Europe/Berlin', '2027-03-28T03:00:00+02:00'],
    ['2027-03-27T02:00:00+01:00', 1, 'day', 'Europe/Berlin', '2027-03-28T03:00:00+02:00'],
    ['2027-03-27T01:59:59.999+01:00', 1, 'day', 'Europe/Berlin', '2027-03-28T01:59:59.999+01:00'],
    ['2027-03-27T03:00:00+01:00', 1, 'day', 'Europe/Berlin', '2027-03-28T03:00:00+02:00'],
    // The gap is not carried on.
    ['2027-03-27T02:30:00+01:00', 2, 'day', 'Europe/Berlin', '2027-03-29T02:30:00+02:00'],
    // Berlin, 31 October 2027: 02:00 to 03:00 comes twice.
    ['2027-10-30T02:30:00+02:00', 1, 'day', 'Europe/Berlin', '2027-10-31T02:30:00+02:00'],
    ['2027-09-30T02:59:59+02:00', 1, 'month', 'Europe/Berlin', '2027-10-30T02:59:59+02:00'],
    ['2027-10-30T03:00:00+02:00', 1, 'day', 'Europe/Berlin', '2027-10-31T03:00:00+01:00'],
    ['2027-10-24T02:00:00+02:00', 1, 'week', 'Europe/Berlin', '2027-10-31T02:00:00+02:00'],
    // From the second reading on it is the wall clock that counts.
    ['2027-10-31T02:30:00+01:00', 1, 'day', 'Europe/Berlin', '2027-11-01T02:30:00+01:00'],
    // New York, 14 March and 7 November 2027.
    ['2027-03-13T02:30:00-05:00', 1, 'day', 'America/New_York', '2027-03-14T03:00:00-04:00'],
    ['2027-11-06T01:30:00-04:00', 1, 'day', 'America/New_York', '2027-11-07T01:30:00-04:00'],
    // Lord Howe moves by half an hour: 3 October 2027, 02:00 becomes 02:30.
    ['2027-10-02T02:15:00+10:30', 1, 'day', 'Australia/Lord_Howe', '2027-10-03T02:30:00+11:00'],
    ['2027-10-02T02:30:00+10:30', 1, 'day', 'Australia/Lord_Howe', '2027-10-03T02:30:00+11:00'],
    // 4 April 2027, 02:00 becomes 01:30: 01:45 comes twice.
    ['2027-04-03T01:45:00+11:00', 1, 'day', 'Australia/Lord_Howe', '2027-04-04T01:45:00+11:00'],
    ['2027-04-03T02:00:00+11:00', 1, 'day', 'Australia/Lord_Howe', '2027-04-04T02:00:00+10:30'],
    // Cuba changes at midnight: 14 March 2027 begins at 01:00.
    ['2027-03-13T00:30:00-05:00', 1, 'day', 'America/Havana', '2027-03-14T01:00:00-04:00'],
    ['2027-03-13T00:00:00-05:00', 1, 'day', 'America/Havana', '2027-03-14T01:00:00-04:00'],
    // Troll moves by two hours.
    ['2027-03-27T01:30:00+00:00', 1, 'day', 'Antarctica/Troll', '2027-03-28T03:00:00+02:00'],
    // Samoa had no 30 December 2011.
    ['2011-12-29T12:00:00-10:00', 1, 'day', 'Pacific/Apia', '2011-12-31T00:00:00+14:00'],
    ['2011-12-29T00:00:00-10:00', 1, 'day', 'Pacific/Apia', '2011-12-31T00:00:00+14:00'],
    ['2011-12-29T23:59:59.999-10:00', 1, 'day', 'Pacific/Apia', '2011-12-31T00:00:00+14:00'],
    ['2011-11-30T08:00:00-10:00', 1, 'month', 'Pacific/Apia', '2011-12-31T00:00:00+14:00'],
    ['2011-12-29T08:00:00-10:00', 2, 'day', 'Pacific/Apia', '2011-12-31T08:00:00+14:00'],
    ['2011-11-29T08:00:00-10:00', 1, 'month', 'Pacific/Apia', '2011-12-29T08:00:00-10:00'],
    ['2011-12-23T08:00:00-10:00', 1, 'week', 'Pacific/Apia', '2011-12-31T00:00:00+14:00'],
  ] as const)('%s + %i %s in %s is %s', (start, count, unit, zone, expected) => {
    expect(add(start, count, unit, zone)).toBe(iso(at(expected)));
  });

  test('seconds, minutes and hours are exact time', () => {
    const before = '2027-03-28T00:30:00Z';
    expect(add(before, 1, 'hour', 'Europe/Berlin')).toBe('2027-03-28T01:30:00.000Z');
    expect(add(before, 24, 'hour', 'Europe/Berlin')).toBe('2027-03-29T00:30:00.000Z');
    expect(add(before, 90, 'minute', 'Australia/Lord_Howe')).toBe('2027-03-28T02:00:00.000Z');
    expect(add(before, 100_000, 'second', 'Pacific/Apia')).toBe('2027-03-29T04:16:40.000Z');
  });

  test('every unit agrees with the clocks of every zone', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ZONES),
        fc.integer({ min: at('1995-01-01T00:00:00Z'), max: at('2045-01-01T00:00:00Z') }),
        fc.constantFrom('day', 'week', 'month', 'year'),
        fc.integer({ min: 1, max: 60 }),
        (zone, start, unit, count) => {
          const wall = movedWall(wallClock(start, zone), unit, count);
          expect(iso(addDuration(start, { unit, count }, zone))).toBe(
            iso(firstInstantShowing(wall, zone)),
          );
        },
      ),
      { numRuns: 400 },
    );
  });

  test('all days around every change of the clocks of a year', () => {
    // Half-hourly starts over the days before a change, where random tries seldom fall.
    for (const [zone, day] of [
      ['Europe/Berlin', '2027-03-27'],
      ['Europe/Berlin', '2027-10-30'],
      ['Australia/Lord_Howe', '2027-04-03'],
      ['Australia/Lord_Howe', '2027-10-02'],
      ['America/Havana', '2027-03-13'],
      ['America/Havana', '2027-11-06'],
      ['Africa/Casablanca', '2027-02-07'],
      ['Pacific/Apia', '2011-12-29'],
      ['Antarctica/Troll', '2027-10-30'],
      ['Pacific/Chatham', '2027-09-25'],
    ] as const) {
      for (let step = -48; step < 96; step += 1) {
        const start = at(`${day}T00:00:00Z`) + step * 30 * MINUTE + 1_234;
        const wall = movedWall(wallClock(start, zone), 'day', 1);
        expect(`${zone} ${iso(addDuration(start, { unit: 'day', count: 1 }, zone))}`).toBe(
          `${zone} ${iso(firstInstantShowing(wall, zone))}`,
        );
      }
    }
  });
});

describe('the end of time', () => {
  test.each([
    ['9998-12-31T00:00:00Z', 1, 'year', 'UTC', '9999-12-31T00:00:00.000Z'],
    ['9999-12-31T23:59:58.999Z', 1, 'second', 'UTC', '9999-12-31T23:59:59.999Z'],
  ] as const)('%s + %i %s in %s still is a time', (start, count, unit, zone, expected) => {
    expect(add(start, count, unit, zone)).toBe(expected);
  });

  test.each([
    ['2027-01-31T00:00:00Z', 100_000, 'year', 'UTC'],
    ['2027-01-31T00:00:00Z', 100_000, 'month', 'UTC'],
    ['9999-12-31T00:00:00Z', 1, 'day', 'UTC'],
    ['9999-12-31T23:59:59.999Z', 1, 'second', 'UTC'],
    ['9999-12-31T03:00:00Z', 1, 'day', 'America/New_York'],
  ] as const)('%s + %i %s in %s is refused', (start, count, unit, zone) => {
    let thrown: unknown;
    try {
      add(start, count, unit, zone);
    } catch (error) {
      thrown = error;
    }
    expect(isBillingError(thrown)).toBe(true);
    expect(thrown).toMatchObject({ code: 'invalid_input', parameter: 'expiresAfter' });
    expect((thrown as Error).message).toContain(`${count} ${unit}`);
  });
});

describe('names', () => {
  test('units go from seconds to years', () => {
    expect(DURATION_UNITS).toEqual(['second', 'minute', 'hour', 'day', 'week', 'month', 'year']);
  });

  test.each(ZONES)('%s is a time zone', (zone) => {
    expect(isTimeZone(zone)).toBe(true);
  });

  test.each(['', 'Berlin', 'Europe/Atlantis', 'local', 'system', 'Europe/Berlin ', '2', "'; --"])(
    '"%s" is none',
    (zone) => {
      expect(isTimeZone(zone)).toBe(false);
    },
  );
});
