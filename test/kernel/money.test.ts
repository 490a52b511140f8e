import DecimalJs from 'decimal.js';
import fc from 'fast-check';

import {
  Decimal,
  currencyDecimals,
  decimalsOf,
  formatMoney,
  formatUnits,
  formatValue,
  isBillingError,
  round,
  split,
} from '../../engine/kernel';

const decimal = (text: string): Decimal => new Decimal(text);
const texts = (parts: readonly Decimal[]): string[] => parts.map((part) => part.toFixed());
const sum = (parts: readonly Decimal[]): Decimal =>
  parts.reduce((all, part) => all.plus(part), decimal('0'));

/** Decimal text of a whole number of smallest units, without decimal.js. */
const fromSmallest = (count: bigint, decimals: number): string => {
  const digits = (count < 0n ? -count : count).toString().padStart(decimals + 1, '0');
  const point = digits.length - decimals;
  const text = decimals === 0 ? digits : `${digits.slice(0, point)}.${digits.slice(point)}`;
  return count < 0n ? `-${text}` : text;
};

describe('rounding', () => {
  test.each([
    ['0.005', 2, '0.01'],
    ['0.0049999999999999999999', 2, '0'],
    ['1.005', 2, '1.01'],
    ['2.675', 2, '2.68'],
    ['-0.005', 2, '-0.01'],
    ['-1.005', 2, '-1.01'],
    ['-2.5', 0, '-3'],
    ['2.5', 0, '3'],
    ['-0.004', 2, '0'],
    ['26.942675159235668789', 8, '26.94267516'],
    ['999999999999999.9999999999995', 12, '1000000000000000'],
  ])('%s to %i decimals is %s: the half goes away from zero', (amount, decimals, expected) => {
    expect(round(decimal(amount), decimals).equals(expected)).toBe(true);
  });

  test.each([
    ['0.019', 2, '0.01'],
    ['-0.019', 2, '-0.01'],
    ['1.999999999', 8, '1.99999999'],
  ])('%s cut down to %i decimals is %s', (amount, decimals, expected) => {
    expect(round(decimal(amount), decimals, 'down').equals(expected)).toBe(true);
  });

  test('agrees with arithmetic on whole numbers', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(10n ** 27n), max: 10n ** 27n }),
        fc.integer({ min: 0, max: 12 }),
        (count, decimals) => {
          const divisor = 10n ** BigInt(12 - decimals);
          const size = count < 0n ? -count : count;
          const up = (size * 2n + divisor) / (divisor * 2n);
          const expected = fromSmallest(count < 0n ? -up : up, decimals);
          expect(round(decimal(fromSmallest(count, 12)), decimals).equals(decimal(expected))).toBe(
            true,
          );
        },
      ),
    );
  });

  test('is not touched by what others do to decimal.js', () => {
    const { precision, rounding } = DecimalJs;
    try {
      DecimalJs.set({ precision: 3, rounding: DecimalJs.ROUND_DOWN });
      expect(decimal('123456.5').plus('0.25').toFixed()).toBe('123456.75');
      expect(round(decimal('0.125'), 2).toFixed()).toBe('0.13');
    } finally {
      DecimalJs.set({ precision, rounding });
    }
  });

  test('products of the widest amounts keep every digit', () => {
    const widest = decimal('999999999999999.999999999999');
    const expected = fromSmallest(999999999999999999999999999n ** 2n, 24);
    expect(widest.times(widest).toFixed()).toBe(expected);
  });
});

describe('splitting', () => {
  const ones = (count: number): Decimal[] => Array.from({ length: count }, () => decimal('1'));

  test('I7: 100.00 over three is 33.34 + 33.33 + 33.33', () => {
    const parts = split(decimal('100.00'), ones(3), 2);
    expect(parts.map((part) => formatMoney(part, 2))).toEqual(['33.34', '33.33', '33.33']);
  });

  test.each([
    ['-100.00', ['1', '1', '1'], 2, ['-33.34', '-33.33', '-33.33']],
    ['-0.05', ['1', '1', '1'], 2, ['-0.02', '-0.02', '-0.01']],
    ['100', ['1', '1', '1'], 0, ['34', '33', '33']],
    ['1.000', ['1', '1', '1'], 3, ['0.334', '0.333', '0.333']],
    ['0', ['1', '2'], 2, ['0', '0']],
    ['10', ['0', '0', '0', '0'], 0, ['3', '3', '2', '2']],
    ['10', ['0', '1', '0'], 2, ['0', '10', '0']],
    ['0.01', ['1', '1', '1'], 2, ['0.01', '0', '0']],
    ['0.02', ['1', '2', '3'], 2, ['0', '0.01', '0.01']],
    ['10.00', ['1', '2', '3'], 2, ['1.67', '3.33', '5']],
    ['5', ['7'], 0, ['5']],
    ['47.00', ['0.3', '0.7'], 2, ['14.1', '32.9']],
  ])('%s by weights %j at %i decimals', (total, weights, decimals, expected) => {
    expect(texts(split(decimal(total), weights.map(decimal), decimals))).toEqual(expected);
  });

  test('what is left over goes to the largest remainders, not to the first parts', () => {
    // Exact: 1.25, 1.25, 2.5 by cents of 5: remainders 0.25, 0.25, 0.5.
    expect(texts(split(decimal('5'), ['1', '1', '2'].map(decimal), 0))).toEqual(['1', '1', '3']);
  });

  test('parts are refused that cannot be', () => {
    for (const weights of [[], [decimal('1'), decimal('-1')]]) {
      let thrown: unknown;
      try {
        split(decimal('1'), weights, 2);
      } catch (error) {
        thrown = error;
      }
      expect(isBillingError(thrown) && thrown.code).toBe('invalid_input');
    }
  });

  const totals = fc.record({
    decimals: fc.integer({ min: 0, max: 12 }),
    count: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }),
    weights: fc.array(
      fc.oneof(
        fc.constant(0n),
        fc.bigInt({ min: 0n, max: 20n }),
        fc.bigInt({ min: 0n, max: 10n ** 27n }),
      ),
      { minLength: 1, maxLength: 20 },
    ),
  });

  test('parts add up exactly, and each is within one smallest unit of its exact share', () => {
    fc.assert(
      fc.property(totals, ({ decimals, count, weights }) => {
        const parts = split(
          decimal(fromSmallest(count, decimals)),
          weights.map((weight) => decimal(fromSmallest(weight, 12))),
          decimals,
        );
        expect(sum(parts).equals(fromSmallest(count, decimals))).toBe(true);

        // In smallest units, on whole numbers: |part * all - count * weight| < all.
        const scale = decimal('10').pow(decimals);
        const counts = parts.map((part) => BigInt(part.times(scale).toFixed()));
        const whole = weights.reduce((all, weight) => all + weight, 0n);
        const shares = whole === 0n ? weights.map(() => 1n) : weights;
        const all = whole === 0n ? BigInt(weights.length) : whole;
        counts.forEach((part, index) => {
          const off = part * all - count * shares[index]!;
          expect(off < all && off > -all).toBe(true);
        });
        // No part got a unit while one with a larger remainder went without.
        const size = count < 0n ? -count : count;
        const remainders = shares.map((share) => (size * share) % all);
        const got = counts.map((part, index) => {
          const own = part < 0n ? -part : part;
          return own - (size * shares[index]!) / all;
        });
        got.forEach((extra, index) => {
          expect(extra === 0n || extra === 1n).toBe(true);
          got.forEach((otherExtra, other) => {
            if (extra === 1n && otherExtra === 0n) {
              expect(remainders[index]! >= remainders[other]!).toBe(true);
              if (remainders[index] === remainders[other]) expect(index < other).toBe(true);
            }
          });
        });
      }),
    );
  });
});

describe('currencies', () => {
  test.each([
    ['USD', 2],
    ['EUR', 2],
    ['GBP', 2],
    ['CHF', 2],
    ['INR', 2],
    ['JPY', 0],
    ['KRW', 0],
    ['VND', 0],
    ['CLP', 0],
    ['ISK', 0],
    ['UGX', 0],
    ['XOF', 0],
    ['XAF', 0],
    ['XPF', 0],
    ['KWD', 3],
    ['BHD', 3],
    ['IQD', 3],
    ['JOD', 3],
    ['LYD', 3],
    ['OMR', 3],
    ['TND', 3],
    ['CLF', 4],
    ['UYW', 4],
    ['MRU', 2],
    ['MGA', 2],
    ['SLE', 2],
    ['XCG', 2],
  ])('%s has %i decimals by ISO 4217', (currency, decimals) => {
    expect(currencyDecimals(currency)).toBe(decimals);
  });

  test.each(['usd', 'Usd', 'US', 'USDT', 'ABC', 'INTERNAL', '', '840', 'US$', ' USD', 'USD '])(
    '"%s" is no ISO 4217 currency',
    (currency) => {
      expect(currencyDecimals(currency)).toBeNull();
    },
  );
});

describe('going out', () => {
  test.each([
    ['70', '70'],
    ['70.000', '70'],
    ['0.500', '0.5'],
    ['0', '0'],
    ['-0', '0'],
    ['0.000000000001', '0.000000000001'],
    ['999999999999999', '999999999999999'],
    ['1e21', '1000000000000000000000'],
    ['-12.50', '-12.5'],
  ])('units: %s is %s', (amount, expected) => {
    expect(formatUnits(decimal(amount))).toBe(expected);
  });

  test.each([
    ['40', 2, '40.00'],
    ['500', 0, '500'],
    ['1.25', 3, '1.250'],
    ['0', 2, '0.00'],
    ['-0.001', 2, '0.00'],
    ['-0.005', 2, '-0.01'],
    ['0.005', 2, '0.01'],
    ['1e20', 2, '100000000000000000000.00'],
  ])('money: %s at %i decimals is %s', (amount, decimals, expected) => {
    expect(formatMoney(decimal(amount), decimals)).toBe(expected);
  });

  test.each([
    ['14.968152866242038', '14.96815287'],
    ['0', '0.00000000'],
    ['-0.000000001', '0.00000000'],
    ['47', '47.00000000'],
  ])('value: %s is %s', (amount, expected) => {
    expect(formatValue(decimal(amount))).toBe(expected);
  });

  test.each([
    ['1.50', 1],
    ['100', 0],
    ['0.000000000001', 12],
    ['1e-20', 20],
    ['0', 0],
  ])('%s really has %i decimals', (amount, decimals) => {
    expect(decimalsOf(decimal(amount))).toBe(decimals);
  });
});
