import { TestClock, type Billing, type Order, type Subscription } from '../../../engine';
import { onEachDatabase } from '../each-database';

const DAY = 86_400_000;
const START = Date.parse('2027-06-01T09:00:00Z');
const after = (days: number): string => new Date(START + days * DAY).toISOString();

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => [error.code, error.parameter],
  );

onEachDatabase('orders that begin subscriptions', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
    const plan = (sku: string, price: string, items: object[], more: object = {}) =>
      catalog.saveOffer({
        sku,
        name: sku,
        price,
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'day', count: 30 },
        items: items as [],
        ...more,
      });
    await plan('plan', '30.00', [{ product: 'TOKENS', quantity: 500 }]);
    await plan('access', '9.00', [{ product: 'PRO' }, { product: 'TOKENS', quantity: 10 }]);
    await plan('anchored', '30.00', [{ product: 'TOKENS', quantity: 100 }], {
      interval: { unit: 'month', count: 1 },
      collect: { anchorDay: 15 },
    });
    await plan('tripwire', '99.00', [{ product: 'TOKENS', quantity: 25 }], {
      trialPhases: [
        {
          price: '1.00',
          length: { unit: 'day', count: 15 },
          items: [{ product: 'TOKENS', quantity: 10 }],
        },
        {
          price: '50.00',
          length: { unit: 'day', count: 30 },
          items: [{ product: 'TOKENS', quantity: 25 }],
        },
      ],
    });
    await catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'TOKENS', quantity: 1000 }],
    });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `buyer-${counter}` })).accountId;
  };
  const bought = async (account: string, sku: string, more: object = {}): Promise<Order> => {
    const created = await billing.sales.createOrder({ account, items: [{ sku }], ...more });
    if (!created.allowed) throw new Error(created.reason);
    counter += 1;
    return billing.sales.confirmOrder({
      orderId: created.orderId,
      paymentId: `pay-${counter}`,
    });
  };
  const subscriptions = async (account: string): Promise<Subscription[]> =>
    (await billing.subscriptions.list({ account })).items;
  const tokens = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
  const ends = async (account: string): Promise<Array<string | null>> => [
    ...new Set(
      (await billing.ledger.grants({ account, product: 'TOKENS' }))
        .filter(({ remaining }) => remaining !== '0')
        .map(({ expiresAt }) => expiresAt),
    ),
  ];
  const items = async (account: string): Promise<Array<{ kind: string; amount: string }>> =>
    (await billing.accounts.export({ account })).pendingItems as [];

  test('an order pays for one period, and by default that is all', async () => {
    const account = await newAccount();
    const order = await bought(account, 'plan');
    expect(order.renew).toBeNull();
    expect(await subscriptions(account)).toMatchObject([
      {
        sku: 'plan',
        status: 'active',
        renews: false,
        awaitingPayment: false,
        period: { number: 1, startsAt: after(0), endsAt: after(30) },
        next: null,
      },
    ]);
    expect(await items(account)).toEqual([]);
    const [grant] = await billing.ledger.grants({ account });
    // The units are the order's, with what was paid for them.
    expect(grant).toMatchObject({ initial: '500', value: '30.00000000', expiresAt: after(30) });
    clock.set(after(30));
    expect(await subscriptions(account)).toMatchObject([
      { status: 'ended', endReason: 'expired', endedAt: after(30) },
    ]);
    const use = { account, product: 'TOKENS', amount: 1 };
    expect(await billing.ledger.consume(use)).toMatchObject({
      allowed: false,
      reason: 'subscription_ended',
    });
    expect(await items(account)).toEqual([]);
  });

  test('one that renews goes on by invoice', async () => {
    const account = await newAccount();
    expect(await bought(account, 'plan', { renew: true })).toMatchObject({ renew: true });
    clock.set(after(30));
    expect(await tokens(account)).toBe('500');
    expect(await items(account)).toMatchObject([{ kind: 'fee', amount: '30.00' }]);
    expect(await subscriptions(account)).toMatchObject([
      { period: { number: 2, startsAt: after(30), endsAt: after(60) }, renews: true },
    ]);
  });

  test('renew is for what recurs alone', async () => {
    const account = await newAccount();
    const order = { account, items: [{ sku: 'pack' }], renew: true };
    expect(await failure(billing.sales.createOrder(order))).toEqual(['invalid_input', 'renew']);
    expect(
      await billing.sales.createOrder({ ...order, items: [{ sku: 'pack' }, { sku: 'plan' }] }),
    ).toMatchObject({ allowed: true, renew: true });
  });

  test('F1: 1000 left and 500 bought are 1500, for 50 days when 20 were left', async () => {
    const account = await newAccount();
    await bought(account, 'plan');
    await bought(account, 'plan');
    // As if two had been bought at once: 1000 for 60 days.
    expect(await ends(account)).toEqual([after(60)]);
    clock.set(after(40));
    expect(await tokens(account)).toBe('1000');
    await bought(account, 'plan');
    expect(await tokens(account)).toBe('1500');
    expect(await ends(account)).toEqual([after(90)]);
    expect(await subscriptions(account)).toMatchObject([
      { period: { number: 3, endsAt: after(90) }, status: 'active' },
    ]);
    clock.set(Date.parse(after(90)) - 1);
    expect(await tokens(account)).toBe('1500');
    clock.set(after(90));
    expect(await tokens(account)).toBe('0');
  });

  test('F1: after it has expired it counts 30 days from now; a pack keeps its own end', async () => {
    const account = await newAccount();
    await bought(account, 'pack');
    await bought(account, 'plan');
    clock.set(after(45));
    await bought(account, 'plan');
    expect(await tokens(account)).toBe('1500');
    expect((await ends(account)).toSorted()).toEqual([after(75), null].toSorted());
    expect(await subscriptions(account)).toMatchObject([
      { status: 'active', period: { startsAt: after(45), endsAt: after(75) } },
      { status: 'ended' },
    ]);
  });

  test('access by time goes on from its end, not twice at once', async () => {
    const account = await newAccount();
    await bought(account, 'access');
    clock.set(after(10));
    await bought(account, 'access');
    expect(await billing.ledger.check({ account, product: 'PRO' })).toMatchObject({
      remaining: '1',
      expiresAt: after(60),
    });
    clock.set(after(59));
    expect(await billing.ledger.check({ account, product: 'PRO' })).toMatchObject({
      allowed: true,
    });
    clock.set(after(60));
    expect(await billing.ledger.check({ account, product: 'PRO' })).toMatchObject({
      allowed: false,
    });
  });

  test('another quantity, or another plan, is a subscription of its own', async () => {
    const account = await newAccount();
    await bought(account, 'plan');
    await bought(account, 'plan', { items: [{ sku: 'plan', quantity: 2 }] });
    await bought(account, 'access');
    expect(await subscriptions(account)).toMatchObject([
      { sku: 'access' },
      { sku: 'plan', quantity: 2 },
      { sku: 'plan', quantity: 1 },
    ]);
    expect(await tokens(account)).toBe('1510');
  });

  test('two lines of one offer are two periods, one after the other', async () => {
    const account = await newAccount();
    await bought(account, 'plan', { items: [{ sku: 'plan' }, { sku: 'plan' }] });
    expect(await subscriptions(account)).toMatchObject([
      { period: { number: 2, startsAt: after(30), endsAt: after(60) } },
    ]);
    expect(await tokens(account)).toBe('1000');
    expect(await ends(account)).toEqual([after(60)]);
  });

  test('S7: a tripwire goes on by itself: 50.00 after 15 days, then 99.00', async () => {
    const account = await newAccount();
    expect(await bought(account, 'tripwire')).toMatchObject({ total: '1.00' });
    expect(await subscriptions(account)).toMatchObject([
      { status: 'trialing', trialPhase: 1, renews: true, period: { endsAt: after(15) } },
    ]);
    expect(await tokens(account)).toBe('10');
    clock.set(after(15));
    expect(await tokens(account)).toBe('25');
    clock.set(after(45));
    expect(await tokens(account)).toBe('25');
    clock.set(after(75));
    expect(await tokens(account)).toBe('25');
    expect((await items(account)).map(({ amount }) => amount)).toEqual(['50.00', '99.00', '99.00']);
  });

  test('bought at its full price in a trial phase, the offer itself begins', async () => {
    const account = await newAccount();
    await bought(account, 'tripwire');
    clock.set(after(5));
    expect(await bought(account, 'tripwire')).toMatchObject({ total: '99.00' });
    expect(await subscriptions(account)).toMatchObject([
      {
        status: 'active',
        trialPhase: null,
        renews: true,
        period: { number: 2, startsAt: after(5), endsAt: after(35) },
      },
    ]);
    expect(await tokens(account)).toBe('35');
    // The trial's units stay until their end.
    clock.set(after(15));
    expect(await tokens(account)).toBe('25');
  });

  test('what is ordered is a whole interval, on whatever day', async () => {
    const account = await newAccount();
    await bought(account, 'anchored');
    expect(await subscriptions(account)).toMatchObject([
      { period: { endsAt: '2027-07-01T09:00:00.000Z' } },
    ]);
    expect(await tokens(account)).toBe('100');
  });

  test('a change of what an order paid gives back what was paid, after discount', async () => {
    await billing.catalog.saveCoupon({ code: 'HALF', percent: 50 });
    const account = await newAccount();
    await bought(account, 'plan', { coupon: 'HALF' });
    const [one] = await subscriptions(account);
    clock.set(after(20));
    await billing.subscriptions.change({
      subscriptionId: one!.subscriptionId,
      sku: 'access',
      when: 'now',
    });
    expect((await items(account)).map(({ kind, amount }) => [kind, amount])).toEqual([
      ['proration_credit', '-5.00'],
      ['proration_charge', '3.00'],
    ]);
    // Two thirds of 500 and a third of 10; what lapsed is earned.
    expect(await tokens(account)).toBe('336');
  });

  test('a refund of the order ends what is left of the period', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, 'plan', { renew: true });
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 100 });
    clock.set(after(10));
    await billing.sales.refundOrder({ orderId, amount: '3.00' });
    expect(await subscriptions(account)).toMatchObject([{ status: 'active' }]);
    await billing.sales.refundOrder({ orderId });
    expect(await subscriptions(account)).toMatchObject([
      { status: 'ended', endReason: 'refunded', endedAt: after(10) },
    ]);
    expect(await tokens(account)).toBe('0');
    clock.set(after(40));
    expect(await items(account)).toEqual([]);
  });

  test('a refund of what was bought last makes it shorter again', async () => {
    const account = await newAccount();
    await bought(account, 'plan');
    clock.set(after(10));
    const { orderId } = await bought(account, 'plan');
    expect(await ends(account)).toEqual([after(60)]);
    await billing.sales.refundOrder({ orderId });
    expect(await tokens(account)).toBe('500');
    expect(await ends(account)).toEqual([after(30)]);
    expect(await subscriptions(account)).toMatchObject([
      { status: 'active', period: { endsAt: after(30) } },
    ]);
    clock.set(after(30));
    expect(await subscriptions(account)).toMatchObject([{ status: 'ended', endReason: 'expired' }]);
  });

  test('what renews after what was bought last was refunded lasts one interval', async () => {
    const account = await newAccount();
    await bought(account, 'plan', { renew: true });
    const { orderId } = await bought(account, 'plan', { renew: true });
    await billing.sales.refundOrder({ orderId });
    clock.set(after(31));
    expect(await subscriptions(account)).toMatchObject([
      { status: 'active', period: { number: 3, startsAt: after(30), endsAt: after(60) } },
    ]);
  });

  test('a refund of what was bought first takes its units, and the later one stays', async () => {
    const account = await newAccount();
    const { orderId } = await bought(account, 'plan');
    await bought(account, 'plan');
    await billing.sales.refundOrder({ orderId });
    expect(await tokens(account)).toBe('500');
    expect(await subscriptions(account)).toMatchObject([
      { status: 'active', period: { endsAt: after(60) } },
    ]);
  });

  test('refunds of what was bought ahead, and then of what was before it, end it', async () => {
    const account = await newAccount();
    const first = await bought(account, 'plan', { renew: true });
    const second = await bought(account, 'plan', { renew: true });
    clock.set(after(10));
    await billing.sales.refundOrder({ orderId: second.orderId });
    await billing.sales.refundOrder({ orderId: first.orderId });
    expect(await subscriptions(account)).toMatchObject([
      { status: 'ended', endReason: 'refunded', endedAt: after(10) },
    ]);
    clock.set(after(40));
    expect(await items(account)).toEqual([]);
  });

  test('an order of nothing that is confirmed twice begins one', async () => {
    const account = await newAccount();
    const created = await billing.sales.createOrder({ account, items: [{ sku: 'plan' }] });
    const paid = { orderId: created.orderId!, paymentId: `twice-${account}` };
    await billing.sales.confirmOrder(paid);
    await billing.sales.confirmOrder(paid);
    expect(await subscriptions(account)).toHaveLength(1);
    expect(await tokens(account)).toBe('500');
  });
});
