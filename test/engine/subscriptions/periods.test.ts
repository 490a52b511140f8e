import fc from 'fast-check';

import type { Offer } from '../../../engine';
import { addDuration, localDay } from '../../../engine/kernel';
import { nextPeriod } from '../../../engine/subscriptions/periods';
import type { StoredSubscription } from '../../../engine/subscriptions/stored-subscription';

/** When periods begin and end: pure, so a hundred years take no time. */

const at = (time: string): number => Date.parse(time);
const iso = (instant: number): string => new Date(instant).toISOString();

const offer = (more: object = {}): Offer =>
  ({
    sku: 'plan',
    version: 1,
    name: 'Plan',
    price: '31.00',
    currency: 'USD',
    billing: 'recurring',
    interval: { unit: 'month', count: 1 },
    trialPhases: [],
    bonuses: [],
    items: [],
    pricing: { model: 'per_unit', unitPrice: '31.00' },
    collect: {
      bill: 'advance',
      atPeriodEnd: 'expire',
      dates: 'exact',
      anchorDay: null,
      renewalGrants: 'period_start',
      access: 'on_payment',
      firstPaymentWithin: null,
      withoutMethod: 'invoice',
      prorations: 'now',
      whenInForce: 'change',
      ...(more as { collect?: object }).collect,
    },
    ...Object.fromEntries(Object.entries(more).filter(([name]) => name !== 'collect')),
  }) as unknown as Offer;

const subscription = (start: number, zone: string, trialPhases = 0): StoredSubscription =>
  ({
    payerId: 'payer',
    subscriptionId: 'subscription',
    accountId: 'account',
    sku: 'plan',
    version: 1,
    quantity: 1,
    currency: 'USD',
    anchorAt: start,
    anchorZone: zone,
    anchorNumber: 1,
    trialPhases,
    phase: null,
    periodNumber: 0,
    periodStart: start,
    periodEnd: start,
  }) as unknown as StoredSubscription;

/** The boundaries of the first periods, the start among them. */
function boundaries(
  of: Offer,
  start: string,
  count: number,
  zone: string | ((number: number) => string) = 'UTC',
  trialPhases = 0,
): { starts: string[]; fees: string[] } {
  const zoneOf = typeof zone === 'string' ? () => zone : zone;
  let one = subscription(at(start), zoneOf(1), trialPhases);
  const starts: string[] = [];
  const fees: string[] = [];
  for (let number = 1; number <= count; number += 1) {
    const next = nextPeriod(one, of, zoneOf(number));
    expect(next.period.startsAt).toBe(one.periodEnd);
    starts.push(iso(next.period.startsAt));
    fees.push(next.period.fee.toFixed(2));
    one = next.subscription;
  }
  return { starts: [...starts, iso(one.periodEnd)], fees };
}

describe('periods', () => {
  test('I6: from 31 January on the last day of each month', () => {
    expect(boundaries(offer(), '2027-01-31T09:30:00Z', 13).starts).toEqual([
      '2027-01-31T09:30:00.000Z',
      '2027-02-28T09:30:00.000Z',
      '2027-03-31T09:30:00.000Z',
      '2027-04-30T09:30:00.000Z',
      '2027-05-31T09:30:00.000Z',
      '2027-06-30T09:30:00.000Z',
      '2027-07-31T09:30:00.000Z',
      '2027-08-31T09:30:00.000Z',
      '2027-09-30T09:30:00.000Z',
      '2027-10-31T09:30:00.000Z',
      '2027-11-30T09:30:00.000Z',
      '2027-12-31T09:30:00.000Z',
      '2028-01-31T09:30:00.000Z',
      // A leap year.
      '2028-02-29T09:30:00.000Z',
    ]);
  });

  test('a year from a leap day: 28 February, and 29 again when there is one', () => {
    const yearly = offer({ interval: { unit: 'year', count: 1 } });
    expect(boundaries(yearly, '2028-02-29T00:00:00Z', 4).starts).toEqual([
      '2028-02-29T00:00:00.000Z',
      '2029-02-28T00:00:00.000Z',
      '2030-02-28T00:00:00.000Z',
      '2031-02-28T00:00:00.000Z',
      '2032-02-29T00:00:00.000Z',
    ]);
  });

  test('the time of day stays when the clocks change; one that is missing is the next there is', () => {
    // 02:30 is skipped in Berlin on 28 March 2027, and happens twice on 31 October.
    const daily = offer({ interval: { unit: 'day', count: 1 } });
    expect(boundaries(daily, '2027-03-26T01:30:00Z', 4, 'Europe/Berlin').starts).toEqual([
      '2027-03-26T01:30:00.000Z',
      '2027-03-27T01:30:00.000Z',
      '2027-03-28T01:00:00.000Z',
      '2027-03-29T00:30:00.000Z',
      '2027-03-30T00:30:00.000Z',
    ]);
    expect(boundaries(daily, '2027-10-30T00:30:00Z', 2, 'Europe/Berlin').starts).toEqual([
      '2027-10-30T00:30:00.000Z',
      '2027-10-31T00:30:00.000Z',
      '2027-11-01T01:30:00.000Z',
    ]);
  });

  test('at the end of the world, UTC+14, months are those of its calendar', () => {
    // 31 January, 00:30 on Kiritimati.
    expect(boundaries(offer(), '2027-01-30T10:30:00Z', 2, 'Pacific/Kiritimati').starts).toEqual([
      '2027-01-30T10:30:00.000Z',
      '2027-02-27T10:30:00.000Z',
      '2027-03-30T10:30:00.000Z',
    ]);
  });

  test('a change of zone applies from the next boundary, at the same time of day', () => {
    const zone = (number: number): string => (number < 3 ? 'Europe/Berlin' : 'America/New_York');
    expect(boundaries(offer(), '2027-01-10T08:00:00Z', 4, zone).starts).toEqual([
      '2027-01-10T08:00:00.000Z',
      '2027-02-10T08:00:00.000Z',
      '2027-03-10T08:00:00.000Z',
      '2027-04-10T13:00:00.000Z',
      '2027-05-10T13:00:00.000Z',
    ]);
  });

  test('a zone so far east that its boundary has passed: the one after it', () => {
    const daily = offer({ interval: { unit: 'day', count: 1 } });
    const zone = (number: number): string => (number < 2 ? 'Etc/GMT+12' : 'Pacific/Kiritimati');
    const { starts } = boundaries(daily, '2027-01-10T12:00:00Z', 4, zone);
    expect(starts).toEqual([
      '2027-01-10T12:00:00.000Z',
      '2027-01-11T12:00:00.000Z',
      '2027-01-12T10:00:00.000Z',
      '2027-01-13T10:00:00.000Z',
      '2027-01-14T10:00:00.000Z',
    ]);
  });

  test('periods that begin at midnight of the account', () => {
    const midnight = offer({ collect: { dates: 'midnight' } });
    expect(boundaries(midnight, '2027-01-31T15:12:00Z', 3, 'America/New_York').starts).toEqual([
      '2027-01-31T15:12:00.000Z',
      '2027-02-28T05:00:00.000Z',
      '2027-03-31T04:00:00.000Z',
      '2027-04-30T04:00:00.000Z',
    ]);
    // The day that is begun counts, so the first period costs what every other does.
    expect(boundaries(midnight, '2027-01-31T15:12:00Z', 2).fees).toEqual(['31.00', '31.00']);
  });

  test('an anchor day: the first period is a part, and costs the part', () => {
    const first = offer({ collect: { anchorDay: 1, dates: 'midnight' } });
    expect(boundaries(first, '2027-01-22T10:00:00Z', 3)).toEqual({
      starts: [
        '2027-01-22T10:00:00.000Z',
        '2027-02-01T00:00:00.000Z',
        '2027-03-01T00:00:00.000Z',
        '2027-04-01T00:00:00.000Z',
      ],
      // 10 of 31 days.
      fees: ['10.00', '31.00', '31.00'],
    });
    // Begun on the day itself it is a whole one.
    expect(boundaries(first, '2027-02-01T10:00:00Z', 2)).toEqual({
      starts: ['2027-02-01T10:00:00.000Z', '2027-03-01T00:00:00.000Z', '2027-04-01T00:00:00.000Z'],
      fees: ['31.00', '31.00'],
    });
  });

  test('an anchor day that February lacks is there again in March', () => {
    const last = offer({ collect: { anchorDay: 31 } });
    expect(boundaries(last, '2027-02-10T10:00:00Z', 3)).toEqual({
      starts: [
        '2027-02-10T10:00:00.000Z',
        '2027-02-28T10:00:00.000Z',
        '2027-03-31T10:00:00.000Z',
        '2027-04-30T10:00:00.000Z',
      ],
      // 18 of the 28 days from 31 January.
      fees: ['19.93', '31.00', '31.00'],
    });
  });

  test('an anchor day of quarters and years is in the next month that has it', () => {
    const quarterly = offer({
      interval: { unit: 'month', count: 3 },
      collect: { anchorDay: 15, dates: 'midnight' },
    });
    expect(boundaries(quarterly, '2027-01-20T10:00:00Z', 2).starts).toEqual([
      '2027-01-20T10:00:00.000Z',
      '2027-02-15T00:00:00.000Z',
      '2027-05-15T00:00:00.000Z',
    ]);
  });

  test('own periods are anchored where the trial phases end', () => {
    const tripwire = offer({
      trialPhases: [
        { price: '1.00', length: { unit: 'day', count: 15 }, items: [] },
        { price: '50.00', length: { unit: 'month', count: 1 }, items: [] },
      ],
    });
    expect(boundaries(tripwire, '2027-01-16T10:00:00Z', 5, 'UTC', 2)).toEqual({
      starts: [
        '2027-01-16T10:00:00.000Z',
        '2027-01-31T10:00:00.000Z',
        '2027-02-28T10:00:00.000Z',
        '2027-03-28T10:00:00.000Z',
        '2027-04-28T10:00:00.000Z',
        '2027-05-28T10:00:00.000Z',
      ],
      fees: ['1.00', '50.00', '31.00', '31.00', '31.00'],
    });
  });

  test('whatever the zone, the start and the interval: no gap, no overlap, no drift', () => {
    const zones = [
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Pacific/Kiritimati',
      'Asia/Kolkata',
    ];
    fc.assert(
      fc.property(
        fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2032-12-31T00:00:00Z') }),
        fc.constantFrom(...zones),
        fc.constantFrom('day' as const, 'week' as const, 'month' as const, 'year' as const),
        fc.integer({ min: 1, max: 3 }),
        (start, zone, unit, count) => {
          const of = offer({ interval: { unit, count } });
          let one = subscription(start, zone);
          for (let number = 1; number <= 14; number += 1) {
            one = nextPeriod(one, of, zone).subscription;
            expect(one.periodEnd).toBe(addDuration(start, { unit, count: count * number }, zone));
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  test('whatever the anchor day: periods end on it, or on the last day of the month', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2032-12-31T00:00:00Z') }),
        fc.integer({ min: 1, max: 31 }),
        fc.integer({ min: 1, max: 12 }),
        (start, anchorDay, count) => {
          const of = offer({ interval: { unit: 'month', count }, collect: { anchorDay } });
          let one = subscription(start, 'UTC');
          for (let number = 1; number <= 8; number += 1) {
            const next = nextPeriod(one, of, 'UTC');
            const end = new Date(next.period.endsAt);
            const lastDay = new Date(
              Date.UTC(end.getUTCFullYear(), end.getUTCMonth() + 1, 0),
            ).getUTCDate();
            expect(end.getUTCDate()).toBe(Math.min(anchorDay, lastDay));
            expect(next.period.endsAt).toBeGreaterThan(next.period.startsAt);
            const days =
              localDay(next.period.endsAt, 'UTC') - localDay(next.period.startsAt, 'UTC');
            expect(days).toBeLessThanOrEqual(31 * count);
            expect(next.period.fee.lessThanOrEqualTo(31)).toBe(true);
            one = next.subscription;
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});
