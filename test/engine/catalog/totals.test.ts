import fc from 'fast-check';

import { totals, type Totals, type TotalsRequest } from '../../../engine/catalog';
import { Decimal, ZERO, decimalsOf } from '../../../engine/kernel';

const decimal = (text: string | number): Decimal => new Decimal(text);
const COLUMNS = ['subtotal', 'discount', 'net', 'tax', 'total'] as const;

/** All in one object of texts: easier to read when it differs. */
const shown = (found: Totals) => ({
  lines: found.lines.map((line) => COLUMNS.map((column) => line[column].toFixed()).join(' ')),
  sums: COLUMNS.map((column) => found[column].toFixed()).join(' '),
});

const of = (
  amounts: readonly string[],
  more: Partial<Omit<TotalsRequest, 'lines'>> = {},
): ReturnType<typeof shown> =>
  shown(
    totals({
      lines: amounts.map((amount) => ({ amount: decimal(amount) })),
      discount: null,
      rate: null,
      decimals: 2,
      ...more,
    }),
  );

const percentOff = (percent: string) => ({ percent: decimal(percent) });
const rate = (percent: string, inclusive = false) => ({ percent: decimal(percent), inclusive });

describe('totals', () => {
  test('S1: without discount and tax they are the sum of the lines', () => {
    expect(of(['20.00', '20.00'])).toEqual({
      lines: ['20 0 20 0 20', '20 0 20 0 20'],
      sums: '40 0 40 0 40',
    });
  });

  test('no lines come to nothing', () => {
    expect(of([], { discount: percentOff('10'), rate: rate('19') })).toEqual({
      lines: [],
      sums: '0 0 0 0 0',
    });
  });

  test('a percent is rounded once, on the sum, and spread by largest remainder', () => {
    // 33.33 % of 30.00 is 9.999.
    expect(of(['10.00', '10.00', '10.00'], { discount: percentOff('33.33') })).toEqual({
      lines: ['10 3.34 6.66 0 6.66', '10 3.33 6.67 0 6.67', '10 3.33 6.67 0 6.67'],
      sums: '30 10 20 0 20',
    });
  });

  test('an amount is never more than there is', () => {
    expect(of(['3.00', '1.00'], { discount: { amount: decimal('5.00') } }).sums).toBe('4 4 0 0 0');
    expect(of(['3.00', '1.00'], { discount: { amount: decimal('1.00') } }).lines).toEqual([
      '3 0.75 2.25 0 2.25',
      '1 0.25 0.75 0 0.75',
    ]);
  });

  test('a discount leaves out the lines that it is not for', () => {
    const lines = [{ amount: decimal('50.00'), discountable: false }, { amount: decimal('10.00') }];
    const request = { lines, rate: null, decimals: 2 };
    expect(shown(totals({ ...request, discount: percentOff('50') })).lines).toEqual([
      '50 0 50 0 50',
      '10 5 5 0 5',
    ]);
    expect(shown(totals({ ...request, discount: { amount: decimal('20.00') } })).sums).toBe(
      '60 10 50 0 50',
    );
  });

  test('tax comes after the discount: on top of an exclusive price, within an inclusive one', () => {
    const amounts = ['99.99', '0.01'];
    expect(of(amounts, { discount: percentOff('10'), rate: rate('19') }).sums).toBe(
      '100 10 90 17.1 107.1',
    );
    expect(of(amounts, { discount: percentOff('10'), rate: rate('19', true) }).sums).toBe(
      '100 10 75.63 14.37 90',
    );
  });

  test('tax is rounded on the sum, not line by line', () => {
    // Line by line 7 % of 0.07 would be 0.00, three times.
    expect(of(['0.07', '0.07', '0.07'], { rate: rate('7') })).toEqual({
      lines: ['0.07 0 0.07 0.01 0.08', '0.07 0 0.07 0 0.07', '0.07 0 0.07 0 0.07'],
      sums: '0.21 0 0.21 0.01 0.22',
    });
  });

  test('lines that are not taxed bear none of it', () => {
    const lines = [{ amount: decimal('10.00'), taxable: false }, { amount: decimal('10.00') }];
    const found = totals({ lines, discount: null, rate: rate('20', true), decimals: 2 });
    expect(shown(found).lines).toEqual(['10 0 10 0 10', '10 0 8.33 1.67 10']);
  });

  test.each([
    ['JPY', 0, '999', '999 50 863 86 949'],
    ['KWD', 3, '9.999', '9.999 0.5 8.635 0.864 9.499'],
  ])('in %s they have its %i decimals', (_currency, decimals, amount, sums) => {
    expect(of([amount], { discount: percentOff('5'), rate: rate('10', true), decimals }).sums).toBe(
      sums,
    );
  });

  test('always add up, and nothing is ever below 0 or finer than the currency', () => {
    const percent = (highest: number) =>
      fc.integer({ min: 0, max: highest }).map((count) => decimal(count).dividedBy(10_000));
    const lines = fc.array(
      fc.record({
        smallest: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 10 ** 9 })),
        taxable: fc.boolean(),
        discountable: fc.boolean(),
      }),
      { maxLength: 12 },
    );
    const discount = fc.oneof(
      fc.constant(null),
      percent(1_000_000).map((off) => ({ percent: off })),
      fc.integer({ min: 1, max: 10 ** 9 }).map((off) => ({ smallest: off })),
    );
    const rates = fc.option(fc.record({ percent: percent(1_000_000), inclusive: fc.boolean() }));
    fc.assert(
      fc.property(
        lines,
        discount,
        rates,
        fc.constantFrom(0, 2, 3),
        (given, off, taxRate, decimals) => {
          const unit = decimal(10).pow(-decimals);
          const request: TotalsRequest = {
            lines: given.map(({ smallest, ...line }) => ({
              ...line,
              amount: unit.times(smallest),
            })),
            discount:
              off !== null && 'smallest' in off ? { amount: unit.times(off.smallest) } : off,
            rate: taxRate,
            decimals,
          };
          const found = totals(request);
          const within = (a: Decimal, b: Decimal, by: Decimal) =>
            expect(a.minus(b).abs().lessThanOrEqualTo(by)).toBe(true);

          for (const column of COLUMNS) {
            const added = found.lines.reduce((sum, line) => sum.plus(line[column]), ZERO);
            expect(added.equals(found[column])).toBe(true);
          }
          for (const [index, line] of [...found.lines, found].entries()) {
            for (const column of COLUMNS) {
              expect(line[column].isNegative() && !line[column].isZero()).toBe(false);
              expect(decimalsOf(line[column])).toBeLessThanOrEqual(decimals);
            }
            expect(line.net.plus(line.tax).equals(line.total)).toBe(true);
            const after = line.subtotal.minus(line.discount);
            expect(after.equals(taxRate?.inclusive === true ? line.total : line.net)).toBe(true);
            const asked = request.lines[index];
            if (asked === undefined) continue;
            expect(line.subtotal.equals(asked.amount)).toBe(true);
            if (asked.discountable === false) expect(line.discount.isZero()).toBe(true);
            if (asked.taxable === false) expect(line.tax.isZero()).toBe(true);
          }

          // The sums, by the rule and by whole smallest units.
          const sumOf = (which: (index: number) => boolean, of: (index: number) => Decimal) =>
            found.lines.reduce((sum, _, at) => (which(at) ? sum.plus(of(at)) : sum), ZERO);
          const open = sumOf(
            (at) => request.lines[at]!.discountable !== false,
            (at) => found.lines[at]!.subtotal,
          );
          const { discount: asked } = request;
          if (asked === null) expect(found.discount.isZero()).toBe(true);
          else if ('amount' in asked) {
            expect(found.discount.equals(Decimal.min(asked.amount, open))).toBe(true);
          } else {
            within(found.discount, open.times(asked.percent).dividedBy(100), unit.dividedBy(2));
          }
          const taxed = sumOf(
            (at) => request.lines[at]!.taxable !== false,
            (at) => found.lines[at]!.subtotal.minus(found.lines[at]!.discount),
          );
          const per = taxRate?.inclusive === true ? taxRate.percent.plus(100) : decimal(100);
          const exact = taxed.times(taxRate?.percent ?? 0).dividedBy(per);
          within(found.tax, exact, unit.dividedBy(2));
        },
      ),
      { numRuns: 500 },
    );
  });
});
