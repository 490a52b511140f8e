import { TestClock, openBilling, type Billing, type Subscription } from '../../../engine';
import {
  databaseKinds,
  newSchema,
  onEachDatabase,
  openOnServer,
  serverUrl,
} from '../each-database';
import { tellSubscriptions } from './subscription-times';

const START = Date.parse('2027-01-31T10:00:00Z');

async function fill({ catalog }: Billing): Promise<void> {
  await catalog.saveProduct({ key: 'MSG', name: 'Messages', lowBalanceThreshold: 200 });
  await catalog.saveProduct({ key: 'TALK', name: 'Minutes' });
  await catalog.saveOffer({
    sku: 'basic',
    name: 'Basic',
    price: '9.99',
    currency: 'USD',
    billing: 'recurring',
    interval: { unit: 'month', count: 1 },
    collect: { bill: 'arrears' },
    items: [{ product: 'MSG', quantity: 1000, step: { size: 1000, price: '7.99' } }],
  });
  await catalog.saveOffer({
    sku: 'metered',
    name: 'Metered',
    price: '0.00',
    currency: 'USD',
    billing: 'recurring',
    interval: { unit: 'month', count: 1 },
    collect: { bill: 'arrears' },
    items: [
      {
        product: 'TALK',
        quantity: 10,
        overage: { limit: 5, pricing: { model: 'per_unit', unitPrice: '0.10' } },
      },
    ],
  });
}

onEachDatabase('resetting and restoring', (database) => {
  const clock = new TestClock(START);
  const schema = newSchema();
  let billing: Billing;
  let tell: ReturnType<typeof tellSubscriptions>;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema);
    tell = tellSubscriptions(billing, schema, () => new Date(clock.now()).getTime());
    await fill(billing);
  });

  beforeEach(() => clock.set(START));

  const subscribed = async (sku: string): Promise<Subscription> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `customer-${counter}` });
    const answer = await billing.subscriptions.start({ account: accountId, sku });
    if (!answer.allowed) throw new Error(answer.reason);
    return answer;
  };
  const available = async (account: string, product: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product })).available;
  const expiries = async (account: string): Promise<string[]> =>
    (await billing.ledger.entries({ account })).items
      .filter(({ kind }) => kind === 'expiry')
      .map(({ amount, effectiveAt }) => `${amount} ${effectiveAt}`);

  test('I1: 2 steps, 2900 used, one quota.low; reset and restore: 1000 of 1000', async () => {
    const { account, subscriptionId } = await subscribed('basic');
    await billing.subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 2 });
    expect(await available(account, 'MSG')).toBe('3000');
    for (let use = 0; use < 29; use += 1) {
      await billing.ledger.consume({ account, product: 'MSG', amount: 100 });
    }
    expect(await available(account, 'MSG')).toBe('100');
    const told = await tell.sql<{ type: string }>(
      `select type from {schema}.events where account_id = $1::uuid and type = 'quota.low'`,
      [account],
    );
    expect(told).toHaveLength(1);
    const due = await tell.sql<{ amount: string }>(
      `select sum(amount)::text as amount from {schema}.pending_items where account_id = $1::uuid`,
      [account],
    );
    expect(due).toEqual([{ amount: '25.97' }]);

    clock.set('2027-02-28T10:00:00Z');
    expect(await billing.invoicing.resetProducts({ account })).toMatchObject({
      periods: 1,
      more: false,
    });
    await billing.invoicing.restoreProducts({ account });
    expect(await available(account, 'MSG')).toBe('1000');
    expect(await expiries(account)).toEqual(['-100 2027-02-28T10:00:00.000Z']);

    // Again, and long after: nothing of the new period is touched.
    await billing.ledger.consume({ account, product: 'MSG', amount: 300 });
    clock.set('2027-03-20T10:00:00Z');
    expect(await billing.invoicing.resetProducts({ account })).toMatchObject({ periods: 0 });
    expect(await billing.invoicing.restoreProducts({ account })).toMatchObject({ periods: 0 });
    expect(await available(account, 'MSG')).toBe('700');
    expect(await expiries(account)).toHaveLength(1);
  });

  test('long after a period it still writes what was lost then', async () => {
    const { account } = await subscribed('basic');
    clock.set('2027-04-10T10:00:00Z');
    expect(await billing.invoicing.resetProducts({ account })).toMatchObject({ periods: 2 });
    expect(await expiries(account)).toEqual(['-1000 2027-02-28T10:00:00.000Z']);
    expect(await available(account, 'MSG')).toBe('1000');
  });

  test('overage counts anew with each period', async () => {
    const { account } = await subscribed('metered');
    const use = (amount: number) => billing.ledger.consume({ account, product: 'TALK', amount });
    expect(await use(15)).toMatchObject({ allowed: true, overage: '5' });
    expect(await use(1)).toMatchObject({ allowed: false });
    clock.set('2027-02-28T10:00:00Z');
    expect(await use(15)).toMatchObject({ allowed: true, overage: '5' });
    expect(await use(1)).toMatchObject({ allowed: false });
    await billing.invoicing.resetProducts({ account });
    expect(await use(1)).toMatchObject({ allowed: false });
  });

  test('the units of a new period come before anything beyond them, whoever opens it', async () => {
    const { account } = await subscribed('metered');
    const wanted = { account, product: 'TALK', amount: 3 };
    expect(await billing.ledger.consume({ ...wanted, amount: 12 })).toMatchObject({ overage: '2' });
    clock.set('2027-02-28T10:00:00Z');
    const used = await billing.ledger.consume(wanted);
    expect(used).toMatchObject({ allowed: true, remaining: '7' });
    expect(used.overage).toBeUndefined();

    const other = await subscribed('metered');
    await billing.ledger.consume({ ...wanted, account: other.account, amount: 12 });
    clock.set('2027-03-28T10:00:00Z');
    expect(await billing.ledger.check({ ...wanted, account: other.account })).toMatchObject({
      allowed: true,
      remaining: '10',
    });
  });

  test('nothing is used beyond the units of one that is over, whether or not a job ran', async () => {
    const { account, subscriptionId } = await subscribed('metered');
    await billing.subscriptions.cancel({ subscriptionId });
    clock.set('2027-02-28T10:00:00Z');
    const wanted = { account, product: 'TALK', amount: 3 };
    const denial = { allowed: false, reason: 'subscription_cancelled' };
    expect(await billing.ledger.consume(wanted)).toMatchObject(denial);
    expect(await billing.ledger.check(wanted)).toMatchObject(denial);
  });

  test('overage ends with the subscription', async () => {
    const { account, subscriptionId } = await subscribed('metered');
    await tell.over(account, subscriptionId, 'cancel');
    expect(await billing.ledger.consume({ account, product: 'TALK' })).toMatchObject({
      allowed: false,
      reason: 'subscription_ended',
    });
  });

  test('bad input is refused', async () => {
    for (const more of [{ limit: 0 }, { limit: 1.5 }, { everything: true }]) {
      await expect(billing.invoicing.resetProducts(more as object)).rejects.toMatchObject({
        code: 'invalid_input',
      });
    }
    await expect(billing.invoicing.restoreProducts({ account: 'nobody' })).rejects.toMatchObject({
      code: 'unknown_account',
    });
  });
});

if (databaseKinds.includes('server')) {
  describe('periods opened by many at once', () => {
    const clock = new TestClock(START);
    const schema = newSchema();
    let billings: Billing[];

    beforeAll(async () => {
      const first = await openOnServer({ clock, schema });
      const others = await Promise.all(
        Array.from({ length: 3 }, () =>
          openBilling({
            connection: { connectionString: serverUrl(), poolSize: 5 },
            schema,
            clock,
          }),
        ),
      );
      billings = [first, ...others];
      await fill(first);
    });
    afterAll(async () => {
      expect(await billings[0]!.verify()).toMatchObject({ ok: true, problems: [] });
      for (const billing of billings) await billing.close();
    });

    test('30 who ask at the boundary, and workers beside them: each period once, nobody denied', async () => {
      const [first] = billings as [Billing];
      const accounts: string[] = [];
      for (let index = 0; index < 10; index += 1) {
        const { accountId } = await first.accounts.identify({ externalId: `crowd-${index}` });
        await first.subscriptions.start({ account: accountId, sku: 'basic' });
        await first.ledger.consume({ account: accountId, product: 'MSG', amount: 1000 });
        accounts.push(accountId);
      }
      clock.set('2027-02-28T10:00:00Z');
      const asked = accounts.flatMap((account) =>
        billings.slice(0, 3).map((billing) => billing.ledger.check({ account, product: 'MSG' })),
      );
      const worked = billings.map((billing) => billing.invoicing.restoreProducts());
      for (const answer of await Promise.all(asked)) {
        expect(answer).toMatchObject({ allowed: true, remaining: '1000' });
      }
      await Promise.all(worked);
      for (const account of accounts) {
        expect(await first.ledger.balance({ account, product: 'MSG' })).toMatchObject({
          available: '1000',
        });
      }
    });

    test('one of two who start the same offer at once makes the other a longer one', async () => {
      const [first, second] = billings as [Billing, Billing];
      const { accountId } = await first.accounts.identify({ externalId: 'twice' });
      const started = await Promise.all([
        first.subscriptions.start({ account: accountId, sku: 'basic' }),
        second.subscriptions.start({ account: accountId, sku: 'basic' }),
      ]);
      const ids = new Set(started.map((answer) => (answer.allowed ? answer.subscriptionId : null)));
      expect(ids.size).toBe(1);
      const { items } = await first.subscriptions.list({ account: accountId });
      expect(items).toMatchObject([{ period: { number: 2, endsAt: '2027-04-28T10:00:00.000Z' } }]);
    });
  });
}
