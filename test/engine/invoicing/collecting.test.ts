import {
  TestClock,
  openBilling,
  signTestNotice,
  type Billing,
  type EventType,
  type Gateway,
  type Invoice,
  type TestToken,
} from '../../../engine';
import { CountingGateway } from '../payments/counting-gateway';
import { databaseKinds, newSchema, onEachDatabase, serverUrl } from '../each-database';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const SECRET = 'a secret of sixteen';
const START = Date.parse('2027-03-10T12:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

const eventsOf = async (billing: Billing, account: string, ...types: EventType[]) =>
  (await billing.events.list({ account, types })).items;

onEachDatabase('collecting', (database) => {
  const clock = new TestClock(START);
  const gateway = new CountingGateway();
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), {
      gateways: [gateway],
      testGateway: { webhookSecret: SECRET },
    });
    await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    await billing.catalog.saveOffer({
      sku: 'plan',
      name: 'Plan',
      price: '30.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'CALLS', quantity: 100 }],
    });
  });

  beforeEach(() => {
    counter += 1;
    // Far enough apart that nothing of one test is due in another's time unless it is asked for.
    clock.set(START + counter * 400 * DAY);
    gateway.outcome = {};
    gateway.hear = null;
    gateway.calls = 0;
    gateway.methods = [];
  });

  /** Those of this test. */
  const debtors: string[] = [];
  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `debtor-${counter}` });
    debtors.push(accountId);
    return accountId;
  };
  // What went on would have thirteen months caught up with in each later test.
  afterEach(async () => {
    for (const account of debtors.splice(0)) {
      const { items } = await billing.subscriptions.list({ account });
      for (const { subscriptionId, status } of items) {
        if (status === 'cancelled' || status === 'ended') continue;
        await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      }
    }
  });
  const save = (account: string, token: TestToken | string, name = 'test') =>
    billing.payments.saveMethod({ account, gateway: name, token, makeDefault: true });
  /** An invoice by hand of 25.00, issued. */
  const issue = async (account: string, more: object = {}): Promise<Invoice> => {
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'USD',
      items: [{ description: 'Work', quantity: 1, unitPrice: '25.00' }],
      ...more,
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    return billing.invoicing.getInvoice({ invoiceId });
  };
  const debtor = async (token: string, name = 'test'): Promise<[string, Invoice]> => {
    const account = await newAccount();
    await save(account, token, name);
    return [account, await issue(account)];
  };
  const read = (invoiceId: string) => billing.invoicing.getInvoice({ invoiceId });
  const collection = (invoiceId: string) => billing.invoicing.collection({ invoiceId });
  const attemptsOf = (invoiceId: string) => billing.invoicing.attempts({ invoiceId });
  const run = () => billing.runDue();
  const day = (date: string | null) => date?.slice(0, 10) ?? null;
  const from = (days: number) =>
    new Date(new Date(clock.now()).getTime() + days * DAY).toISOString().slice(0, 10);

  test('I3: a decline is recorded with what the gateway said; tried again by the schedule', async () => {
    const [account, { invoiceId, number }] = await debtor('test_declined');
    const days = [0, 3, 8, 15].map(from);
    await run();
    const [first] = await attemptsOf(invoiceId);
    expect(first).toMatchObject({
      invoiceId,
      number: 1,
      amount: '25.00',
      status: 'failed',
      code: 'card_declined',
      responseText: 'Do not honor',
      rejectReason: 'do_not_honor',
      message: expect.any(String),
    });
    expect(await read(invoiceId)).toMatchObject({ status: 'open', attempts: 1 });
    const { nextAttemptAt } = (await collection(invoiceId))!;
    expect(await collection(invoiceId)).toMatchObject({
      next: { step: 'attempt', at: nextAttemptAt },
    });
    const [told] = await eventsOf(billing, account, 'card.error');
    expect(told!.data).toEqual({
      invoiceId,
      invoiceNumber: number,
      attemptId: first!.attemptId,
      charge: {
        attemptId: first!.attemptId,
        gateway: 'test',
        reference: first!.reference,
        methodId: first!.methodId,
      },
      attempt: 1,
      nextAttemptAt: expect.stringContaining(days[1]!),
      amount: '25.00',
      currency: 'USD',
      code: 'card_declined',
      responseText: 'Do not honor',
      rejectReason: 'do_not_honor',
      hard: false,
    });
    // Once a day, a little later every day: never a day late for that.
    for (let passed = 1; passed <= 30; passed += 1) {
      clock.advance(DAY + 60_000);
      await run();
    }
    const made = (await attemptsOf(invoiceId)).toReversed();
    expect(made.map(({ createdAt }) => day(createdAt))).toEqual(days);
    expect(await collection(invoiceId)).toMatchObject({
      status: 'exhausted',
      attempts: 4,
      nextAttemptAt: null,
      finalAction: 'cancel',
      next: null,
    });
    expect(await eventsOf(billing, account, 'card.error')).toHaveLength(4);
    expect(await failure(billing.invoicing.retryInvoice({ invoiceId }))).toEqual({
      code: 'invoice_state',
      parameter: 'invoiceId',
    });
  });

  test('I3: without a card it counts as an attempt, and the gateway is never called', async () => {
    const account = await newAccount();
    const { invoiceId } = await issue(account);
    await run();
    const [told] = await eventsOf(billing, account, 'card.error');
    expect(told!.data).toMatchObject({
      invoiceId,
      charge: null,
      attempt: 1,
      code: 'no_payment_method',
      hard: false,
    });
    expect(await attemptsOf(invoiceId)).toMatchObject([{ gateway: null, status: 'failed' }]);
    expect(gateway.calls).toBe(0);
    // A card that comes is tried at once, whatever the schedule says.
    await save(account, 'card', 'counting');
    await run();
    expect(gateway.calls).toBe(1);
    expect(await read(invoiceId)).toMatchObject({ status: 'paid', amountDue: '0.00' });
    expect(await collection(invoiceId)).toMatchObject({ status: 'closed', nextAttemptAt: null });
  });

  test('I3: the next attempt pays, and nothing is tried any more', async () => {
    const [account, { invoiceId }] = await debtor('test_declines_once');
    await run();
    clock.advance(3 * DAY);
    await run();
    expect(await read(invoiceId)).toMatchObject({ status: 'paid', paid: '25.00', attempts: 2 });
    for (let passed = 0; passed < 20; passed += 1) {
      clock.advance(DAY);
      await run();
    }
    expect(await attemptsOf(invoiceId)).toHaveLength(2);
    expect(await eventsOf(billing, account, 'payment.succeeded', 'invoice.paid')).toHaveLength(2);
  });

  test('I3: what was written off or paid by hand is not tried again', async () => {
    const [, off] = await debtor('test_declined');
    const [, paid] = await debtor('test_declined');
    await run();
    await billing.invoicing.markUncollectible({ invoiceId: off.invoiceId });
    await billing.invoicing.markPaid({
      invoiceId: paid.invoiceId,
      method: 'cash',
      reference: `till ${paid.invoiceId}`,
    });
    clock.advance(20 * DAY);
    await run();
    for (const { invoiceId } of [off, paid]) {
      expect(await attemptsOf(invoiceId)).toHaveLength(1);
      expect(await collection(invoiceId)).toMatchObject({ status: 'closed' });
    }
  });

  test('a hard decline stops, until another method is saved', async () => {
    const [account, { invoiceId }] = await debtor('test_lost_card');
    await run();
    expect(await collection(invoiceId)).toMatchObject({
      status: 'stopped',
      stopReason: 'hard_decline',
      attempts: 1,
    });
    expect(await eventsOf(billing, account, 'card.error')).toMatchObject([
      { data: { hard: true, nextAttemptAt: null } },
    ]);
    clock.advance(4 * DAY);
    await run();
    expect(await attemptsOf(invoiceId)).toHaveLength(1);
    const retry = () => billing.invoicing.retryInvoice({ invoiceId });
    expect(await failure(retry())).toMatchObject({ code: 'invoice_state' });
    // The same card once more is no other.
    await save(account, 'test_lost_card');
    await run();
    expect(await attemptsOf(invoiceId)).toHaveLength(1);
    await save(account, 'test_ok');
    await run();
    expect(await read(invoiceId)).toMatchObject({ status: 'paid', attempts: 2 });
  });

  test('the same card saved again waits for its day; none is tried after the last attempt', async () => {
    const [account, { invoiceId }] = await debtor('test_declined');
    await run();
    await save(account, 'test_declined');
    await run();
    expect(await collection(invoiceId)).toMatchObject({ attempts: 1, status: 'waiting' });
    // Each other one uses up an attempt.
    for (const [index, token] of ['test_insufficient_funds', 'test_declined'].entries()) {
      await save(account, token);
      await run();
      expect(await collection(invoiceId)).toMatchObject({ attempts: index + 2 });
    }
    await save(account, 'test_insufficient_funds');
    await run();
    expect(await collection(invoiceId)).toMatchObject({ attempts: 4, status: 'exhausted' });
    await save(account, 'test_ok');
    clock.advance(DAY);
    await run();
    expect(await attemptsOf(invoiceId)).toHaveLength(4);
    expect(await read(invoiceId)).toMatchObject({ status: 'open' });
  });

  test('a card that is not the default changes nothing; made the default it is tried', async () => {
    const [account, { invoiceId }] = await debtor('test_declined');
    await run();
    const { methodId } = await billing.payments.saveMethod({
      account,
      gateway: 'test',
      token: 'test_ok',
      makeDefault: false,
    });
    await run();
    expect(await read(invoiceId)).toMatchObject({ status: 'open', attempts: 1 });
    await billing.payments.setDefaultMethod({ methodId });
    await run();
    expect(await read(invoiceId)).toMatchObject({ status: 'paid', attempts: 2 });
  });

  test('none of several methods that were declined for good is tried again', async () => {
    const account = await newAccount();
    gateway.outcome = { status: 'failed', hard: true };
    const first = await save(account, 'first', 'counting');
    const { invoiceId } = await issue(account);
    await run();
    await save(account, 'second', 'counting');
    await run();
    await billing.payments.setDefaultMethod({ methodId: first.methodId });
    await run();
    expect(await failure(billing.invoicing.retryInvoice({ invoiceId }))).toMatchObject({
      code: 'invoice_state',
    });
    expect(gateway.methods).toEqual(['first', 'second']);
  });

  test('an invoice can be paid in two equal parts, also when a charge brings the second', async () => {
    const notify = (invoiceId: string, reference: string) => {
      const rawBody = JSON.stringify([
        {
          noticeId: `${reference} ${invoiceId}`,
          kind: 'payment',
          invoiceId,
          amount: '12.50',
          currency: 'USD',
          charge: { status: 'succeeded', reference: `${reference} ${invoiceId}` },
        },
      ]);
      const headers = signTestNotice(SECRET, rawBody);
      return billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
    };
    const account = await newAccount();
    const { invoiceId: twice } = await issue(account);
    const { invoiceId: charged } = await issue(account);
    await notify(twice, 'one');
    await notify(charged, 'one');
    expect(await read(charged)).toMatchObject({ status: 'open', amountDue: '12.50' });
    await notify(twice, 'two');
    await save(account, 'card', 'counting');
    await run();
    expect(gateway.calls).toBe(1);
    for (const invoiceId of [twice, charged]) {
      expect(await read(invoiceId)).toMatchObject({ status: 'paid', paid: '25.00' });
      expect(await attemptsOf(invoiceId)).toMatchObject([{ surplus: false }, { surplus: false }]);
    }
    expect((await billing.payments.refundsDue({ account })).items).toEqual([]);
  });

  test('a retry that is asked for counts, pays, and moves the schedule', async () => {
    const [, { invoiceId }] = await debtor('test_declined');
    await run();
    clock.advance(DAY);
    const answer = await billing.invoicing.retryInvoice({ invoiceId, idempotencyKey: 'r' });
    expect(answer).toMatchObject({
      status: 'failed',
      number: 2,
      invoiceStatus: 'open',
      nextAttemptAt: expect.stringContaining(from(5)),
    });
    // The same key is the same attempt.
    const again = await billing.invoicing.retryInvoice({ invoiceId, idempotencyKey: 'r' });
    expect(again.attemptId).toBe(answer.attemptId);
    for (const number of [3, 4]) {
      expect(await billing.invoicing.retryInvoice({ invoiceId })).toMatchObject({ number });
    }
    // No workflow loops.
    expect(await failure(billing.invoicing.retryInvoice({ invoiceId }))).toMatchObject({
      code: 'invoice_state',
    });
    const [, good] = await debtor('test_ok');
    expect(await billing.invoicing.retryInvoice({ invoiceId: good.invoiceId })).toMatchObject({
      status: 'succeeded',
      invoiceStatus: 'paid',
      nextAttemptAt: null,
    });
    expect(
      await failure(billing.invoicing.retryInvoice({ invoiceId: good.invoiceId })),
    ).toMatchObject({ code: 'invoice_state' });
  });

  test('I5: killed between the success and our commit: the next run finds the charge', async () => {
    const [account, { invoiceId }] = await debtor('card', 'counting');
    const waiting: Array<() => void> = [];
    gateway.hear = waiting;
    const lost = billing.invoicing.retryInvoice({ invoiceId });
    while (gateway.calls === 0) await new Promise((tick) => setTimeout(tick, 5));
    gateway.hear = null;
    clock.advance(5 * 60_000);
    await run();
    expect(gateway.calls).toBe(1);
    expect(await read(invoiceId)).toMatchObject({ status: 'paid', attempts: 1 });
    expect(await attemptsOf(invoiceId)).toMatchObject([{ status: 'succeeded', number: 1 }]);
    expect(await eventsOf(billing, account, 'payment.succeeded')).toHaveLength(1);
    waiting.forEach((hear) => hear());
    expect(await lost).toMatchObject({ status: 'succeeded', invoiceStatus: 'paid' });
  });

  test('a clock that is moved back never charges again', async () => {
    const [, paid] = await debtor('card', 'counting');
    const [, open] = await debtor('test_declined');
    await run();
    expect(gateway.calls).toBe(1);
    clock.advance(-10 * DAY);
    await run();
    await billing.invoicing.runBillingCycle();
    expect(gateway.calls).toBe(1);
    expect(await attemptsOf(paid.invoiceId)).toHaveLength(1);
    expect(await attemptsOf(open.invoiceId)).toHaveLength(1);
  });

  test('one that is sent is never charged, and told of once when it is overdue', async () => {
    const account = await newAccount();
    await save(account, 'card', 'counting');
    const { invoiceId, dueAt } = await issue(account, {
      collection: 'send',
      dueIn: { unit: 'day', count: 14 },
    });
    for (let passed = 0; passed < 40; passed += 1) {
      clock.advance(DAY);
      await run();
    }
    expect(gateway.calls).toBe(0);
    expect(await attemptsOf(invoiceId)).toEqual([]);
    const overdue = await eventsOf(billing, account, 'invoice.overdue');
    expect(overdue).toMatchObject([{ occurredAt: dueAt, data: { invoiceId } }]);
    expect(await eventsOf(billing, account, 'card.error')).toEqual([]);
    expect(await failure(billing.invoicing.retryInvoice({ invoiceId }))).toMatchObject({
      code: 'invoice_state',
    });
  });

  test('the schedule can be set; so can what comes in the end', async () => {
    await billing.invoicing.saveSettings({
      dunning: { retryAfterDays: [1], graceDays: 2, finalAction: 'uncollectible' },
    });
    const [account, { invoiceId }] = await debtor('test_declined');
    await run();
    clock.advance(DAY);
    await run();
    expect(await read(invoiceId)).toMatchObject({ status: 'open', attempts: 2 });
    // Not before the grace is over.
    clock.advance(DAY);
    await run();
    expect(await read(invoiceId)).toMatchObject({ status: 'uncollectible' });
    expect(await eventsOf(billing, account, 'invoice.uncollectible')).toHaveLength(1);
    await billing.invoicing.saveSettings({
      dunning: { retryAfterDays: [3, 5, 7], graceDays: 7, finalAction: 'cancel' },
    });
    // Money that comes later is taken all the same.
    await billing.invoicing.markPaid({ invoiceId, method: 'cash', reference: invoiceId });
    expect(await read(invoiceId)).toMatchObject({ status: 'paid' });
  });

  describe('subscriptions', () => {
    const subscribe = async (account: string): Promise<string> => {
      const answer = await billing.subscriptions.start({ account, sku: 'plan' });
      if (!answer.allowed) throw new Error(answer.reason);
      return answer.subscriptionId;
    };
    const cycle = async (): Promise<void> => {
      await billing.invoicing.runBillingCycle();
      await run();
    };
    const status = async (subscriptionId: string) => {
      const { status: now, overdue } = await billing.subscriptions.get({ subscriptionId });
      return { status: now, overdue };
    };
    const check = async (account: string) => {
      const { allowed, reason } = await billing.ledger.check({ account, product: 'CALLS' });
      return { allowed, reason };
    };
    /** In force and paid; its next invoice will fail. */
    const failing = async (token = 'test_declined'): Promise<[string, string]> => {
      const account = await newAccount();
      await save(account, 'test_ok');
      const subscriptionId = await subscribe(account);
      await cycle();
      expect(await check(account)).toEqual({ allowed: true, reason: null });
      await save(account, token);
      clock.advance(31 * DAY);
      await cycle();
      return [account, subscriptionId];
    };

    test('the grace is over by the clock, whether or not anything ran', async () => {
      const [account, subscriptionId] = await failing();
      const use = () => billing.ledger.consume({ account, product: 'CALLS' });
      expect(await use()).toMatchObject({ allowed: true });
      clock.advance(7 * DAY - 1);
      expect(await use()).toMatchObject({ allowed: true });
      clock.advance(1);
      const { standing } = await billing.accounts.get({ account });
      expect(standing).toMatchObject({ pastDue: true, overdue: true });
      expect(await use()).toMatchObject({ allowed: false, reason: 'payment_overdue' });
      expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
      expect(await status(subscriptionId)).toEqual({ status: 'past_due', overdue: true });
      const graceEnd = clock.now().toISOString();
      await cycle();
      const told = await eventsOf(billing, account, 'subscription.overdue');
      expect(told.map(({ occurredAt }) => occurredAt)).toEqual([graceEnd]);

      await save(account, 'test_ok');
      const open = await billing.invoicing.listInvoices({ account, status: 'open' });
      const [{ invoiceId }] = open.items as [Invoice];
      await billing.invoicing.markPaid({ invoiceId, method: 'cash', reference: invoiceId });
      expect(await use()).toMatchObject({ allowed: true });
      expect(await status(subscriptionId)).toEqual({ status: 'active', overdue: false });
    });

    test('past due at once, access through the grace, then overdue, then the end', async () => {
      const [account, subscriptionId] = await failing();
      expect(await status(subscriptionId)).toEqual({ status: 'past_due', overdue: false });
      expect(await check(account)).toEqual({ allowed: true, reason: null });
      // Shown beside the account's own status, which people set.
      expect(await billing.accounts.get({ account })).toMatchObject({
        status: 'active',
        standing: {
          trialing: false,
          pastDue: true,
          overdue: false,
          graceUntil: new Date(clock.now().getTime() + 7 * DAY).toISOString(),
        },
      });
      for (let passed = 0; passed < 6; passed += 1) {
        clock.advance(DAY);
        await cycle();
      }
      expect(await check(account)).toEqual({ allowed: true, reason: null });
      clock.advance(DAY);
      await cycle();
      expect(await status(subscriptionId)).toEqual({ status: 'past_due', overdue: true });
      expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
      for (let passed = 0; passed < 8; passed += 1) {
        clock.advance(DAY);
        await cycle();
      }
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        status: 'ended',
        endReason: 'payment_failed',
      });
      const { allowed } = await check(account);
      expect(allowed).toBe(false);
    });

    test('a payment puts it in order again, whenever it comes', async () => {
      const [account, subscriptionId] = await failing();
      clock.advance(8 * DAY);
      await cycle();
      expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
      const { items } = await billing.invoicing.listInvoices({ account, status: 'open' });
      await save(account, 'test_ok');
      await billing.invoicing.retryInvoice({ invoiceId: items[0]!.invoiceId });
      expect(await status(subscriptionId)).toEqual({ status: 'active', overdue: false });
      expect(await check(account)).toEqual({ allowed: true, reason: null });
      expect(await eventsOf(billing, account, 'subscription.recovered')).toHaveLength(1);
    });

    test('a good card saved after the grace is tried at once, and access comes back', async () => {
      const [account, subscriptionId] = await failing();
      for (const days of [3, 5, 1]) {
        clock.advance(days * DAY);
        await cycle();
      }
      expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
      await save(account, 'test_ok');
      expect(await billing.invoicing.dispatchInvoices({ account })).toMatchObject({
        paid: 1,
        retried: 1,
      });
      expect(await status(subscriptionId)).toEqual({ status: 'active', overdue: false });
      expect(await check(account)).toEqual({ allowed: true, reason: null });
    });

    test('a good card pays nothing that was written off, nor what was cancelled', async () => {
      const [off, cancelled] = [await failing(), await failing()];
      const invoiceOf = async (account: string): Promise<string> => {
        const { items } = await billing.invoicing.listInvoices({ account });
        return items[0]!.invoiceId;
      };
      await billing.invoicing.markUncollectible({ invoiceId: await invoiceOf(off[0]) });
      await billing.subscriptions.cancel({ subscriptionId: cancelled[1], when: 'now' });
      for (const [account] of [off, cancelled]) {
        await save(account, 'test_ok');
        await cycle();
        expect(await attemptsOf(await invoiceOf(account))).toHaveLength(1);
      }
    });

    test('what is within its own grace denies nothing, once what was overdue is paid', async () => {
      await billing.invoicing.saveSettings({ dunning: { finalAction: 'keep' } });
      const [account, subscriptionId] = await failing();
      for (let passed = 0; passed < 31; passed += 1) {
        clock.advance(DAY);
        await cycle();
      }
      const { items } = await billing.invoicing.listInvoices({ account, status: 'open' });
      const [later, earlier] = items.map(({ invoiceId }) => invoiceId);
      expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
      const pay = (invoiceId: string) =>
        billing.invoicing.markPaid({ invoiceId, method: 'cash', reference: invoiceId });
      await pay(earlier!);
      expect(await status(subscriptionId)).toEqual({ status: 'past_due', overdue: false });
      expect(await check(account)).toEqual({ allowed: true, reason: null });
      clock.advance(8 * DAY);
      await cycle();
      expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
      await pay(later!);
      expect(await status(subscriptionId)).toEqual({ status: 'active', overdue: false });
      await billing.invoicing.saveSettings({ dunning: { finalAction: 'cancel' } });
    });

    test('a payment of what was written off puts it in order too', async () => {
      const [account, subscriptionId] = await failing();
      clock.advance(8 * DAY);
      await cycle();
      const { items } = await billing.invoicing.listInvoices({ account, status: 'open' });
      const { invoiceId } = items[0]!;
      await billing.invoicing.markUncollectible({ invoiceId });
      expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
      await billing.invoicing.markPaid({ invoiceId, method: 'cash', reference: invoiceId });
      expect(await status(subscriptionId)).toEqual({ status: 'active', overdue: false });
      expect(await check(account)).toEqual({ allowed: true, reason: null });
    });

    test("what a provider collects is never charged: its notice pays the period's invoice", async () => {
      const account = await newAccount();
      await save(account, 'card', 'counting');
      await billing.subscriptions.start({ account, sku: 'plan', collectedBy: 'provider' });
      for (let passed = 0; passed < 20; passed += 5) {
        await cycle();
        clock.advance(5 * DAY);
      }
      const { items } = await billing.invoicing.listInvoices({ account });
      const { invoiceId } = items[0]!;
      expect(gateway.calls).toBe(0);
      expect(items).toMatchObject([{ status: 'open', collectedBy: 'provider', attempts: 0 }]);
      const notice = {
        kind: 'payment',
        invoiceId,
        amount: '30.00',
        currency: 'USD',
        charge: { status: 'succeeded', reference: `sub-${invoiceId}` },
      };
      for (const noticeId of [`1-${invoiceId}`, `2-${invoiceId}`]) {
        const rawBody = JSON.stringify([{ ...notice, noticeId }]);
        const headers = signTestNotice(SECRET, rawBody);
        await billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
      }
      expect(await read(invoiceId)).toMatchObject({ status: 'paid', paid: '30.00' });
      expect(await attemptsOf(invoiceId)).toMatchObject([
        { kind: 'incoming', status: 'succeeded', surplus: false },
      ]);
    });

    describe.each([[true], [false]])(
      'a debt of before it was begun anew, seen before: %s',
      (seen) => {
        /** An invoice of 30.00 that was sent, for what was had at once; cancelled, and begun anew days later. */
        const anew = async (after: number): Promise<[string, string, string]> => {
          const account = await newAccount();
          const trusted = { sku: 'plan', collection: 'send', access: 'at_once' } as const;
          const { subscriptionId } = await billing.subscriptions.start({ account, ...trusted });
          await cycle();
          await billing.subscriptions.cancel({ subscriptionId: subscriptionId!, when: 'now' });
          clock.advance(after * DAY);
          if (seen) await run();
          await billing.subscriptions.reactivate({ subscriptionId: subscriptionId! });
          if (!seen) await run();
          const [{ invoiceId }] = (await billing.invoicing.listInvoices({ account })).items as [
            Invoice,
          ];
          return [account, subscriptionId!, invoiceId];
        };
        const pay = (invoiceId: string) =>
          billing.invoicing.markPaid({ invoiceId, method: 'cash', reference: invoiceId });

        test('puts it past due, and then overdue, by the grace of that', async () => {
          // Due after 14 days, and borne for seven.
          const [account, subscriptionId, invoiceId] = await anew(15);
          expect(await status(subscriptionId)).toEqual({ status: 'past_due', overdue: false });
          expect(await check(account)).toEqual({ allowed: true, reason: null });
          clock.advance(6 * DAY);
          expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
          await pay(invoiceId);
          expect(await status(subscriptionId)).toEqual({ status: 'active', overdue: false });
          expect(await check(account)).toEqual({ allowed: true, reason: null });
        });

        test('puts it overdue at once where its grace is over', async () => {
          const [account, subscriptionId, invoiceId] = await anew(22);
          expect(await status(subscriptionId)).toEqual({ status: 'past_due', overdue: true });
          expect(await check(account)).toEqual({ allowed: false, reason: 'payment_overdue' });
          expect(await eventsOf(billing, account, 'subscription.overdue')).toHaveLength(1);
          await pay(invoiceId);
          expect(await status(subscriptionId)).toEqual({ status: 'active', overdue: false });
        });
      },
    );

    test('I3: no retry after the customer cancelled', async () => {
      const [account, subscriptionId] = await failing();
      const { items } = await billing.invoicing.listInvoices({ account, status: 'open' });
      const { invoiceId } = items[0]!;
      const owed = await billing.invoicing.collection({ subscriptionId });
      expect(owed).toEqual(await collection(invoiceId));
      expect(owed).toMatchObject({
        attempts: 1,
        next: { step: 'attempt', at: owed!.nextAttemptAt },
      });
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      clock.advance(3 * DAY);
      await cycle();
      expect(await attemptsOf(invoiceId)).toHaveLength(1);
      expect(await collection(invoiceId)).toMatchObject({
        status: 'stopped',
        stopReason: 'customer_cancelled',
      });
      expect(await failure(billing.invoicing.retryInvoice({ invoiceId }))).toMatchObject({
        code: 'invoice_state',
      });
    });

    test('says what comes next, of an invoice and of what a subscription has owed longest', async () => {
      const [, subscriptionId] = await failing('test_lost_card');
      const owed = () => billing.invoicing.collection({ subscriptionId });
      const first = (await owed())!;
      expect(first).toMatchObject({
        status: 'stopped',
        next: { step: 'end_access', at: first.graceUntil },
      });
      clock.advance(8 * DAY);
      await cycle();
      expect(await owed()).toMatchObject({ next: { step: 'cancel', at: first.finalAt } });
      clock.advance(8 * DAY);
      await cycle();
      expect(await owed()).toMatchObject({ finalAction: 'cancel', next: null });
      await billing.invoicing.voidInvoice({ invoiceId: first.invoiceId });
      expect(await owed()).toBe(null);
      expect(await collection(first.invoiceId)).toMatchObject({ status: 'closed', next: null });
      for (const [request, code] of [
        [{ subscriptionId: first.invoiceId }, 'unknown_subscription'],
        [{ invoiceId: subscriptionId }, 'unknown_invoice'],
        [{ invoiceId: first.invoiceId, subscriptionId }, 'invalid_input'],
        [{}, 'invalid_input'],
      ] as const) {
        expect(
          await failure(billing.invoicing.collection(request as { invoiceId: string })),
        ).toMatchObject({ code });
      }
    });
  });
});

if (databaseKinds.includes('server')) {
  describe('collecting, on a server', () => {
    test('what is charged by a gateway of another process is left to that one', async () => {
      const clock = new TestClock(START);
      const schema = newSchema();
      const gateway = new CountingGateway();
      const open = (gateways: Gateway[]) =>
        openBilling({
          connection: { connectionString: serverUrl(), poolSize: 4 },
          schema,
          clock,
          gateways,
          testGateway: true,
        });
      const [has, hasNot] = [await open([gateway]), await open([])];
      try {
        const invoices: string[] = [];
        for (const name of ['counting', 'test', 'counting']) {
          const { accountId: account } = await has.accounts.identify({
            externalId: `left-${invoices.length}`,
          });
          await has.payments.saveMethod({ account, gateway: name, token: 'test_ok' });
          const { invoiceId } = await has.invoicing.createInvoice({
            account,
            currency: 'USD',
            items: [{ description: 'Work', quantity: 1, unitPrice: '25.00' }],
          });
          await has.invoicing.finalizeInvoice({ invoiceId });
          invoices.push(invoiceId);
        }
        const statuses = () =>
          Promise.all(
            invoices.map((invoiceId) =>
              has.invoicing
                .getInvoice({ invoiceId })
                .then(({ status, attempts }) => `${status} ${attempts}`),
            ),
          );
        await hasNot.invoicing.runBillingCycle();
        await hasNot.runDue();
        expect(await statuses()).toEqual(['open 0', 'paid 1', 'open 0']);
        const retry = hasNot.invoicing.retryInvoice({ invoiceId: invoices[0]! });
        expect(await failure(retry)).toMatchObject({ code: 'invalid_input' });
        await has.runDue();
        expect(await statuses()).toEqual(['paid 1', 'paid 1', 'paid 1']);
        expect(gateway.calls).toBe(2);
        expect(await has.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await Promise.all([has.close(), hasNot.close()]);
      }
    });

    test('ten workers at once: every invoice is charged once', async () => {
      const clock = new TestClock(START);
      const schema = newSchema();
      const gateway = new CountingGateway();
      const open = () =>
        openBilling({
          connection: { connectionString: serverUrl(), poolSize: 4 },
          schema,
          clock,
          gateways: [gateway],
        });
      const first = await open();
      const workers = [first, ...(await Promise.all(Array.from({ length: 9 }, open)))];
      try {
        const invoices: string[] = [];
        for (let count = 0; count < 20; count += 1) {
          const { accountId: account } = await first.accounts.identify({
            externalId: `w-${count}`,
          });
          await first.payments.saveMethod({ account, gateway: 'counting', token: 'card' });
          const { invoiceId } = await first.invoicing.createInvoice({
            account,
            currency: 'USD',
            items: [{ description: 'Work', quantity: 1, unitPrice: '25.00' }],
          });
          await first.invoicing.finalizeInvoice({ invoiceId });
          invoices.push(invoiceId);
        }
        await Promise.all(workers.map((worker) => worker.runDue()));
        await Promise.all(workers.map((worker) => worker.invoicing.runBillingCycle()));
        expect(gateway.charged.size).toBe(20);
        expect(gateway.calls).toBe(20);
        for (const invoiceId of invoices) {
          expect(await first.invoicing.getInvoice({ invoiceId })).toMatchObject({ status: 'paid' });
        }
        expect(await first.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await Promise.all(workers.map((worker) => worker.close()));
      }
    });
  });
}
