import { TestClock, type Billing, type EventType, type TestToken } from '../../../engine';
import { newSchema, forRules } from '../each-database';

const DAY = 86_400_000;
const START = Date.parse('2027-03-10T12:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

forRules('automatic top-up', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: true });
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    await catalog.saveProduct({ key: 'OTHER', name: 'Other' });
    await catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    const pack = { price: '5.00', currency: 'USD', items: [{ product: 'CALLS', quantity: 100 }] };
    await catalog.saveOffer({ sku: 'pack', name: 'Pack', ...pack });
    await catalog.saveOffer({ sku: 'once', name: 'Once', ...pack, oncePerAccount: true });
    await catalog.saveOffer({
      sku: 'plan',
      name: 'Plan',
      ...pack,
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
    });
  });

  beforeEach(() => {
    counter += 1;
    clock.set(START + counter * 70 * DAY);
  });

  const someone = async (token: TestToken | null): Promise<string> => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({ externalId: `t-${counter}` });
    if (token !== null) await billing.payments.saveMethod({ account, gateway: 'test', token });
    return account;
  };
  /** An account with units, a method, and a top-up below 20. */
  const customer = async (
    token: TestToken | null,
    units: number,
    more: object = {},
  ): Promise<string> => {
    const account = await someone(token);
    if (units > 0) await billing.ledger.grant({ account, product: 'CALLS', quantity: units });
    await billing.invoicing.setTopUp({
      account,
      product: 'CALLS',
      below: 20,
      sku: 'pack',
      ...more,
    });
    return account;
  };
  const left = async (account: string) =>
    (await billing.ledger.balance({ account, product: 'CALLS' })).available;
  const eventsOf = async (account: string, ...types: EventType[]) =>
    (await billing.events.list({ account, types })).items;
  const consume = (account: string, amount: number) =>
    billing.ledger.consume({ account, product: 'CALLS', amount });

  test('is bought when less than the limit is left, once', async () => {
    const account = await customer('test_ok', 100);
    await consume(account, 80);
    await billing.runDue();
    expect(await left(account)).toBe('20');
    await consume(account, 1);
    const done = await billing.runDue();
    expect(done).toMatchObject({ topUpsBought: 1, topUpsFailed: 0 });
    expect(await left(account)).toBe('119');
    await billing.runDue();
    expect(await left(account)).toBe('119');
    const [bought] = await eventsOf(account, 'top_up.bought');
    expect(bought!.data).toEqual({
      product: 'CALLS',
      sku: 'pack',
      orderId: expect.any(String),
      amount: '5.00',
      currency: 'USD',
    });
    const { items } = await billing.sales.listOrders({ account });
    expect(items).toMatchObject([{ status: 'paid', gateway: 'test' }]);
    expect(await billing.invoicing.topUps({ account })).toMatchObject([{ bought: 1 }]);
  });

  test('many runs at once buy once', async () => {
    const account = await customer('test_ok', 10);
    await Promise.all(Array.from({ length: 5 }, () => billing.runDue()));
    expect(await left(account)).toBe('110');
    expect((await billing.sales.listOrders({ account })).items).toHaveLength(1);
  });

  test('a run with a limit looks behind those that have enough', async () => {
    const enough = [await customer('test_ok', 100), await customer('test_ok', 100)];
    const low = [await customer('test_ok', 10), await customer('test_ok', 10)];
    // Accounts are looked at in the order of their ids, which is that in which they were made.
    expect([...enough, ...low]).toEqual([...enough, ...low].sort());
    const runs = [];
    for (let run = 0; run < 3; run += 1) {
      runs.push((await billing.runDue({ limit: 1 })).topUpsBought);
    }
    expect(runs).toEqual([1, 1, 0]);
    expect(await Promise.all(low.map(left))).toEqual(['110', '110']);
  });

  test('no more often in a period than allowed', async () => {
    const account = await customer('test_ok', 0, { maxPerPeriod: 2, period: 'month' });
    for (let time = 0; time < 4; time += 1) {
      await billing.runDue();
      const there = Number(await left(account));
      if (there > 0) await consume(account, there);
    }
    expect(await eventsOf(account, 'top_up.bought')).toHaveLength(2);
    clock.advance(31 * DAY);
    await billing.runDue();
    expect(await eventsOf(account, 'top_up.bought')).toHaveLength(3);
  });

  test('a decline stops it for the period, and cancels the order', async () => {
    const account = await customer('test_insufficient_funds', 0);
    await billing.runDue();
    await billing.runDue();
    expect(await eventsOf(account, 'top_up.failed')).toMatchObject([
      { data: { sku: 'pack', code: 'card_declined', rejectReason: 'insufficient_funds' } },
    ]);
    expect((await billing.payments.attempts({ account })).items).toHaveLength(1);
    expect((await billing.sales.listOrders({ account })).items).toMatchObject([
      { status: 'cancelled' },
    ]);
    clock.advance(31 * DAY);
    await billing.runDue();
    expect((await billing.payments.attempts({ account })).items).toHaveLength(2);
    // Saving it again lifts the stop.
    const method = { account, gateway: 'test', token: 'test_ok', makeDefault: true };
    await billing.payments.saveMethod(method);
    await billing.runDue();
    expect(await left(account)).toBe('0');
    await billing.invoicing.setTopUp({ account, product: 'CALLS', below: 20, sku: 'pack' });
    clock.advance(1_000);
    await billing.runDue();
    expect(await left(account)).toBe('100');
  });

  test('without a method on file it fails once', async () => {
    const account = await customer(null, 0);
    await billing.runDue();
    await billing.runDue();
    expect(await eventsOf(account, 'top_up.failed')).toMatchObject([
      { data: { code: 'no_payment_method' } },
    ]);
  });

  test('an answer that was lost is waited for, and nothing is bought twice', async () => {
    const account = await customer('test_timeout_after_charge', 0);
    await billing.runDue();
    expect(await left(account)).toBe('0');
    await billing.runDue();
    clock.advance(3_600_000);
    await billing.runDue();
    await billing.runDue();
    expect(await left(account)).toBe('100');
    expect(await eventsOf(account, 'top_up.bought')).toHaveLength(1);
    expect((await billing.payments.attempts({ account })).items).toHaveLength(1);
  });

  test('one that is switched off, or of a suspended account, buys nothing', async () => {
    const off = await customer('test_ok', 0, { active: false });
    const suspended = await customer('test_ok', 0);
    await billing.accounts.update({ account: suspended, status: 'suspended' });
    await billing.runDue();
    for (const account of [off, suspended]) {
      expect((await billing.payments.attempts({ account })).items).toEqual([]);
    }
    expect(await eventsOf(suspended, 'top_up.failed')).toMatchObject([
      { data: { code: 'account_suspended' } },
    ]);
  });

  test('what an account said rests while another pays for it, and charges nobody else', async () => {
    const child = await customer('test_ok', 0);
    const parent = await someone('test_ok');
    await billing.accounts.attachChild({ parent, child });
    await billing.runDue();
    for (const account of [parent, child]) {
      expect((await billing.payments.attempts({ account })).items).toEqual([]);
      expect(await billing.invoicing.topUps({ account })).toEqual([]);
    }
    await billing.accounts.detachChild({ child });
    await billing.runDue();
    expect([await left(parent), await left(child)]).toEqual(['0', '100']);
  });

  test('what a child said is bought for its payer, also after it has left', async () => {
    const [parent, child] = [await someone('test_ok'), await someone(null)];
    await billing.accounts.attachChild({ parent, child });
    const wish = { account: child, product: 'CALLS', below: 20, sku: 'pack' };
    await billing.invoicing.setTopUp(wish);
    await billing.runDue();
    expect(await left(parent)).toBe('100');
    await billing.accounts.detachChild({ child });
    await billing.payments.saveMethod({ account: child, gateway: 'test', token: 'test_ok' });
    await consume(parent, 90);
    await billing.runDue();
    expect([await left(parent), await left(child)]).toEqual(['110', '0']);
    const { items } = await billing.sales.listOrders({ account: parent });
    expect(items.map(({ account }) => account)).toEqual([parent, child]);
    expect(await eventsOf(parent, 'top_up.bought')).toHaveLength(2);
  });

  test('merged it goes along, and can be switched off; of two that of the account which stays counts', async () => {
    const [into, from] = [await someone(null), await customer('test_ok', 0)];
    const merging = { into, from, prefer: 'into' } as const;
    const seen = await billing.accounts.merge({ ...merging, dryRun: true });
    expect(seen.counts).toMatchObject({ topUps: 1 });
    await billing.accounts.merge(merging);
    expect(await billing.invoicing.topUps({ account: into })).toMatchObject([
      { account: into, payer: into, below: '20', active: true },
    ]);
    await billing.runDue();
    expect(await left(into)).toBe('100');
    const off = { account: into, product: 'CALLS', below: 20, sku: 'pack', active: false };
    await billing.invoicing.setTopUp(off);
    await consume(into, 100);
    await billing.runDue();
    expect(await left(into)).toBe('0');
    const other = await customer('test_ok', 0);
    await billing.accounts.merge({ into, from: other, prefer: 'into' });
    await billing.runDue();
    expect(await left(into)).toBe('0');
  });

  test.each([
    ['an offer that is subscribed to', { sku: 'plan' }, 'invalid_input', 'sku'],
    ['one that is sold once', { sku: 'once' }, 'invalid_input', 'sku'],
    ['one that holds something else', { product: 'OTHER' }, 'invalid_input', 'sku'],
    ['an offer that there is not', { sku: 'nope' }, 'unknown_offer', 'sku'],
    ['a product that there is not', { product: 'NOPE' }, 'unknown_product', 'product'],
    ['a limit of 0', { below: 0 }, 'invalid_input', 'below'],
    ['a limit finer than the units', { below: '0.5' }, 'invalid_input', 'below'],
    ['a period nobody knows', { period: 'year' }, 'invalid_input', 'period'],
    ['a field nobody knows', { card: 1 }, 'invalid_input', 'card'],
  ])('refuses %s', async (_what, change, code, parameter) => {
    const account = await customer(null, 100);
    const wish = { account, product: 'CALLS', below: 20, sku: 'pack', ...change };
    expect(await failure(billing.invoicing.setTopUp(wish as never))).toEqual({ code, parameter });
  });
});
