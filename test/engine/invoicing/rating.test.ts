import fc from 'fast-check';

import type { Coupon, Pricing, TaxRate } from '../../../engine/catalog';
import type { StoredInvoiceLine } from '../../../engine/invoicing/invoice-lines';
import {
  newLine,
  reckon,
  usageLines,
  windowsOf,
  type OwnRating,
  type PeriodUsage,
} from '../../../engine/invoicing/rating';
import { Decimal, ZERO, decimalsOf } from '../../../engine/kernel';

const decimal = (text: string | number): Decimal => new Decimal(text);
const USD = { code: 'USD', decimals: 2 };
const [PARENT, CHILD] = ['a', 'b'];

const line = (subtotal: string, more: Partial<StoredInvoiceLine> = {}): StoredInvoiceLine =>
  newLine({
    kind: 'fee',
    accountId: PARENT,
    subscriptionId: 'sub',
    sku: 'plan',
    subtotal: decimal(subtotal),
    ...more,
  });

const rate = (percent: string, inclusive = false, key = 'vat'): TaxRate => ({
  key,
  name: 'VAT',
  percent,
  country: null,
  inclusive,
  active: true,
  metadata: {},
  createdAt: '',
  updatedAt: '',
});

const coupon = (more: Partial<Coupon>): Coupon => ({
  code: 'LESS',
  name: null,
  percent: null,
  amount: null,
  currency: null,
  duration: 'forever',
  maxRedemptions: null,
  maxPerAccount: null,
  startsAt: null,
  expiresAt: null,
  skus: null,
  active: true,
  metadata: {},
  createdAt: '',
  updatedAt: '',
  ...more,
});

const COLUMNS = ['subtotal', 'discount', 'net', 'tax', 'total'] as const;

const reckoned = (
  lines: StoredInvoiceLine[],
  { taxed = null, less = {} }: { taxed?: TaxRate | null; less?: Record<string, Coupon> } = {},
) => {
  const {
    lines: found,
    carried,
    lowered,
    ...sums
  } = reckon(lines, {
    currency: 'USD',
    decimals: 2,
    coupons: new Map(Object.entries(less)),
    rateOf: (key) => (key === null ? taxed : rate('7', false, key)),
  });
  return {
    lines: found.map((one) => COLUMNS.map((column) => one[column].toFixed()).join(' ')),
    sums: COLUMNS.map((column) => sums[column].toFixed()).join(' '),
    carried: carried.toFixed(),
    lowered,
  };
};

describe('what an invoice comes to', () => {
  test('I1: a flat rate and two steps', () => {
    expect(reckoned([line('9.99'), line('15.98', { kind: 'step' })])).toEqual({
      lines: ['9.99 0 9.99 0 9.99', '15.98 0 15.98 0 15.98'],
      sums: '25.97 0 25.97 0 25.97',
      carried: '0',
      lowered: [],
    });
  });

  test('I7: a credit and a charge net out, the tax on their sum', () => {
    const lines = [
      line('-15.00', { kind: 'proration_credit' }),
      line('30.00', { kind: 'proration_charge' }),
    ];
    expect(reckoned(lines, { taxed: rate('19') })).toEqual({
      lines: ['-15 0 -15 -2.85 -17.85', '30 0 30 5.7 35.7'],
      sums: '15 0 15 2.85 17.85',
      carried: '0',
      lowered: [],
    });
  });

  test('a sum below 0 is an invoice of 0, and the rest is credit', () => {
    expect(
      reckoned([line('-15.00', { kind: 'proration_credit' }), line('4.00')], { taxed: rate('25') }),
    ).toMatchObject({ sums: '-11 0 -11 -2.75 0', carried: '13.75' });
  });

  describe('a credit that carries the tax of the line that it corrects', () => {
    const correction = (percent: string, inclusive = false) =>
      line('-3.33', {
        kind: 'proration_credit',
        net: decimal('-3.33'),
        tax: decimal('-0.63'),
        total: decimal('-3.96'),
        correctsInvoiceId: 'invoice',
        correctsPosition: 1,
        taxKey: 'vat',
        taxName: 'VAT',
        taxPercent: decimal(percent),
        taxInclusive: inclusive,
      });

    test('at the rate of today: the tax of both is rounded once, on their sum', () => {
      // 19 % of 3.33 is 0.6327; of 6.66 alone it would be 1.2654.
      const lines = [correction('19'), line('6.66')];
      expect(reckoned(lines, { taxed: rate('19') })).toMatchObject({
        lines: ['-3.33 0 -3.33 -0.63 -3.96', '6.66 0 6.66 1.26 7.92'],
        sums: '3.33 0 3.33 0.63 3.96',
      });
    });

    test.each([
      ['another percentage', correction('16')],
      ['a rate that holds the tax', correction('19', true)],
    ])('at %s: each is rounded for itself', (_what, credit) => {
      expect(reckoned([credit, line('6.66')], { taxed: rate('19') })).toMatchObject({
        lines: ['-3.33 0 -3.33 -0.63 -3.96', '6.66 0 6.66 1.27 7.93'],
        sums: '3.33 0 3.33 0.64 3.97',
      });
    });

    test('whatever is owed today: nothing is taken of it where nothing is taxed', () => {
      expect(reckoned([correction('19'), line('6.66')], {})).toMatchObject({
        sums: '3.33 0 3.33 -0.63 2.7',
      });
    });
  });

  test('discount first, only of the lines of the subscription, of offers it covers, and not of credits', () => {
    const less = { sub: coupon({ percent: '50', skus: ['plan'] }) };
    const lines = [
      line('10.00'),
      line('8.00', { subscriptionId: 'other' }),
      line('6.00', { sku: 'addon' }),
      line('-4.00', { kind: 'proration_credit' }),
      line('2.00', { discountable: false }),
    ];
    expect(reckoned(lines, { less, taxed: rate('10') })).toEqual({
      lines: [
        '10 5 5 0.5 5.5',
        '8 0 8 0.8 8.8',
        '6 0 6 0.6 6.6',
        '-4 0 -4 -0.4 -4.4',
        '2 0 2 0.2 2.2',
      ],
      sums: '22 5 17 1.7 18.7',
      carried: '0',
      lowered: ['sub'],
    });
  });

  test('an amount off is spread over the lines, never more than there is, and only in its currency', () => {
    const off = (amount: string, currency = 'USD') => ({ sub: coupon({ amount, currency }) });
    expect(reckoned([line('10.00'), line('20.00')], { less: off('1.00') }).lines).toEqual([
      '10 0.33 9.67 0 9.67',
      '20 0.67 19.33 0 19.33',
    ]);
    expect(reckoned([line('10.00')], { less: off('99.00') }).sums).toBe('10 10 0 0 0');
    expect(reckoned([line('10.00')], { less: off('5.00', 'EUR') }).sums).toBe('10 0 10 0 10');
  });

  test('each rate is rounded once, on its sum; a line may name its own, or none', () => {
    const lines = [
      line('0.02'),
      line('0.02'),
      line('0.02'),
      line('1.00', { taxKey: 'reduced' }),
      line('5.00', { taxable: false }),
    ];
    expect(reckoned(lines, { taxed: rate('19') })).toMatchObject({
      // 19 % of 0.06 is 0.0114.
      lines: [
        '0.02 0 0.02 0.01 0.03',
        '0.02 0 0.02 0 0.02',
        '0.02 0 0.02 0 0.02',
        '1 0 1 0.07 1.07',
        '5 0 5 0 5',
      ],
      sums: '6.06 0 6.06 0.08 6.14',
    });
  });

  test('an inclusive rate is within', () => {
    expect(reckoned([line('119.00'), line('-11.90')], { taxed: rate('19', true) })).toMatchObject({
      lines: ['119 0 100 19 119', '-11.9 0 -10 -1.9 -11.9'],
      sums: '107.1 0 90 17.1 107.1',
    });
  });

  test('columns always add up, and nothing is finer than the currency', () => {
    const cents = fc.integer({ min: -5_000, max: 50_000 }).map((n) => decimal(n).div(100));
    fc.assert(
      fc.property(
        fc.array(fc.record({ subtotal: cents, taxable: fc.boolean() }), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.integer({ min: 0, max: 3_000 }),
        fc.boolean(),
        fc.option(fc.integer({ min: 1, max: 10_000 }), { nil: null }),
        (given, percent, inclusive, off) => {
          const lines = given.map((one) => line('0', one));
          const found = reckon(lines, {
            currency: 'USD',
            decimals: 2,
            coupons:
              off === null ? new Map() : new Map([['sub', coupon({ percent: `${off / 100}` })]]),
            rateOf: () => rate(`${percent / 100}`, inclusive),
          });
          for (const column of COLUMNS.slice(0, 4)) {
            const sum = found.lines.reduce((all, one) => all.plus(one[column]), ZERO);
            expect(sum.toFixed()).toBe(found[column].toFixed());
            for (const one of found.lines) expect(decimalsOf(one[column])).toBeLessThanOrEqual(2);
          }
          expect(found.net.plus(found.tax).plus(found.carried).toFixed()).toBe(
            found.total.toFixed(),
          );
          expect(found.total.isNegative() && !found.total.isZero()).toBe(false);
          found.lines.forEach((one, index) => {
            expect(one.net.plus(one.tax).toFixed()).toBe(one.total.toFixed());
            expect(one.subtotal.toFixed()).toBe(given[index]!.subtotal.toFixed());
            // A tax goes with its line: none on what is not taxable, and never against the line.
            if (!given[index]!.taxable) expect(one.tax.isZero()).toBe(true);
            expect(one.tax.times(one.subtotal).greaterThanOrEqualTo(0)).toBe(true);
          });
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('use beyond what was granted', () => {
  const usage = (
    pricing: Pricing,
    unbilled: Record<string, string>,
    billed: [quantity: string, amount: string] = ['0', '0'],
  ): PeriodUsage => ({
    payerId: PARENT,
    subscriptionId: 'sub',
    periodNumber: 3,
    sku: 'plan',
    version: 2,
    product: 'MSG',
    pricing,
    startsAt: Date.parse('2027-01-01T00:00:00Z'),
    endsAt: Date.parse('2027-02-01T00:00:00Z'),
    billed: { quantity: decimal(billed[0]), amount: decimal(billed[1]) },
    unbilled: Object.entries(unbilled).map(([accountId, quantity]) => ({
      accountId,
      quantity: decimal(quantity),
    })),
  });
  const shown = (lines: readonly StoredInvoiceLine[]) =>
    lines.map((one) => `${one.accountId} ${one.quantity.toFixed()} ${one.subtotal.toFixed()}`);
  const perUnit: Pricing = { model: 'per_unit', unitPrice: '0.0125' };
  const volume: Pricing = {
    model: 'volume',
    tiers: [
      { upTo: '100', unitPrice: '0.10', flatPrice: '0' },
      { upTo: null, unitPrice: '0.05', flatPrice: '0' },
    ],
  };

  test('it is priced by the pricing of the offer, and rounded once', () => {
    const [only, ...others] = usageLines(usage(perUnit, { a: '3' }), USD);
    expect(others).toEqual([]);
    expect(only).toMatchObject({
      kind: 'usage',
      accountId: PARENT,
      subscriptionId: 'sub',
      periodNumber: 3,
      sku: 'plan',
      version: 2,
      product: 'MSG',
    });
    // 3 at 0.0125 are 0.0375.
    expect([only!.subtotal.toFixed(), only!.unitPrice!.toFixed()]).toEqual(['0.04', '0.0125']);
  });

  test('I4: tiers count the use of all, and each account bears its share', () => {
    expect(shown(usageLines(usage(volume, { a: '100', b: '50' }), USD))).toEqual([
      'a 100 5',
      'b 50 2.5',
    ]);
    expect(shown(usageLines(usage(volume, { a: '1', b: '1', c: '1' }), USD))).toEqual([
      'a 1 0.1',
      'b 1 0.1',
      'c 1 0.1',
    ]);
  });

  test('I7: 100.00 over three are 33.34, 33.33 and 33.33', () => {
    const flat: Pricing = { model: 'flat', price: '100.00' };
    expect(shown(usageLines(usage(flat, { a: '1', b: '1', c: '1' }), USD))).toEqual([
      'a 1 33.34',
      'b 1 33.33',
      'c 1 33.33',
    ]);
  });

  test('late use costs what all of it costs, less what is billed', () => {
    // 80 cost 8.00; 120 cost 6.00, all at the lower price.
    expect(shown(usageLines(usage(volume, { a: '40' }, ['80', '8.00']), USD))).toEqual(['a 40 -2']);
    expect(shown(usageLines(usage(volume, { b: '-30' }, ['80', '8.00']), USD))).toEqual([
      'b -30 -3',
    ]);
  });

  test('what was restored in the same period never was', () => {
    expect(usageLines(usage(perUnit, { [PARENT]: '0', [CHILD]: '0' }), USD)).toEqual([]);
    expect(usageLines(usage(perUnit, {}), USD)).toEqual([]);
  });

  test('a rating of your own takes the place of the pricing, for its product alone', () => {
    const asked: unknown[] = [];
    const own: OwnRating = {
      MSG: (of) => {
        asked.push(of);
        return { amount: '7.77' };
      },
    };
    expect(shown(usageLines(usage(perUnit, { a: '2', b: '1' }), USD, own))).toEqual([
      'a 2 5.18',
      'b 1 2.59',
    ]);
    expect(asked).toEqual([
      {
        product: 'MSG',
        quantity: '3',
        currency: 'USD',
        payer: 'a',
        subscriptionId: 'sub',
        sku: 'plan',
        periodStart: '2027-01-01T00:00:00.000Z',
        periodEnd: '2027-02-01T00:00:00.000Z',
      },
    ]);
    expect(
      shown(usageLines(usage(perUnit, { a: '80' }), USD, { OTHER: () => ({ amount: '1' }) })),
    ).toEqual(['a 80 1']);
  });

  test.each([
    ['a number with a fraction', () => ({ amount: 1.5 })],
    ['too many decimals', () => ({ amount: '1.001' })],
    ['less than nothing', () => ({ amount: '-1.00' })],
    ['a promise', () => Promise.resolve({ amount: '1.00' }) as never],
    ['nothing', () => undefined as never],
    [
      'an error',
      () => {
        throw new Error('no price list');
      },
    ],
  ])('a rating that answers %s is refused', (_name, rating) => {
    expect(() => usageLines(usage(perUnit, { a: '2' }), USD, { MSG: rating })).toThrow(
      expect.objectContaining({ code: 'invalid_input', parameter: 'rating.MSG' }),
    );
  });

  test('lines of use always add up to its price', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: 100_000 }),
        (quantities, before) => {
          const priceOf = (quantity: number): Decimal =>
            usageLines(usage(volume, { a: `${quantity}` }), USD).reduce(
              (sum, one) => sum.plus(one.subtotal),
              ZERO,
            );
          const billed = before === 0 ? ZERO : priceOf(before);
          const unbilled = Object.fromEntries(
            quantities.map((quantity, index) => [`x${index}`, `${quantity}`]),
          );
          const lines = usageLines(usage(volume, unbilled, [`${before}`, billed.toFixed()]), USD);
          const sum = lines.reduce((all, one) => all.plus(one.subtotal), billed);
          const whole = priceOf(before + quantities.reduce((all, one) => all + one, 0));
          expect(sum.toFixed()).toBe(whole.toFixed());
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('the period that use lies in', () => {
  const period = (subscriptionId: string, startsAt: number, endsAt: number, number = 1) => ({
    subscriptionId,
    number,
    startsAt,
    endsAt,
  });
  const shown = (periods: Array<ReturnType<typeof period>>) =>
    windowsOf(periods).map((one) => `${one.period.subscriptionId} ${one.from.at}-${one.to.at}`);

  test('of two that price the same, the one that began first has it', () => {
    expect(shown([period('b', 5, 15), period('a', 0, 10)])).toEqual(['a 0-10', 'b 10-15']);
    expect(shown([period('a', 0, 20), period('b', 5, 15)])).toEqual(['a 0-20']);
    expect(shown([period('b', 0, 10), period('a', 0, 10)])).toEqual(['a 0-10']);
    expect(shown([period('a', 0, 10), period('a', 10, 20, 2), period('b', 30, 40)])).toEqual([
      'a 0-10',
      'a 10-20',
      'b 30-40',
    ]);
  });

  test('of the instant in which a period was cut it has what stands up to its last line', () => {
    const cut = { ...period('a', 10, 10), lastLine: 7n };
    const after = period('a', 10, 20, 2);
    expect(windowsOf([after, cut]).map(({ from, to }) => [from, to])).toEqual([
      [
        { at: 10, line: 0n },
        { at: 10, line: 7n },
      ],
      [
        { at: 10, line: 7n },
        { at: 20, line: 0n },
      ],
    ]);
    expect(windowsOf([period('a', 10, 10)])).toEqual([]);
  });

  test('windows never overlap, and lie within their periods', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 20 })), {
          maxLength: 10,
        }),
        (spans) => {
          const windows = windowsOf(
            spans.map(([start, length], index) => period(`${index}`, start, start + length)),
          );
          windows.forEach(({ period: of, from, to }, index) => {
            expect(from.at).toBeGreaterThanOrEqual(of.startsAt);
            expect(to.at).toBe(of.endsAt);
            expect(from.at).toBeLessThan(to.at);
            if (index > 0) expect(from.at).toBeGreaterThanOrEqual(windows[index - 1]!.to.at);
          });
          const covered = (at: number) =>
            spans.some(([start, length]) => at >= start && at < start + length);
          for (let at = 0; at < 75; at += 1) {
            expect(windows.filter(({ from, to }) => at >= from.at && at < to.at)).toHaveLength(
              covered(at) ? 1 : 0,
            );
          }
        },
      ),
    );
  });
});
