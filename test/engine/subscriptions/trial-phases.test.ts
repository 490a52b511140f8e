import { TestClock, type Billing, type StartAnswer, type Subscription } from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';
import { tellSubscriptions } from './subscription-times';

const START = Date.parse('2027-01-16T10:00:00Z');
const SECRET = 'a secret of sixteen characters';

const begun = (answer: StartAnswer): Subscription => {
  if (!answer.allowed) throw new Error(`denied: ${answer.reason}`);
  return answer;
};

onEachDatabase('trial phases', (database) => {
  const clock = new TestClock(START);
  const schema = newSchema();
  let billing: Billing;
  let tell: ReturnType<typeof tellSubscriptions>;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema, { secrets: { identity: SECRET } });
    tell = tellSubscriptions(billing, schema, () => new Date(clock.now()).getTime());
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'CREDIT', name: 'Credits' });
    const monthly = {
      billing: 'recurring' as const,
      interval: { unit: 'month' as const, count: 1 },
      currency: 'USD',
      price: '99.00',
      items: [{ product: 'CREDIT', quantity: 25, priority: 7 }],
    };
    await catalog.saveOffer({
      ...monthly,
      sku: 'tripwire',
      name: 'Tripwire',
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
    await catalog.saveOffer({
      ...monthly,
      sku: 'free-first',
      name: 'Two weeks free',
      trialPhases: [
        {
          price: '0.00',
          length: { unit: 'week', count: 2 },
          items: [{ product: 'CREDIT', quantity: 3 }],
        },
      ],
    });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (externalId = `trier-${(counter += 1)}`): Promise<string> =>
    (await billing.accounts.identify({ externalId })).accountId;
  const start = async (account: string, sku: string, more: object = {}): Promise<Subscription> =>
    begun(await billing.subscriptions.start({ account, sku, ...more }));
  const get = ({ subscriptionId }: Subscription): Promise<Subscription> =>
    billing.subscriptions.get({ subscriptionId });
  const credits = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'CREDIT' })).available;
  const items = (one: Subscription) =>
    tell.sql<{ amount: string; due: string }>(
      `select amount::text as amount, to_char(due_at at time zone 'UTC', 'YYYY-MM-DD') as due
       from {schema}.pending_items where subscription_id = $1::uuid order by due_at`,
      [one.subscriptionId],
    );
  const events = (one: Subscription) =>
    tell.sql<{ type: string; data: string }>(
      `select type, data::text as data from {schema}.events
       where account_id = $1::uuid order by occurred_at, event_id`,
      [one.account],
    );

  test('S7: 1.00 for 15 days, 50.00 for a month, then 99.00 monthly, each on its day', async () => {
    const account = await newAccount();
    const one = await start(account, 'tripwire');
    expect(one).toMatchObject({
      status: 'trialing',
      trialPhase: 1,
      price: '99.00',
      awaitingPayment: true,
      next: { price: '50.00', at: '2027-01-31T10:00:00.000Z' },
    });
    expect(await credits(account)).toBe('0');
    await tell.paid(account, one.subscriptionId, 1);
    expect(await credits(account)).toBe('10');
    expect(await billing.ledger.grants({ account })).toMatchObject([
      { priority: 7, expiresAt: '2027-01-31T10:00:00.000Z', value: '0.00000000' },
    ]);

    clock.set('2027-01-31T10:00:00Z');
    expect(await get(one)).toMatchObject({
      status: 'trialing',
      trialPhase: 2,
      awaitingPayment: false,
      next: { price: '99.00', at: '2027-02-28T10:00:00.000Z' },
    });
    expect(await credits(account)).toBe('25');
    clock.set('2027-02-28T10:00:00Z');
    expect(await get(one)).toMatchObject({
      status: 'active',
      trialPhase: null,
      anchorAt: '2027-02-28T10:00:00.000Z',
    });
    clock.set('2027-03-28T10:00:00Z');
    expect(await get(one)).toMatchObject({ period: { number: 4 } });
    expect(await credits(account)).toBe('25');
    expect(await items(one)).toEqual([
      { amount: '1', due: '2027-01-16' },
      { amount: '50', due: '2027-01-31' },
      { amount: '99', due: '2027-02-28' },
      { amount: '99', due: '2027-03-28' },
    ]);
  });

  test('one that never began is spent for nobody, also after its child has left and its payer was merged', async () => {
    const later = { startAt: new Date(START + 5 * 86_400_000) };
    for (const isMerged of [false, true]) {
      const [parent, child, into] = [await newAccount(), await newAccount(), await newAccount()];
      await billing.accounts.attachChild({ parent, child });
      const one = await start(child, 'tripwire', later);
      await billing.accounts.detachChild({ child });
      if (isMerged) await billing.accounts.merge({ into, from: parent, prefer: 'into' });
      const payer = isMerged ? into : parent;
      for (const account of [payer, child]) {
        const asked = { account, sku: 'tripwire', trial: true };
        expect(await billing.subscriptions.start(asked)).toMatchObject({
          reason: 'trial_already_used',
        });
      }
      await billing.subscriptions.cancel({ subscriptionId: one.subscriptionId });
      for (const account of [payer, child]) {
        expect(await start(account, 'tripwire', { trial: true })).toMatchObject({ trialPhase: 1 });
      }
    }
  });

  test('S7: trial phases are spent once per account', async () => {
    const account = await newAccount();
    await start(account, 'tripwire', { renew: false });
    clock.set('2027-02-16T10:00:00Z');
    expect(await billing.subscriptions.start({ account, sku: 'tripwire', trial: true })).toEqual({
      allowed: false,
      reason: 'trial_already_used',
      subscriptionId: null,
      replayed: false,
    });
    expect(await start(account, 'free-first')).toMatchObject({
      status: 'active',
      trialPhase: null,
      awaitingPayment: true,
    });
    expect(await billing.sales.claimTrial({ account, sku: 'free-first' })).toMatchObject({
      allowed: false,
      reason: 'trial_already_used',
    });
  });

  test('a person who had a trial by another account has none', async () => {
    const first = await newAccount('somebody');
    await start(first, 'free-first');
    const { accountId } = await billing.accounts.identify({
      provider: 'app',
      externalId: 'somebody-else',
    });
    expect(await start(accountId, 'free-first')).toMatchObject({ status: 'trialing' });
    const claimed = await newAccount('claimer');
    await billing.sales.claimTrial({ account: claimed, sku: 'free-first' });
    expect(await start(claimed, 'free-first')).toMatchObject({ status: 'active' });
  });

  test('a free phase brings its units at once and costs nothing, so that nothing is invoiced', async () => {
    const account = await newAccount();
    const one = await start(account, 'free-first');
    expect(one.awaitingPayment).toBe(false);
    expect(await credits(account)).toBe('3');
    expect(await items(one)).toEqual([]);
    clock.set('2027-01-27T10:00:00Z');
    await get(one);
    expect(await events(one)).toEqual([
      { type: 'subscription.started', data: expect.anything() },
      { type: 'subscription.trial_ending', data: expect.stringContaining('"99.00"') },
    ]);
    clock.set('2027-01-30T10:00:00Z');
    // The first that is to be paid: its units come when it is.
    expect(await credits(account)).toBe('0');
    expect(await items(one)).toEqual([{ amount: '99', due: '2027-01-30' }]);
    expect(await get(one)).toMatchObject({ status: 'active', awaitingPayment: true });
    await tell.paid(account, one.subscriptionId, 2);
    expect(await credits(account)).toBe('25');
  });

  test('without the trial when it is not wanted; only one can be tried', async () => {
    expect(await start(await newAccount(), 'free-first', { trial: false })).toMatchObject({
      status: 'active',
    });
    expect(await start(await newAccount(), 'free-first', { quantity: 2 })).toMatchObject({
      status: 'active',
      price: '198.00',
    });
    await expect(
      billing.subscriptions.start({
        account: await newAccount(),
        sku: 'free-first',
        quantity: 2,
        trial: true,
      }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'quantity' });
  });

  test('an order that waits at the price of a trial holds the place', async () => {
    const account = await newAccount();
    await billing.sales.createOrder({ account, items: [{ sku: 'tripwire' }] });
    expect(
      await billing.subscriptions.start({ account, sku: 'free-first', trial: true }),
    ).toMatchObject({ allowed: false, reason: 'trial_already_used' });
  });

  test('that an order was a trial stays on record', async () => {
    const account = await newAccount();
    const { orderId } = await billing.sales.createOrder({ account, items: [{ sku: 'tripwire' }] });
    await billing.sales.confirmOrder({ orderId: orderId!, paymentId: `paid-${counter}` });
    for (const what of [
      'delete from {schema}.trial_marks',
      'update {schema}.trial_marks set ends_at = null',
    ]) {
      await expect(tell.sql(`${what} where order_id = $1::uuid`, [orderId])).rejects.toThrow(
        'what is written there stays',
      );
    }
  });

  test('a phase that is missed altogether is invoiced, and brings nothing', async () => {
    const account = await newAccount();
    const one = await start(account, 'tripwire');
    await tell.paid(account, one.subscriptionId, 1);
    clock.set('2027-03-05T10:00:00Z');
    expect(await get(one)).toMatchObject({ status: 'active', period: { number: 3 } });
    expect(await items(one)).toHaveLength(3);
    expect(await credits(account)).toBe('25');
  });

  test('past due in a trial phase, and back in it', async () => {
    const account = await newAccount();
    const one = await start(account, 'free-first');
    await tell.failed(account, one.subscriptionId);
    expect((await get(one)).status).toBe('past_due');
    await tell.recovered(account, one.subscriptionId);
    expect((await get(one)).status).toBe('trialing');
  });
});
