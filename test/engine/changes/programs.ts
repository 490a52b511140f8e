import fc from 'fast-check';

import type { Billing } from '../../../engine';
import type { Card, Coupon, CreditRule, Mode, Plan, Tax } from './oracle';

/** What random programs are made of: a catalog, what may be done, and when. */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const month = { unit: 'month', count: 1 } as const;

export const PLANS = {
  small: { sku: 'small', price: '30.00', interval: month, units: 300 },
  large: { sku: 'large', price: '60.00', interval: month, units: 600 },
  near: { sku: 'near', price: '30.01', interval: month, units: 300 },
  tiny: { sku: 'tiny', price: '3.00', interval: month, units: 30 },
  vast: { sku: 'vast', price: '3000.00', interval: month, units: 200_000 },
  seat: { sku: 'seat', price: '10.00', interval: month, units: 300 },
  trusted: { sku: 'trusted', price: '45.00', interval: month, units: 500, access: 'at_once' },
  weekly: { sku: 'weekly', price: '7.00', interval: { unit: 'week', count: 1 }, units: 70 },
  yearly: { sku: 'yearly', price: '300.00', interval: { unit: 'year', count: 1 }, units: 3_600 },
  gifted: { sku: 'gifted', price: '33.33', interval: month, units: 100, gift: 45 },
  stepped: {
    ...{ sku: 'stepped', price: '20.00', interval: month, units: 200 },
    extra: { units: 10, size: 5, price: '2.00' },
  },
  late: {
    ...{ sku: 'late', price: '31.00', interval: month, units: 310 },
    ...{ bill: 'arrears', overage: '0.05' },
  },
  tried: {
    ...{ sku: 'tried', price: '30.00', interval: month, units: 300 },
    phases: [{ price: '0.00', days: 14, units: 20 }],
  },
  tripwire: {
    ...{ sku: 'tripwire', price: '99.00', interval: month, units: 250 },
    phases: [{ price: '1.00', days: 15, units: 10 }],
  },
} satisfies Record<string, Plan>;
export type PlanName = keyof typeof PLANS;
export const planOf = (name: PlanName): Plan => PLANS[name];

export const COUPONS = {
  TEN: { code: 'TEN', amount: '10.00', periods: 3 },
  HALF: { code: 'HALF', percent: 50, periods: 2 },
  FIFTH: { code: 'FIFTH', percent: 20, periods: null },
} satisfies Record<string, Coupon>;
export type CouponName = keyof typeof COUPONS;
export const couponOf = (name: CouponName): Coupon => COUPONS[name];

export const TAXES = {
  none: null,
  de19: { percent: 19, inclusive: false },
  de16: { percent: 16, inclusive: false },
  in20: { percent: 20, inclusive: true },
} satisfies Record<string, Tax>;
export type TaxName = keyof typeof TAXES | 'reverse' | 'exempt';
export const taxOf = (name: TaxName): Tax =>
  name === 'reverse' || name === 'exempt' ? null : TAXES[name];

export const PACK = { sku: 'pack', price: '5.00', units: 50 };

export type Action =
  | { do: 'start'; plan: PlanName; quantity: number; how: 'charge' | 'send'; coupon?: CouponName }
  | {
      do: 'change';
      plan?: PlanName;
      quantity?: number;
      when?: 'now' | 'period_end';
      mode?: Mode;
      prorations?: 'period_end';
    }
  | { do: 'cancel'; when: 'now' | 'period_end'; credit?: CreditRule }
  | { do: 'undo' | 'pause' | 'resume' | 'reactivate' }
  | { do: 'pack' | 'restore' }
  | { do: 'use' | 'hold'; share: number }
  | { do: 'settle'; share: number }
  | { do: 'steps'; steps: number }
  | { do: 'note'; which: number; to: 'refund' | 'credit'; part?: Part }
  | { do: 'refund'; which: number; part?: Part }
  | { do: 'dispute'; which: number }
  | { do: 'refundPack'; which: number; used: 'forgive' | 'charge' }
  | { do: 'tax'; tax: TaxName }
  | { do: 'card'; card: Card }
  | { do: 'pay'; which: number };

/** A line of an invoice, and how much of what is left of it. */
export interface Part {
  line: number;
  share: number;
}

export interface Step {
  /** How many ticks of the clock pass before it. */
  wait: number;
  act: Action;
  /** The same request again, under the same key. */
  twice: boolean;
}

export interface Program {
  zone: string;
  tax: TaxName;
  card: Card;
  steps: Step[];
}

const DAYS = [
  0, 0.1, 1, 2, 3, 5, 8, 10, 13, 14, 15, 15.1, 16, 20, 25, 29, 30, 30.1, 31, 35, 40, 45, 50, 59, 61,
  63,
];
/** What began with a program ends at that very instant. */
const ENDS = [0, 14, 30, 31];
/** Longer than a cycle takes that was killed: what is due days after it, is so in a later one for sure. */
const LATER = 25 * 60_000;

/** When programs do something, from their beginning; the clock is theirs together. */
export const TICKS = DAYS.map(
  (days, index) => Math.round(days * DAY) + (ENDS.includes(days) ? 0 : index * LATER),
);

/** Where programs begin: before months of other lengths, and before clocks are put forward and back. */
export const STARTS = [
  '2027-06-01T09:00:00Z',
  '2027-01-31T10:30:00Z',
  '2027-10-15T22:15:00Z',
  '2028-02-10T00:00:00Z',
].map((at) => Date.parse(at));

const plan = fc.constantFrom(...(Object.keys(PLANS) as PlanName[]));
const quantity = fc.constantFrom(1, 1, 2, 3, 10);
const optional = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.option(arbitrary, { nil: undefined, freq: 2 });
const which = fc.integer({ min: 0, max: 3 });
const share = fc.constantFrom(0.1, 0.5, 1, 1);

const start = fc.record({
  do: fc.constant('start' as const),
  plan,
  quantity,
  how: fc.constantFrom('charge' as const, 'charge' as const, 'charge' as const, 'send' as const),
  coupon: fc.option(fc.constantFrom(...(Object.keys(COUPONS) as CouponName[])), {
    nil: undefined,
    freq: 1,
  }),
});

const change = fc
  .record({
    do: fc.constant('change' as const),
    plan: optional(plan),
    quantity: optional(quantity),
    when: optional(fc.constantFrom('now' as const, 'now' as const, 'period_end' as const)),
    mode: optional(fc.constantFrom('prorate' as const, 'add' as const, 'full' as const)),
    prorations: fc.option(fc.constant('period_end' as const), { nil: undefined, freq: 1 }),
  })
  .filter((one) => one.plan !== undefined || one.quantity !== undefined)
  .map((one) => (one.when === 'period_end' ? { ...one, mode: undefined } : one));

const part = optional(
  fc.record({ line: fc.integer({ min: 0, max: 2 }), share: fc.constantFrom(0.3, 0.5, 1) }),
);

const cancel = fc.oneof(
  fc.record({
    do: fc.constant('cancel' as const),
    when: fc.constant('now' as const),
    credit: optional(fc.constantFrom<CreditRule>(true, 'time', false)),
  }),
  fc.record({ do: fc.constant('cancel' as const), when: fc.constant('period_end' as const) }),
);

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 8, arbitrary: change },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('use' as const), share }) },
  { weight: 2, arbitrary: cancel },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('undo' as const, 'pause' as const, 'resume' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reactivate' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('steps' as const), steps: fc.constantFrom(1, 3) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('pack' as const, 'restore' as const) }) },
  { weight: 1, arbitrary: start },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('hold' as const, 'settle' as const), share }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('note' as const),
      which,
      to: fc.constantFrom('refund' as const, 'credit' as const),
      part,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('refund' as const), which, part }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('dispute' as const), which }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('refundPack' as const),
      which,
      used: fc.constantFrom('forgive' as const, 'charge' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('tax' as const),
      tax: fc.constantFrom<TaxName>('none', 'de19', 'de16', 'in20', 'reverse', 'exempt'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('card' as const),
      card: fc.constantFrom<Card>('good', 'good', 'bad'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pay' as const), which }) },
);

const step = (act: fc.Arbitrary<Action>): fc.Arbitrary<Step> =>
  fc.record({
    wait: fc.constantFrom(0, 0, 1, 1, 2, 3, 5, 8),
    act,
    twice: fc.constantFrom(false, false, false, true),
  });

/** What is not paid lapses; begun anew, it is paid by another card, or what is owed of before it. */
const begunAnew: fc.Arbitrary<Step[]> = fc
  .tuple(
    step(start),
    step(fc.constant({ do: 'reactivate' as const })),
    step(fc.constant({ do: 'card' as const, card: 'good' as const })),
  )
  .map(([first, anew, card]) => [first, { ...anew, wait: anew.wait + 2 }, card]);

export const program: fc.Arbitrary<Program> = fc
  .record({
    zone: fc.constantFrom('UTC', 'UTC', 'Europe/Berlin', 'America/New_York'),
    tax: fc.constantFrom<TaxName>('none', 'none', 'de19', 'in20'),
    card: fc.constantFrom<Card>('good', 'good', 'good', 'good', 'bad', null),
    first: fc.oneof(
      { weight: 5, arbitrary: step(start).map((one) => [one]) },
      { weight: 1, arbitrary: begunAnew },
    ),
    then: fc.array(step(action), { minLength: 1, maxLength: 9, size: 'max' }),
  })
  .map(({ first, then, ...one }) => ({ ...one, steps: [...first, ...then] }));

/** A program as somebody reads it. */
export function textOf({ steps, ...one }: Program, start: number): string {
  let tick = 0;
  const lines = steps.map(({ wait, act, twice }) => {
    tick = Math.min(tick + wait, TICKS.length - 1);
    const { do: what, ...more } = act;
    const at = new Date(start + TICKS[tick]!).toISOString().slice(0, 16);
    const said = Object.entries(more)
      .filter(([, value]) => value !== undefined)
      .map(
        ([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`,
      );
    return `  ${at}  ${what} ${said.join(', ')}${twice ? ' (twice)' : ''}`;
  });
  return [JSON.stringify(one), ...lines].join('\n');
}

export async function fillCatalog({ catalog }: Billing): Promise<void> {
  await catalog.saveProduct({ key: 'MSG', name: 'Messages' });
  await catalog.saveProduct({ key: 'GIFT', name: 'Gifts' });
  await catalog.saveProduct({ key: 'EXTRA', name: 'Extras' });
  for (const [key, tax] of Object.entries(TAXES)) {
    if (tax === null) continue;
    await catalog.saveTaxRate({ key, name: key, percent: tax.percent, inclusive: tax.inclusive });
  }
  for (const one of Object.values<Plan>(PLANS)) {
    const { sku, price, interval, units, bill, phases, access, gift, extra, overage } = one;
    const perUnit = { model: 'per_unit', unitPrice: overage ?? '0' } as const;
    await catalog.saveOffer({
      ...{ sku, name: sku, price, currency: 'USD', billing: 'recurring', interval },
      items: [
        { product: 'MSG', quantity: units, ...(overage && { overage: { pricing: perUnit } }) },
        ...(extra === undefined
          ? []
          : [
              {
                ...{ product: 'EXTRA', quantity: extra.units },
                step: { size: extra.size, price: extra.price },
              },
            ]),
      ],
      trialPhases: phases?.map(({ price: cost, days, units: few }) => ({
        price: cost,
        length: { unit: 'day' as const, count: days },
        items: [{ product: 'MSG', quantity: few }],
      })),
      bonuses: gift === undefined ? [] : [{ product: 'GIFT', quantity: gift }],
      collect: { bill: bill ?? 'advance', access },
    });
  }
  await catalog.saveOffer({
    ...{ sku: PACK.sku, name: 'Pack', price: PACK.price, currency: 'USD' },
    items: [{ product: 'MSG', quantity: PACK.units }],
  });
  for (const { code, periods, ...off } of Object.values<Coupon>(COUPONS)) {
    const duration = periods === null ? 'forever' : { times: periods };
    const of = off.amount === undefined ? off : { ...off, currency: 'USD' };
    await catalog.saveCoupon({ code, ...of, duration });
  }
}
