import fc from 'fast-check';

import { TestClock, type Billing, type Order } from '../../../engine';
import { Decimal } from '../../../engine/kernel';
import { netAndTax } from '../../../engine/sales/refund-plan';
import { databaseKinds, newSchema, onEachDatabase, openOnServer, runs } from '../each-database';

const DAY = 86_400_000;
const START = Date.parse('2027-01-10T12:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

test('net and tax of refunds never come to more than was paid of either', () => {
  const cents = fc.integer({ min: 0, max: 100_000 });
  fc.assert(
    fc.property(cents, cents, fc.array(fc.nat(100)), (net, tax, parts) => {
      let left = { net: new Decimal(net).div(100), tax: new Decimal(tax).div(100) };
      for (const part of [...parts, 100]) {
        const whole = left.net.plus(left.tax);
        const amount = whole.times(part).div(100).toDecimalPlaces(2, Decimal.ROUND_DOWN);
        const back = netAndTax(amount, left, 2);
        expect(back.net.plus(back.tax).equals(amount)).toBe(true);
        left = { net: left.net.minus(back.net), tax: left.tax.minus(back.tax) };
        expect(left.net.isNegative() && !left.net.isZero()).toBe(false);
        expect(left.tax.isNegative() && !left.tax.isZero()).toBe(false);
      }
      expect([left.net.toFixed(), left.tax.toFixed()]).toEqual(['0', '0']);
    }),
  );
});

onEachDatabase('refunds', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    for (const key of ['CREDIT', 'TOKENS', 'MSG']) {
      await billing.catalog.saveProduct({ key, name: key });
    }
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', decimals: 2 });
    await billing.catalog.saveProduct({ key: 'PLAN', name: 'The plan', kind: 'period' });
    await billing.catalog.saveTaxRate({ key: 'de', name: 'MwSt.', percent: '19' });
    await offer('hundred', '10.00', [{ product: 'TOKENS', quantity: 100 }]);
    await offer('credits', '47.00', [{ product: 'CREDIT', quantity: 314 }]);
    await offer('nine', '9.99', [{ product: 'TOKENS', quantity: 10 }]);
    await offer('ninety', '9.99', [{ product: 'MSG', quantity: 90 }]);
    await offer('month', '30.00', [
      { product: 'PLAN', quantity: 1, expiresAfter: { unit: 'month', count: 1 } },
    ]);
    await offer('storage', '10.00', [{ product: 'GB', quantity: '3' }]);
    await offer('with-bonus', '20.00', [{ product: 'CREDIT', quantity: 100 }], {
      bonuses: [{ product: 'CREDIT', quantity: 10 }],
    });
    await offer('both', '30.00', [
      { product: 'TOKENS', quantity: 100, share: '1' },
      { product: 'CREDIT', quantity: 50, share: '2' },
    ]);
  });

  beforeEach(() => clock.set(START));

  const offer = (sku: string, price: string, items: object[], more: object = {}) =>
    billing.catalog.saveOffer({
      sku,
      name: sku,
      price,
      currency: 'USD',
      items: items as [],
      ...more,
    });
  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `buyer-${counter}` });
    return accountId;
  };
  /** An order of these offers, paid. */
  const bought = async (
    account: string,
    items: Array<{ sku: string; quantity?: number }>,
    more: object = {},
  ): Promise<Order> => {
    const created = await billing.sales.createOrder({ account, items, ...more });
    counter += 1;
    return billing.sales.confirmOrder({
      orderId: created.orderId!,
      paymentId: `pay-${counter}`,
      gateway: 'stripe',
    });
  };
  const use = (account: string, product: string, amount: number | string) =>
    billing.ledger.consume({ account, product, amount });
  const available = async (account: string, product: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product })).available;
  /** Balances of the money book that are not 0, by account. */
  const book = async (account: string): Promise<Record<string, string>> =>
    Object.fromEntries(
      (await billing.books.balances({ account }))
        .filter((one) => !new Decimal(one.balance).isZero())
        .map((one) => [one.account, one.balance]),
    );
  const sound = async (): Promise<void> => {
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
  };

  test('S2: 100 bought, 20 used, refunded in full: everything goes back, 80 are debited', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    await use(account, 'TOKENS', 20);
    expect(await billing.sales.refundOrder({ orderId, reason: 'changed my mind' })).toMatchObject({
      orderId,
      status: 'refunded',
      paid: '10.00',
      refunded: '10.00',
      items: [{ refunded: '10.00' }],
      refund: {
        amount: '10.00',
        net: '10.00',
        tax: '0.00',
        units: [{ product: 'TOKENS', quantity: '80', value: '8.00000000' }],
        rounding: '0.00000000',
      },
      replayed: false,
    });
    expect(await billing.sales.getOrder({ orderId })).toMatchObject({
      refunds: [{ amount: '10.00', reason: 'changed my mind', refundedAt: expect.any(String) }],
    });
    expect(await available(account, 'TOKENS')).toBe('0');
    const { items } = await billing.ledger.entries({ account, kind: 'refund' });
    expect(items).toMatchObject([{ amount: '-80', value: '-8.00000000' }]);
    // Two were earned, and are given up again.
    expect(await book(account)).toEqual({});
    const state = { code: 'order_state', parameter: 'orderId' };
    const { paymentId } = await billing.sales.getOrder({ orderId });
    expect(
      await failure(
        billing.sales.confirmOrder({ orderId, paymentId: paymentId!, gateway: 'stripe' }),
      ),
    ).toEqual(state);
    expect(await failure(billing.sales.refundOrder({ orderId }))).toEqual(state);
    const pending = await billing.sales.createOrder({ account, items: [{ sku: 'hundred' }] });
    expect(await failure(billing.sales.refundOrder({ orderId: pending.orderId! }))).toEqual(state);
    await sound();
  });

  test('R1: of 314 credits for 47.00 a use of 100 earns 14.96815287', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'credits' }]);
    const [grant] = await billing.ledger.grants({ account });
    expect(grant).toMatchObject({ unitValue: '0.14968153', value: '47.00000000' });
    await use(account, 'CREDIT', 100);
    expect(await billing.ledger.grants({ account })).toMatchObject([
      { remaining: '214', valueLeft: '32.03184713' },
    ]);
    expect(await book(account)).toEqual({
      cash: '47.00000000',
      deferred: '-32.03184713',
      revenue: '-14.96815287',
    });
    // Charged: what was paid and not earned, rounded down.
    expect(await billing.sales.refundOrder({ orderId, used: 'charge' })).toMatchObject({
      status: 'partly_refunded',
      refund: {
        amount: '32.03',
        units: [{ quantity: '214', value: '32.03184713' }],
        rounding: '0.00184713',
      },
    });
    expect(await book(account)).toEqual({
      cash: '14.97000000',
      revenue: '-14.96815287',
      rounding: '-0.00184713',
    });
    await sound();
    // The rest, out of goodwill.
    expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
      status: 'refunded',
      refund: { amount: '14.97', units: [] },
    });
    expect(await book(account)).toEqual({});
  });

  test('R2: 20.00 of 314 credits for 47.00 takes 134, and the rounding stands alone', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'credits' }]);
    const { refund } = await billing.sales.refundOrder({ orderId, amount: '20.00' });
    expect(refund).toMatchObject({
      amount: '20.00',
      units: [{ product: 'CREDIT', quantity: '134', value: '20.05732484' }],
      rounding: '0.05732484',
    });
    expect(await billing.ledger.grants({ account })).toMatchObject([
      { remaining: '180', valueLeft: '26.94267516' },
    ]);
    expect(await book(account)).toEqual({
      cash: '27.00000000',
      deferred: '-26.94267516',
      rounding: '-0.05732484',
    });
    const { items } = await billing.books.postings({ account, kind: 'rounding' });
    expect(items).toHaveLength(1);
    await sound();
    // The rest takes the rounding back.
    expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
      status: 'refunded',
      refund: {
        amount: '27.00',
        units: [{ quantity: '180', value: '26.94267516' }],
        rounding: '-0.05732484',
      },
    });
    expect(await book(account)).toEqual({});
    expect(await available(account, 'CREDIT')).toBe('0');
  });

  test('"charge" pays nothing back for what cannot be taken in part, and counts no bonus', async () => {
    await offer('three', '30.00', [{ product: 'MSG', quantity: 3 }]);
    const account = await newAccount();
    const three = await bought(account, [{ sku: 'three' }]);
    await use(account, 'MSG', 3);
    await expect(
      billing.sales.refundOrder({ orderId: three.orderId, used: 'charge', amount: '4.99' }),
    ).rejects.toMatchObject({ code: 'refund_exceeds_paid' });
    const month = await bought(account, [{ sku: 'month' }]);
    await expect(
      billing.sales.refundOrder({ orderId: month.orderId, used: 'charge', amount: '29.99' }),
    ).rejects.toMatchObject({ code: 'refund_exceeds_paid' });
    await offer('gift-50', '10.00', [{ product: 'TOKENS', quantity: 100 }], {
      bonuses: [{ product: 'CREDIT', quantity: 50 }],
    });
    const gift = await bought(account, [{ sku: 'gift-50' }]);
    await use(account, 'CREDIT', 50);
    expect(
      await billing.sales.refundOrder({ orderId: gift.orderId, used: 'charge', amount: '5.00' }),
    ).toMatchObject({ refunded: '5.00' });
    await sound();
  });

  test('"negative" in parts owes no more than was used', async () => {
    await offer('short', '10.00', [
      { product: 'GB', quantity: 100, expiresAfter: { unit: 'day', count: 1 } },
    ]);
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'short' }]);
    await use(account, 'GB', 40);
    clock.advance(2 * 86_400_000);
    await billing.sales.refundOrder({ orderId, used: 'negative', amount: '5.00' });
    await billing.sales.refundOrder({ orderId, used: 'negative' });
    await billing.ledger.grant({ account, product: 'GB', quantity: 200 });
    expect(await available(account, 'GB')).toBe('160');
    await sound();
  });

  test('an item by number is a position, by text a sku first', async () => {
    await offer('2', '5.00', [{ product: 'MSG', quantity: 5 }]);
    await offer('1', '7.00', [{ product: 'MSG', quantity: 7 }]);
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: '2' }, { sku: '1' }]);
    expect(await billing.sales.refundOrder({ orderId, item: 1 })).toMatchObject({
      refunded: '5.00',
    });
    expect(await billing.sales.refundOrder({ orderId, item: '1' })).toMatchObject({
      refunded: '12.00',
    });
  });

  test('access bought when the first of two was taken back begins at once', async () => {
    const account = await newAccount();
    const first = await bought(account, [{ sku: 'month' }]);
    await bought(account, [{ sku: 'month' }]);
    await billing.sales.refundOrder({ orderId: first.orderId });
    expect(await available(account, 'PLAN')).toBe('0');
    await bought(account, [{ sku: 'month' }]);
    expect(await available(account, 'PLAN')).toBe('1');
    await sound();
  });

  test('what a child bought is taken back where its units are, though it left its parent again', async () => {
    const child = await newAccount();
    const parent = await newAccount();
    const { orderId } = await bought(child, [{ sku: 'hundred' }]);
    await billing.accounts.attachChild({ parent, child, moveUnits: true });
    await billing.accounts.detachChild({ child });
    await billing.sales.refundOrder({ orderId });
    expect(await available(parent, 'TOKENS')).toBe('0');
    await sound();

    const late = await billing.sales.createOrder({ account: child, items: [{ sku: 'hundred' }] });
    clock.advance(2 * 86_400_000);
    await billing.accounts.attachChild({ parent, child });
    const paid = { orderId: late.orderId!, paymentId: 'late child', gateway: 'stripe' };
    await billing.sales.confirmOrder(paid);
    await billing.accounts.detachChild({ child });
    await billing.sales.refundOrder({ orderId: late.orderId! });
    expect(await available(parent, 'TOKENS')).toBe('0');
    await sound();
  });

  test('commission is taken back though the buyer got a parent meanwhile', async () => {
    await billing.sales.setReferralProgram({ commission: { levels: ['10'] } });
    const [referrer, buyer, parent] = [await newAccount(), await newAccount(), await newAccount()];
    await billing.sales.attachReferral({ referrer, account: buyer });
    const { orderId } = await bought(buyer, [{ sku: 'hundred' }]);
    const earned = async () => (await billing.sales.commissions({ account: referrer })).balances;
    expect(await earned()).toMatchObject([{ earned: '1.00', available: '1.00' }]);
    await billing.accounts.attachChild({ parent, child: buyer, moveUnits: true });
    await billing.sales.refundOrder({ orderId });
    expect(await earned()).toMatchObject([{ reversed: '1.00', available: '0.00' }]);
    await sound();
  });

  test('a child does not shed its debt by getting a parent', async () => {
    const child = await newAccount();
    const parent = await newAccount();
    const { orderId } = await bought(child, [{ sku: 'hundred' }]);
    await use(child, 'TOKENS', 14);
    await billing.sales.refundOrder({ orderId, used: 'negative' });
    await expect(billing.accounts.attachChild({ parent, child })).rejects.toMatchObject({
      code: 'merge_conflict',
    });
    await billing.accounts.attachChild({ parent, child, moveUnits: true });
    await billing.ledger.grant({ account: child, product: 'TOKENS', quantity: 20 });
    expect(await available(parent, 'TOKENS')).toBe('6');
    await sound();
  });

  test('R2: units are rounded half up, to the product\u2019s decimals, at most what is left', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    const part = async (amount: string): Promise<string | undefined> =>
      (await billing.sales.refundOrder({ orderId, amount })).refund.units[0]?.quantity;
    expect(await part('0.05')).toBe('1');
    expect(await part('0.04')).toBeUndefined();
    expect(await part('0.25')).toBe('3');
    await use(account, 'TOKENS', 90);
    expect(await part('5.00')).toBe('6');
    const storage = await bought(account, [{ sku: 'storage' }]);
    expect(
      await billing.sales.refundOrder({ orderId: storage.orderId, amount: '1.00' }),
    ).toMatchObject({ refund: { units: [{ quantity: '0.3' }] } });
    await sound();
  });

  test('R3: two items of 9.99: both for 19.98, one only by name, and never more than was paid', async () => {
    const account = await newAccount();
    const items = [{ sku: 'nine' }, { sku: 'ninety' }];
    const both = await bought(account, items);
    expect(
      await billing.sales.refundOrder({ orderId: both.orderId, amount: '19.98' }),
    ).toMatchObject({
      status: 'refunded',
      refund: { units: [{ product: 'TOKENS' }, { product: 'MSG' }] },
    });

    const { orderId } = await bought(account, items);
    const attempt = (more: object) => failure(billing.sales.refundOrder({ orderId, ...more }));
    const ambiguous = { code: 'refund_ambiguous', parameter: 'item' };
    expect(await attempt({ amount: '9.99' })).toEqual(ambiguous);
    expect(await attempt({ amount: '3.00' })).toEqual(ambiguous);
    const exceeds = { code: 'refund_exceeds_paid', parameter: 'amount' };
    expect(await attempt({ amount: '19.99' })).toEqual(exceeds);
    expect(await attempt({ item: 'nine', amount: '10.00' })).toEqual(exceeds);
    expect(await attempt({ item: 'other' })).toEqual({ code: 'invalid_input', parameter: 'item' });
    expect(await available(account, 'MSG')).toBe('90');
    expect(
      await billing.sales.refundOrder({ orderId, item: 'ninety', amount: '9.99' }),
    ).toMatchObject({
      status: 'partly_refunded',
      refunded: '9.99',
      items: [{ refunded: '0.00' }, { refunded: '9.99' }],
    });
    expect(await available(account, 'MSG')).toBe('0');
    expect(await available(account, 'TOKENS')).toBe('10');
    expect(await attempt({ item: 2 })).toEqual(exceeds);
    expect(await attempt({ amount: '10.00' })).toEqual(exceeds);
    // Only one item has money left: which is meant is clear.
    expect(await billing.sales.refundOrder({ orderId, amount: '4.00' })).toMatchObject({
      items: [{ refunded: '4.00' }, { refunded: '9.99' }],
    });
    expect(await billing.sales.refundOrder({ orderId, item: 1 })).toMatchObject({
      status: 'refunded',
      refund: { amount: '5.99' },
    });
    await sound();
  });

  test('R3: an amount that is exactly one item\u2019s is that item; a sku on two lines is ambiguous', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [
      { sku: 'hundred' },
      { sku: 'nine' },
      { sku: 'nine', quantity: 2 },
    ]);
    expect(await failure(billing.sales.refundOrder({ orderId, item: 'nine' }))).toEqual({
      code: 'refund_ambiguous',
      parameter: 'item',
    });
    expect(await billing.sales.refundOrder({ orderId, amount: '19.98' })).toMatchObject({
      items: [{ refunded: '0.00' }, { refunded: '0.00' }, { refunded: '19.98' }],
      refund: { units: [{ quantity: '20' }] },
    });
    expect(await billing.sales.refundOrder({ orderId, item: '2' })).toMatchObject({
      items: [{ refunded: '0.00' }, { refunded: '9.99' }, { refunded: '19.98' }],
    });
  });

  test('R4: bonuses are never paid out; they go along, in part rounded down', async () => {
    const account = await newAccount();
    const whole = await bought(account, [{ sku: 'with-bonus', quantity: 2 }]);
    await use(account, 'CREDIT', 15);
    expect(await billing.sales.refundOrder({ orderId: whole.orderId })).toMatchObject({
      refund: {
        amount: '40.00',
        units: [
          { quantity: '185', value: '37.00000000' },
          { quantity: '20', value: '0.00000000' },
        ],
      },
    });
    expect(await available(account, 'CREDIT')).toBe('0');

    const { orderId } = await bought(account, [{ sku: 'with-bonus' }]);
    const part = async (amount: string): Promise<string[]> =>
      (await billing.sales.refundOrder({ orderId, amount })).refund.units.map(
        ({ quantity }) => quantity,
      );
    // 1.00 of 20.00 is half of one bonus unit, twice that is one.
    expect(await part('1.00')).toEqual(['5']);
    expect(await part('1.00')).toEqual(['5', '1']);
    expect(await part('9.00')).toEqual(['45', '4']);
    await use(account, 'CREDIT', 45 + 3);
    expect(await part('9.00')).toEqual(['2']);
    expect(await available(account, 'CREDIT')).toBe('0');
    await sound();
  });

  test('used units: forgiven out of revenue, or owed by the next units', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    await use(account, 'TOKENS', 30);
    expect(await billing.sales.refundOrder({ orderId, used: 'negative' })).toMatchObject({
      status: 'refunded',
      refund: { amount: '10.00', units: [{ quantity: '70' }] },
    });
    expect(await available(account, 'TOKENS')).toBe('0');
    const next = await bought(account, [{ sku: 'hundred' }]);
    expect(await available(account, 'TOKENS')).toBe('70');
    expect(await book(account)).toEqual({
      cash: '10.00000000',
      deferred: '-7.00000000',
      revenue: '-3.00000000',
    });
    // All of it was there but what paid the debt.
    expect(
      await billing.sales.refundOrder({ orderId: next.orderId, used: 'charge' }),
    ).toMatchObject({ refund: { amount: '7.00', units: [{ quantity: '70' }] } });
    await sound();
  });

  test('charged: what was used is not given back', async () => {
    const account = await newAccount();
    const { orderId, total } = await bought(account, [{ sku: 'hundred' }], { taxRate: 'de' });
    expect(total).toBe('11.90');
    await use(account, 'TOKENS', 33);
    expect(
      await failure(billing.sales.refundOrder({ orderId, amount: '8.10', used: 'charge' })),
    ).toEqual({ code: 'refund_exceeds_paid', parameter: 'amount' });
    expect(
      await billing.sales.refundOrder({ orderId, amount: '1.19', used: 'charge' }),
    ).toMatchObject({ refund: { net: '1.00', tax: '0.19', units: [{ quantity: '10' }] } });
    expect(await billing.sales.refundOrder({ orderId, used: 'charge' })).toMatchObject({
      status: 'partly_refunded',
      refund: { amount: '6.78', net: '5.70', tax: '1.08', units: [{ quantity: '57' }] },
    });
    expect(await failure(billing.sales.refundOrder({ orderId, used: 'charge' }))).toEqual({
      code: 'refund_exceeds_paid',
      parameter: 'used',
    });
    await sound();
    const allUsed = await bought(account, [{ sku: 'ninety' }]);
    await use(account, 'MSG', 90);
    expect(
      await failure(billing.sales.refundOrder({ orderId: allUsed.orderId, used: 'charge' })),
    ).toEqual({ code: 'refund_exceeds_paid', parameter: 'used' });
  });

  test('tax comes back in proportion, in sum exactly what was paid', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'nine' }], { taxRate: 'de' });
    const parts = [];
    for (let turn = 0; turn < 3; turn += 1) {
      parts.push((await billing.sales.refundOrder({ orderId, amount: '3.33' })).refund);
    }
    expect(parts.map(({ net, tax }) => [net, tax])).toEqual([
      ['2.80', '0.53'],
      ['2.80', '0.53'],
      ['2.80', '0.53'],
    ]);
    const rest = await billing.sales.refundOrder({ orderId });
    expect(rest.refund).toMatchObject({ amount: '1.90', net: '1.59', tax: '0.31' });
    expect(await book(account)).toEqual({});
    await sound();
  });

  test('of a bundle each item gives back its share', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'both' }]);
    expect(await billing.sales.refundOrder({ orderId, amount: '15.00' })).toMatchObject({
      refund: {
        units: [
          { product: 'TOKENS', quantity: '50', value: '5.00000000' },
          { product: 'CREDIT', quantity: '25', value: '10.00000000' },
        ],
        rounding: '0.00000000',
      },
    });
    await use(account, 'TOKENS', 50);
    expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
      status: 'refunded',
      refund: { amount: '15.00', units: [{ product: 'CREDIT', quantity: '25' }] },
    });
    await sound();
  });

  test('held units count as used, and do not come back usable', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    const hold = await billing.ledger.hold({
      account,
      product: 'TOKENS',
      amount: 40,
      expiresIn: { unit: 'hour', count: 1 },
    });
    expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
      refund: { amount: '10.00', units: [{ quantity: '60', value: '6.00000000' }] },
    });
    await sound();
    await billing.ledger.settle({ holdId: hold.holdId!, amount: 10 });
    expect(await available(account, 'TOKENS')).toBe('0');
    await sound();
  });

  test('units given up while they were on hold do not come back with the rest of the refund', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    await billing.ledger.hold({
      account,
      product: 'TOKENS',
      amount: 1,
      expiresIn: { unit: 'hour', count: 1 },
    });
    const { entryId } = await use(account, 'TOKENS', 1);
    const part = await billing.sales.refundOrder({ orderId, amount: '9.99' });
    expect(part.refund.units).toMatchObject([{ quantity: '98', value: '9.80000000' }]);
    await billing.sales.refundOrder({ orderId });
    clock.set(START + DAY);
    await billing.ledger.restore({ entryId: entryId! });
    expect(await available(account, 'TOKENS')).toBe('0');
    await sound();
  });

  test('units that were given up and come back go with the rest, for no more money', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    const { entryId } = await use(account, 'TOKENS', 60);
    // 50 given up, of which 40 were there; 60 come back.
    await billing.sales.refundOrder({ orderId, amount: '5.00' });
    await billing.ledger.restore({ entryId: entryId! });
    expect(await available(account, 'TOKENS')).toBe('60');
    expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
      refund: { amount: '5.00', units: [{ quantity: '60', value: '6.00000000' }] },
    });
    expect(await available(account, 'TOKENS')).toBe('0');
    expect(await book(account)).toEqual({});
    await sound();
  });

  test('held units that are charged come back to who paid for them', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    const { holdId } = await billing.ledger.hold({
      account,
      product: 'TOKENS',
      amount: 40,
      expiresIn: { unit: 'hour', count: 1 },
    });
    expect(await billing.sales.refundOrder({ orderId, used: 'charge' })).toMatchObject({
      refund: { amount: '6.00', units: [{ quantity: '60' }] },
    });
    await billing.ledger.release({ holdId: holdId! });
    expect(await available(account, 'TOKENS')).toBe('40');
    expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
      status: 'refunded',
      refund: { amount: '4.00', units: [{ quantity: '40' }] },
    });
    await sound();
  });

  test('what one refund forgave the next one does not make a debt of', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    await use(account, 'TOKENS', 80);
    await billing.sales.refundOrder({ orderId, amount: '5.00' });
    await billing.sales.refundOrder({ orderId, used: 'negative' });
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 100 });
    expect(await available(account, 'TOKENS')).toBe('50');
    await sound();
  });

  test('expired units are earned: forgiven out of revenue, or kept', async () => {
    const account = await newAccount();
    await offer('short', '8.00', [
      { product: 'TOKENS', quantity: 8, expiresAfter: { unit: 'day', count: 1 } },
    ]);
    const [first, second] = [
      await bought(account, [{ sku: 'short' }]),
      await bought(account, [{ sku: 'short' }]),
    ];
    clock.set(START + 2 * DAY);
    expect(
      await failure(billing.sales.refundOrder({ orderId: first.orderId, used: 'charge' })),
    ).toMatchObject({ code: 'refund_exceeds_paid' });
    expect(await billing.sales.refundOrder({ orderId: second.orderId })).toMatchObject({
      refund: { amount: '8.00', units: [] },
    });
    await sound();
  });

  test('access by time goes back whole, or stays', async () => {
    const account = await newAccount();
    const part = await bought(account, [{ sku: 'month' }]);
    clock.set(START + DAY);
    expect(
      await billing.sales.refundOrder({ orderId: part.orderId, amount: '10.00' }),
    ).toMatchObject({ refund: { units: [], rounding: '0.00000000' } });
    expect(await available(account, 'PLAN')).toBe('1');
    await sound();
    expect(await billing.sales.refundOrder({ orderId: part.orderId })).toMatchObject({
      status: 'refunded',
      refund: { amount: '20.00', units: [{ product: 'PLAN', quantity: '1' }] },
    });
    expect(await available(account, 'PLAN')).toBe('0');
    expect(await book(account)).toEqual({});
    await sound();
  });

  test('only that order\u2019s units are touched', async () => {
    const account = await newAccount();
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 7 });
    const first = await bought(account, [{ sku: 'hundred' }]);
    await bought(account, [{ sku: 'hundred' }]);
    await billing.sales.refundOrder({ orderId: first.orderId });
    expect(await available(account, 'TOKENS')).toBe('107');
  });

  test('an order of 0 gives its units back', async () => {
    const account = await newAccount();
    await offer('gift', '0.00', [{ product: 'TOKENS', quantity: 5 }]);
    const created = await billing.sales.createOrder({ account, items: [{ sku: 'gift' }] });
    const { orderId } = await billing.sales.confirmOrder({ orderId: created.orderId! });
    expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
      status: 'refunded',
      refund: { amount: '0.00', units: [{ quantity: '5', value: '0.00000000' }] },
    });
    expect(await available(account, 'TOKENS')).toBe('0');
  });

  test('of an order of 0 with two lines, each goes back by itself', async () => {
    const account = await newAccount();
    await offer('gift-tokens', '0.00', [{ product: 'TOKENS', quantity: 5 }]);
    await offer('gift-messages', '0.00', [{ product: 'MSG', quantity: 7 }]);
    const created = await billing.sales.createOrder({
      account,
      items: [{ sku: 'gift-tokens' }, { sku: 'gift-messages' }],
    });
    const { orderId } = await billing.sales.confirmOrder({ orderId: created.orderId! });
    const part = await billing.sales.refundOrder({ orderId, item: 'gift-tokens' });
    expect(part.status).toBe('paid');
    expect([await available(account, 'TOKENS'), await available(account, 'MSG')]).toEqual([
      '0',
      '7',
    ]);
    const rest = await billing.sales.refundOrder({ orderId });
    expect(rest.status).toBe('refunded');
    expect(rest.refund.units).toMatchObject([{ product: 'MSG', quantity: '7' }]);
    expect(await available(account, 'MSG')).toBe('0');
  });

  test('the same refund of the gateway is written once', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, [{ sku: 'hundred' }]);
    const request = { orderId, amount: '4.00', refundId: `re-${orderId}` };
    const first = await billing.sales.refundOrder(request);
    expect(await billing.sales.refundOrder(request)).toEqual({ ...first, replayed: true });
    expect(await failure(billing.sales.refundOrder({ ...request, amount: '5.00' }))).toEqual({
      code: 'payment_mismatch',
      parameter: 'refundId',
    });
    const other = await bought(account, [{ sku: 'hundred' }]);
    expect(
      await failure(billing.sales.refundOrder({ ...request, orderId: other.orderId })),
    ).toEqual({ code: 'payment_mismatch', parameter: 'refundId' });
    const keyed = { orderId, amount: '1.00', idempotencyKey: 'refund-1' };
    const once = await billing.sales.refundOrder(keyed);
    expect(await billing.sales.refundOrder(keyed)).toEqual({ ...once, replayed: true });
    expect(await billing.sales.getOrder({ orderId })).toMatchObject({ refunded: '5.00' });
    expect(await available(account, 'TOKENS')).toBe('150');
  });

  test.each([
    [{ amount: 0 }, 'amount'],
    [{ amount: '-1' }, 'amount'],
    [{ amount: '0.001' }, 'amount'],
    [{ amount: 0.5 }, 'amount'],
    [{ used: 'maybe' }, 'used'],
    [{ item: '' }, 'item'],
    [{ units: 5 }, 'units'],
  ])('refuses %j', async (given, parameter) => {
    const { orderId } = await bought(await newAccount(), [{ sku: 'hundred' }]);
    const request = { orderId, ...given } as Parameters<Billing['sales']['refundOrder']>[0];
    expect(await failure(billing.sales.refundOrder(request))).toEqual({
      code: 'invalid_input',
      parameter,
    });
  });

  test('S6: an order of an account that was merged gives its units back where they are', async () => {
    const [into, from] = [await newAccount(), await newAccount()];
    const { orderId } = await bought(from, [{ sku: 'with-bonus' }], { taxRate: 'de' });
    await use(from, 'CREDIT', 30);
    await billing.accounts.merge({ into, from, prefer: 'into' });
    await use(into, 'CREDIT', 10);
    expect(await billing.sales.refundOrder({ orderId, amount: '11.90' })).toMatchObject({
      refund: { net: '10.00', tax: '1.90', units: [{ quantity: '50' }, { quantity: '5' }] },
    });
    await sound();
    await billing.sales.refundOrder({ orderId });
    expect(await available(into, 'CREDIT')).toBe('0');
    await sound();
  });

  test('whatever is used, held, expired and refunded: money and units add up at every step', async () => {
    await offer('mixed', '33.33', [
      { product: 'TOKENS', quantity: 7, share: '3' },
      { product: 'GB', quantity: '1.25', share: '2', expiresAfter: { unit: 'day', count: 3 } },
      { product: 'PLAN', quantity: 1, share: '1', expiresAfter: { unit: 'month', count: 1 } },
    ]);
    const buy = fc.record({
      do: fc.constant('buy' as const),
      skus: fc.array(fc.constantFrom('mixed', 'credits', 'with-bonus', 'nine', 'storage', 'both'), {
        minLength: 1,
        maxLength: 3,
      }),
      quantity: fc.integer({ min: 1, max: 3 }),
      taxed: fc.boolean(),
    });
    const takeUnits = <K extends 'use' | 'hold'>(kind: K) =>
      fc.record({
        do: fc.constant(kind),
        product: fc.constantFrom('TOKENS', 'GB', 'CREDIT'),
        amount: fc.integer({ min: 1, max: 60 }),
      });
    const refund = fc.record({
      do: fc.constant('refund' as const),
      of: fc.nat(5),
      percent: fc.option(fc.integer({ min: 1, max: 100 })),
      item: fc.option(fc.integer({ min: 1, max: 3 })),
      used: fc.constantFrom('forgive' as const, 'charge' as const, 'negative' as const),
    });
    const wait = fc.record({
      do: fc.constant('wait' as const),
      days: fc.integer({ min: 1, max: 2 }),
    });
    const steps = fc.array(
      fc.oneof(
        buy,
        takeUnits('use'),
        takeUnits('hold'),
        { weight: 3, arbitrary: refund },
        { weight: 1, arbitrary: wait },
      ),
      { minLength: 5, maxLength: 20 },
    );
    const refusals = ['refund_exceeds_paid', 'refund_ambiguous', 'order_state', 'invalid_input'];

    await fc.assert(
      fc.asyncProperty(steps, async (story) => {
        clock.set(START);
        const account = await newAccount();
        const orders: string[] = [];
        const back = new Map<string, Decimal>();
        const refundOf = async (orderId: string, more: object): Promise<void> => {
          try {
            const done = await billing.sales.refundOrder({ orderId, ...more });
            const { amount, net, tax } = done.refund;
            expect(new Decimal(net).plus(tax).equals(amount)).toBe(true);
            const sum = (back.get(orderId) ?? new Decimal(0)).plus(amount);
            back.set(orderId, sum);
            expect(new Decimal(done.refunded).equals(sum)).toBe(true);
            expect(sum.lessThanOrEqualTo(done.paid)).toBe(true);
            expect(done.status === 'refunded').toBe(sum.equals(done.paid));
          } catch (error) {
            expect(refusals).toContain((error as { code: unknown }).code);
          }
        };
        for (const step of story) {
          if (step.do === 'buy') {
            const items = step.skus.map((sku) => ({ sku, quantity: step.quantity }));
            const tax = step.taxed ? { taxRate: 'de' } : {};
            orders.push((await bought(account, items, tax)).orderId);
          } else if (step.do === 'use') {
            await use(account, step.product, step.amount);
          } else if (step.do === 'hold') {
            const expiresIn = { unit: 'day', count: 1 } as const;
            const { product, amount } = step;
            await billing.ledger.hold({ account, product, amount, expiresIn });
          } else if (step.do === 'wait') {
            clock.advance(step.days * DAY);
          } else if (orders.length > 0) {
            const orderId = orders[step.of % orders.length]!;
            const { total } = await billing.sales.getOrder({ orderId });
            const part = (percent: number) =>
              new Decimal(total).times(percent).div(100).toDecimalPlaces(2).toFixed();
            await refundOf(orderId, {
              used: step.used,
              ...(step.percent !== null && { amount: part(step.percent) }),
              ...(step.item !== null && { item: step.item }),
            });
          }
        }
        await sound();
        // In the end everything goes back: what is left is what others than these orders did.
        clock.advance(2 * DAY);
        for (const orderId of orders) await refundOf(orderId, {});
        for (const orderId of orders) {
          expect(await billing.sales.getOrder({ orderId })).toMatchObject({ status: 'refunded' });
        }
        for (const product of ['TOKENS', 'GB', 'CREDIT', 'PLAN']) {
          const grants = await billing.ledger.grants({ account, product });
          expect(grants.map(({ remaining }) => remaining).filter((left) => left !== '0')).toEqual(
            [],
          );
        }
        // Units of holds that ran out went back to grants that are over: that is still to be written.
        await billing.runDue({ limit: 10_000 });
        const { rounding = '0', ...rest } = await book(account);
        expect(new Decimal(rounding).abs().lessThan('0.000001')).toBe(true);
        const sums = Object.values(rest).map((balance) => new Decimal(balance).abs());
        expect(sums.filter((balance) => balance.greaterThan('0.000001'))).toEqual([]);
      }),
      { numRuns: runs(database.name, 12) },
    );
    await sound();
  }, 240_000);
});

if (databaseKinds.includes('server')) {
  describe('refunds at once (server)', () => {
    let billing: Billing;
    let orderId: string;
    let account: string;

    beforeAll(async () => {
      billing = await openOnServer({ schema: newSchema(), poolSize: 20 });
      await billing.catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
      await billing.catalog.saveOffer({
        sku: 'hundred',
        name: 'Hundred',
        price: '10.00',
        currency: 'USD',
        items: [{ product: 'TOKENS', quantity: 100 }],
      });
    });
    beforeEach(async () => {
      const externalId = `buyer ${Math.random()}`;
      ({ accountId: account } = await billing.accounts.identify({ externalId }));
      const created = await billing.sales.createOrder({ account, items: [{ sku: 'hundred' }] });
      orderId = created.orderId!;
      await billing.sales.confirmOrder({ orderId, paymentId: `pay ${account}` });
    });
    afterAll(async () => {
      try {
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });

    const times = (work: () => Promise<unknown>): Promise<unknown[]> =>
      Promise.all(Array.from({ length: 20 }, () => failure(work())));

    test('R3: 20 refunds at once never give back more than was paid', async () => {
      const outcome = await times(() => billing.sales.refundOrder({ orderId, amount: '1.00' }));
      expect(outcome.filter((one) => one === 'done')).toHaveLength(10);
      expect(await billing.sales.getOrder({ orderId })).toMatchObject({
        status: 'refunded',
        refunded: '10.00',
      });
      expect(await billing.ledger.balance({ account, product: 'TOKENS' })).toMatchObject({
        available: '0',
      });
    });

    test('the notice of one refund, 20 times at once, is one refund', async () => {
      const outcome = await times(() =>
        billing.sales.refundOrder({ orderId, amount: '1.00', refundId: `re ${account}` }),
      );
      expect(outcome.every((one) => one === 'done')).toBe(true);
      expect(await billing.sales.getOrder({ orderId })).toMatchObject({ refunded: '1.00' });
    });

    test('units are used or refunded, never both', async () => {
      const [uses] = await Promise.all([
        Promise.all(
          Array.from({ length: 50 }, () =>
            billing.ledger.consume({ account, product: 'TOKENS', amount: 3 }),
          ),
        ),
        billing.sales.refundOrder({ orderId, used: 'charge' }).catch(() => null),
      ]);
      const used = uses.filter(({ allowed }) => allowed).length * 3;
      const { items } = await billing.ledger.entries({ account, kind: 'refund' });
      const taken = items.reduce((sum, { amount }) => sum.minus(amount), new Decimal(0));
      const { available } = await billing.ledger.balance({ account, product: 'TOKENS' });
      expect(taken.plus(used).plus(available!).toFixed()).toBe('100');
    });
  });
}
