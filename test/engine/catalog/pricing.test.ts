import fc from 'fast-check';

import { offerPrice, priceOf, type Pricing, type Tier } from '../../../engine/catalog';
import { OFFER } from '../../../engine/catalog/offers';
import { checkedPricing, pricingInput } from '../../../engine/catalog/pricing';
import { Decimal, input, parse } from '../../../engine/kernel';

/**
 * What a quantity costs, against an oracle that counts one smallest unit after the other and knows
 * whole numbers only.
 */

const tiers: Tier[] = [
  { upTo: '100', unitPrice: '0.10', flatPrice: '0.00' },
  { upTo: '1000', unitPrice: '0.05', flatPrice: '2.00' },
  { upTo: null, unitPrice: '0.002', flatPrice: '10.00' },
];

describe('what a quantity costs', () => {
  test.each<[string, Pricing, string | number, string]>([
    ['flat, whatever the quantity', { model: 'flat', price: '9.99' }, '0.001', '9.99'],
    ['flat, whatever the quantity', { model: 'flat', price: '9.99' }, 1_000_000, '9.99'],
    ['flat, and nothing for nothing', { model: 'flat', price: '9.99' }, 0, '0'],
    ['per unit', { model: 'per_unit', unitPrice: '0.05' }, 3, '0.15'],
    ['per unit, finer than the currency', { model: 'per_unit', unitPrice: '0.004' }, 1, '0'],
    ['per unit, rounded once', { model: 'per_unit', unitPrice: '0.004' }, 1_000, '4'],
    ['per unit, half up', { model: 'per_unit', unitPrice: '0.005' }, 1, '0.01'],
    ['packages begun', { model: 'package', size: '100', price: '3.00' }, 1, '3'],
    ['packages begun', { model: 'package', size: '100', price: '3.00' }, 100, '3'],
    ['packages begun', { model: 'package', size: '100', price: '3.00' }, 101, '6'],
    ['packages begun', { model: 'package', size: '0.5', price: '3.00' }, '1.001', '9'],
    ['graduated, in the first tier', { model: 'graduated', tiers }, 100, '10'],
    ['graduated, one in the second', { model: 'graduated', tiers }, 101, '12.05'],
    ['graduated, the second full', { model: 'graduated', tiers }, 1_000, '57'],
    ['graduated, in the last', { model: 'graduated', tiers }, 2_000, '69'],
    ['graduated, and nothing for nothing', { model: 'graduated', tiers }, 0, '0'],
    ['volume, in the first tier', { model: 'volume', tiers }, 100, '10'],
    ['volume, all in the second', { model: 'volume', tiers }, 101, '7.05'],
    ['volume, the second full', { model: 'volume', tiers }, 1_000, '52'],
    ['volume, all in the last', { model: 'volume', tiers }, 2_000, '14'],
    ['volume, and nothing for nothing', { model: 'volume', tiers }, 0, '0'],
  ])('%s', (_what, pricing, quantity, expected) => {
    expect(priceOf(pricing, new Decimal(quantity), 2).toFixed()).toBe(expected);
  });

  test("an offer's price has its currency's decimals", () => {
    type Priced = Omit<Parameters<typeof offerPrice>[0], 'currency'>;
    const price = (offer: Priced, quantity: number, currency = 'GEM') =>
      offerPrice({ ...offer, currency }, new Decimal(quantity)).toFixed();
    expect(price({ price: '10.00', pricing: { model: 'per_unit', unitPrice: '10.00' } }, 3)).toBe(
      '30',
    );
    const fine: Pricing = {
      model: 'graduated',
      tiers: [{ upTo: null, unitPrice: '0.0015', flatPrice: '0' }],
    };
    expect(price({ price: '0', pricing: fine }, 400)).toBe('1');
    expect(price({ price: '0.00', pricing: fine }, 405)).toBe('0.61');
    expect(price({ price: '0.000', pricing: fine }, 405)).toBe('0.608');
    expect(price({ price: '0.0015', pricing: fine }, 405, 'USD')).toBe('0.61');
  });
});

/** The oracle's prices are whole numbers of a 10,000th, its quantities of the smallest unit. */
const PRICE_DECIMALS = 4;

interface WholeTier {
  upTo: number | null;
  unitPrice: number;
  flatPrice: number;
}

/** Half up, without decimals that a JS number could lose. */
function rounded(total: bigint, from: number, to: number): bigint {
  const unit = 10n ** BigInt(from - to);
  const whole = total / unit;
  return (total % unit) * 2n >= unit ? whole + 1n : whole;
}

const tierOf = (list: readonly WholeTier[], nth: number): number =>
  list.findIndex(({ upTo }) => upTo === null || nth <= upTo);

/** In 10,000ths of a smallest unit's price, `scale` smallest units to one. */
const slowly = {
  per_unit: (unitPrice: number, quantity: number): bigint => {
    let sum = 0n;
    for (let nth = 1; nth <= quantity; nth += 1) sum += BigInt(unitPrice);
    return sum;
  },
  package: (size: number, packagePrice: number, quantity: number, scale: bigint): bigint => {
    let sum = 0n;
    for (let left = quantity; left > 0; left -= size) sum += BigInt(packagePrice) * scale;
    return sum;
  },
  graduated: (list: readonly WholeTier[], quantity: number, scale: bigint): bigint => {
    const entered = new Set<number>();
    let sum = 0n;
    for (let nth = 1; nth <= quantity; nth += 1) {
      const tier = tierOf(list, nth);
      if (!entered.has(tier)) sum += BigInt(list[tier]!.flatPrice) * scale;
      entered.add(tier);
      sum += BigInt(list[tier]!.unitPrice);
    }
    return sum;
  },
  volume: (list: readonly WholeTier[], quantity: number, scale: bigint): bigint => {
    if (quantity === 0) return 0n;
    const tier = list[tierOf(list, quantity)]!;
    let sum = BigInt(tier.flatPrice) * scale;
    for (let nth = 1; nth <= quantity; nth += 1) sum += BigInt(tier.unitPrice);
    return sum;
  },
};

const wholePrice = fc.integer({ min: 0, max: 50_000 });
const decimalPrice = (whole: number): string =>
  new Decimal(whole).dividedBy(10 ** PRICE_DECIMALS).toFixed(PRICE_DECIMALS);
const wholeTiers: fc.Arbitrary<WholeTier[]> = fc
  .uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 4 })
  .chain((ends) => {
    const upTos = [...ends].sort((a, b) => a - b).concat([0]);
    return fc.tuple(
      ...upTos.map((upTo, index) =>
        fc.record({
          upTo: fc.constant(index === upTos.length - 1 ? null : upTo),
          unitPrice: wholePrice,
          flatPrice: wholePrice,
        }),
      ),
    );
  });

/** Units of 0 to 2 decimals, a quantity in smallest ones, and the decimals of a currency. */
const question = {
  unitDecimals: fc.integer({ min: 0, max: 2 }),
  quantity: fc.integer({ min: 0, max: 70 }),
  decimals: fc.integer({ min: 0, max: 3 }),
};

describe('what a quantity costs, counted one by one', () => {
  const inUnits = (small: number, unitDecimals: number) =>
    new Decimal(small).dividedBy(10 ** unitDecimals);
  const same = (
    pricing: Pricing,
    { unitDecimals, quantity, decimals }: Record<keyof typeof question, number>,
    expected: bigint,
  ) => {
    const cents = rounded(expected, PRICE_DECIMALS + unitDecimals, decimals);
    expect(
      priceOf(pricing, inUnits(quantity, unitDecimals), decimals)
        .times(10 ** decimals)
        .toFixed(),
    ).toBe(cents.toString());
  };

  test('per unit and in packages', () => {
    fc.assert(
      fc.property(
        fc.record(question),
        wholePrice,
        fc.integer({ min: 1, max: 20 }),
        (q, one, size) => {
          const scale = 10n ** BigInt(q.unitDecimals);
          const unitPrice = decimalPrice(one);
          same({ model: 'per_unit', unitPrice }, q, slowly.per_unit(one, q.quantity));
          same(
            { model: 'package', size: inUnits(size, q.unitDecimals).toFixed(), price: unitPrice },
            q,
            slowly.package(size, one, q.quantity, scale),
          );
        },
      ),
      { numRuns: 500 },
    );
  });

  test('graduated and by volume', () => {
    fc.assert(
      fc.property(fc.record(question), wholeTiers, (q, list) => {
        const scale = 10n ** BigInt(q.unitDecimals);
        const written = list.map((tier) => ({
          upTo: tier.upTo === null ? null : inUnits(tier.upTo, q.unitDecimals).toFixed(),
          unitPrice: decimalPrice(tier.unitPrice),
          flatPrice: decimalPrice(tier.flatPrice),
        }));
        for (const model of ['graduated', 'volume'] as const) {
          const expected = slowly[model](list, q.quantity, scale);
          same({ model, tiers: written }, q, expected);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('graduated prices never fall, and are the sums of their parts', () => {
    fc.assert(
      fc.property(wholeTiers, fc.integer({ min: 0, max: 69 }), (list, quantity) => {
        const pricing: Pricing = {
          model: 'graduated',
          tiers: list.map((tier) => ({
            upTo: tier.upTo === null ? null : String(tier.upTo),
            unitPrice: decimalPrice(tier.unitPrice),
            flatPrice: decimalPrice(tier.flatPrice),
          })),
        };
        const cost = (units: number) => priceOf(pricing, new Decimal(units), PRICE_DECIMALS);
        const tier = list[tierOf(list, quantity + 1)]!;
        const isEntered = tierOf(list, quantity) !== tierOf(list, quantity + 1) || quantity === 0;
        const more = tier.unitPrice + (isEntered ? tier.flatPrice : 0);
        expect(
          cost(quantity + 1)
            .minus(cost(quantity))
            .toFixed(),
        ).toBe(new Decimal(more).dividedBy(10 ** PRICE_DECIMALS).toFixed());
      }),
      { numRuns: 500 },
    );
  });
});

describe('a pricing that is written', () => {
  const checked = (written: unknown, unitDecimals = 0, ownPrice: string | null = null) =>
    checkedPricing(parse(input({ pricing: pricingInput }), { pricing: written }).pricing, {
      parameter: 'pricing',
      decimals: 2,
      unit: 'a message of MSG',
      unitDecimals,
      ownPrice: ownPrice === null ? null : new Decimal(ownPrice),
    });
  const refused = (parameter: string, code: string): Error =>
    expect.objectContaining({ code, parameter }) as Error;

  test('is kept with amounts as they go out', () => {
    expect(checked({ model: 'flat', price: 5 })).toEqual({ model: 'flat', price: '5.00' });
    expect(checked({ model: 'per_unit', unitPrice: '0.00210' })).toEqual({
      model: 'per_unit',
      unitPrice: '0.0021',
    });
    expect(checked({ model: 'package', size: '1000.0', price: '0.5' })).toEqual({
      model: 'package',
      size: '1000',
      price: '0.50',
    });
    expect(
      checked({ model: 'volume', tiers: [{ upTo: 10, unitPrice: 1 }, { flatPrice: '7' }] }),
    ).toEqual({
      model: 'volume',
      tiers: [
        { upTo: '10', unitPrice: '1.00', flatPrice: '0.00' },
        { upTo: null, unitPrice: '0.00', flatPrice: '7.00' },
      ],
    });
  });

  test('takes the price of its offer, and no other', () => {
    expect(checked({ model: 'flat' }, 0, '12')).toEqual({ model: 'flat', price: '12.00' });
    expect(checked({ model: 'per_unit' }, 0, '12')).toEqual({
      model: 'per_unit',
      unitPrice: '12.00',
    });
    expect(checked({ model: 'package', size: 6, price: '12.0' }, 0, '12')).toEqual({
      model: 'package',
      size: '6',
      price: '12.00',
    });
    expect(() => checked({ model: 'per_unit', unitPrice: '11' }, 0, '12')).toThrow(
      refused('pricing.unitPrice', 'invalid_input'),
    );
  });

  test('tiers may say where they begin', () => {
    const tier = { unitPrice: 1 };
    const expected = [
      { upTo: '100', unitPrice: '1.00', flatPrice: '0.00' },
      { upTo: '200', unitPrice: '1.00', flatPrice: '0.00' },
      { upTo: null, unitPrice: '1.00', flatPrice: '0.00' },
    ];
    for (const froms of [
      [0, 100, 200],
      [1, 101, 201],
      [undefined, 101, undefined],
    ]) {
      const [a, b, c] = froms.map((from) => ({ ...tier, from }));
      const { tiers: kept } = checked({
        model: 'graduated',
        tiers: [{ ...a, upTo: 100 }, { ...b, upTo: 200 }, c],
      }) as { tiers: Tier[] };
      expect(kept).toEqual(expected);
    }
    // To the smallest unit: a gap of 0.9 gigabytes is one.
    const gigabytes = (from: string) =>
      checked(
        {
          model: 'volume',
          tiers: [
            { upTo: '0.5', ...tier },
            { from, ...tier },
          ],
        },
        1,
      );
    expect(gigabytes('0.6')).toMatchObject({ tiers: [{ upTo: '0.5' }, { upTo: null }] });
    expect(() => gigabytes('1.4')).toThrow(refused('pricing.tiers[1].from', 'tier_invalid'));
  });

  test.each<[string, object, string]>([
    [
      'the end of a tier',
      { price: '1', pricing: { model: 'graduated', tiers: [{ upTo: 'x' }, { from: 3 }] } },
      'pricing.tiers[0].upTo',
    ],
    [
      'the price of an offer that has another one',
      { price: {}, pricing: { model: 'flat', price: 1 } },
      'price',
    ],
  ])('%s that is no number is refused, and nothing reckons with it', (_, prices, parameter) => {
    const offer = { sku: 'a', name: 'A', currency: 'EUR', items: [{ product: 'A', quantity: 1 }] };
    expect(() => parse(OFFER.input, { ...offer, ...prices } as never)).toThrow(
      refused(parameter, 'invalid_input'),
    );
  });

  const one = { unitPrice: 1 };
  test.each<[string, unknown, string, string]>([
    [
      'a gap',
      [
        { ...one, upTo: 10 },
        { ...one, from: 12 },
      ],
      'tiers[1].from',
      'tier_invalid',
    ],
    [
      'an overlap',
      [
        { ...one, upTo: 10 },
        { ...one, from: 9 },
      ],
      'tiers[1].from',
      'tier_invalid',
    ],
    ['a gap at the beginning', [{ ...one, from: 2 }], 'tiers[0].from', 'tier_invalid'],
    [
      'tiers that do not ascend',
      [{ ...one, upTo: 10 }, { ...one, upTo: 5 }, one],
      'tiers[1].upTo',
      'tier_invalid',
    ],
    [
      'an empty tier',
      [{ ...one, upTo: 10 }, { ...one, upTo: 10 }, one],
      'tiers[1].upTo',
      'tier_invalid',
    ],
    ['no open last tier', [{ ...one, upTo: 10 }], 'tiers[0].upTo', 'tier_invalid'],
    ['two open tiers', [one, one], 'tiers[0].upTo', 'tier_invalid'],
    ['half a message', [{ ...one, upTo: '10.5' }, one], 'tiers[0].upTo', 'tier_invalid'],
    ['a tier without a price', [{ upTo: 10 }, one], 'tiers[0].unitPrice', 'invalid_input'],
    ['a tier that ends at 0', [{ ...one, upTo: 0 }, one], 'tiers[0].upTo', 'invalid_input'],
    ['a price below 0', [{ unitPrice: -1 }], 'tiers[0].unitPrice', 'invalid_input'],
    ['a word that nobody knows', [{ ...one, to: 10 }], 'tiers[0].to', 'invalid_input'],
    ['no tiers', [], 'tiers', 'invalid_input'],
    ['no list', undefined, 'tiers', 'invalid_input'],
  ])('refused: %s', (_what, written, field, code) => {
    for (const model of ['graduated', 'volume']) {
      expect(() => checked({ model, tiers: written })).toThrow(refused(`pricing.${field}`, code));
    }
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['no model', { price: 1 }, 'pricing.model'],
    ['an unknown model', { model: 'auction' }, 'pricing.model'],
    ['no price', { model: 'flat' }, 'pricing.price'],
    ['no unit price', { model: 'per_unit' }, 'pricing.unitPrice'],
    ['no size', { model: 'package', price: 1 }, 'pricing.size'],
    ['packages of half a message', { model: 'package', size: '0.5', price: 1 }, 'pricing.size'],
    ['packages of nothing', { model: 'package', size: 0, price: 1 }, 'pricing.size'],
    ['a field of another model', { model: 'flat', price: 1, unitPrice: 1 }, 'pricing.unitPrice'],
    ['tiers of another model', { model: 'flat', price: 1, tiers: [one] }, 'pricing.tiers'],
    ['a thirteenth decimal', { model: 'flat', price: '0.0000000000001' }, 'pricing.price'],
  ])('refused: %s', (_what, written, parameter) => {
    expect(() => checked(written)).toThrow(refused(parameter, 'invalid_input'));
  });
});
