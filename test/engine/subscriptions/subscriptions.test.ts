import { TestClock, type Billing, type StartAnswer, type Subscription } from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';
import { tellSubscriptions } from './subscription-times';

const DAY = 86_400_000;
const START = Date.parse('2027-01-31T10:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

const begun = (answer: StartAnswer): Subscription => {
  if (!answer.allowed) throw new Error(`denied: ${answer.reason}`);
  return answer;
};

/** The catalog that the suites subscribe to. */
async function fill({ catalog }: Billing): Promise<void> {
  for (const key of ['TOKENS', 'MSG', 'OTHER', 'SETUP']) {
    await catalog.saveProduct({ key, name: key });
  }
  await catalog.saveProduct({ key: 'ACCESS', name: 'Access', kind: 'period' });
  const monthly = {
    billing: 'recurring' as const,
    interval: { unit: 'month' as const, count: 1 },
    currency: 'USD',
  };
  await catalog.saveOffer({
    ...monthly,
    sku: 'plan',
    name: 'Plan',
    price: '30.00',
    items: [{ product: 'TOKENS', quantity: 500 }, { product: 'ACCESS' }],
    collect: { whenInForce: 'beside' },
  });
  await catalog.saveOffer({
    ...monthly,
    sku: 'arrears',
    name: 'In arrears',
    price: '9.99',
    collect: { bill: 'arrears' },
    items: [{ product: 'MSG', quantity: 1000, step: { size: 1000, price: '7.99' } }],
  });
  await catalog.saveOffer({
    ...monthly,
    sku: 'free',
    name: 'Free',
    price: '0.00',
    items: [{ product: 'TOKENS', quantity: 50 }],
    collect: { whenInForce: 'beside' },
  });
  await catalog.saveOffer({
    ...monthly,
    sku: 'welcome',
    name: 'With a welcome',
    price: '0.00',
    items: [
      { product: 'TOKENS', quantity: 10 },
      { product: 'SETUP', quantity: 1, refill: false },
    ],
    bonuses: [{ product: 'OTHER', quantity: 5 }],
  });
  await catalog.saveOffer({
    ...monthly,
    sku: 'on-payment',
    name: 'Units on payment',
    price: '10.00',
    collect: { renewalGrants: 'payment', atPeriodEnd: 'keep' },
    items: [{ product: 'TOKENS', quantity: 100 }],
  });
  await catalog.saveOffer({
    ...monthly,
    sku: 'once',
    name: 'Once',
    price: '0.00',
    oncePerAccount: true,
    items: [{ product: 'OTHER', quantity: 1 }],
  });
  await catalog.saveOffer({
    ...monthly,
    sku: 'days',
    name: '30 days',
    price: '5.00',
    interval: { unit: 'day', count: 30 },
    items: [{ product: 'TOKENS', quantity: 500 }, { product: 'ACCESS' }],
  });
  await catalog.saveOffer({
    sku: 'pack',
    name: 'Pack',
    price: '10.00',
    currency: 'USD',
    items: [{ product: 'TOKENS', quantity: 100 }],
  });
}

onEachDatabase('subscriptions', (database) => {
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

  const newAccount = async (timeZone = 'UTC'): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `subscriber-${counter}` });
    if (timeZone !== 'UTC') await billing.accounts.update({ account: accountId, timeZone });
    return accountId;
  };
  const start = async (account: string, sku: string, more: object = {}): Promise<Subscription> =>
    begun(await billing.subscriptions.start({ account, sku, ...more }));
  const get = (one: { subscriptionId: string }): Promise<Subscription> =>
    billing.subscriptions.get({ subscriptionId: one.subscriptionId });
  const available = async (account: string, product: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product })).available;
  const check = (account: string, product: string) => billing.ledger.check({ account, product });
  const fees = async (subscriptionId: string) =>
    tell.sql<{ amount: string; due_at: string; kind: string }>(
      `select amount::text as amount, to_char(due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI') as due_at, kind
       from {schema}.pending_items where subscription_id = $1::uuid and dropped_at is null
       order by due_at, kind`,
      [subscriptionId],
    );
  const events = async (account: string): Promise<string[]> =>
    (
      await tell.sql<{ type: string }>(
        `select type from {schema}.events where account_id = $1::uuid order by occurred_at, event_id`,
        [account],
      )
    ).map(({ type }) => type);

  test('units that are paid in advance come with the first payment, and renewals by themselves', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan', { metadata: { from: 'a form' } });
    expect(one).toMatchObject({
      account,
      payer: account,
      sku: 'plan',
      version: 1,
      name: 'Plan',
      quantity: 1,
      status: 'active',
      currency: 'USD',
      price: '30.00',
      bill: 'advance',
      collection: 'send',
      collectedBy: 'engine',
      renews: true,
      trialPhase: null,
      startedAt: '2027-01-31T10:00:00.000Z',
      period: {
        number: 1,
        startsAt: '2027-01-31T10:00:00.000Z',
        endsAt: '2027-02-28T10:00:00.000Z',
      },
      awaitingPayment: true,
      overdue: false,
      next: { sku: 'plan', quantity: 1, price: '30.00', at: '2027-02-28T10:00:00.000Z' },
      steps: [],
      metadata: { from: 'a form' },
    });
    expect(await available(account, 'TOKENS')).toBe('0');
    expect(await fees(one.subscriptionId)).toEqual([
      { amount: '30', due_at: '2027-01-31T10:00', kind: 'fee' },
    ]);

    await tell.paid(account, one.subscriptionId, 1);
    expect(await available(account, 'TOKENS')).toBe('500');
    expect((await check(account, 'ACCESS')).allowed).toBe(true);
    expect((await get(one)).awaitingPayment).toBe(false);
    await tell.paid(account, one.subscriptionId, 1);
    expect(await available(account, 'TOKENS')).toBe('500');

    await billing.ledger.consume({ account, product: 'TOKENS', amount: 499 });
    clock.set('2027-02-28T09:59:59.999Z');
    expect(await available(account, 'TOKENS')).toBe('1');
    clock.set('2027-02-28T10:00:00Z');
    // Nothing ran: the first reader opens the period.
    expect(await available(account, 'TOKENS')).toBe('500');
    expect((await check(account, 'ACCESS')).allowed).toBe(true);
    expect(await fees(one.subscriptionId)).toHaveLength(2);
    expect(await events(account)).toEqual([
      'subscription.started',
      'subscription.renewal_due',
      'subscription.renewed',
    ]);
  });

  test('a use at the boundary opens the period, too, and so does every other way to ask', async () => {
    for (const ask of [
      (account: string) => billing.ledger.consume({ account, product: 'TOKENS', amount: 50 }),
      (account: string) => billing.ledger.check({ account, product: 'TOKENS', amount: 50 }),
      (account: string) =>
        billing.ledger.hold({
          account,
          product: 'TOKENS',
          amount: 50,
          expiresIn: { unit: 'hour', count: 1 },
        }),
    ]) {
      clock.set(START);
      const account = await newAccount();
      await start(account, 'free');
      await billing.ledger.consume({ account, product: 'TOKENS', amount: 50 });
      expect(await check(account, 'TOKENS')).toMatchObject({
        allowed: false,
        reason: 'insufficient_balance',
      });
      clock.set('2027-02-28T10:00:00Z');
      expect(await ask(account)).toMatchObject({ allowed: true });
    }
  });

  test('I6: monthly from 31 January: 31 Jan, 28 Feb, 31 Mar, 30 Apr, and a missed month is billed once', async () => {
    const account = await newAccount();
    const one = await start(account, 'free');
    clock.set('2027-05-01T00:00:00Z');
    await billing.subscriptions.get({ subscriptionId: one.subscriptionId });
    await billing.subscriptions.get({ subscriptionId: one.subscriptionId });
    const periods = await tell.sql<{ starts: string; ends: string; granted: boolean }>(
      `select to_char(starts_at at time zone 'UTC', 'YYYY-MM-DD') as starts,
              to_char(ends_at at time zone 'UTC', 'YYYY-MM-DD') as ends,
              granted_at is not null as granted
       from {schema}.subscription_periods where subscription_id = $1::uuid order by number`,
      [one.subscriptionId],
    );
    expect(periods).toEqual([
      { starts: '2027-01-31', ends: '2027-02-28', granted: true },
      { starts: '2027-02-28', ends: '2027-03-31', granted: false },
      { starts: '2027-03-31', ends: '2027-04-30', granted: false },
      { starts: '2027-04-30', ends: '2027-05-31', granted: true },
    ]);
    expect(await fees(one.subscriptionId)).toHaveLength(4);
    // Of what was missed nothing is granted any more.
    expect(await available(account, 'TOKENS')).toBe('50');
    const grants = await billing.ledger.grants({ account, product: 'TOKENS' });
    expect(grants).toHaveLength(2);
  });

  test('a clock that goes back opens nothing twice', async () => {
    const account = await newAccount();
    const one = await start(account, 'free');
    clock.set('2027-03-01T00:00:00Z');
    expect((await get(one)).period?.number).toBe(2);
    clock.set(START);
    expect((await get(one)).period?.number).toBe(2);
    clock.set('2027-03-01T00:00:00Z');
    expect((await get(one)).period?.number).toBe(2);
    expect(await fees(one.subscriptionId)).toHaveLength(2);
  });

  test('what is billed in arrears brings its units at once, and its fee is due at the end', async () => {
    const account = await newAccount();
    const one = await start(account, 'arrears');
    expect(one.awaitingPayment).toBe(false);
    expect(await available(account, 'MSG')).toBe('1000');
    expect(await fees(one.subscriptionId)).toEqual([
      { amount: '9.99', due_at: '2027-02-28T10:00', kind: 'fee' },
    ]);
  });

  test('steps are there at once, gone with the period, and on the list at its end', async () => {
    const account = await newAccount();
    const one = await start(account, 'arrears');
    const request = {
      subscriptionId: one.subscriptionId,
      product: 'MSG',
      steps: 2,
      idempotencyKey: 'two',
    };
    const added = await billing.subscriptions.addSteps(request);
    expect(added).toMatchObject({
      allowed: true,
      reason: null,
      replayed: false,
      steps: [{ product: 'MSG', steps: 2, units: '2000' }],
    });
    expect(await billing.subscriptions.addSteps(request)).toEqual({ ...added, replayed: true });
    expect(await failure(billing.subscriptions.addSteps({ ...request, steps: 3 }))).toMatchObject({
      code: 'idempotency_conflict',
    });
    expect(await available(account, 'MSG')).toBe('3000');
    expect(await fees(one.subscriptionId)).toEqual([
      { amount: '9.99', due_at: '2027-02-28T10:00', kind: 'fee' },
      { amount: '15.98', due_at: '2027-02-28T10:00', kind: 'step' },
    ]);
    clock.set('2027-02-28T10:00:00Z');
    expect(await available(account, 'MSG')).toBe('1000');
    expect((await get(one)).steps).toEqual([]);

    const { subscriptionId } = one;
    expect(
      await failure(
        billing.subscriptions.addSteps({ subscriptionId, product: 'TOKENS', steps: 1 }),
      ),
    ).toEqual({ code: 'invalid_input', parameter: 'product' });
    expect(
      await failure(billing.subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 0 })),
    ).toEqual({ code: 'invalid_input', parameter: 'steps' });
  });

  test('what comes only once comes with the first of the own periods', async () => {
    const account = await newAccount();
    await start(account, 'welcome');
    expect(await available(account, 'SETUP')).toBe('1');
    expect(await available(account, 'OTHER')).toBe('5');
    clock.set('2027-03-05T00:00:00Z');
    expect(await available(account, 'TOKENS')).toBe('10');
    expect(await available(account, 'SETUP')).toBe('1');
    expect(await available(account, 'OTHER')).toBe('5');
  });

  test('units of a renewal come on payment when the offer says so, and left-over ones are kept', async () => {
    const account = await newAccount();
    const one = await start(account, 'on-payment');
    await tell.paid(account, one.subscriptionId, 1);
    expect(await available(account, 'TOKENS')).toBe('100');
    clock.set('2027-03-01T00:00:00Z');
    expect(await available(account, 'TOKENS')).toBe('100');
    expect((await get(one)).awaitingPayment).toBe(true);
    await tell.paid(account, one.subscriptionId, 2);
    expect(await available(account, 'TOKENS')).toBe('200');
    expect((await get(one)).awaitingPayment).toBe(false);
    clock.set('2027-04-02T00:00:00Z');
    // Paid when it was over: nothing of it comes any more, and the next goes on waiting.
    expect((await get(one)).period?.number).toBe(3);
    await tell.paid(account, one.subscriptionId, 2);
    expect(await available(account, 'TOKENS')).toBe('200');
    expect((await get(one)).awaitingPayment).toBe(true);
  });

  test('a first payment that comes in the second period brings that one', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan');
    clock.set('2027-03-02T00:00:00Z');
    expect(await available(account, 'TOKENS')).toBe('0');
    await tell.paid(account, one.subscriptionId, 1);
    expect(await available(account, 'TOKENS')).toBe('500');
    expect((await get(one)).awaitingPayment).toBe(false);
    await tell.paid(account, one.subscriptionId, 2);
    expect(await available(account, 'TOKENS')).toBe('500');
  });

  test('one that does not renew ends with its period, and says so: F2', async () => {
    const account = await newAccount();
    const one = await start(account, 'free', { renew: false });
    expect(await check(account, 'TOKENS')).toMatchObject({ allowed: true });
    expect(await check(account, 'OTHER')).toMatchObject({ reason: 'insufficient_balance' });
    clock.set('2027-02-28T10:00:00Z');
    expect(await check(account, 'TOKENS')).toMatchObject({
      allowed: false,
      reason: 'subscription_ended',
    });
    expect(await get(one)).toMatchObject({
      status: 'ended',
      endReason: 'expired',
      endedAt: '2027-02-28T10:00:00.000Z',
      next: null,
    });
    expect(await events(account)).toEqual(['subscription.started', 'subscription.ended']);
    // A pack can be used all the same.
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 1 });
    expect(await check(account, 'TOKENS')).toMatchObject({ allowed: true });
    await billing.ledger.consume({ account, product: 'TOKENS' });
    // And a new subscription lifts what was said.
    await start(account, 'free');
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 50 });
    expect(await check(account, 'TOKENS')).toMatchObject({ reason: 'insufficient_balance' });
  });

  test('a start in the future begins then', async () => {
    const account = await newAccount();
    const one = await start(account, 'free', { startAt: '2027-02-15T08:00:00Z' });
    expect(one).toMatchObject({ status: 'active', period: null, awaitingPayment: false });
    expect(await available(account, 'TOKENS')).toBe('0');
    expect(await fees(one.subscriptionId)).toEqual([]);
    expect(await failure(billing.subscriptions.start({ account, sku: 'free' }))).toEqual({
      code: 'subscription_state',
      parameter: 'subscriptionId',
    });
    clock.set('2027-02-15T08:00:00Z');
    expect(await available(account, 'TOKENS')).toBe('50');
    expect(await get(one)).toMatchObject({
      startedAt: '2027-02-15T08:00:00.000Z',
      period: { number: 1, endsAt: '2027-03-15T08:00:00.000Z' },
    });
    expect(
      await failure(
        billing.subscriptions.start({ account, sku: 'plan', startAt: '2027-02-15T07:59:59Z' }),
      ),
    ).toEqual({ code: 'invalid_input', parameter: 'startAt' });
  });

  test('F1: the same offer again while 20 days are left: 50 days, and what is left over lasts as long', async () => {
    const account = await newAccount();
    const one = await start(account, 'days');
    await tell.paid(account, one.subscriptionId, 1);
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 500 });
    clock.set(START + 10 * DAY);
    const longer = await start(account, 'days');
    expect(longer.subscriptionId).toBe(one.subscriptionId);
    expect(longer.period).toEqual({
      number: 2,
      startsAt: new Date(START + 30 * DAY).toISOString(),
      endsAt: new Date(START + 60 * DAY).toISOString(),
    });
    expect(await fees(one.subscriptionId)).toHaveLength(2);
    expect(await available(account, 'TOKENS')).toBe('1000');
    await tell.paid(account, one.subscriptionId, 2);
    expect(await available(account, 'TOKENS')).toBe('1500');
    const balance = await billing.ledger.balance({ account, product: 'ACCESS' });
    expect(balance).toMatchObject({
      available: '1',
      expiresAt: new Date(START + 60 * DAY).toISOString(),
    });
    clock.set(START + 59 * DAY);
    expect(await available(account, 'TOKENS')).toBe('1500');
    expect((await check(account, 'ACCESS')).allowed).toBe(true);
    clock.set(START + 60 * DAY - 1);
    expect((await get(one)).period?.number).toBe(2);
  });

  test('F1: after expiry it is a new one: 30 days from now', async () => {
    const account = await newAccount();
    const one = await start(account, 'days', { renew: false });
    clock.set(START + 40 * DAY);
    const again = await start(account, 'days');
    expect(again.subscriptionId).not.toBe(one.subscriptionId);
    expect(again.period?.endsAt).toBe(new Date(START + 70 * DAY).toISOString());
  });

  test('one whose first period is not paid cannot be made longer', async () => {
    const account = await newAccount();
    await start(account, 'plan');
    expect(await failure(billing.subscriptions.start({ account, sku: 'plan' }))).toEqual({
      code: 'subscription_state',
      parameter: 'subscriptionId',
    });
  });

  test('S4: an offer that is sold once is denied the second time, and its renewals pass', async () => {
    const account = await newAccount();
    const one = await start(account, 'once');
    clock.set('2027-04-15T00:00:00Z');
    expect((await get(one)).period?.number).toBe(3);
    expect(await available(account, 'OTHER')).toBe('1');
    expect(await billing.subscriptions.start({ account, sku: 'once' })).toEqual({
      allowed: false,
      reason: 'already_purchased',
      subscriptionId: null,
      replayed: false,
    });
  });

  test('past due, overdue, recovered: the products are denied when the grace period is over', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan');
    const id = one.subscriptionId;
    await tell.paid(account, id, 1);
    await tell.failed(account, id);
    await tell.failed(account, id);
    expect(await get(one)).toMatchObject({ status: 'past_due', overdue: false });
    expect((await check(account, 'TOKENS')).allowed).toBe(true);
    await tell.overdue(account, id);
    expect(await get(one)).toMatchObject({ status: 'past_due', overdue: true });
    for (const product of ['TOKENS', 'ACCESS']) {
      expect(await check(account, product)).toMatchObject({
        allowed: false,
        reason: 'payment_overdue',
      });
    }
    expect(await billing.ledger.consume({ account, product: 'TOKENS' })).toMatchObject({
      allowed: false,
      reason: 'payment_overdue',
    });
    await tell.recovered(account, id);
    expect(await get(one)).toMatchObject({ status: 'active', overdue: false });
    expect((await check(account, 'TOKENS')).allowed).toBe(true);
    expect(await events(account)).toEqual([
      'subscription.started',
      'subscription.past_due',
      'subscription.overdue',
      'subscription.recovered',
    ]);
  });

  test('a pause pays nothing: what was overdue, or is by then, is denied while it rests, too', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan', { collection: 'send' });
    const { subscriptionId } = one;
    await tell.paid(account, subscriptionId, 1);
    await tell.failed(account, subscriptionId);
    await billing.subscriptions.pause({ subscriptionId });
    clock.set('2027-03-01T10:00:00Z');
    await tell.overdue(account, subscriptionId);
    expect(await get(one)).toMatchObject({ status: 'paused', overdue: true });
    // A pause explains; what is overdue denies whatever is there.
    expect(await check(account, 'TOKENS')).toMatchObject({ reason: 'payment_overdue' });
    const resumed = await billing.subscriptions.resume({ subscriptionId });
    expect(resumed).toMatchObject({ status: 'past_due', overdue: true });
    expect(await check(account, 'TOKENS')).toMatchObject({ reason: 'payment_overdue' });

    await billing.subscriptions.pause({ subscriptionId });
    clock.set('2027-04-05T10:00:00Z');
    expect(await get(one)).toMatchObject({ status: 'paused', overdue: true });
    expect(await billing.verify()).toMatchObject({ problems: [] });
    await tell.recovered(account, subscriptionId);
    expect(await get(one)).toMatchObject({ status: 'paused', overdue: false });
    expect(await check(account, 'TOKENS')).toMatchObject({ reason: 'subscription_paused' });
    expect(await billing.subscriptions.resume({ subscriptionId })).toMatchObject({
      status: 'active',
    });
    expect((await check(account, 'TOKENS')).allowed).toBe(true);
  });

  test('overdue is over with the subscription, whether or not a job ran', async () => {
    const account = await newAccount();
    const { subscriptionId } = await start(account, 'plan');
    await tell.paid(account, subscriptionId, 1);
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 7 });
    await tell.overdue(account, subscriptionId);
    await billing.subscriptions.cancel({ subscriptionId });
    clock.set('2027-02-28T10:00:00Z');
    expect(await billing.ledger.consume({ account, product: 'TOKENS' })).toMatchObject({
      allowed: true,
      remaining: '6',
    });
  });

  test.each<[string, (account: string) => Promise<{ allowed: boolean }>]>([
    ['consume', (account) => billing.ledger.consume({ account, product: 'TOKENS', amount: 50 })],
    [
      'hold',
      (account) =>
        billing.ledger.hold({
          account,
          product: 'TOKENS',
          amount: 50,
          expiresIn: { unit: 'day', count: 1 },
        }),
    ],
    [
      'deduct',
      (account) =>
        billing.ledger.deduct({ account, product: 'TOKENS', amount: 50, reason: 'So it is' }),
    ],
  ])('%s at the boundary takes of the new period, and leaves a pack alone', async (_name, take) => {
    const account = await newAccount();
    const { subscriptionId } = await start(account, 'plan');
    await tell.paid(account, subscriptionId, 1);
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 100 });
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 500 });
    // Known as one who has enough.
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 1 });
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 1 });
    clock.set('2027-02-28T10:00:00Z');
    expect(await take(account)).toMatchObject({ allowed: true, remaining: '548' });
    const grants = await billing.ledger.grants({ account, product: 'TOKENS' });
    expect(
      grants.filter(({ expiresAt }) => expiresAt === null).map(({ remaining }) => remaining),
    ).toEqual(['98']);
  });

  test('a check at the boundary counts the new period beside a pack', async () => {
    const account = await newAccount();
    const { subscriptionId } = await start(account, 'plan');
    await tell.paid(account, subscriptionId, 1);
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 100 });
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 500 });
    expect((await check(account, 'TOKENS')).remaining).toBe('100');
    clock.set('2027-02-28T10:00:00Z');
    expect(await check(account, 'TOKENS')).toMatchObject({
      remaining: '600',
      expiresAt: '2027-03-31T10:00:00.000Z',
    });
  });

  test('what a settlement takes above its hold is of the period that has begun', async () => {
    const account = await newAccount();
    const { subscriptionId } = await start(account, 'plan');
    await tell.paid(account, subscriptionId, 1);
    const { holdId } = await billing.ledger.hold({
      account,
      product: 'TOKENS',
      amount: 10,
      expiresIn: { unit: 'day', count: 60 },
    });
    clock.set('2027-02-28T10:00:00Z');
    expect(await billing.ledger.settle({ holdId: holdId!, amount: 15 })).toMatchObject({
      consumed: '15',
      uncovered: '0',
      remaining: '495',
    });
  });

  test('periods bought ahead bring their units in whatever order they are paid', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan');
    await tell.paid(account, one.subscriptionId, 1);
    await start(account, 'plan');
    await start(account, 'plan');
    await tell.paid(account, one.subscriptionId, 3);
    expect(await get(one)).toMatchObject({ awaitingPayment: false });
    await tell.paid(account, one.subscriptionId, 2);
    await tell.paid(account, one.subscriptionId, 2);
    expect(await available(account, 'TOKENS')).toBe('1500');
  });

  test('of periods that brought nothing no fee is left when collecting has failed for good', async () => {
    const account = await newAccount();
    const { subscriptionId } = await start(account, 'on-payment');
    await billing.subscriptions.get({ subscriptionId });
    await tell.over(account, subscriptionId, 'cancel');
    expect(await fees(subscriptionId)).toEqual([]);
  });

  test('when collecting has failed for good it ends, with what was left of the period', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan');
    await tell.paid(account, one.subscriptionId, 1);
    await billing.ledger.grant({ account, product: 'TOKENS', quantity: 7 });
    await tell.failed(account, one.subscriptionId);
    await tell.overdue(account, one.subscriptionId);
    clock.set('2027-02-10T00:00:00Z');
    await tell.over(account, one.subscriptionId, 'keep');
    expect((await get(one)).status).toBe('past_due');
    await tell.over(account, one.subscriptionId, 'cancel');
    expect(await get(one)).toMatchObject({ status: 'ended', endReason: 'payment_failed' });
    // The pack was bought apart and stays.
    expect(await available(account, 'TOKENS')).toBe('7');
    expect(await check(account, 'ACCESS')).toMatchObject({ reason: 'subscription_ended' });
    clock.set('2027-06-10T00:00:00Z');
    expect(await get(one)).toMatchObject({ status: 'ended', period: { number: 1 } });
  });

  test('a product that another subscription pays for stays open', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan');
    await tell.paid(account, one.subscriptionId, 1);
    await start(account, 'free');
    await tell.overdue(account, one.subscriptionId);
    expect((await check(account, 'TOKENS')).allowed).toBe(true);
    expect(await check(account, 'ACCESS')).toMatchObject({ reason: 'payment_overdue' });
  });

  test('a subscription of a closed account is not renewed; that of a suspended one is', async () => {
    const closed = await newAccount();
    const suspended = await newAccount();
    const one = await start(closed, 'free');
    const other = await start(suspended, 'free');
    await billing.accounts.update({ account: closed, status: 'closed' });
    await billing.accounts.update({ account: suspended, status: 'suspended' });
    clock.set('2027-03-01T00:00:00Z');
    expect(await get(one)).toMatchObject({ status: 'ended', endReason: 'account_closed' });
    expect(await get(other)).toMatchObject({ status: 'active', period: { number: 2 } });
    for (const [account, reason] of [
      [closed, 'account_closed'],
      [suspended, 'account_suspended'],
    ] as const) {
      expect(await billing.subscriptions.start({ account, sku: 'plan' })).toMatchObject({
        allowed: false,
        reason,
      });
    }
  });

  test('a child subscribes, and its parent pays and has the units', async () => {
    const parent = await newAccount();
    const child = await newAccount();
    await billing.accounts.attachChild({ parent, child });
    const one = await start(child, 'free');
    expect(one).toMatchObject({ account: child, payer: parent });
    expect(await available(parent, 'TOKENS')).toBe('50');
    clock.set('2027-02-28T10:00:00Z');
    expect(await available(child, 'TOKENS')).toBe('50');
    const { items } = await billing.subscriptions.list({ account: parent });
    expect(items.map(({ subscriptionId }) => subscriptionId)).toEqual([one.subscriptionId]);
    expect((await billing.subscriptions.list({ account: child })).items).toHaveLength(1);
  });

  test('S6: a subscription of a merged account goes on, and brings its units to the other', async () => {
    const into = await newAccount();
    const { accountId: from } = await billing.accounts.identify({
      provider: 'app',
      externalId: 'merged',
    });
    const free = await start(from, 'free');
    const paid = await start(from, 'plan');
    await billing.accounts.merge({ into, from });
    expect(await available(into, 'TOKENS')).toBe('50');
    await tell.paid(into, paid.subscriptionId, 1);
    expect(await available(into, 'TOKENS')).toBe('550');
    clock.set('2027-02-28T10:00:00Z');
    expect(await available(into, 'TOKENS')).toBe('550');
    expect(await get(free)).toMatchObject({ account: from, period: { number: 2 } });
    const { items } = await billing.subscriptions.list({ account: into });
    expect(items).toHaveLength(2);
  });

  test('S6: merged, what somebody pays for stays open, whatever else is owed', async () => {
    const [into, from] = [await newAccount(), await newAccount()];
    const good = await start(into, 'plan');
    await tell.paid(into, good.subscriptionId, 1);
    const bad = await start(from, 'plan');
    await tell.paid(from, bad.subscriptionId, 1);
    await tell.overdue(from, bad.subscriptionId);
    await billing.accounts.merge({ into, from, prefer: 'into' });
    expect((await check(into, 'TOKENS')).allowed).toBe(true);
    expect(await billing.verify()).toMatchObject({ problems: [] });
    await billing.subscriptions.cancel({ subscriptionId: good.subscriptionId, when: 'now' });
    expect(await check(into, 'TOKENS')).toMatchObject({ reason: 'payment_overdue' });
  });

  test('a coupon is taken, and counted by invoices', async () => {
    await billing.catalog.saveCoupon({ code: 'HALF', percent: 50, duration: { times: 3 } });
    const account = await newAccount();
    expect(await start(account, 'plan', { coupon: 'half' })).toMatchObject({ coupon: 'HALF' });
    expect((await billing.catalog.getCoupon({ code: 'HALF' })).redeemed).toBe(1);
    expect(
      await billing.subscriptions.start({
        account: await newAccount(),
        sku: 'plan',
        coupon: 'none',
      }),
    ).toMatchObject({ allowed: false, reason: 'coupon_unavailable' });
  });

  test('the same key gives the first answer, another request under it is refused', async () => {
    const account = await newAccount();
    const request = { account, sku: 'free', idempotencyKey: 'start' };
    const first = await billing.subscriptions.start(request);
    expect(first.replayed).toBe(false);
    expect(await billing.subscriptions.start({ ...request, metadata: { a: 1 } })).toEqual({
      ...first,
      replayed: true,
    });
    expect(await failure(billing.subscriptions.start({ ...request, quantity: 2 }))).toMatchObject({
      code: 'idempotency_conflict',
    });
    expect((await billing.subscriptions.list({ account })).items).toHaveLength(1);
  });

  test('quantities are paid for and brought so many times', async () => {
    const account = await newAccount();
    const one = await start(account, 'plan', { quantity: 3 });
    expect(one).toMatchObject({ quantity: 3, price: '90.00' });
    await tell.paid(account, one.subscriptionId, 1);
    expect(await available(account, 'TOKENS')).toBe('1500');
  });

  test('reminders come three days before, once', async () => {
    const account = await newAccount();
    const one = await start(account, 'free');
    const reminders = async () =>
      (await events(account)).filter((type) => type === 'subscription.renewal_due').length;
    clock.set('2027-02-25T09:59:00Z');
    await get(one);
    expect(await reminders()).toBe(0);
    clock.set('2027-02-25T10:00:00Z');
    await get(one);
    await get(one);
    expect(await reminders()).toBe(1);
    clock.set('2027-03-01T10:00:00Z');
    await get(one);
    expect(await reminders()).toBe(1);
    clock.set('2027-03-28T10:00:00Z');
    await get(one);
    expect(await reminders()).toBe(2);
  });

  test('list: by account, status and sku, by pages, newest first', async () => {
    const account = await newAccount();
    const ids: string[] = [];
    for (const sku of ['free', 'plan', 'arrears']) {
      ids.push((await start(account, sku)).subscriptionId);
    }
    const first = await billing.subscriptions.list({ account, limit: 2 });
    expect(first.items.map(({ subscriptionId }) => subscriptionId)).toEqual([ids[2], ids[1]]);
    const rest = await billing.subscriptions.list({
      account,
      limit: 2,
      cursor: first.nextCursor!,
    });
    expect(rest.items.map(({ subscriptionId }) => subscriptionId)).toEqual([ids[0]]);
    expect(rest.nextCursor).toBeNull();
    expect((await billing.subscriptions.list({ account, sku: 'plan' })).items).toHaveLength(1);
    expect((await billing.subscriptions.list({ account, status: 'paused' })).items).toEqual([]);
  });

  test.each([
    ['a one-time offer', { sku: 'pack' }, 'invalid_input', 'sku'],
    ['an offer that is unknown', { sku: 'nothing' }, 'unknown_offer', 'sku'],
    ['a quantity of 0', { sku: 'plan', quantity: 0 }, 'invalid_input', 'quantity'],
    [
      'a quantity that is no whole number',
      { sku: 'plan', quantity: 1.5 },
      'invalid_input',
      'quantity',
    ],
    ['a trial that there is not', { sku: 'plan', trial: true }, 'invalid_input', 'trial'],
    ['a start that is no time', { sku: 'plan', startAt: 'soon' }, 'invalid_input', 'startAt'],
    [
      'a way to collect that is none',
      { sku: 'plan', collection: 'ask' },
      'invalid_input',
      'collection',
    ],
    ['an option that is unknown', { sku: 'plan', price: '1.00' }, 'invalid_input', 'price'],
  ])('%s is refused, and nothing is written', async (_name, more, code, parameter) => {
    const account = await newAccount();
    expect(
      await failure(
        billing.subscriptions.start({ account, ...more } as { account: string; sku: string }),
      ),
    ).toEqual({ code, parameter });
    expect((await billing.subscriptions.list({ account })).items).toEqual([]);
  });

  test('a subscription that there is not', async () => {
    for (const subscriptionId of ['nothing', '01948b5c-4c00-7000-8000-000000000001']) {
      for (const ask of [
        () => billing.subscriptions.get({ subscriptionId }),
        () => billing.subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 1 }),
      ]) {
        expect(await failure(ask())).toEqual({
          code: 'unknown_subscription',
          parameter: 'subscriptionId',
        });
      }
    }
  });

  test('private offers and those of others are not for sale', async () => {
    const account = await newAccount();
    const owner = await newAccount();
    const plan = {
      name: 'Custom',
      price: '1.00',
      currency: 'USD',
      billing: 'recurring' as const,
      interval: { unit: 'month' as const, count: 1 },
      public: false,
      items: [{ product: 'TOKENS', quantity: 1 }],
    };
    await billing.catalog.saveOffer({ ...plan, sku: 'private' });
    await billing.catalog.saveOffer({ ...plan, sku: 'custom', accountId: owner });
    for (const sku of ['private', 'custom']) {
      expect(await billing.subscriptions.start({ account, sku })).toMatchObject({
        allowed: false,
        reason: 'offer_unavailable',
      });
    }
    expect(await billing.subscriptions.start({ account: owner, sku: 'custom' })).toMatchObject({
      allowed: true,
    });
  });

  test('the database refuses what is no way for a subscription to go', async () => {
    const account = await newAccount();
    const { subscriptionId } = await start(account, 'free', { renew: false });
    clock.set('2027-03-01T00:00:00Z');
    await get({ subscriptionId });
    for (const statement of [
      `update {schema}.subscriptions set status = 'past_due', ended_at = null, end_reason = null
       where subscription_id = '${subscriptionId}'`,
      `update {schema}.subscriptions set period_number = 0 where subscription_id = '${subscriptionId}'`,
      `update {schema}.subscriptions set currency = 'EUR' where subscription_id = '${subscriptionId}'`,
      `delete from {schema}.subscriptions where subscription_id = '${subscriptionId}'`,
      `update {schema}.subscription_periods set fee = 1 where subscription_id = '${subscriptionId}'`,
      `update {schema}.subscription_periods set ends_at = ends_at + interval '1 day'
       where subscription_id = '${subscriptionId}'`,
      `update {schema}.pending_items set amount = 1 where subscription_id = '${subscriptionId}'`,
      `delete from {schema}.pending_items`,
      `delete from {schema}.period_grants`,
      `truncate {schema}.subscription_steps`,
    ]) {
      await expect(tell.sql(statement)).rejects.toThrow();
    }
  });
});
