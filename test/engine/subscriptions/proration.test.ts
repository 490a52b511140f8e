import * as fc from 'fast-check';

import { Decimal, addDuration, type Duration } from '../../../engine/kernel';
import {
  daysLeft,
  isDearer,
  isSameInterval,
  partLeft,
  shareOf,
  takePart,
} from '../../../engine/subscriptions/proration';

const DAY = 86_400_000;
const at = (time: string): number => Date.parse(time);
const money = (amount: string): Decimal => new Decimal(amount);

const june = { startsAt: at('2027-06-01T09:00:00Z'), endsAt: at('2027-07-01T09:00:00Z') };

describe('proration', () => {
  test('I7: from 30.00 to 60.00 with 15 of 30 days left: 15.00 back, 30.00 to pay', () => {
    const days = daysLeft(june, at('2027-06-16T11:00:00Z'), 'UTC');
    expect(takePart(money('30.00'), partLeft(days), 2).toFixed(2)).toBe('15.00');
    expect(shareOf(money('60.00'), days, 2).toFixed(2)).toBe('30.00');
  });

  test('the day of the change is the new offer’s, whatever the hour', () => {
    for (const hour of ['00:00:00', '08:59:59', '09:00:00', '23:59:59']) {
      expect(daysLeft(june, at(`2027-06-16T${hour}Z`), 'UTC')).toEqual({ left: 15, of: 30 });
    }
  });

  test('days are those of the account’s calendar', () => {
    const moment = at('2027-06-15T12:00:00Z');
    expect(daysLeft(june, moment, 'UTC').left).toBe(16);
    expect(daysLeft(june, moment, 'Pacific/Kiritimati').left).toBe(15);
  });

  test('a month in which the clocks change has its days all the same', () => {
    const zone = 'Europe/Berlin';
    const march = { startsAt: at('2027-02-28T23:00:00Z'), endsAt: at('2027-03-31T22:00:00Z') };
    expect(daysLeft(march, march.startsAt, zone)).toEqual({ left: 31, of: 31 });
    expect(daysLeft(march, at('2027-03-28T12:00:00Z'), zone)).toEqual({ left: 4, of: 31 });
  });

  test('on the first day all is left, on the last morning nothing', () => {
    expect(daysLeft(june, june.startsAt, 'UTC')).toEqual({ left: 30, of: 30 });
    expect(daysLeft(june, at('2027-07-01T08:00:00Z'), 'UTC')).toEqual({ left: 0, of: 30 });
  });

  test('hours within one day have nothing to share', () => {
    const hour = { startsAt: at('2027-06-01T09:00:00Z'), endsAt: at('2027-06-01T10:00:00Z') };
    const days = daysLeft(hour, at('2027-06-01T09:30:00Z'), 'UTC');
    expect(shareOf(money('5.00'), days, 2).toFixed(2)).toBe('0.00');
  });

  test('intervals are compared by what they are, and prices by the day', () => {
    const month: Duration = { unit: 'month', count: 1 };
    const year: Duration = { unit: 'year', count: 1 };
    expect(isSameInterval(year, { unit: 'month', count: 12 })).toBe(true);
    expect(isSameInterval({ unit: 'week', count: 2 }, { unit: 'day', count: 14 })).toBe(true);
    expect(isSameInterval(month, { unit: 'day', count: 30 })).toBe(false);
    const dearer = (price: string, interval: Duration) =>
      isDearer(
        { price: money(price), interval },
        { price: money('10.00'), interval: month },
        at('2027-01-01T00:00:00Z'),
        'UTC',
      );
    expect(dearer('10.01', month)).toBe(true);
    expect(dearer('10.00', month)).toBe(false);
    // 10.00 for 31 days are 117.74 for 365.
    expect(dearer('117.74', year)).toBe(false);
    expect(dearer('117.75', year)).toBe(true);
  });

  const zones = fc.constantFrom('UTC', 'Europe/Berlin', 'Pacific/Kiritimati', 'America/New_York');
  const intervals = fc.record({
    unit: fc.constantFrom('day' as const, 'week' as const, 'month' as const, 'year' as const),
    count: fc.integer({ min: 1, max: 12 }),
  });
  const cents = fc.integer({ min: 0, max: 10_000_000 }).map((n) => new Decimal(n).dividedBy(100));

  test('a share is never below 0 nor above the whole, and falls from day to day', () => {
    fc.assert(
      fc.property(
        zones,
        intervals,
        cents,
        fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2030-01-01T00:00:00Z') }),
        (zone, interval, amount, startsAt) => {
          const span = { startsAt, endsAt: addDuration(startsAt, interval, zone) };
          let before = amount;
          const step = Math.max(DAY, Math.floor((span.endsAt - startsAt) / 40));
          for (let now = startsAt; now < span.endsAt; now += step) {
            const share = shareOf(amount, daysLeft(span, now, zone), 2);
            expect(share.greaterThan(before)).toBe(false);
            expect(share.isNegative() && !share.isZero()).toBe(false);
            before = share;
          }
          expect(shareOf(amount, daysLeft(span, startsAt, zone), 2).equals(amount)).toBe(true);
        },
      ),
    );
  });

  test('a change to the same price costs nothing, whenever it is', () => {
    fc.assert(
      fc.property(
        zones,
        cents,
        fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2030-01-01T00:00:00Z') }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (zone, price, startsAt, part) => {
          const endsAt = addDuration(startsAt, { unit: 'month', count: 1 }, zone);
          const now = startsAt + Math.floor((endsAt - startsAt) * part);
          const days = daysLeft({ startsAt, endsAt }, now, zone);
          const [credit, charge] = [takePart(price, partLeft(days), 2), shareOf(price, days, 2)];
          expect(credit.equals(charge)).toBe(true);
        },
      ),
    );
  });
});
