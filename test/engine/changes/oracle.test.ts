import Decimal from 'decimal.js';

import { DAY, Oracle, type Plan, type Terms } from './oracle';

/** The cases of acceptance.md on the oracle itself: what it says is what the rules say. */

/** A month of 30 days follows. */
const START = Date.parse('2027-06-01T09:00:00Z');
const plan = (price: string, units: number, more: Partial<Plan> = {}): Plan => ({
  sku: `${price} for ${units}`,
  price,
  units,
  interval: { unit: 'month', count: 1 },
  ...more,
});
const small = plan('30.00', 300);
const large = plan('60.00', 600);
const seats = plan('10.00', 300);

const life = (more: Partial<Terms> = {}): Oracle =>
  new Oracle({ zone: 'UTC', tax: null, card: 'good', now: START, ...more });

/** One that is paid for and in force. */
function subscribed(of: Plan, quantity = 1, more: Partial<Terms> = {}): Oracle {
  const one = life(more);
  one.start(of, quantity, 'charge', null);
  one.settle();
  return one;
}

const on = (one: Oracle, days: number): Oracle => {
  one.advance(START + days * DAY);
  one.settle();
  return one;
};
const use = (one: Oracle, amount: number): boolean => one.use(new Decimal(amount)) !== null;
const change = (one: Oracle, ...wanted: Parameters<Oracle['change']>): void => {
  expect(one.change(...wanted)).toBe(true);
  one.settle();
};
const shown = (one: Oracle): string[] => [
  one.kept().toFixed(2),
  one.credit.toFixed(2),
  one.usable().MSG.toFixed(),
];

describe('the oracle', () => {
  test('C1: seats bring their share of the units, whatever was used before', () => {
    const mid = subscribed(seats, 10);
    expect(use(mid, 3_000)).toBe(true);
    change(on(mid, 15), { plan: seats, quantity: 11 });
    expect(shown(mid)).toEqual(['105.00', '0.00', '150']);

    const first = subscribed(seats, 10);
    use(first, 3_000);
    for (const quantity of [11, 12, 13, 14, 15]) change(first, { plan: seats, quantity });
    expect(shown(first)).toEqual(['150.00', '0.00', '1500']);
  });

  test('C2: an upgrade pays the difference, and brings it', () => {
    const mid = subscribed(small);
    use(mid, 300);
    change(on(mid, 15), { plan: large, quantity: 1 });
    expect(shown(mid)).toEqual(['45.00', '0.00', '150']);
    const first = subscribed(small);
    use(first, 300);
    change(first, { plan: large, quantity: 1 });
    expect(shown(first)).toEqual(['60.00', '0.00', '300']);
  });

  test('C3: nothing comes back of what was used', () => {
    const one = subscribed(large);
    use(one, 600);
    change(on(one, 15), { plan: small, quantity: 1, when: 'now' });
    expect(shown(one)).toEqual(['75.00', '0.00', '150']);

    const little = plan('30.01', 300);
    const both = subscribed(small);
    use(both, 300);
    for (let time = 1; time <= 5; time += 1) {
      change(both, { plan: little, quantity: 1 });
      use(both, both.usable().MSG.toNumber());
      change(both, { plan: small, quantity: 1, when: 'now' });
      use(both, both.usable().MSG.toNumber());
    }
    expect(shown(both)).toEqual(['180.05', '0.00', '0']);
  });

  test('C4: what came back comes back once, whatever came first', () => {
    const credited = on(subscribed(small), 10);
    expect(credited.cancel('now', true)).toBe(true);
    credited.settle();
    expect(shown(credited)).toEqual(['30.00', '20.00', '0']);
    expect(credited.note(credited.invoices[0]!, 'refund').toFixed(2)).toBe('10.00');

    const refunded = on(subscribed(small), 10);
    expect(refunded.note(refunded.invoices[0]!, 'credit').toFixed(2)).toBe('30.00');
    refunded.cancel('now', true);
    refunded.settle();
    expect(shown(refunded)).toEqual(['30.00', '30.00', '0']);
  });

  test('what account credit paid does not go back as money', () => {
    const one = subscribed(small);
    one.credit = new Decimal('10.00');
    on(one, 30);
    const renewal = one.invoices.at(-1)!;
    expect(one.refund(renewal).toFixed(2)).toBe('0.00');
    expect(one.note(renewal, 'credit').toFixed(2)).toBe('30.00');
    expect(shown(one)).toEqual(['50.00', '30.00', '300']);
  });

  test('C5: the tax that comes back is the one that was paid', () => {
    const one = subscribed(plan('100.00', 300), 1, { tax: { percent: 19, inclusive: false } });
    on(one, 15).tax = { percent: 16, inclusive: false };
    one.cancel('now', true);
    one.settle();
    expect(shown(one)).toEqual(['119.00', '59.50', '0']);
    expect(one.taxes().get('19')!.toFixed(2)).toBe('9.50');
  });

  test('C6: what is not paid brings nothing, and a later success brings it once', () => {
    const one = subscribed(plan('3.00', 30));
    one.card = 'bad';
    change(one, { plan: plan('3000.00', 200_000), quantity: 1 });
    expect(shown(one)).toEqual(['3.00', '0.00', '30']);
    one.card = 'good';
    on(one, 3);
    expect(shown(one)).toEqual(['3000.00', '0.00', '200000']);
    on(one, 8);
    expect(shown(one)).toEqual(['3000.00', '0.00', '200000']);
  });

  test('C7: a fixed coupon counts by the days, and periods count, not invoices', () => {
    const one = life();
    one.start(small, 1, 'charge', { code: 'TEN', amount: '10.00', periods: 3 });
    one.settle();
    change(on(one, 15), { plan: large, quantity: 1 });
    expect(one.kept().toFixed(2)).toBe('35.00');

    const half = life();
    half.start(seats, 1, 'charge', { code: 'HALF', percent: 50, periods: 3 });
    half.settle();
    change(half, { plan: seats, quantity: 2 });
    change(half, { plan: seats, quantity: 3 });
    expect(half.kept().toFixed(2)).toBe('15.00');
    const months = [30, 61, 92].map((days) => on(half, days).kept().toFixed(2));
    expect(months).toEqual(['30.00', '45.00', '75.00']);
  });

  test('C8: arrears ended now cost the days had, and the use beyond, that day', () => {
    const january = Date.parse('2027-01-01T00:00:00Z');
    const one = life({ now: january });
    one.start(plan('31.00', 310, { bill: 'arrears', overage: '0.05' }), 1, 'charge', null);
    one.settle();
    use(one, 330);
    one.advance(january + 17 * DAY);
    one.cancel('now');
    one.settle();
    expect(one.kept().toFixed(2)).toBe('18.00');
    one.advance(january + 31 * DAY);
    one.settle();
    expect(one.kept().toFixed(2)).toBe('18.00');
  });

  test('C9: after free days nothing of what is to be paid comes before it is paid', () => {
    const phases = [{ price: '0.00', days: 14, units: 20 }];
    const [waits, ends] = (['invoice', 'cancel'] as const).map((withoutMethod) => {
      const one = life({ card: null });
      one.start(plan('30.00', 300, { phases, withoutMethod }), 1, 'charge', null);
      one.settle();
      expect(shown(one)).toEqual(['0.00', '0.00', '20']);
      return on(one, 14);
    });
    expect(shown(waits!)).toEqual(['0.00', '0.00', '0']);
    expect(waits!.due().toFixed(2)).toBe('30.00');
    expect(ends!.subscription!.state).toBe('over');
    expect(ends!.invoices).toEqual([]);
  });

  test('C10: a first payment that fails makes one invoice, and nothing else', () => {
    const daily = plan('1.00', 10, { interval: { unit: 'day', count: 1 } });
    const one = subscribed(daily, 1, { card: 'bad' });
    for (let day = 1; day <= 20; day += 1) on(one, day);
    expect(one.invoices.map(({ tries, paid }) => [tries, paid.toFixed(2)])).toEqual([[4, '0.00']]);
    expect(shown(one)).toEqual(['0.00', '0.00', '0']);
    one.pay(one.invoices[0]!);
    expect(shown(one)).toEqual(['1.00', '0.00', '10']);
    expect(shown(on(one, 20.5))).toEqual(['1.00', '0.00', '10']);
    expect(one.subscription!.to).toBe(START + 21 * DAY);
  });
});
