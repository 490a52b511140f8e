import {
  TestClock,
  type Billing,
  type CreateOrderRequest,
  type Invoice,
  type SaveOfferRequest,
  type StartRequest,
  type Subscription,
} from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';
import { invoicesOf, payOpen, startPlan } from './monthly-plans';

const DAY = 86_400_000;
const START = Date.parse('2027-06-01T09:00:00Z');
const after = (days: number): string => new Date(START + days * DAY).toISOString();

onEachDatabase('a second plan where one of the same product is in force', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: true });
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await catalog.saveProduct({ key: 'SEATS', name: 'Seats', kind: 'period' });
    const plan = (
      sku: string,
      price: string,
      quantity: number,
      more: Partial<SaveOfferRequest> = {},
    ) =>
      catalog.saveOffer({
        sku,
        name: sku,
        price,
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'day', count: 30 },
        items: [{ product: 'TOKENS', quantity }],
        ...more,
      });
    await plan('mini', '5.00', 40);
    await plan('small', '10.00', 100);
    await plan('large', '30.00', 500);
    await plan('euro', '30.00', 500, { currency: 'EUR' });
    await plan('late', '15.00', 100, { collect: { bill: 'arrears' } });
    await plan('strict', '20.00', 300, { collect: { whenInForce: 'refuse' } });
    await plan('extra', '5.00', 50, { collect: { whenInForce: 'beside' } });
    await plan('club', '4.00', 1, { items: [{ product: 'SEATS', quantity: 1 }] });
    await plan('club-gold', '9.00', 1, { items: [{ product: 'SEATS', quantity: 1 }] });
    const length = { unit: 'day', count: 14 } as const;
    await plan('tried', '40.00', 800, {
      trialPhases: [{ price: '1.00', length, items: [{ product: 'TOKENS', quantity: 10 }] }],
    });
    await plan('free-first', '10.00', 100, {
      trialPhases: [{ price: '0', length, items: [{ product: 'TOKENS', quantity: 10 }] }],
    });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `planner-${counter}` })).accountId;
  };
  const ordered = async (
    account: string,
    sku: string,
    more: Partial<CreateOrderRequest> = {},
  ): Promise<string> => {
    const order = await billing.sales.createOrder({ account, items: [{ sku }], ...more });
    if (!order.allowed) throw new Error(order.reason);
    return order.orderId;
  };
  const confirm = (orderId: string) => {
    counter += 1;
    return billing.sales.confirmOrder({ orderId, paymentId: `paid-${counter}` });
  };
  const bought = async (account: string, sku: string, renew?: boolean): Promise<string> => {
    const orderId = await ordered(account, sku, { renew });
    await confirm(orderId);
    return orderId;
  };
  const start = (account: string, sku: string, more: Partial<StartRequest> = {}) =>
    billing.subscriptions.start({ account, sku, ...more });
  const paid = async (account: string, sku: string): Promise<Subscription> => {
    const one = await startPlan(billing, { account, sku, collection: 'send' });
    await billing.invoicing.runBillingCycle();
    await payOpen(billing, account, 'cash');
    return one;
  };
  const failure = async (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => null,
      (error: { code?: string; parameter?: string }) => [error.code, error.parameter],
    );
  const subscriptions = async (account: string): Promise<Subscription[]> =>
    (await billing.subscriptions.list({ account })).items;
  const tokens = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
  const told = async (account: string, type: 'refund.due' | 'subscription.cancel_scheduled') =>
    (await billing.events.list({ account, types: [type] })).items.map(({ data }) => data);

  describe('started', () => {
    test('changes it: dearer now, cheaper at the end of the period', async () => {
      const account = await newAccount();
      const { subscriptionId } = await paid(account, 'small');
      clock.set(after(15));
      const dearer = await start(account, 'large', { metadata: { by: 'chat' } });
      expect(dearer).toMatchObject({ allowed: true, changed: true, replaced: null });
      expect(dearer).toMatchObject({ subscriptionId, sku: 'large', metadata: { by: 'chat' } });
      expect(await tokens(account)).toBe('300');
      const cheaper = await start(account, 'small');
      expect(cheaper).toMatchObject({
        changed: true,
        subscriptionId,
        sku: 'large',
        next: { sku: 'small', at: after(30) },
      });
      expect(await start(account, 'mini')).toMatchObject({
        replaced: { kind: 'change', sku: 'small' },
        next: { sku: 'mini' },
      });
      expect(await subscriptions(account)).toHaveLength(1);
      await billing.invoicing.runBillingCycle();
      const totals = (await invoicesOf(billing, account)).map(({ total }) => total);
      expect(totals).toEqual(['10.00', '10.00']);
    });

    test('dearer, and charged: the old one goes on until that is paid', async () => {
      const account = await newAccount();
      await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
      await bought(account, 'small');
      const asked = await start(account, 'large', { idempotencyKey: 'up' });
      expect(asked).toMatchObject({
        changed: true,
        sku: 'small',
        awaitingChange: { sku: 'large' },
      });
      const again = await start(account, 'large', { idempotencyKey: 'up' });
      expect(again).toEqual({ ...asked, replayed: true });
      expect(await tokens(account)).toBe('100');
    });

    test('cheaper, where it ends by itself: begins then', async () => {
      for (const renew of [false, true]) {
        clock.set(START);
        const account = await newAccount();
        await bought(account, 'large', renew);
        const [had] = await subscriptions(account);
        if (renew) await billing.subscriptions.cancel({ subscriptionId: had!.subscriptionId });
        const one = await start(account, 'small');
        expect(one).toMatchObject({ changed: false, startedAt: after(30), period: null });
        clock.set(after(30));
        expect(await subscriptions(account)).toMatchObject([
          { sku: 'small', awaitingPayment: true, period: { startsAt: after(30) } },
          { sku: 'large', status: renew ? 'cancelled' : 'ended' },
        ]);
      }
    });

    test('for when it is over, it begins beside', async () => {
      const account = await newAccount();
      await bought(account, 'large');
      const startAt = after(30);
      expect(await start(account, 'strict', { startAt })).toMatchObject({ changed: false });
      expect(await subscriptions(account)).toHaveLength(2);
    });

    test('what is for a subscription that begins is refused', async () => {
      const account = await newAccount();
      await paid(account, 'small');
      const no = async (more: Partial<StartRequest>, sku = 'large') =>
        failure(start(account, sku, more));
      expect(await no({ startAt: after(3) })).toEqual(['invalid_input', 'startAt']);
      expect(await no({ coupon: 'ANY' })).toEqual(['invalid_input', 'coupon']);
      expect(await no({ renew: false })).toEqual(['invalid_input', 'renew']);
      expect(await no({ trial: true }, 'tried')).toEqual(['invalid_input', 'trial']);
      expect(await failure(start(account, 'euro'))).toEqual(['currency_mismatch', 'sku']);
    });

    test('a trial is in force, and goes on until the other one is paid', async () => {
      const account = await newAccount();
      const { subscriptionId } = await startPlan(billing, { account, sku: 'free-first' });
      expect(await start(account, 'large')).toMatchObject({
        changed: true,
        subscriptionId,
        sku: 'free-first',
        awaitingChange: { sku: 'large', amount: '30.00' },
      });
    });

    test('while its first payment is awaited, or it rests, it is neither changed nor doubled', async () => {
      const state = ['subscription_state', 'subscriptionId'];
      const account = await newAccount();
      const { subscriptionId } = await startPlan(billing, { account, sku: 'small' });
      expect(await failure(start(account, 'large'))).toEqual(state);
      expect(await start(account, 'strict')).toMatchObject({ reason: 'already_purchased' });
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      expect(await start(account, 'large')).toMatchObject({ changed: false, sku: 'large' });

      const resting = await newAccount();
      const one = await paid(resting, 'small');
      await billing.subscriptions.pause({ subscriptionId: one.subscriptionId });
      clock.set(after(31));
      expect(await failure(start(resting, 'large'))).toEqual(state);
      expect(await start(resting, 'strict')).toMatchObject({ reason: 'already_purchased' });
    });

    test('late money begins nothing beside the plan that came in its place', async () => {
      const account = await newAccount();
      await startPlan(billing, { account, sku: 'small', collection: 'charge' });
      await billing.invoicing.runBillingCycle();
      clock.set(after(2));
      await paid(account, 'large');
      expect(await told(account, 'refund.due')).toMatchObject([{ reason: 'already_purchased' }]);
      expect(await subscriptions(account)).toMatchObject([
        { sku: 'large', status: 'active' },
        { sku: 'small', status: 'ended', endReason: 'payment_lapsed' },
      ]);
    });

    test('what is over is not begun anew beside another plan', async () => {
      const account = await newAccount();
      const { subscriptionId } = await paid(account, 'small');
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await bought(account, 'large');
      const anew = billing.subscriptions.reactivate({ subscriptionId });
      expect(await failure(anew)).toEqual(['subscription_state', 'subscriptionId']);
    });
  });

  describe('ordered', () => {
    test('F3: a dearer plan takes over at once at its full price, and units add up', async () => {
      const account = await newAccount();
      await bought(account, 'small');
      clock.set(after(10));
      await bought(account, 'large');
      expect(await tokens(account)).toBe('600');
      expect(await subscriptions(account)).toMatchObject([
        { sku: 'large', status: 'active', period: { startsAt: after(10), endsAt: after(40) } },
      ]);
      clock.set(Date.parse(after(40)) - 1);
      expect(await tokens(account)).toBe('600');
      clock.set(after(40));
      expect(await tokens(account)).toBe('0');
    });

    test('a dearer plan in the place of one in arrears: of that the days had are asked for', async () => {
      const account = await newAccount();
      await startPlan(billing, { account, sku: 'late', collection: 'send' });
      clock.set(after(10));
      await bought(account, 'large');
      await billing.invoicing.runBillingCycle();
      expect(await invoicesOf(billing, account)).toMatchObject([{ total: '5.00' }]);
      // A third of its 100 was kept.
      expect(await tokens(account)).toBe('533');
      expect(await subscriptions(account)).toMatchObject([{ sku: 'large', renews: true }]);
    });

    test('a dearer plan: what was to happen at the end happens at the new one', async () => {
      const account = await newAccount();
      const { subscriptionId } = await paid(account, 'small');
      await billing.subscriptions.change({ subscriptionId, quantity: 2, when: 'period_end' });
      await billing.subscriptions.cancel({ subscriptionId });
      clock.set(after(10));
      await bought(account, 'large');
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        sku: 'large',
        cancelAt: after(40),
      });
      expect(await billing.subscriptions.undo({ subscriptionId })).toMatchObject({
        next: { sku: 'large', quantity: 1, at: after(40) },
      });
    });

    test('F3: a cheaper plan begins when the period ends; its units come when it is paid', async () => {
      const account = await newAccount();
      await bought(account, 'large', true);
      await billing.ledger.grant({ account, product: 'TOKENS', quantity: 7 });
      clock.set(after(10));
      await bought(account, 'small');
      // Used after those that end earlier.
      await billing.ledger.consume({ account, product: 'TOKENS', amount: 490 });
      expect(await tokens(account)).toBe('117');
      expect(await subscriptions(account)).toMatchObject([
        {
          sku: 'small',
          status: 'active',
          renews: true,
          startedAt: after(30),
          period: { startsAt: after(30), endsAt: after(60) },
        },
        { sku: 'large', cancelAt: after(30), next: null },
      ]);
      expect(await told(account, 'subscription.cancel_scheduled')).toMatchObject([
        { sku: 'large' },
      ]);
      clock.set(after(30));
      expect(await tokens(account)).toBe('107');
      expect(await subscriptions(account)).toMatchObject([
        { sku: 'small', status: 'active' },
        { sku: 'large', status: 'cancelled' },
      ]);
      await billing.invoicing.runBillingCycle();
      expect(await invoicesOf(billing, account)).toEqual([]);
    });

    test('a third follows the second, which follows the first', async () => {
      const account = await newAccount();
      await bought(account, 'large', true);
      await bought(account, 'small');
      await bought(account, 'mini', false);
      expect(await subscriptions(account)).toMatchObject([
        { sku: 'mini', period: { startsAt: after(60), endsAt: after(90) }, renews: false },
        { sku: 'small', cancelAt: after(60) },
        { sku: 'large', cancelAt: after(30) },
      ]);
    });

    test('refunded before it began, what it was to follow goes on', async () => {
      const account = await newAccount();
      await bought(account, 'large', true);
      const orderId = await bought(account, 'small');
      await billing.sales.refundOrder({ orderId });
      expect(await tokens(account)).toBe('500');
      expect(await subscriptions(account)).toMatchObject([
        { sku: 'small', status: 'ended', endReason: 'refunded' },
        { sku: 'large', cancelAt: null, next: { sku: 'large', at: after(30) } },
      ]);
    });

    test('made longer it waits for what follows: nothing overlaps', async () => {
      const account = await newAccount();
      const periods = async () =>
        (await subscriptions(account)).map(({ sku, period }) => [sku, period!.startsAt]);
      await bought(account, 'large', true);
      const [{ subscriptionId }] = (await subscriptions(account)) as [Subscription];
      await bought(account, 'small');
      await bought(account, 'large');
      expect(await tokens(account)).toBe('1100');
      expect(await periods()).toEqual([
        ['large', after(60)],
        ['small', after(30)],
        ['large', after(0)],
      ]);
      // The last of them is made longer where it is.
      await bought(account, 'large');
      expect(await periods()).toEqual([
        ['large', after(90)],
        ['small', after(30)],
        ['large', after(0)],
      ]);
      await bought(account, 'small');
      expect((await periods())[0]).toEqual(['small', after(120)]);

      // Nor does any but the last go on, whatever is taken back.
      expect(await failure(billing.subscriptions.undo({ subscriptionId }))).toEqual([
        'subscription_state',
        'subscriptionId',
      ]);
    });

    test('nor is it started again while another follows it', async () => {
      const account = await newAccount();
      const { subscriptionId } = await paid(account, 'large');
      await bought(account, 'small');
      const again = start(account, 'large');
      expect(await failure(again)).toEqual(['subscription_state', 'subscriptionId']);
      // What was to follow is over: it goes on.
      const [{ subscriptionId: follows }] = (await subscriptions(account)) as [Subscription];
      await billing.subscriptions.cancel({ subscriptionId: follows, when: 'now' });
      await billing.subscriptions.undo({ subscriptionId });
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({ cancelAt: null });
    });

    test('of the same plan what waits for its first payment gives way, too', async () => {
      const account = await newAccount();
      await startPlan(billing, { account, sku: 'large', collection: 'send' });
      await billing.invoicing.runBillingCycle();
      await bought(account, 'large');
      expect(await tokens(account)).toBe('500');
      expect(await subscriptions(account)).toMatchObject([
        { sku: 'large', status: 'active' },
        { sku: 'large', status: 'cancelled' },
      ]);
      const [{ invoiceId }] = (await invoicesOf(billing, account)) as [Invoice];
      await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
      expect(await told(account, 'refund.due')).toMatchObject([
        { reason: 'subscription_cancelled' },
      ]);
      expect(await tokens(account)).toBe('500');
    });

    test('refunded, it brings back nothing that was cancelled by somebody, or is over', async () => {
      const account = await newAccount();
      await bought(account, 'large', true);
      const [{ subscriptionId }] = (await subscriptions(account)) as [Subscription];
      await billing.subscriptions.cancel({ subscriptionId });
      const orderId = await bought(account, 'small');
      await billing.sales.refundOrder({ orderId });
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        cancelAt: after(30),
      });

      const other = await newAccount();
      await bought(other, 'large', true);
      const second = await bought(other, 'small');
      clock.set(after(30));
      await billing.sales.refundOrder({ orderId: second });
      expect(await subscriptions(other)).toMatchObject([
        { sku: 'small', status: 'ended', endReason: 'refunded' },
        { sku: 'large', status: 'cancelled' },
      ]);
    });

    test('what waits for its first payment gives way, and nobody is charged for it', async () => {
      const account = await newAccount();
      await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_declined' });
      await startPlan(billing, { account, sku: 'large' });
      await billing.invoicing.runBillingCycle();
      await bought(account, 'small');
      expect(await tokens(account)).toBe('100');
      expect(await subscriptions(account)).toMatchObject([
        { sku: 'small', status: 'active', period: { startsAt: after(0) } },
        { sku: 'large', status: 'cancelled' },
      ]);
      await billing.payments.saveMethod({
        ...{ account, gateway: 'test', token: 'test_ok', makeDefault: true },
      });
      clock.set(after(4));
      await billing.invoicing.runBillingCycle();
      const [{ invoiceId }] = (await invoicesOf(billing, account)) as [Invoice];
      expect(await billing.invoicing.attempts({ invoiceId })).toHaveLength(1);
      await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
      expect(await told(account, 'refund.due')).toMatchObject([
        { reason: 'subscription_cancelled' },
      ]);
    });

    test('beside what owes something, and beside one in another currency', async () => {
      const late = await newAccount();
      await billing.payments.saveMethod({
        ...{ account: late, gateway: 'test', token: 'test_declined' },
      });
      await startPlan(billing, { account: late, sku: 'small', access: 'at_once' });
      await billing.invoicing.runBillingCycle();
      await bought(late, 'large');
      expect(await tokens(late)).toBe('600');
      expect(await subscriptions(late)).toMatchObject([
        { sku: 'large', status: 'active' },
        { sku: 'small', status: 'past_due' },
      ]);

      const abroad = await newAccount();
      await bought(abroad, 'euro');
      await bought(abroad, 'large');
      expect(await tokens(abroad)).toBe('1000');
      expect(await subscriptions(abroad)).toHaveLength(2);
    });

    test('in the place of another plan no trial phase comes first', async () => {
      const account = await newAccount();
      await bought(account, 'small');
      const items = [{ sku: 'tried' }];
      expect(await billing.sales.createOrder({ account, items })).toMatchObject({ total: '40.00' });
    });

    test('two of them in one order are refused', async () => {
      const account = await newAccount();
      const order = (...skus: string[]) =>
        billing.sales.createOrder({ account, items: skus.map((sku) => ({ sku })) });
      expect(await failure(order('small', 'club', 'large'))).toEqual([
        'invalid_input',
        'items[2].sku',
      ]);
      expect(await order('small', 'extra', 'club', 'small')).toMatchObject({ allowed: true });
    });
  });

  test('refuse: neither started nor ordered; nor paid, where the other came meanwhile', async () => {
    const account = await newAccount();
    const pending = await ordered(account, 'strict');
    await bought(account, 'small');
    const no = { allowed: false, reason: 'already_purchased' };
    expect(await start(account, 'strict')).toMatchObject(no);
    // Nor is such a one suggested to who has the other.
    const suggested = async (to: string): Promise<string[]> => {
      const asked = { account: to, product: 'TOKENS', amount: 100_000 };
      await billing.catalog.saveOffer({
        ...{ sku: 'strict-huge', name: 'Huge', price: '900.00', currency: 'USD' },
        ...{ billing: 'recurring', interval: { unit: 'day', count: 30 } },
        items: [{ product: 'TOKENS', quantity: 200_000 }],
        collect: { whenInForce: 'refuse' },
      });
      return (await billing.ledger.check(asked)).suggestedOffers.map(({ sku }) => sku);
    };
    expect(await suggested(account)).toEqual([]);
    expect(await suggested(await newAccount())).toEqual(['strict-huge']);
    const items = [{ sku: 'club' }, { sku: 'strict' }];
    expect(await billing.sales.createOrder({ account, items })).toMatchObject({
      ...no,
      sku: 'strict',
    });
    expect(await confirm(pending)).toMatchObject({ ...no, status: 'cancelled' });
    expect(await told(account, 'refund.due')).toMatchObject([{ reason: 'already_purchased' }]);
    // The same again is no other plan.
    const own = await newAccount();
    await bought(own, 'strict');
    await bought(own, 'strict');
    expect(await tokens(own)).toBe('600');
  });

  test('beside: both are in force, whichever is bought first; likewise plans of other products', async () => {
    const account = await newAccount();
    await bought(account, 'extra');
    await bought(account, 'large');
    expect(await start(account, 'extra')).toMatchObject({ changed: false });
    // Access by time adds up by itself.
    await bought(account, 'club');
    await bought(account, 'club-gold');
    const live = await subscriptions(account);
    expect(live.map(({ sku }) => sku)).toEqual(['club-gold', 'club', 'large', 'extra']);
    expect(await tokens(account)).toBe('550');
  });
});
