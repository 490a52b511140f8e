import { TestClock, isBillingError, isoTime, readClock, systemClock } from '../../engine/kernel';

const thrownBy = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
};

describe('reading a clock', () => {
  const instant = Date.UTC(2027, 0, 31, 12);

  test.each([
    ['a Date', new Date(instant)],
    ['milliseconds', instant],
    ['an ISO text', '2027-01-31T12:00:00Z'],
    ['an ISO text with an offset', '2027-01-31T13:00:00+01:00'],
  ])('takes %s', (_form, time) => {
    expect(readClock({ now: () => time })).toBe(instant);
  });

  test('parts of a millisecond are cut', () => {
    expect(readClock({ now: () => instant + 0.9 })).toBe(instant);
  });

  test.each([
    ['an invalid Date', new Date('x')],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['text that is no time', 'tomorrow'],
    ['empty text', ''],
    ['nothing', undefined as unknown as string],
  ])('%s is an error, never "now"', (_form, time) => {
    const error = thrownBy(() => readClock({ now: () => time }));
    expect(isBillingError(error)).toBe(true);
    expect(error).toMatchObject({ code: 'invalid_input', parameter: 'clock' });
  });

  test('the system clock shows the system time', () => {
    const before = Date.now();
    const shown = readClock(systemClock);
    expect(shown).toBeGreaterThanOrEqual(before);
    expect(shown).toBeLessThanOrEqual(Date.now());
  });
});

describe('the test clock', () => {
  test('stands still until it is moved, either way', () => {
    const clock = new TestClock('2027-01-31T00:00:00Z');
    expect(isoTime(readClock(clock))).toBe('2027-01-31T00:00:00.000Z');
    expect(readClock(clock)).toBe(readClock(clock));
    clock.advance(1_500);
    expect(clock.now().toISOString()).toBe('2027-01-31T00:00:01.500Z');
    clock.advance(-2_500);
    expect(clock.now().toISOString()).toBe('2027-01-30T23:59:59.000Z');
    clock.set(new Date('2028-02-29T00:00:00Z'));
    expect(clock.now().toISOString()).toBe('2028-02-29T00:00:00.000Z');
    clock.set(0);
    expect(clock.now().toISOString()).toBe('1970-01-01T00:00:00.000Z');
  });

  test('what it hands out cannot move it', () => {
    const clock = new TestClock('2027-01-31T00:00:00Z');
    clock.now().setUTCFullYear(1999);
    expect(clock.now().toISOString()).toBe('2027-01-31T00:00:00.000Z');
  });

  test('begins at the system time unless told otherwise', () => {
    const before = Date.now();
    const start = new TestClock().now().getTime();
    expect(start).toBeGreaterThanOrEqual(before);
    expect(start).toBeLessThanOrEqual(Date.now());
  });

  test('is not moved by a time that is none', () => {
    const clock = new TestClock('2027-01-31T00:00:00Z');
    for (const move of [() => clock.set('soon'), () => clock.advance(Number.NaN)]) {
      expect(thrownBy(move)).toMatchObject({ code: 'invalid_input', parameter: 'clock' });
    }
    expect(clock.now().toISOString()).toBe('2027-01-31T00:00:00.000Z');
    expect(thrownBy(() => new TestClock('soon'))).toMatchObject({ code: 'invalid_input' });
  });
});

test('times go out in UTC with milliseconds', () => {
  expect(isoTime(0)).toBe('1970-01-01T00:00:00.000Z');
  expect(isoTime(Date.UTC(2027, 11, 31, 23, 59, 59, 999))).toBe('2027-12-31T23:59:59.999Z');
});
