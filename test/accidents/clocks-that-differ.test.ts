import { TestClock, type Billing } from '../../engine';
import { newSchema, forRules } from '../engine/each-database';
import {
  bill,
  invoicesOf,
  monthlyPlan,
  payOpen,
  startPlan,
} from '../engine/subscriptions/monthly-plans';

/**
 * The accident: a worker whose clock was five seconds ahead sold ten; the check of another denied them,
 * its balance said none, and its use of them was allowed. The same on one machine whose clock was put
 * back. Whoever reads goes by the time that counts in the ledger, as whoever writes.
 */

const SECOND = 1_000;
const DAY = 86_400_000;
const START = Date.parse('2027-03-10T12:00:00Z');

forRules('clocks that differ', (database) => {
  const clocks = { writer: new TestClock(START), reader: new TestClock(START) };
  let writer: Billing;
  let other: Billing;
  let accounts = 0;

  beforeAll(async () => {
    const schema = newSchema();
    writer = await database.open(clocks.writer, schema, { testGateway: true });
    other = await database.open(clocks.reader, schema, { testGateway: true });
    for (const key of ['MSG', 'CALLS']) await writer.catalog.saveProduct({ key, name: key });
    await writer.catalog.saveOffer(
      monthlyPlan('plan', '30.00', { items: [{ product: 'CALLS', quantity: 100 }] }),
    );
  });

  const newAccount = async (): Promise<string> => {
    accounts += 1;
    return (await writer.accounts.identify({ externalId: `customer-${accounts}` })).accountId;
  };
  const inSeconds = (now: number, seconds: number): string =>
    new Date(now + seconds * SECOND).toISOString();

  /** How far each clock is when something is written, and when it is read. */
  const SITUATIONS = [
    { what: 'the writer is five seconds ahead', writing: 5, reading: 0, alone: false },
    { what: 'the reader is five seconds ahead', writing: 0, reading: 5, alone: false },
    { what: 'the only clock went back by five seconds', writing: 5, reading: 0, alone: true },
  ];

  describe.each(SITUATIONS)('$what', ({ writing, reading, alone }) => {
    let account: string;
    let reader: Billing;
    /** By the clock that is right. Nothing of one test is due in another's time. */
    let now = START;

    beforeEach(async () => {
      now += 400 * DAY;
      setClocks(0, 0);
      reader = alone ? writer : other;
      account = await newAccount();
    });

    const setClocks = (writers: number, readers: number): void => {
      clocks.writer.set(now + (alone ? readers : writers) * SECOND);
      clocks.reader.set(now + readers * SECOND);
    };
    /** Something is written, then the clocks show what they show when it is read. */
    const written = async (work: () => Promise<unknown>): Promise<void> => {
      clocks.writer.set(now + writing * SECOND);
      await work();
      setClocks(writing, reading);
    };
    const grant = (product: string, more: object = {}) =>
      writer.ledger.grant({ account, product, quantity: 10, source: 'test', ...more });

    /** What the reader says of a product, all ways it may be asked. */
    const told = async (product: string) => {
      const of = { account, product };
      const check = await reader.ledger.check(of);
      const [one] = (await reader.ledger.checkMany([of])) as [typeof check];
      const all = await reader.ledger.balance({ account });
      const grants = await reader.ledger.grants(of);
      const exported = await reader.accounts.export({ account });
      const sums = [grants, exported.grants as typeof grants].map((some) =>
        some
          .filter((grant) => grant.product === product)
          .reduce((sum, { remaining }) => sum + Number(remaining), 0),
      );
      expect(one).toEqual(check);
      const balance = await reader.ledger.balance(of);
      expect(all.find((each) => each.product === product)).toEqual(balance);
      expect(sums).toEqual([Number(balance.available), Number(balance.available)]);
      const { allowed, reason, remaining } = check;
      expect(remaining).toBe(balance.available);
      return { allowed, reason, remaining };
    };
    /** What a use there is decided by. */
    const used = async (product: string, amount: number) => {
      const { allowed, reason } = await reader.ledger.consume({ account, product, amount });
      return { allowed, reason };
    };

    test('what was just granted is told, and can be used', async () => {
      await written(() => grant('MSG'));
      expect(await told('MSG')).toEqual({ allowed: true, reason: null, remaining: '10' });
      const at = inSeconds(now, Math.max(writing, reading));
      expect(await reader.ledger.balance({ account, product: 'MSG', at })).toMatchObject({
        available: '10',
      });
      await expect(reader.ledger.balance({ account, at: inSeconds(now, 6) })).rejects.toMatchObject(
        { code: 'invalid_input', parameter: 'at' },
      );
      expect(await used('MSG', 10)).toEqual({ allowed: true, reason: null });
    });

    test('what the process knew of the account from before is not told any more', async () => {
      await grant('MSG');
      expect(await told('MSG')).toMatchObject({ remaining: '10' });
      await written(() => grant('MSG'));
      expect(await told('MSG')).toEqual({ allowed: true, reason: null, remaining: '20' });
      expect(await used('MSG', 20)).toEqual({ allowed: true, reason: null });
    });

    test('what has ended by the last line is gone', async () => {
      await grant('MSG', { expiresAt: inSeconds(now, 3) });
      await written(() => grant('CALLS'));
      expect(await told('MSG')).toMatchObject({ allowed: false, remaining: '0' });
      expect(await used('MSG', 1)).toEqual({ allowed: false, reason: 'insufficient_balance' });
    });

    test('a hold that was over by the last line has given back', async () => {
      await grant('MSG');
      const expiresIn = { unit: 'second', count: 3 } as const;
      const { holdId } = await writer.ledger.hold({
        account,
        product: 'MSG',
        amount: 4,
        expiresIn,
      });
      expect(await told('MSG')).toMatchObject({ remaining: '6' });
      await written(() => grant('CALLS'));
      expect(await told('MSG')).toEqual({ allowed: true, reason: null, remaining: '10' });
      expect(await reader.ledger.balance({ account, product: 'MSG' })).toMatchObject({ held: '0' });
      expect(await reader.ledger.holds({ account })).toEqual([]);
      expect(await reader.ledger.holds({ account, open: false })).toMatchObject([
        { holdId, status: 'expired', endedAt: inSeconds(now, 3) },
      ]);
      await expect(reader.ledger.settle({ holdId: holdId! })).rejects.toMatchObject({
        code: 'hold_not_open',
      });
      expect(await used('MSG', 10)).toEqual({ allowed: true, reason: null });
    });

    /** In force and paid, its period over three seconds from now; the next cannot be charged. */
    const nearItsEnd = async (): Promise<string> => {
      const renewsAt = now + 3 * SECOND;
      const startAt = new Date(renewsAt);
      startAt.setUTCMonth(startAt.getUTCMonth() - 1);
      clocks.writer.set(startAt);
      await writer.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
      const { subscriptionId } = await startPlan(writer, { account, sku: 'plan' });
      await writer.invoicing.createInvoices({ account });
      await writer.invoicing.dispatchInvoices({ account });
      await writer.ledger.consume({ account, product: 'CALLS', amount: 30 });
      setClocks(0, 0);
      return subscriptionId;
    };

    test.each(['told', 'used', 'subscription', 'list', 'entries'])(
      'a period that began by the last line is open (first asked: %s)',
      async (first) => {
        const subscriptionId = await nearItsEnd();
        expect(await told('CALLS')).toMatchObject({ remaining: '70' });
        await written(() => grant('MSG'));
        const ask: Record<string, () => Promise<unknown>> = {
          told: () => told('CALLS'),
          used: () => used('CALLS', 100),
          subscription: () => reader.subscriptions.get({ subscriptionId }),
          list: async () => (await reader.subscriptions.list({ account })).items[0],
          entries: async () =>
            (await reader.ledger.entries({ account, product: 'CALLS' })).items[0],
        };
        const expected = {
          told: { allowed: true, reason: null, remaining: '100' },
          used: { allowed: true, reason: null },
          subscription: { period: { number: 2 } },
          list: { period: { number: 2 } },
          entries: { kind: 'grant', amount: '100' },
        };
        expect(await ask[first]!()).toMatchObject(expected[first as keyof typeof expected]);
        expect(await ask.subscription!()).toMatchObject(expected.subscription);
      },
    );

    test('a time of grace that was over by the last line is over', async () => {
      const subscriptionId = await nearItsEnd();
      await writer.payments.saveMethod({
        account,
        gateway: 'test',
        token: 'test_declined',
        makeDefault: true,
      });
      clocks.writer.set(now + 3 * SECOND);
      await writer.invoicing.createInvoices({ account });
      await writer.invoicing.dispatchInvoices({ account });
      now += 7 * DAY;
      setClocks(0, 0);
      expect(await told('CALLS')).toMatchObject({ allowed: true });
      await written(() => grant('MSG'));
      const { standing } = await reader.accounts.get({ account });
      expect(standing).toMatchObject({ pastDue: true, overdue: true });
      expect(await told('CALLS')).toMatchObject({ allowed: false, reason: 'payment_overdue' });
      expect(await reader.subscriptions.get({ subscriptionId })).toMatchObject({ overdue: true });
      expect(await used('CALLS', 1)).toEqual({ allowed: false, reason: 'payment_overdue' });
    });

    test('units that ended by the last line keep nobody from getting a parent', async () => {
      await grant('MSG', { expiresAt: inSeconds(now, 3) });
      await written(() =>
        writer.ledger.grant({
          account,
          product: 'CALLS',
          quantity: 1,
          expiresAt: inSeconds(now, 6),
          source: 'test',
        }),
      );
      await reader.ledger.consume({ account, product: 'CALLS' });
      const parent = await newAccount();
      const { accountId } = await reader.accounts.attachChild({ parent, child: account });
      expect(accountId).toBe(account);
    });
  });
});

/**
 * The accident: one run of the billing cycle by a process whose clock was a year ahead opened thirteen
 * periods of each subscription and charged them all.
 */
forRules('a clock that is far ahead', (database) => {
  const start = Date.now();
  const clock = new TestClock(start);
  /** By a clock that may be set, as if it was the machine's. */
  let billing: Billing;
  /** By the machine's own. */
  let usual: Billing;
  let accounts = 0;

  beforeAll(async () => {
    const schema = newSchema();
    billing = await database.open(clock, schema, { testGateway: true, brake: true });
    usual = await database.open(undefined, schema, { testGateway: true });
    await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    const items = [{ product: 'CALLS', quantity: 100 }];
    await billing.catalog.saveOffer(monthlyPlan('plan', '30.00', { items }));
    const interval = { unit: 'day', count: 1 } as const;
    await billing.catalog.saveOffer(monthlyPlan('daily', '1.00', { items, interval }));
  });

  /** Subscribed so many days ago, paid, and nothing ran since. */
  const subscribed = async (days: number, { sku = 'plan', token = 'test_ok' } = {}) => {
    accounts += 1;
    clock.set(start - days * DAY);
    const { accountId: account } = await billing.accounts.identify({
      externalId: `subscriber-${accounts}`,
    });
    await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
    const { subscriptionId } = await startPlan(billing, { account, sku });
    await bill(billing, account);
    await billing.payments.saveMethod({ account, gateway: 'test', token, makeDefault: true });
    clock.set(start);
    return { account, subscriptionId };
  };
  const numbersPaid = async (account: string) =>
    (await invoicesOf(billing, account)).filter(({ status }) => status === 'paid').length;
  const period = async (subscriptionId: string) =>
    (await usual.subscriptions.get({ subscriptionId })).period!.number;
  const told = async (type: 'clock.ahead' | 'subscription.catch_up_needed', account?: string) =>
    (await usual.events.list({ types: [type], account })).items;

  test('does nothing that comes due by time before somebody says so', async () => {
    const { account, subscriptionId } = await subscribed(0);
    clock.set(start + 365 * DAY);
    const runs: Array<(catchUp?: boolean) => Promise<unknown>> = [
      (catchUp) => billing.runDue({ catchUp }),
      (catchUp) => billing.invoicing.createInvoices({ account, catchUp }),
      (catchUp) => billing.invoicing.createInvoices({ catchUp }),
      (catchUp) => billing.invoicing.dispatchInvoices({ catchUp }),
      (catchUp) => billing.invoicing.resetProducts({ catchUp }),
      (catchUp) => billing.invoicing.restoreProducts({ catchUp }),
      (catchUp) => billing.invoicing.runBillingCycle({ catchUp }),
    ];
    for (const run of runs) {
      await expect(run()).rejects.toMatchObject({ code: 'clock_ahead', parameter: 'catchUp' });
    }
    // Whoever is asked opens no more than a run would.
    await billing.ledger.balance({ account });
    await billing.ledger.check({ account, product: 'CALLS' });
    await billing.ledger.consume({ account, product: 'CALLS' });
    await billing.subscriptions.list({ account });
    expect(await period(subscriptionId)).toBe(1);
    expect(await told('clock.ahead')).toMatchObject([
      { data: { clock: new Date(start + 365 * DAY).toISOString() } },
    ]);
    // The others go on.
    await usual.invoicing.runBillingCycle();
    await usual.runDue();
    expect(await numbersPaid(account)).toBe(1);

    for (const run of runs) await run(true);
    expect(await numbersPaid(account)).toBeGreaterThan(12);
  });

  test('less than a day is no reason to do nothing', async () => {
    clock.set(Date.now() + 23 * 3_600 * SECOND);
    await expect(billing.runDue()).resolves.toMatchObject({ failed: [] });
  });

  const cycle = async (request = {}) => {
    const { created, dispatched } = await usual.invoicing.runBillingCycle(request);
    return [...created.problems, ...dispatched.problems];
  };

  test('what was missed in three months is made up for, as before', async () => {
    const { account, subscriptionId } = await subscribed(100);
    expect(await cycle()).toEqual([]);
    expect(await period(subscriptionId)).toBe(4);
    expect(await numbersPaid(account)).toBe(4);
  });

  test('and of a plan of days in a month', async () => {
    const { account } = await subscribed(20, { sku: 'daily' });
    expect(await cycle()).toEqual([]);
    expect(await numbersPaid(account)).toBe(21);
  });

  test('what has missed more is left alone until somebody says so, and told once', async () => {
    const { account, subscriptionId } = await subscribed(200);
    const onTime = await subscribed(40);
    const problem = { code: 'catch_up_needed', message: expect.stringContaining(subscriptionId) };
    expect(await cycle()).toEqual([{ payer: account, ...problem }]);
    expect(await usual.runDue()).toMatchObject({
      failed: [{ part: 'subscriptions', ...problem }],
    });
    expect(await usual.invoicing.createInvoices({ account })).toMatchObject({
      problems: [{ payer: account, code: 'catch_up_needed' }],
    });
    expect(await usual.ledger.check({ account, product: 'CALLS' })).toMatchObject({
      allowed: false,
    });
    expect(await period(subscriptionId)).toBe(1);
    expect(await numbersPaid(account)).toBe(1);
    expect(await numbersPaid(onTime.account)).toBe(2);
    expect(await told('subscription.catch_up_needed', account)).toMatchObject([
      { account, data: { subscriptionId, missed: 5, status: 'active' } },
    ]);
    for (const change of [
      usual.subscriptions.pause({ subscriptionId }),
      usual.subscriptions.change({ subscriptionId, quantity: 2 }),
      usual.subscriptions.start({ account, sku: 'plan' }),
    ]) {
      await expect(change).rejects.toMatchObject({ code: 'catch_up_needed' });
    }

    await usual.invoicing.createInvoices({ account, catchUp: true });
    expect(await cycle()).toEqual([]);
    expect(await period(subscriptionId)).toBe(7);
    expect(await numbersPaid(account)).toBe(7);
    expect(await usual.ledger.check({ account, product: 'CALLS' })).toMatchObject({
      allowed: true,
    });
  });

  test('what is left alone keeps nobody behind it from a run with a limit', async () => {
    for (let one = 0; one < 3; one += 1) await subscribed(200);
    const { account } = await subscribed(40);
    let done: number;
    do done = (await usual.runDue({ limit: 1 })).subscriptions;
    while (done > 0);
    const { items } = await usual.events.list({ types: ['subscription.renewed'], account });
    expect(items).toHaveLength(1);
  });

  test('a payment of before opens nothing that was missed', async () => {
    const { account, subscriptionId } = await subscribed(200, { token: 'test_declined' });
    clock.set(start - 165 * DAY);
    await bill(billing, account);
    clock.set(start);
    expect(await numbersPaid(account)).toBe(1);
    await payOpen(usual, account, 'cash');
    expect(await period(subscriptionId)).toBe(2);
    expect(await numbersPaid(account)).toBe(2);
    await usual.invoicing.createInvoices({ account, catchUp: true });
    expect(await period(subscriptionId)).toBe(7);
  });

  test.each(['now', 'period_end'] as const)(
    'a customer who cancels (%s) is not invoiced for what was missed',
    async (when) => {
      const { account, subscriptionId } = await subscribed(200);
      await usual.subscriptions.cancel({ subscriptionId, when });
      await cycle();
      expect(await usual.subscriptions.get({ subscriptionId })).toMatchObject({
        status: 'cancelled',
        period: { number: 1 },
      });
      expect(await numbersPaid(account)).toBe(1);
      await startPlan(usual, { account, sku: 'plan' });
      await bill(usual, account);
      expect(await usual.ledger.check({ account, product: 'CALLS' })).toMatchObject({
        allowed: true,
        remaining: '100',
      });
    },
  );
});
