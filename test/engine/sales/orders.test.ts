import {
  TestClock,
  openBilling,
  type Billing,
  type CreateOrderAnswer,
  type Order,
} from '../../../engine';
import {
  newSchema,
  onEachDatabase,
  openOnServer,
  databaseKinds,
  serverUrl,
} from '../each-database';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.parse('2027-01-10T12:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

const ordered = (answer: CreateOrderAnswer): Order => {
  if (!answer.allowed) throw new Error(`denied: ${answer.reason}`);
  return answer;
};

/** The catalog that the suites sell from. */
async function fill(billing: Billing): Promise<void> {
  const { catalog } = billing;
  for (const key of ['TOKENS', 'INTERNAL', 'CREDIT', 'EXTRA']) {
    await catalog.saveProduct({ key, name: key });
  }
  await catalog.saveProduct({ key: 'COIN', name: 'Coins', isCurrency: true });
  await catalog.saveProduct({ key: 'PREMIUM', name: 'Premium', kind: 'period' });
  await catalog.saveProduct({ key: 'PLAN', name: 'The plan', kind: 'period' });
  await catalog.saveOffer({
    sku: 'bundle',
    name: 'Bundle',
    price: '20.00',
    currency: 'USD',
    items: [
      { product: 'TOKENS', quantity: 100 },
      { product: 'PREMIUM', expiresAfter: { unit: 'month', count: 1 } },
    ],
  });
  await catalog.saveOffer({
    sku: 'pack',
    name: 'Pack',
    price: '10.00',
    currency: 'USD',
    items: [{ product: 'INTERNAL', quantity: 100 }],
  });
  await catalog.saveOffer({
    sku: 'credits',
    name: 'Credits',
    price: '99.00',
    currency: 'USD',
    items: [{ product: 'CREDIT', quantity: 25 }],
    bonuses: [{ product: 'CREDIT', quantity: 10 }],
  });
  await catalog.saveOffer({
    sku: 'starter',
    name: 'Starter',
    price: '5.00',
    currency: 'USD',
    oncePerAccount: true,
    items: [{ product: 'TOKENS', quantity: 10 }],
  });
}

onEachDatabase('orders', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await fill(billing);
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `buyer-${counter}` });
    return accountId;
  };
  const order = async (
    account: string,
    items: Array<{ sku: string; quantity?: number }>,
    more: object = {},
  ): Promise<Order> => ordered(await billing.sales.createOrder({ account, items, ...more }));
  const newPayment = (): string => `pay-${(counter += 1)}`;
  const pay = (orderId: string, more: object = {}) =>
    billing.sales.confirmOrder({ orderId, paymentId: newPayment(), ...more });
  const available = async (account: string, product: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product })).available;

  test('S1: two offers, three packages: 40.00, and what they hold is granted once', async () => {
    const account = await newAccount();
    const created = await billing.sales.createOrder({
      account,
      items: [{ sku: 'bundle' }, { sku: 'pack', quantity: 2 }],
    });
    expect(created).toMatchObject({
      allowed: true,
      reason: null,
      status: 'pending',
      account,
      payer: account,
      currency: 'USD',
      subtotal: '40.00',
      discount: '0.00',
      net: '40.00',
      tax: '0.00',
      total: '40.00',
      paid: '0.00',
      lapsed: false,
      expiresAt: new Date(START + DAY).toISOString(),
      replayed: false,
      items: [
        { position: 1, sku: 'bundle', quantity: 1, unitPrice: '20.00', total: '20.00' },
        { position: 2, sku: 'pack', quantity: 2, unitPrice: '10.00', total: '20.00' },
      ],
    });
    const { orderId } = ordered(created);
    expect(await billing.ledger.grants({ account })).toEqual([]);

    const first = await billing.sales.confirmOrder({
      orderId,
      paymentId: 's1',
      gateway: 'stripe',
      amount: '40.00',
      currency: 'USD',
    });
    expect(first).toMatchObject({
      allowed: true,
      status: 'paid',
      paid: '40.00',
      gateway: 'stripe',
      paymentId: 's1',
      paidAt: new Date(START).toISOString(),
      replayed: false,
      grants: [
        { product: 'TOKENS', initial: '100', source: `order ${orderId}` },
        { product: 'PREMIUM', initial: '1', expiresAt: '2027-02-10T12:00:00.000Z' },
        { product: 'INTERNAL', initial: '200', value: '20.00000000', currency: 'USD' },
      ],
    });
    const again = await billing.sales.confirmOrder({ orderId, paymentId: 's1', gateway: 'stripe' });
    expect(again).toEqual({ ...first, replayed: true });
    expect(await available(account, 'TOKENS')).toBe('100');
    expect(await available(account, 'PREMIUM')).toBe('1');
    expect(await available(account, 'INTERNAL')).toBe('200');

    expect(
      await failure(
        billing.sales.confirmOrder({ orderId, paymentId: 's1-other', gateway: 'stripe' }),
      ),
    ).toEqual({ code: 'payment_mismatch', parameter: 'paymentId' });
    expect(await available(account, 'INTERNAL')).toBe('200');
    const { orderId: other } = await order(account, [{ sku: 'pack' }]);
    expect(
      await failure(
        billing.sales.confirmOrder({ orderId: other, paymentId: 's1', gateway: 'stripe' }),
      ),
    ).toEqual({ code: 'payment_mismatch', parameter: 'paymentId' });
    // The same text of another gateway is another payment.
    expect(
      await billing.sales.confirmOrder({ orderId: other, paymentId: 's1', gateway: 'paypal' }),
    ).toMatchObject({ allowed: true, status: 'paid' });
  });

  test('S1: the price of a bundle is shared among its items, to the cent', async () => {
    const account = await newAccount();
    const save = (sku: string, items: object[]) =>
      billing.catalog.saveOffer({
        sku,
        name: sku,
        price: '10.00',
        currency: 'EUR',
        items: items as [],
      });
    await save('by-share', [
      { product: 'TOKENS', quantity: 1, share: '1' },
      { product: 'INTERNAL', quantity: 1, share: '2' },
    ]);
    await save('equally', [
      { product: 'TOKENS', quantity: 1 },
      { product: 'INTERNAL', quantity: 1 },
      { product: 'CREDIT', quantity: 1 },
    ]);
    const worth = async (sku: string): Promise<string[]> => {
      const { orderId } = await order(account, [{ sku }]);
      return (await pay(orderId)).grants.map(({ value }) => value);
    };
    expect(await worth('by-share')).toEqual(['3.33000000', '6.67000000']);
    expect(await worth('equally')).toEqual(['3.34000000', '3.33000000', '3.33000000']);
    for (const [sku, product, quantity] of [
      ['one-token', 'TOKENS', 1],
      ['ten-internal', 'INTERNAL', 10],
      ['one-credit', 'CREDIT', 1],
    ] as const) {
      await save(sku, [{ product, quantity }]);
    }
    // Alone they cost 10, 1 and 10.
    expect(await worth('equally')).toEqual(['4.76000000', '0.48000000', '4.76000000']);
  });

  test('S8: three packages of 25 at 99.00 are 75 at 3.96 each, and 30 bonus credits worth 0', async () => {
    const account = await newAccount();
    const created = await order(account, [{ sku: 'credits', quantity: 3 }]);
    expect(created).toMatchObject({ total: '297.00', items: [{ unitPrice: '99.00' }] });
    const { grants } = await pay(created.orderId);
    expect(grants).toMatchObject([
      { initial: '75', value: '297.00000000', unitValue: '3.96000000', currency: 'USD' },
      { initial: '30', value: '0.00000000', unitValue: '0.00000000', currency: null },
    ]);
    expect(await available(account, 'CREDIT')).toBe('105');
  });

  test('the money book follows an order: receivable, cash, deferred, tax', async () => {
    const account = await newAccount();
    await billing.catalog.saveTaxRate({ key: 'de', name: 'MwSt.', percent: '19' });
    const { orderId, ...created } = await order(account, [{ sku: 'pack' }], { taxRate: 'de' });
    expect(created).toMatchObject({
      net: '10.00',
      tax: '1.90',
      total: '11.90',
      taxRate: { key: 'de', name: 'MwSt.', percent: '19', inclusive: false },
    });
    await billing.sales.confirmOrder({ orderId, paymentId: newPayment(), gateway: 'stripe' });
    const { items } = await billing.books.postings({ account });
    expect(items.map(({ kind }) => kind).sort()).toEqual(['payment', 'sale']);
    const balances = await billing.books.balances({ account });
    expect(
      balances.map((one) => [one.account, one.gateway, one.currency, one.balance]).sort(),
    ).toEqual([
      ['cash', 'stripe', 'USD', '11.90000000'],
      ['deferred', null, 'USD', '-10.00000000'],
      ['receivable', null, 'USD', '0.00000000'],
      ['tax_payable', null, 'USD', '-1.90000000'],
    ]);
  });

  test('totals: a coupon first, then tax, and lines add up to the sums', async () => {
    const account = await newAccount();
    await billing.catalog.saveCoupon({ code: 'Third', percent: '33.33' });
    await billing.catalog.saveTaxRate({ key: 'incl', name: 'VAT', percent: '20', inclusive: true });
    const created = await order(account, [{ sku: 'bundle' }, { sku: 'pack' }], {
      coupon: 'THIRD',
      taxRate: 'incl',
    });
    expect(created).toMatchObject({
      coupon: 'Third',
      subtotal: '30.00',
      discount: '10.00',
      net: '16.67',
      tax: '3.33',
      total: '20.00',
      items: [
        { discount: '6.67', total: '13.33' },
        { discount: '3.33', total: '6.67' },
      ],
    });
    const { grants } = await pay(created.orderId);
    const worth = grants.map(({ value }) => Math.round(parseFloat(value) * 100));
    expect(worth.reduce((sum, cents) => sum + cents, 0)).toBe(1667);
    await billing.catalog.saveCoupon({
      code: 'packs',
      amount: '50',
      currency: 'USD',
      skus: ['pack'],
    });
    expect(
      await order(account, [{ sku: 'bundle' }, { sku: 'pack' }], { coupon: 'packs' }),
    ).toMatchObject({
      subtotal: '30.00',
      discount: '10.00',
      total: '20.00',
      items: [{ discount: '0.00' }, { discount: '10.00' }],
    });
  });

  test('tax follows the details of who pays', async () => {
    const account = await newAccount();
    await billing.catalog.saveTaxRate({ key: 'at', name: 'USt.', percent: '20', country: 'AT' });
    await billing.accounts.update({ account, tax: { country: 'AT' } });
    expect(await order(account, [{ sku: 'pack' }])).toMatchObject({
      tax: '2.00',
      taxRate: { key: 'at' },
    });
    await billing.accounts.update({ account, tax: { status: 'reverse_charge' } });
    expect(await order(account, [{ sku: 'pack' }])).toMatchObject({ tax: '0.00', taxRate: null });
  });

  test('prices, names and contents stay as they were ordered', async () => {
    const account = await newAccount();
    const save = (price: string, quantity: number) =>
      billing.catalog.saveOffer({
        sku: 'changing',
        name: `at ${price}`,
        price,
        currency: 'USD',
        items: [{ product: 'TOKENS', quantity }],
      });
    await save('7.00', 7);
    const { orderId } = await order(account, [{ sku: 'changing' }]);
    await save('8.00', 8);
    const paid = await pay(orderId, { amount: '7.00' });
    expect(paid).toMatchObject({
      total: '7.00',
      items: [{ name: 'at 7.00', version: 1 }],
      grants: [{ initial: '7', value: '7.00000000' }],
    });
    expect(await order(account, [{ sku: 'changing' }])).toMatchObject({
      total: '8.00',
      items: [{ version: 2 }],
    });
  });

  test('tiers make the price of a line', async () => {
    const account = await newAccount();
    await billing.catalog.saveOffer({
      sku: 'tiered',
      name: 'Tiered',
      price: '1.00',
      currency: 'USD',
      items: [{ product: 'TOKENS', quantity: 1 }],
      pricing: {
        model: 'volume',
        tiers: [{ upTo: 9, unitPrice: '1.00' }, { unitPrice: '0.333' }],
      },
    });
    expect(await order(account, [{ sku: 'tiered', quantity: 10 }])).toMatchObject({
      total: '3.33',
      items: [{ unitPrice: '0.333' }],
    });
  });

  test('an order of 0 is confirmed without a payment', async () => {
    const account = await newAccount();
    await billing.catalog.saveCoupon({ code: 'free', percent: 100 });
    const { orderId, total } = await order(account, [{ sku: 'pack' }], { coupon: 'free' });
    expect(total).toBe('0.00');
    const paid = await billing.sales.confirmOrder({ orderId });
    expect(paid).toMatchObject({
      status: 'paid',
      gateway: 'manual',
      paymentId: null,
      grants: [{ initial: '100', value: '0.00000000' }],
    });
    expect(await billing.sales.confirmOrder({ orderId })).toMatchObject({ replayed: true });
    const { orderId: costs } = await order(account, [{ sku: 'pack' }]);
    expect(await failure(billing.sales.confirmOrder({ orderId: costs }))).toEqual({
      code: 'invalid_input',
      parameter: 'paymentId',
    });
  });

  test('a payment of another amount or currency is refused and changes nothing', async () => {
    const account = await newAccount();
    const { orderId } = await order(account, [{ sku: 'pack' }]);
    expect(await failure(pay(orderId, { amount: '9.99' }))).toEqual({
      code: 'payment_mismatch',
      parameter: 'amount',
    });
    expect(await failure(pay(orderId, { amount: '10', currency: 'EUR' }))).toEqual({
      code: 'payment_mismatch',
      parameter: 'currency',
    });
    expect(await billing.sales.getOrder({ orderId })).toMatchObject({ status: 'pending' });
    expect(await pay(orderId, { amount: 10, currency: 'USD' })).toMatchObject({ status: 'paid' });
  });

  test('S4: once per account: pending, paid and refunded orders block, cancelled and lapsed do not', async () => {
    const account = await newAccount();
    const denied = {
      allowed: false,
      reason: 'already_purchased',
      sku: 'starter',
      orderId: null,
      suggestedOffers: [],
    };
    const attempt = () => billing.sales.createOrder({ account, items: [{ sku: 'starter' }] });
    const first = ordered(await attempt());
    expect(await attempt()).toEqual({ ...denied, replayed: false });
    await billing.sales.cancelOrder({ orderId: first.orderId });
    const second = ordered(await attempt());
    expect(await attempt()).toMatchObject(denied);
    clock.set(START + DAY - 1);
    expect(await attempt()).toMatchObject(denied);
    clock.set(START + DAY);
    expect(await billing.sales.getOrder({ orderId: second.orderId })).toMatchObject({
      status: 'pending',
      lapsed: true,
    });
    const third = ordered(await attempt());
    await pay(third.orderId);
    expect(await attempt()).toMatchObject(denied);
    await billing.sales.refundOrder({ orderId: third.orderId });
    expect(await attempt()).toMatchObject(denied);
    // Somebody else's place is another one.
    expect(
      await billing.sales.createOrder({
        account: await newAccount(),
        items: [{ sku: 'starter' }],
      }),
    ).toMatchObject({ allowed: true });
  });

  test('S4: a child and its parent have one place', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    await billing.accounts.attachChild({ parent, child });
    const { orderId } = await order(child, [{ sku: 'starter' }]);
    expect(await billing.sales.getOrder({ orderId })).toMatchObject({
      account: child,
      payer: parent,
    });
    expect(
      await billing.sales.createOrder({ account: parent, items: [{ sku: 'starter' }] }),
    ).toMatchObject({ allowed: false, reason: 'already_purchased' });
    await pay(orderId);
    expect(await available(parent, 'TOKENS')).toBe('10');
    expect((await billing.sales.listOrders({ account: parent })).items).toHaveLength(1);
    expect((await billing.sales.listOrders({ account: child })).items).toHaveLength(1);
  });

  test('S4: getting a parent, or leaving one, frees no place', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    const denied = { allowed: false, reason: 'already_purchased' };
    const starter = (account: string) =>
      billing.sales.createOrder({ account, items: [{ sku: 'starter' }] });
    const { orderId } = await order(child, [{ sku: 'starter' }]);
    await pay(orderId);
    await billing.accounts.attachChild({ parent, child, moveUnits: true });
    expect(await starter(child)).toMatchObject(denied);
    const { suggestedOffers } = await billing.ledger.check({
      account: child,
      product: 'TOKENS',
      amount: 20,
    });
    expect(suggestedOffers.map(({ sku }) => sku)).not.toContain('starter');
    // A family has one place, which is taken: also of the parent, and of its other children.
    const sibling = await newAccount();
    await billing.accounts.attachChild({ parent, child: sibling });
    for (const account of [parent, sibling]) expect(await starter(account)).toMatchObject(denied);
    await billing.accounts.detachChild({ child });
    for (const account of [parent, child]) expect(await starter(account)).toMatchObject(denied);
    await billing.accounts.detachChild({ child: sibling });
    expect(await starter(sibling)).toMatchObject({ allowed: true });

    const other = await newAccount();
    await billing.accounts.attachChild({ parent: await newAccount(), child: other });
    await pay((await order(other, [{ sku: 'starter' }])).orderId);
    await billing.accounts.detachChild({ child: other });
    expect(await starter(other)).toMatchObject(denied);
    // It brings what it has had to the next parent, and to whom it is merged into.
    const next = await newAccount();
    await billing.accounts.attachChild({ parent: next, child: other });
    expect(await starter(next)).toMatchObject(denied);
    await billing.accounts.detachChild({ child: other });
    const into = await newAccount();
    await billing.accounts.merge({ into, from: other, prefer: 'into' });
    expect(await starter(into)).toMatchObject(denied);
  });

  test('S4: who gets a child that had it loses a pending place, and its payment is given back', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    await pay((await order(child, [{ sku: 'starter' }])).orderId);
    const { orderId } = await order(parent, [{ sku: 'starter' }]);
    await billing.accounts.attachChild({ parent, child, moveUnits: true });
    expect(await pay(orderId)).toMatchObject({ allowed: false, reason: 'already_purchased' });
    expect(await available(parent, 'TOKENS')).toBe('10');
  });

  test('S4: an order that lapsed before its account got a parent is no second one', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    const { orderId } = await order(child, [{ sku: 'starter' }]);
    clock.set(START + 2 * DAY);
    await billing.accounts.attachChild({ parent, child });
    await pay((await order(parent, [{ sku: 'starter' }])).orderId);
    expect(await pay(orderId)).toMatchObject({ allowed: false, reason: 'already_purchased' });
    expect(await available(parent, 'TOKENS')).toBe('10');
  });

  test('S4: a lapsed order is revived by its payment while its place is free', async () => {
    const account = await newAccount();
    const { orderId } = await order(account, [{ sku: 'starter' }], {
      expiresIn: { unit: 'hours', count: 1 },
    });
    clock.set(START + 3 * DAY);
    expect(await pay(orderId)).toMatchObject({ allowed: true, status: 'paid', lapsed: false });
    expect(await billing.sales.createOrder({ account, items: [{ sku: 'starter' }] })).toMatchObject(
      { reason: 'already_purchased' },
    );
  });

  test('S4: a payment that comes when the place is gone is to be given back', async () => {
    const account = await newAccount();
    const late = await order(account, [{ sku: 'starter' }]);
    clock.set(START + 2 * DAY);
    const inTime = await order(account, [{ sku: 'starter' }]);
    const paymentId = newPayment();
    const answer = await billing.sales.confirmOrder({ orderId: late.orderId, paymentId });
    expect(answer).toMatchObject({
      allowed: false,
      reason: 'already_purchased',
      status: 'cancelled',
      paid: '0.00',
      refundDue: '5.00',
      grants: [],
      replayed: false,
    });
    expect(await billing.sales.confirmOrder({ orderId: late.orderId, paymentId })).toEqual({
      ...answer,
      replayed: true,
    });
    expect(
      await failure(billing.sales.confirmOrder({ orderId: inTime.orderId, paymentId })),
    ).toMatchObject({ code: 'payment_mismatch' });
    expect(await pay(inTime.orderId)).toMatchObject({ allowed: true });
    expect(await available(account, 'TOKENS')).toBe('10');
  });

  test('S4: a place that another order had in between and gave up is free again', async () => {
    const account = await newAccount();
    const late = await order(account, [{ sku: 'starter' }]);
    clock.set(START + 2 * DAY);
    const other = await order(account, [{ sku: 'starter' }]);
    await billing.sales.cancelOrder({ orderId: other.orderId });
    expect(await pay(late.orderId)).toMatchObject({ allowed: true, status: 'paid' });
  });

  test('a coupon over its limit is denied, also to a payment that comes too late', async () => {
    await billing.catalog.saveCoupon({ code: 'single', percent: 10, maxRedemptions: 1 });
    const [first, second] = [await newAccount(), await newAccount()];
    const late = await order(first, [{ sku: 'pack' }], { coupon: 'single' });
    const attempt = (account: string) =>
      billing.sales.createOrder({ account, items: [{ sku: 'pack' }], coupon: 'single' });
    expect(await attempt(second)).toMatchObject({ allowed: false, reason: 'coupon_unavailable' });
    clock.set(START + DAY);
    const inTime = ordered(await attempt(second));
    expect(await pay(late.orderId)).toMatchObject({
      allowed: false,
      reason: 'coupon_unavailable',
      refundDue: '9.00',
    });
    expect(await pay(inTime.orderId)).toMatchObject({ allowed: true, paid: '9.00' });
    expect(
      await billing.sales.createOrder({
        account: first,
        items: [{ sku: 'pack' }],
        coupon: 'no-such-coupon',
      }),
    ).toMatchObject({ allowed: false, reason: 'coupon_unavailable' });
  });

  test('a cancelled order gives its coupon back and cannot be paid', async () => {
    await billing.catalog.saveCoupon({ code: 'once', percent: 10, maxRedemptions: 1 });
    const account = await newAccount();
    const { orderId } = await order(account, [{ sku: 'pack' }], { coupon: 'once' });
    expect(await billing.sales.cancelOrder({ orderId })).toMatchObject({
      status: 'cancelled',
      cancelledAt: new Date(START).toISOString(),
      replayed: false,
    });
    const state = { code: 'order_state', parameter: 'orderId' };
    expect(await failure(pay(orderId))).toEqual(state);
    expect(await failure(billing.sales.cancelOrder({ orderId }))).toEqual(state);
    expect(await failure(billing.sales.refundOrder({ orderId }))).toEqual(state);
    const next = await order(account, [{ sku: 'pack' }], { coupon: 'once' });
    await pay(next.orderId);
    expect(await failure(billing.sales.cancelOrder({ orderId: next.orderId }))).toEqual(state);
  });

  test('others hear of a payment and of a refund once, in ids and amounts', async () => {
    const account = await newAccount();
    const { orderId } = await order(account, [{ sku: 'pack' }, { sku: 'bundle' }]);
    const payment = { orderId, paymentId: `payment of ${orderId}` };
    await billing.sales.confirmOrder(payment);
    await billing.sales.confirmOrder(payment);
    await billing.sales.refundOrder({ orderId, item: 'pack', refundId: `refund of ${orderId}` });
    await billing.sales.refundOrder({ orderId, item: 'pack', refundId: `refund of ${orderId}` });
    const { items } = await billing.events.list({
      account,
      types: ['order.paid', 'order.refunded'],
    });
    const refund = { refundId: `refund of ${orderId}`, amount: '10.00' };
    expect(items.map(({ type, data }) => ({ type, data }))).toEqual([
      { type: 'order.refunded', data: { orderId, ...refund, currency: 'USD' } },
      { type: 'order.paid', data: { orderId, total: '30.00', currency: 'USD' } },
    ]);
  });

  test('F1: a token pack bought again adds up; a 30-day plan extends from its end', async () => {
    await billing.catalog.saveOffer({
      sku: 'token-pack',
      name: '500 tokens',
      price: '5.00',
      currency: 'USD',
      items: [{ product: 'TOKENS', quantity: 500 }],
    });
    await billing.catalog.saveOffer({
      sku: 'plan-30',
      name: '30 days',
      price: '30.00',
      currency: 'USD',
      items: [{ product: 'PLAN', expiresAfter: { unit: 'day', count: 30 } }],
    });
    const account = await newAccount();
    const buy = async (sku: string): Promise<void> => {
      await pay((await order(account, [{ sku }])).orderId);
    };
    const until = async (): Promise<number> =>
      Date.parse((await billing.ledger.balance({ account, product: 'PLAN' })).expiresAt ?? 'never');
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 1000 });
    await buy('plan-30');
    await buy('token-pack');
    expect(await available(account, 'TOKENS')).toBe('1500');
    expect(await until()).toBe(START + 30 * DAY);
    clock.set(START + 10 * DAY);
    await buy('plan-30');
    expect(await until()).toBe(START + 60 * DAY);
    clock.set(START + 61 * DAY);
    expect(await available(account, 'PLAN')).toBe('0');
    await buy('plan-30');
    expect(await until()).toBe(START + 91 * DAY);
  });

  test('F2: more than is left is denied, untouched, and the pack that would help is named', async () => {
    const account = await newAccount();
    await billing.catalog.saveOffer({
      sku: 'rescue',
      name: '1000 tokens',
      price: '9.00',
      currency: 'USD',
      items: [{ product: 'TOKENS', quantity: 1000 }],
    });
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 500 });
    const asked = await billing.ledger.consume({ account, product: 'TOKENS', amount: 1000 });
    expect(asked).toMatchObject({
      allowed: false,
      reason: 'insufficient_balance',
      consumed: '0',
      remaining: '500',
    });
    expect(asked.suggestedOffers.map(({ sku }) => sku)).toContain('rescue');
    expect(await available(account, 'TOKENS')).toBe('500');
  });

  test('F3: tokens of a dearer plan, bought at its full price, add up to those of the cheaper', async () => {
    const plan = (sku: string, price: string, quantity: number) =>
      billing.catalog.saveOffer({
        sku,
        name: sku,
        price,
        currency: 'USD',
        items: [{ product: 'TOKENS', quantity, expiresAfter: { unit: 'day', count: 30 } }],
      });
    await plan('plan-small', '10.00', 500);
    await plan('plan-large', '30.00', 2000);
    const account = await newAccount();
    await pay((await order(account, [{ sku: 'plan-small' }])).orderId);
    const dearer = await order(account, [{ sku: 'plan-large' }]);
    expect(dearer).toMatchObject({ total: '30.00' });
    await pay(dearer.orderId);
    expect(await available(account, 'TOKENS')).toBe('2500');
    // What each plan brought ends with it; a pack without an end stays.
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 7 });
    clock.advance(30 * DAY);
    expect(await available(account, 'TOKENS')).toBe('7');
  });

  test('S7: the first order of a tripwire costs its first phase, once per account', async () => {
    await billing.catalog.saveOffer({
      sku: 'tripwire',
      name: 'Tripwire',
      price: '99.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'CREDIT', quantity: 25 }],
      trialPhases: [
        {
          price: '1.00',
          length: { unit: 'day', count: 15 },
          items: [{ product: 'CREDIT', quantity: 10 }],
        },
        {
          price: '50.00',
          length: { unit: 'month', count: 1 },
          items: [{ product: 'CREDIT', quantity: 25 }],
        },
      ],
    });
    const account = await newAccount();
    const first = await order(account, [{ sku: 'tripwire' }]);
    expect(first.total).toBe('1.00');
    // A pending order has the trial's place.
    expect(await order(account, [{ sku: 'tripwire' }])).toMatchObject({ total: '99.00' });
    expect(await pay(first.orderId)).toMatchObject({
      grants: [
        {
          initial: '10',
          value: '1.00000000',
          expiresAt: new Date(START + 15 * DAY).toISOString(),
        },
      ],
    });
    const second = await order(account, [{ sku: 'tripwire' }]);
    expect(second.total).toBe('99.00');
    expect(await pay(second.orderId)).toMatchObject({
      grants: [{ initial: '25', expiresAt: '2027-02-10T12:00:00.000Z' }],
    });
    expect(await order(await newAccount(), [{ sku: 'tripwire', quantity: 2 }])).toMatchObject({
      total: '198.00',
    });
  });

  test('S7: a trial order that lapsed finds its place taken by another', async () => {
    const account = await newAccount();
    const late = await order(account, [{ sku: 'tripwire' }]);
    clock.set(START + DAY);
    const next = await order(account, [{ sku: 'tripwire' }]);
    expect(next.total).toBe('1.00');
    await pay(next.orderId);
    expect(await pay(late.orderId)).toMatchObject({
      allowed: false,
      reason: 'trial_already_used',
      refundDue: '1.00',
    });
  });

  test('units that last until the next payment end with it, or so much later', async () => {
    const item = { product: 'EXTRA', quantity: 10, expiresAtNextPayment: true };
    await billing.catalog.saveOffer({
      sku: 'rolling',
      name: 'Rolling',
      price: '3.00',
      currency: 'USD',
      items: [item],
    });
    await billing.catalog.saveOffer({
      sku: 'rolling-lead',
      name: 'Rolling with a lead time',
      price: '3.00',
      currency: 'USD',
      items: [{ ...item, leadTime: { unit: 'day', count: 2 } }],
    });
    const account = await newAccount();
    const buy = async (sku: string) => pay((await order(account, [{ sku }])).orderId);
    await buy('rolling');
    await billing.ledger.consume({ account, product: 'EXTRA', amount: 3 });
    clock.set(START + DAY);
    await buy('pack');
    expect(await available(account, 'EXTRA')).toBe('7');
    await buy('rolling-lead');
    expect(await available(account, 'EXTRA')).toBe('10');
    clock.set(START + 2 * DAY);
    await buy('rolling');
    expect(await available(account, 'EXTRA')).toBe('20');
    clock.set(START + 4 * DAY);
    expect(await available(account, 'EXTRA')).toBe('10');
  });

  test('private, inactive and other accounts\u2019 offers cannot be ordered; an own custom plan can', async () => {
    const [account, stranger] = [await newAccount(), await newAccount()];
    const save = (sku: string, terms: object) =>
      billing.catalog.saveOffer({
        sku,
        name: sku,
        price: '1.00',
        currency: 'USD',
        items: [{ product: 'TOKENS', quantity: 1 }],
        ...terms,
      });
    await save('hidden', { public: false });
    await save('gone', { active: false });
    await save('custom', { accountId: account });
    const attempt = (who: string, sku: string) =>
      billing.sales.createOrder({ account: who, items: [{ sku: 'pack' }, { sku }] });
    for (const sku of ['hidden', 'gone']) {
      expect(await attempt(account, sku)).toMatchObject({
        allowed: false,
        reason: 'offer_unavailable',
        sku,
        orderId: null,
      });
    }
    expect(await attempt(stranger, 'custom')).toMatchObject({ reason: 'offer_unavailable' });
    expect(await attempt(account, 'custom')).toMatchObject({ allowed: true, total: '11.00' });
  });

  test('a suspended or closed account orders nothing, but what was paid is given', async () => {
    const account = await newAccount();
    const { orderId } = await order(account, [{ sku: 'pack' }]);
    await billing.accounts.update({ account, status: 'suspended' });
    const attempt = () => billing.sales.createOrder({ account, items: [{ sku: 'pack' }] });
    expect(await attempt()).toMatchObject({
      allowed: false,
      reason: 'account_suspended',
      sku: null,
    });
    await billing.accounts.update({ account, status: 'closed' });
    expect(await attempt()).toMatchObject({ allowed: false, reason: 'account_closed' });
    expect(await pay(orderId)).toMatchObject({ allowed: true, grants: [{ initial: '100' }] });
  });

  test('keys replay the first answer, and errors leave nothing', async () => {
    const account = await newAccount();
    const request = {
      account,
      items: [{ sku: 'pack' }],
      idempotencyKey: 'order-1',
      metadata: { cart: 7 },
    };
    const first = await billing.sales.createOrder(request);
    expect(await billing.sales.createOrder(request)).toEqual({ ...first, replayed: true });
    expect(
      await failure(billing.sales.createOrder({ ...request, items: [{ sku: 'bundle' }] })),
    ).toMatchObject({ code: 'idempotency_conflict' });
    expect((await billing.sales.listOrders({ account })).items).toHaveLength(1);
    const { orderId, metadata } = ordered(first);
    expect(metadata).toEqual({ cart: 7 });
    const paymentId = newPayment();
    const confirm = {
      orderId,
      paymentId,
      idempotencyKey: 'confirm-1',
      metadata: { by: 'webhook' },
    };
    const paid = await billing.sales.confirmOrder(confirm);
    expect(paid.metadata).toEqual({ cart: 7, by: 'webhook' });
    expect(await billing.sales.confirmOrder(confirm)).toEqual({ ...paid, replayed: true });
    const denial = { account, items: [{ sku: 'starter' }], idempotencyKey: 'order-2' };
    const place = await order(account, [{ sku: 'starter' }]);
    const no = await billing.sales.createOrder(denial);
    expect(no).toMatchObject({ allowed: false });
    await billing.sales.cancelOrder({ orderId: place.orderId });
    expect(await billing.sales.createOrder(denial)).toEqual({ ...no, replayed: true });
  });

  test('an order in a transaction of the caller\u2019s is undone with it', async () => {
    const account = await newAccount();
    const work = billing.transaction(async (tx) => {
      const created = ordered(
        await billing.sales.createOrder({ account, items: [{ sku: 'starter' }], tx }),
      );
      await billing.sales.confirmOrder({ orderId: created.orderId, paymentId: newPayment(), tx });
      throw new Error('changed my mind');
    });
    await expect(work).rejects.toThrow('changed my mind');
    expect((await billing.sales.listOrders({ account })).items).toEqual([]);
    expect(await order(account, [{ sku: 'starter' }])).toMatchObject({ status: 'pending' });
  });

  test.each([
    [{ items: [{ sku: 'pack', quantity: -1 }] }, 'invalid_input', 'items[0].quantity'],
    [{ items: [{ sku: 'pack', quantity: 0 }] }, 'invalid_input', 'items[0].quantity'],
    [{ items: [{ sku: 'pack', quantity: 1.5 }] }, 'invalid_input', 'items[0].quantity'],
    [{ items: [{ sku: 'pack', quantity: '2.5' }] }, 'invalid_input', 'items[0].quantity'],
    [{ items: [{ sku: 'pack', price: '1.00' }] }, 'invalid_input', 'items[0].price'],
    [{ items: [] }, 'invalid_input', 'items'],
    [{}, 'invalid_input', 'items'],
    [{ items: [{ sku: 'pack' }, { sku: 'nothing' }] }, 'unknown_offer', 'items[1].sku'],
    [{ items: [{ sku: 'PACK' }] }, 'unknown_offer', 'items[0].sku'],
    [{ items: [{ sku: 'pack' }, { sku: 'euro' }] }, 'currency_mismatch', 'items[1].sku'],
    [{ items: [{ sku: 'for-coins' }] }, 'currency_mismatch', 'items[0].sku'],
    [{ items: [{ sku: 'starter', quantity: 2 }] }, 'invalid_input', 'items[0].quantity'],
    [{ items: [{ sku: 'starter' }, { sku: 'starter' }] }, 'invalid_input', 'items[1].sku'],
    [{ items: [{ sku: 'pack' }], taxRate: 'nowhere' }, 'invalid_input', 'taxRate'],
    [
      { items: [{ sku: 'pack' }], expiresIn: { unit: 'hour', count: 0 } },
      'invalid_input',
      'expiresIn.count',
    ],
    [{ items: [{ sku: 'pack' }], account: 'nobody' }, 'unknown_account', 'account'],
  ])('refuses %j', async (given, code, parameter) => {
    await billing.catalog.saveOffer({
      sku: 'euro',
      name: 'Euro',
      price: '1.00',
      currency: 'EUR',
      items: [{ product: 'TOKENS', quantity: 1 }],
    });
    await billing.catalog.saveOffer({
      sku: 'for-coins',
      name: 'For coins',
      price: '3',
      currency: 'COIN',
      items: [{ product: 'TOKENS', quantity: 1 }],
    });
    const account = await newAccount();
    const request = { account, ...given } as Parameters<Billing['sales']['createOrder']>[0];
    expect(await failure(billing.sales.createOrder(request))).toEqual({ code, parameter });
    expect((await billing.sales.listOrders({ account })).items).toEqual([]);
  });

  test('an order that is nobody\u2019s is unknown to every call', async () => {
    const unknown = { code: 'unknown_order', parameter: 'orderId' };
    for (const orderId of ['nothing', '0190b2c4-0000-7000-8000-000000000000']) {
      expect(await failure(billing.sales.getOrder({ orderId }))).toEqual(unknown);
      expect(await failure(billing.sales.cancelOrder({ orderId }))).toEqual(unknown);
      expect(await failure(pay(orderId))).toEqual(unknown);
      expect(await failure(billing.sales.refundOrder({ orderId }))).toEqual(unknown);
    }
  });

  test('orders are listed newest first, by pages, by account and by state', async () => {
    const account = await newAccount();
    const ids: string[] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      ids.push((await order(account, [{ sku: 'pack' }])).orderId);
    }
    await pay(ids[1]!);
    const page = await billing.sales.listOrders({ account, limit: 3 });
    expect(page.items.map(({ orderId }) => orderId)).toEqual(ids.slice(2).reverse());
    const rest = await billing.sales.listOrders({ account, limit: 3, cursor: page.nextCursor! });
    expect(rest.items.map(({ orderId }) => orderId)).toEqual([ids[1], ids[0]]);
    expect(rest.nextCursor).toBeNull();
    const paid = await billing.sales.listOrders({ account, status: 'paid' });
    expect(paid.items).toEqual([await billing.sales.getOrder({ orderId: ids[1]! })]);
    expect((await billing.sales.listOrders({ limit: 1 })).items[0]!.orderId).toBe(ids[4]);
    expect(await failure(billing.sales.listOrders({ cursor: 'x' }))).toEqual({
      code: 'invalid_input',
      parameter: 'cursor',
    });
  });

  test('S6: orders of an account are found under the one it was merged into, and go on there', async () => {
    const [into, from] = [await newAccount(), await newAccount()];
    const paid = await order(from, [{ sku: 'starter' }]);
    await pay(paid.orderId);
    const open = await order(from, [{ sku: 'pack' }]);
    await billing.accounts.merge({ into, from, prefer: 'into' });
    expect((await billing.sales.listOrders({ account: into })).items).toHaveLength(2);
    expect(
      await billing.sales.createOrder({ account: into, items: [{ sku: 'starter' }] }),
    ).toMatchObject({ allowed: false, reason: 'already_purchased' });
    await pay(open.orderId);
    expect(await available(into, 'INTERNAL')).toBe('100');
    expect(await available(into, 'TOKENS')).toBe('10');
    await billing.sales.refundOrder({ orderId: paid.orderId });
    expect(await available(into, 'TOKENS')).toBe('0');
  });

  test('S6: of two pending orders for one place, after a merge one can be paid', async () => {
    const [into, from] = [await newAccount(), await newAccount()];
    const kept = await order(into, [{ sku: 'starter' }]);
    const other = await order(from, [{ sku: 'starter' }]);
    await billing.accounts.merge({ into, from, prefer: 'into' });
    expect(await pay(other.orderId)).toMatchObject({
      allowed: false,
      reason: 'already_purchased',
      refundDue: '5.00',
    });
    expect(await pay(kept.orderId)).toMatchObject({ allowed: true });
    expect(await available(into, 'TOKENS')).toBe('10');

    const [second, first] = [await newAccount(), await newAccount()];
    const waiting = await order(second, [{ sku: 'starter' }]);
    await pay((await order(first, [{ sku: 'starter' }])).orderId);
    await billing.accounts.merge({ into: second, from: first, prefer: 'into' });
    expect(await pay(waiting.orderId)).toMatchObject({ reason: 'already_purchased' });
  });

  test('an account with a pending order cannot become a child; a lapsed one is no obstacle', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    const { orderId } = await order(child, [{ sku: 'pack' }]);
    expect(await failure(billing.accounts.attachChild({ parent, child }))).toMatchObject({
      code: 'merge_conflict',
    });
    clock.set(START + DAY);
    await billing.accounts.attachChild({ parent, child });
    // Paid after all: the units are where the account's units are now.
    await pay(orderId);
    expect(await available(parent, 'INTERNAL')).toBe('100');
  });

  test('a child that left its parent leaves the orders it made there', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    await billing.accounts.attachChild({ parent, child });
    const { orderId } = await order(child, [{ sku: 'pack' }]);
    await billing.accounts.detachChild({ child });
    await pay(orderId);
    expect(await available(parent, 'INTERNAL')).toBe('100');
    expect(await available(child, 'INTERNAL')).toBe('0');
    await billing.sales.refundOrder({ orderId });
    expect(await available(parent, 'INTERNAL')).toBe('0');
  });

  test('orders are exported with their refunds; erasing empties what people wrote', async () => {
    const account = await newAccount();
    const { orderId } = await order(account, [{ sku: 'pack' }], {
      metadata: { for: 'Frau Musterfrau' },
    });
    await pay(orderId);
    await billing.sales.refundOrder({ orderId, amount: '1.00', reason: 'Frau Musterfrau asked' });
    const exported = await billing.accounts.export({ account });
    expect(exported).toMatchObject({
      orders: [
        {
          orderId,
          refunded: '1.00',
          metadata: { for: 'Frau Musterfrau' },
          refunds: [{ amount: '1.00', used: 'forgive', reason: 'Frau Musterfrau asked' }],
        },
      ],
    });
    await billing.accounts.erase({ account, confirm: account });
    const after = await billing.accounts.export({ account });
    expect(JSON.stringify(after)).not.toContain('Musterfrau');
    expect(after).toMatchObject({ orders: [{ orderId, total: '10.00', refunded: '1.00' }] });
  });
});

if (databaseKinds.includes('server')) {
  describe('orders at once (server)', () => {
    let billing: Billing;
    let account: string;

    beforeAll(async () => {
      billing = await openOnServer({ schema: newSchema(), poolSize: 20 });
      await fill(billing);
    });
    beforeEach(async () => {
      const externalId = `buyer ${Math.random()}`;
      ({ accountId: account } = await billing.accounts.identify({ externalId }));
    });
    afterAll(async () => {
      try {
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });

    const times = <T>(count: number, work: (turn: number) => Promise<T>): Promise<T[]> =>
      Promise.all(Array.from({ length: count }, (_, turn) => work(turn)));

    test('S4: of 20 orders at once for an offer sold once, one is taken', async () => {
      const answers = await times(20, () =>
        billing.sales.createOrder({ account, items: [{ sku: 'starter' }] }),
      );
      expect(answers.filter(({ allowed }) => allowed)).toHaveLength(1);
      expect(new Set(answers.map(({ reason }) => reason))).toEqual(
        new Set([null, 'already_purchased']),
      );
    });

    test('S7: of ten trial orders of one person at once one is paid, and one coupon used', async () => {
      const strict = await openBilling({
        connection: { connectionString: serverUrl(), poolSize: 20 },
        schema: newSchema(),
        secrets: { identity: 'only the tests know this' },
      });
      try {
        await fill(strict);
        await strict.catalog.saveOffer({
          sku: 'tripwire',
          name: 'Tripwire',
          price: '99.00',
          currency: 'USD',
          billing: 'recurring',
          interval: { unit: 'month', count: 1 },
          items: [{ product: 'CREDIT', quantity: 25 }],
          trialPhases: [
            {
              price: '1.00',
              length: { unit: 'day', count: 15 },
              items: [{ product: 'CREDIT', quantity: 10 }],
            },
          ],
        });
        await strict.catalog.saveCoupon({ code: 'TEN', percent: 10, maxRedemptions: 10 });
        // Ten accounts to a shop that minds the case, one person to the trial.
        const orders = await times(10, async (turn) => {
          const externalId = 'abcdefghij'.replace('abcdefghij'[turn]!, (letter) =>
            letter.toUpperCase(),
          );
          const { accountId } = await strict.accounts.identify({ externalId });
          const items = [{ sku: 'tripwire' }];
          return ordered(
            await strict.sales.createOrder({ account: accountId, items, coupon: 'ten' }),
          );
        });
        const answers = await Promise.all(
          orders.map(({ orderId }) =>
            strict.sales.confirmOrder({ orderId, paymentId: `pay ${orderId}` }),
          ),
        );
        expect(answers.filter(({ allowed }) => allowed)).toHaveLength(1);
        expect(new Set(answers.map(({ reason }) => reason))).toEqual(
          new Set([null, 'trial_already_used']),
        );
        expect((await strict.catalog.getCoupon({ code: 'TEN' })).redeemed).toBe(1);
        expect(await strict.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await strict.close();
      }
    });

    test('S1: 20 confirmations at once grant once', async () => {
      const { orderId } = ordered(
        await billing.sales.createOrder({ account, items: [{ sku: 'pack' }] }),
      );
      const answers = await times(20, () =>
        billing.sales.confirmOrder({ orderId, paymentId: `one ${account}` }),
      );
      expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
      expect(await billing.ledger.balance({ account, product: 'INTERNAL' })).toMatchObject({
        available: '100',
      });
    });

    test('one payment confirmed for 10 orders of 10 accounts at once pays one', async () => {
      const orders = await times(10, async (turn) => {
        const externalId = `${account} ${turn}`;
        const { accountId } = await billing.accounts.identify({ externalId });
        return ordered(
          await billing.sales.createOrder({ account: accountId, items: [{ sku: 'pack' }] }),
        );
      });
      const codes = await Promise.all(
        orders.map(({ orderId }) =>
          failure(billing.sales.confirmOrder({ orderId, paymentId: `shared ${account}` })),
        ),
      );
      expect(codes.filter((code) => code === 'done')).toHaveLength(1);
      expect(codes).toContainEqual({ code: 'payment_mismatch', parameter: 'paymentId' });
    });

    test('of a confirmation and a cancellation at once, one wins', async () => {
      const { orderId } = ordered(
        await billing.sales.createOrder({ account, items: [{ sku: 'pack' }] }),
      );
      const outcome = await Promise.all([
        failure(billing.sales.confirmOrder({ orderId, paymentId: `race ${account}` })),
        failure(billing.sales.cancelOrder({ orderId })),
      ]);
      expect(outcome.filter((one) => one === 'done')).toHaveLength(1);
      expect(outcome).toContainEqual({ code: 'order_state', parameter: 'orderId' });
    });

    test('a coupon of 10 places is used 10 times by 50 orders at once', async () => {
      await billing.catalog.saveCoupon({ code: 'ten', percent: 10, maxRedemptions: 10 });
      const answers = await times(50, async (turn) => {
        const externalId = `${account} coupon ${turn}`;
        const { accountId } = await billing.accounts.identify({ externalId });
        return billing.sales.createOrder({
          account: accountId,
          items: [{ sku: 'pack' }],
          coupon: 'TEN',
        });
      });
      expect(answers.filter(({ allowed }) => allowed)).toHaveLength(10);
    });
  });
}
