import {
  TestClock,
  type Billing,
  type Invoice,
  type SaveOfferRequest,
  type StartRequest,
} from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';
import { startPlan } from './monthly-plans';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.parse('2027-03-10T12:00:00Z');

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown }) => error.code,
  );

const named = (invoice: Invoice | undefined) => ({ invoiceId: invoice!.invoiceId });

onEachDatabase('first payments', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: true });
    await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
  });

  beforeEach(() => {
    counter += 1;
    // Far enough apart that nothing of one test is due in another's time.
    clock.set(START + counter * 400 * DAY);
  });

  // What goes on would have a year to make up for in the next test.
  afterEach(async () => {
    const { items } = await billing.subscriptions.list({ limit: 500 });
    for (const { subscriptionId, endedAt } of items) {
      if (endedAt === null) await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    }
  });

  const offer = async (more: Partial<SaveOfferRequest> = {}): Promise<string> => {
    counter += 1;
    const { sku } = await billing.catalog.saveOffer({
      sku: `plan-${counter}`,
      name: 'Plan',
      price: '30.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'day', count: 30 },
      items: [{ product: 'CALLS', quantity: 300 }],
      ...more,
    });
    return sku;
  };
  const daily = (more: Partial<SaveOfferRequest> = {}) =>
    offer({ price: '1.00', interval: { unit: 'day', count: 1 }, ...more });
  const freeDays = {
    trialPhases: [
      {
        price: '0',
        length: { unit: 'day', count: 14 },
        items: [{ product: 'CALLS', quantity: 20 }],
      },
    ],
  } satisfies Partial<SaveOfferRequest>;

  const newAccount = async (token?: 'test_ok' | 'test_declined'): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `first-${counter}` });
    if (token !== undefined) await card(accountId, token);
    return accountId;
  };
  const card = (account: string, token: 'test_ok' | 'test_declined') =>
    billing.payments.saveMethod({ account, gateway: 'test', token, makeDefault: true });
  const start = (account: string, sku: string, more: Partial<StartRequest> = {}) =>
    startPlan(billing, { account, sku, ...more });
  const present = ({ subscriptionId }: { subscriptionId: string }) =>
    billing.subscriptions.get({ subscriptionId });
  const cycle = () => billing.invoicing.runBillingCycle();
  const invoicesOf = async (account: string) =>
    (await billing.invoicing.listInvoices({ account })).items;
  const calls = async (account: string) =>
    (await billing.ledger.balance({ account, product: 'CALLS' })).available;
  const earned = async (account: string) => {
    const balances = await billing.books.balances({ account });
    return balances.find((one) => one.account === 'revenue')?.balance ?? '0.00000000';
  };
  const pay = ({ invoiceId }: Pick<Invoice, 'invoiceId'>) =>
    billing.invoicing.markPaid({ invoiceId, method: 'bank_transfer' });
  const told = async (account: string, type: 'refund.due' | 'subscription.ended') =>
    (await billing.events.list({ account, types: [type] })).items.map(({ data }) => data);
  /** A day at a time, as the jobs of a seller go. */
  const days = async (count: number) => {
    for (let day = 0; day < count; day += 1) {
      clock.advance(DAY);
      await cycle();
      await billing.runDue();
    }
  };

  describe('while the first payment is awaited', () => {
    test('C10 a daily plan whose card declines has one invoice, one period, and earns nothing', async () => {
      const account = await newAccount('test_declined');
      const one = await start(account, await daily());
      await cycle();
      expect(await present(one)).toMatchObject({
        awaitingPayment: true,
        lapsesAt: new Date(clock.now().getTime() + 23 * HOUR).toISOString(),
      });
      await days(30);
      const [invoice, ...others] = await invoicesOf(account);
      expect(others).toEqual([]);
      expect(invoice).toMatchObject({ status: 'open', total: '1.00' });
      // On the day of issue and by the schedule, and no more.
      expect(await billing.invoicing.attempts(named(invoice))).toHaveLength(4);
      expect(await billing.invoicing.collection(named(invoice))).toMatchObject({
        status: 'exhausted',
        nextAttemptAt: null,
      });
      expect(await present(one)).toMatchObject({
        status: 'ended',
        endReason: 'payment_lapsed',
        period: { number: 1 },
      });
      expect(await earned(account)).toBe('0.00000000');
      expect(await calls(account)).toBe('0');
      expect(await told(account, 'subscription.ended')).toMatchObject([
        { reason: 'payment_lapsed' },
      ]);
    });

    test('C10 dunning goes on when it has lapsed: an attempt that succeeds begins it then', async () => {
      const account = await newAccount('test_declined');
      const one = await start(account, await daily());
      await cycle();
      clock.advance(2 * DAY);
      await billing.runDue();
      expect((await present(one)).endReason).toBe('payment_lapsed');
      await card(account, 'test_ok');
      const done = await billing.invoicing.dispatchInvoices();
      expect(done).toMatchObject({ retried: 1, paid: 1 });
      const now = clock.now().getTime();
      expect(await present(one)).toMatchObject({
        status: 'active',
        period: { number: 1, startsAt: new Date(now).toISOString() },
      });
      expect(await calls(account)).toBe('300');
    });

    test('cancelled for the end of its period and lapsed it does not begin by late money', async () => {
      const account = await newAccount('test_declined');
      const one = await start(account, await offer());
      await cycle();
      await billing.subscriptions.cancel({ subscriptionId: one.subscriptionId });
      clock.advance(2 * DAY);
      await billing.runDue();
      expect(await present(one)).toMatchObject({ status: 'cancelled', endReason: 'cancelled' });
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      expect((await present(one)).status).toBe('cancelled');
      expect(await told(account, 'refund.due')).toMatchObject([
        { reason: 'subscription_cancelled', amount: '30.00' },
      ]);
      expect(await calls(account)).toBe('0');
    });

    test('paused for the end of its period and lapsed it rests after the one that late money brings', async () => {
      const account = await newAccount('test_declined');
      const one = await start(account, await offer());
      await cycle();
      await billing.subscriptions.pause({ subscriptionId: one.subscriptionId });
      clock.advance(2 * DAY);
      await billing.runDue();
      expect(await present(one)).toMatchObject({ endReason: 'payment_lapsed', pauseAt: null });
      // It is over: nothing rests that could go on.
      const { subscriptionId } = one;
      expect(await code(billing.subscriptions.resume({ subscriptionId }))).toBe(
        'subscription_state',
      );
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      const begun = await present(one);
      expect(begun.pauseAt).toBe(begun.period!.endsAt);
      clock.advance(31 * DAY);
      await cycle();
      expect((await present(one)).status).toBe('paused');
      expect(await invoicesOf(account)).toHaveLength(1);
    });

    test('nobody is charged for what lapsed when another one is in its place', async () => {
      const account = await newAccount('test_declined');
      const sku = await offer();
      await start(account, sku);
      await cycle();
      clock.advance(2 * DAY);
      await billing.runDue();
      const [lapsed] = await invoicesOf(account);
      await card(account, 'test_ok');
      await start(account, sku);
      await days(20);
      expect(await billing.invoicing.attempts(named(lapsed))).toHaveLength(1);
      expect(await billing.invoicing.collection(named(lapsed))).toMatchObject({
        status: 'stopped',
        stopReason: 'payment_lapsed',
        nextAttemptAt: null,
      });
      const totals = (await invoicesOf(account)).map(({ status, total }) => [status, total]);
      expect(totals).toEqual([
        ['paid', '30.00'],
        ['open', '30.00'],
      ]);
      expect(await calls(account)).toBe('300');
    });

    test('C10 paid after it lapsed it begins then, once', async () => {
      const account = await newAccount('test_declined');
      const one = await start(account, await daily());
      await cycle();
      await days(10);
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      const now = clock.now().getTime();
      expect(await present(one)).toMatchObject({
        status: 'active',
        endedAt: null,
        awaitingPayment: false,
        period: {
          number: 1,
          startsAt: new Date(now).toISOString(),
          endsAt: new Date(now + DAY).toISOString(),
        },
      });
      expect(await calls(account)).toBe('300');
      expect(await earned(account)).toBe('0.00000000');
      clock.advance(12 * HOUR);
      expect(await earned(account)).toBe('-0.50000000');
      clock.advance(12 * HOUR);
      expect(await earned(account)).toBe('-1.00000000');
      await cycle();
      expect(await invoicesOf(account)).toHaveLength(2);
    });

    test('C10 paid after it lapsed, its place is taken: the money goes back', async () => {
      const account = await newAccount('test_declined');
      const sku = await daily({ oncePerAccount: true });
      const one = await start(account, sku);
      await cycle();
      clock.advance(2 * DAY);
      // The place was free again.
      const other = await start(account, sku);
      const [invoice] = await invoicesOf(account);
      expect(await pay(invoice!)).toMatchObject({ status: 'open', amountDue: '1.00' });
      expect(await told(account, 'refund.due')).toMatchObject([
        { invoiceId: invoice!.invoiceId, amount: '1.00', reason: 'already_purchased' },
      ]);
      expect((await present(one)).status).toBe('ended');
      expect((await present(other)).awaitingPayment).toBe(true);
      expect(await calls(account)).toBe('0');
    });

    test('credit on what lapsed waits with it, and pays for what takes its place', async () => {
      const account = await newAccount('test_declined');
      const given = { account, currency: 'USD', amount: '12.00', received: 'cash' } as const;
      const credit = async () => (await billing.invoicing.accountCredit({ account })).credits;
      await billing.invoicing.addCredit(given);
      const sku = await offer({ oncePerAccount: true });
      await start(account, sku);
      await cycle();
      const [first] = await invoicesOf(account);
      expect(first).toMatchObject({ credited: '12.00', amountDue: '18.00' });
      // Nobody asks for it any more, but 18.00 would still begin it.
      await days(30);
      expect(await billing.invoicing.getInvoice(named(first))).toMatchObject({
        status: 'open',
        amountDue: '18.00',
      });
      expect(await credit()).toEqual([]);

      await start(account, sku, { collection: 'send' });
      await cycle();
      const [second] = await invoicesOf(account);
      expect(second).toMatchObject({ credited: '12.00', amountDue: '18.00' });
      expect(await billing.invoicing.getInvoice(named(first))).toMatchObject({
        creditNoted: '30.00',
        amountDue: '0.00',
      });
      await billing.invoicing.voidInvoice(named(second));
      expect(await credit()).toMatchObject([{ amount: '12.00' }]);
    });

    test('money by hand that is too late is told once, by its reference', async () => {
      const account = await newAccount();
      const sku = await offer();
      await start(account, sku);
      await cycle();
      const [invoice] = await invoicesOf(account);
      const paid = (more: object = {}) =>
        billing.invoicing.markPaid({ ...named(invoice), method: 'bank_transfer', ...more });
      // Counted while it could be: the same again is the same, also when it is too late.
      await paid({ reference: 'in time', amount: '10.00' });
      clock.advance(60 * DAY);
      await start(account, sku);
      const again = await paid({ reference: 'in time', amount: '10.00' });
      expect(again).toMatchObject({ paid: '10.00', replayed: true });
      expect(await told(account, 'refund.due')).toEqual([]);

      // Nobody can pay the rest: what was counted goes back, too, and nothing is asked for any more.
      expect(await paid()).toMatchObject({
        creditNoted: '30.00',
        amountDue: '0.00',
        replayed: false,
      });
      expect(await code(paid())).toBe('invoice_state');
      expect(await paid({ reference: 'late' })).toMatchObject({ replayed: false });
      clock.advance(DAY);
      expect(await paid({ reference: 'late' })).toMatchObject({ replayed: true });
      expect(await code(paid({ reference: 'late', amount: '19.00' }))).toBe('payment_mismatch');
      expect(await paid({ reference: 'once more' })).toMatchObject({ replayed: false });
      expect(await told(account, 'refund.due')).toMatchObject([
        { amount: '30.00', paymentId: 'once more' },
        { amount: '30.00', paymentId: 'late' },
        { amount: '10.00', paymentId: 'in time', reason: 'credit_note' },
        { amount: '20.00', reason: 'already_purchased' },
      ]);
    });

    test('a part that was paid in time goes back when the rest cannot be paid any more', async () => {
      const account = await newAccount();
      const { subscriptionId } = await start(account, await offer());
      await cycle();
      const [invoice] = await invoicesOf(account);
      await billing.invoicing.markPaid({ ...named(invoice), method: 'cash', amount: '10.00' });
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await days(22);
      expect(await told(account, 'refund.due')).toMatchObject([
        { reason: 'credit_note', amount: '10.00' },
      ]);
      expect(await earned(account)).toBe('0.00000000');
    });

    test('money that came too late before takes nothing off what is counted later', async () => {
      const account = await newAccount();
      const sku = await offer();
      const one = await start(account, sku);
      await cycle();
      clock.advance(60 * DAY);
      const other = await start(account, sku);
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      await billing.subscriptions.cancel({ subscriptionId: other.subscriptionId, when: 'now' });
      const counted = { ...named(invoice), method: 'cash', reference: 'counted' } as const;
      expect(await billing.invoicing.markPaid(counted)).toMatchObject({ status: 'paid' });
      expect((await present(one)).status).toBe('active');
      expect(await billing.invoicing.refundInvoice(named(invoice))).toMatchObject({
        refunds: [{ amount: '30.00', status: 'due' }],
      });
    });

    test('a retry that somebody asks for begins a lapsed one, by a card that is good', async () => {
      const account = await newAccount('test_declined');
      const one = await start(account, await offer());
      await cycle();
      clock.advance(2 * DAY);
      await billing.runDue();
      await card(account, 'test_ok');
      const [invoice] = await invoicesOf(account);
      expect(await billing.invoicing.attempts(named(invoice))).toHaveLength(1);
      const retried = await billing.invoicing.retryInvoice(named(invoice));
      expect(retried).toMatchObject({ status: 'succeeded', invoiceStatus: 'paid' });
      expect((await present(one)).period!.startsAt).toBe(clock.now().toISOString());
      expect(await calls(account)).toBe('300');
    });

    test('money for one that its customer cancelled goes back', async () => {
      const account = await newAccount('test_declined');
      const { subscriptionId } = await start(account, await offer());
      await cycle();
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await card(account, 'test_ok');
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      expect(await told(account, 'refund.due')).toMatchObject([
        { reason: 'subscription_cancelled', amount: '30.00' },
      ]);
      expect(await calls(account)).toBe('0');
    });

    test('dunning goes on by its schedule while there is time, and nothing else comes', async () => {
      const account = await newAccount('test_declined');
      const firstPaymentWithin = { unit: 'day', count: 60 } as const;
      const one = await start(account, await daily({ collect: { firstPaymentWithin } }));
      await cycle();
      await days(40);
      const invoices = await invoicesOf(account);
      expect(invoices).toHaveLength(1);
      expect(await billing.invoicing.attempts(named(invoices[0]))).toHaveLength(4);
      // The final action ends it; a late payment begins it all the same.
      expect((await present(one)).endReason).toBe('payment_failed');
      await pay(invoices[0]!);
      expect((await present(one)).status).toBe('active');
      expect(await calls(account)).toBe('300');
    });

    test('paid in time but after the period it has a whole one', async () => {
      const account = await newAccount();
      const firstPaymentWithin = { unit: 'day', count: 5 } as const;
      const one = await start(account, await daily({ collect: { firstPaymentWithin } }));
      await cycle();
      clock.advance(3 * DAY);
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      const now = clock.now().getTime();
      expect((await present(one)).period).toEqual({
        number: 1,
        startsAt: new Date(now).toISOString(),
        endsAt: new Date(now + DAY).toISOString(),
      });
      expect(await calls(account)).toBe('300');
    });

    test('paid within the period its boundaries stay, and it earns from the payment on', async () => {
      const account = await newAccount();
      const one = await start(account, await offer(), { collection: 'send' });
      await cycle();
      clock.advance(10 * DAY);
      expect(await earned(account)).toBe('0.00000000');
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      expect((await present(one)).period).toEqual(one.period);
      clock.advance(10 * DAY);
      expect(await earned(account)).toBe('-15.00000000');
      clock.advance(10 * DAY);
      expect(await earned(account)).toBe('-30.00000000');
    });

    test('by `send` it lapses when the due date and the grace are over', async () => {
      const account = await newAccount();
      const one = await start(account, await offer(), { collection: 'send' });
      await cycle();
      const [invoice] = await invoicesOf(account);
      const until = Date.parse(invoice!.dueAt!) + 7 * DAY;
      expect((await present(one)).lapsesAt).toBe(new Date(until).toISOString());
      clock.set(until - 1);
      await billing.runDue();
      expect((await present(one)).endedAt).toBeNull();
      clock.set(until);
      await billing.runDue();
      expect(await present(one)).toMatchObject({
        endReason: 'payment_lapsed',
        endedAt: new Date(until).toISOString(),
      });
    });

    test('its coupon is free again, and taken again by a late payment', async () => {
      await billing.catalog.saveCoupon({ code: `half-${counter}`, percent: 50, maxRedemptions: 1 });
      const coupon = `half-${counter}`;
      const sku = await offer();
      const [late, other] = [await newAccount('test_declined'), await newAccount()];
      const one = await start(late, sku, { coupon });
      await cycle();
      expect(await billing.subscriptions.start({ account: other, sku, coupon })).toMatchObject({
        reason: 'coupon_unavailable',
      });
      clock.advance(2 * DAY);
      await billing.runDue();
      const [invoice] = await invoicesOf(late);
      await pay(invoice!);
      expect((await present(one)).status).toBe('active');
      expect(await billing.subscriptions.start({ account: other, sku, coupon })).toMatchObject({
        reason: 'coupon_unavailable',
      });
    });

    test('steps are refused, and the end of the period cancels it', async () => {
      const account = await newAccount();
      const items = [{ product: 'CALLS', quantity: 300, step: { size: 10, price: '1.00' } }];
      const { subscriptionId } = await start(account, await daily({ items }));
      const steps = { subscriptionId, product: 'CALLS', steps: 1 };
      expect(await code(billing.subscriptions.addSteps(steps))).toBe('subscription_state');
      await billing.subscriptions.cancel({ subscriptionId });
      clock.advance(2 * DAY);
      await cycle();
      expect(await invoicesOf(account)).toEqual([]);
      expect((await billing.subscriptions.get({ subscriptionId })).status).toBe('cancelled');
    });

    test('one that lapsed begins anew with an invoice of its own, and old money goes back', async () => {
      const account = await newAccount('test_declined');
      const { subscriptionId } = await start(account, await offer());
      await cycle();
      clock.advance(2 * DAY);
      await billing.subscriptions.reactivate({ subscriptionId });
      await cycle();
      const [anew, old] = await invoicesOf(account);
      await pay(old!);
      expect(await told(account, 'refund.due')).toMatchObject([{ reason: 'already_purchased' }]);
      expect(await calls(account)).toBe('0');
      await pay(anew!);
      expect(await calls(account)).toBe('300');
    });

    test('nobody is charged for what lapsed and was begun anew, however it is asked for', async () => {
      const account = await newAccount('test_declined');
      const { subscriptionId } = await start(account, await offer());
      await cycle();
      clock.advance(2 * DAY);
      const [old] = await invoicesOf(account);
      await card(account, 'test_ok');
      await billing.subscriptions.reactivate({ subscriptionId });
      await cycle();
      await days(20);
      expect(await billing.invoicing.attempts(named(old))).toHaveLength(1);
      expect(await billing.invoicing.collection(named(old))).toMatchObject({
        status: 'stopped',
        stopReason: 'payment_lapsed',
      });
      expect(await code(billing.invoicing.retryInvoice(named(old)))).toBe('invoice_state');
      const link = { account, gateway: 'test', returnUrl: 'https://shop.example', ...named(old) };
      expect(await code(billing.payments.checkoutLink(link))).toBe('unknown_invoice');
      expect(await calls(account)).toBe('300');
    });

    test('begun anew and paid, it is in order, whatever lapsed before', async () => {
      const account = await newAccount('test_declined');
      const { subscriptionId } = await start(account, await offer());
      await cycle();
      clock.advance(2 * DAY);
      await billing.subscriptions.reactivate({ subscriptionId });
      await cycle();
      await card(account, 'test_ok');
      await cycle();
      await days(10);
      expect(await present({ subscriptionId })).toMatchObject({ status: 'active', overdue: false });
      expect(await calls(account)).toBe('300');
      const allowed = { allowed: true, remaining: '300' };
      expect(await billing.ledger.check({ account, product: 'CALLS' })).toMatchObject(allowed);
    });

    test('begun anew and paid for the first time, it brings what comes once, and never again', async () => {
      const account = await newAccount('test_declined');
      const sku = await offer({
        items: [
          { product: 'CALLS', quantity: 300 },
          { product: 'CALLS', quantity: 20, refill: false },
        ],
        bonuses: [{ product: 'CALLS', quantity: 5 }],
      });
      const { subscriptionId } = await start(account, sku);
      await cycle();
      for (let time = 1; time <= 2; time += 1) {
        clock.advance(2 * DAY);
        await billing.subscriptions.reactivate({ subscriptionId });
        await cycle();
      }
      expect(await calls(account)).toBe('0');
      await card(account, 'test_ok');
      await cycle();
      expect(await calls(account)).toBe('325');
      const [, ...old] = await invoicesOf(account);
      for (const one of old) await pay(one);
      expect(await calls(account)).toBe('325');
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await billing.subscriptions.reactivate({ subscriptionId });
      await cycle();
      // What came once and is left stays; it does not come again.
      expect(await calls(account)).toBe('325');
    });

    test('begun anew after it lapsed, what was to pause before does not', async () => {
      const account = await newAccount('test_declined');
      const { subscriptionId } = await start(account, await offer());
      await cycle();
      await billing.subscriptions.pause({ subscriptionId });
      clock.advance(2 * DAY);
      const anew = await billing.subscriptions.reactivate({ subscriptionId });
      expect(anew).toMatchObject({ status: 'active', pauseAt: null });
    });

    test('a credit note of the whole invoice brings no units, and leaves nothing deferred', async () => {
      const account = await newAccount();
      await start(account, await offer());
      await cycle();
      const [invoice] = await invoicesOf(account);
      await billing.invoicing.createCreditNote({ invoiceId: invoice!.invoiceId });
      expect(await calls(account)).toBe('0');
      const balances = await billing.books.balances({ account });
      expect(new Set(balances.map(({ balance }) => balance))).toEqual(new Set(['0.00000000']));
    });

    test('a merge takes what waits along', async () => {
      const [account, other] = [await newAccount(), await newAccount()];
      await start(account, await offer());
      await cycle();
      const [invoice] = await invoicesOf(account);
      await billing.accounts.merge({ from: account, into: other, prefer: 'into' });
      await pay(invoice!);
      expect(await calls(other)).toBe('300');
      clock.advance(30 * DAY);
      expect(await earned(other)).toBe('-30.00000000');
    });
  });

  describe('`access: "at_once"`', () => {
    test.each([
      ['of the offer', { collect: { access: 'at_once' as const } }, {}],
      ['of the call', {}, { access: 'at_once' as const }],
    ])('%s brings units before they are paid for', async (_whose, terms, said) => {
      const account = await newAccount('test_declined');
      const one = await start(account, await offer({ ...freeDays, ...terms }), said);
      expect(one.status).toBe('trialing');
      clock.advance(14 * DAY);
      expect(await calls(account)).toBe('300');
      expect((await present(one)).awaitingPayment).toBe(false);
    });
  });

  describe('a free phase that ends', () => {
    test('C9 without a card brings nothing until it is paid', async () => {
      const account = await newAccount();
      const one = await start(account, await offer(freeDays));
      expect(await calls(account)).toBe('20');
      clock.advance(14 * DAY);
      expect(await calls(account)).toBe('0');
      expect(await billing.ledger.consume({ account, product: 'CALLS', amount: 1 })).toMatchObject({
        allowed: false,
        reason: 'payment_awaited',
        amount: '30.00',
        currency: 'USD',
      });
      await cycle();
      const [invoice] = await invoicesOf(account);
      expect(invoice!.total).toBe('30.00');
      await pay(invoice!);
      expect(await calls(account)).toBe('300');
      expect((await present(one)).period!.number).toBe(2);
    });

    test('with a card it waits for the charge, and has what it brings then', async () => {
      const account = await newAccount('test_ok');
      await start(account, await offer(freeDays));
      clock.advance(14 * DAY);
      expect(await calls(account)).toBe('0');
      await cycle();
      expect(await calls(account)).toBe('300');
    });

    test('C9 with `withoutMethod: "cancel"` is over, without an invoice', async () => {
      const account = await newAccount();
      const sku = await offer({ ...freeDays, collect: { withoutMethod: 'cancel' } });
      const one = await start(account, sku);
      await days(20);
      expect(await invoicesOf(account)).toEqual([]);
      expect(await present(one)).toMatchObject({
        status: 'ended',
        endReason: 'no_payment_method',
        period: { number: 1 },
      });
      const other = await start(await newAccount('test_ok'), sku);
      clock.advance(14 * DAY);
      expect(await present(other)).toMatchObject({ status: 'active', awaitingPayment: true });
    });

    test('with `withoutMethod: "pause"` rests until it is resumed', async () => {
      const account = await newAccount();
      const collect = { withoutMethod: 'pause' } as const;
      const one = await start(account, await offer({ ...freeDays, collect }));
      await days(20);
      expect((await present(one)).status).toBe('paused');
      expect(await invoicesOf(account)).toEqual([]);
      await card(account, 'test_ok');
      await billing.subscriptions.resume({ subscriptionId: one.subscriptionId });
      expect(await calls(account)).toBe('0');
      await cycle();
      expect(await calls(account)).toBe('300');
    });

    test('a paid phase is a payment: what follows it is a renewal', async () => {
      const account = await newAccount('test_ok');
      const items = [{ product: 'CALLS', quantity: 10 }];
      const sku = await offer({
        trialPhases: [{ price: '1.00', length: { unit: 'day', count: 15 }, items }],
      });
      await start(account, sku);
      expect(await calls(account)).toBe('0');
      await cycle();
      expect(await calls(account)).toBe('10');
      clock.advance(15 * DAY);
      expect(await calls(account)).toBe('300');
    });

    test('a paid phase that lapsed begins with its late payment', async () => {
      const account = await newAccount('test_declined');
      const items = [{ product: 'CALLS', quantity: 10 }];
      const sku = await offer({
        trialPhases: [{ price: '1.00', length: { unit: 'day', count: 15 }, items }],
      });
      const one = await start(account, sku);
      await cycle();
      clock.advance(5 * DAY);
      const [invoice] = await invoicesOf(account);
      await pay(invoice!);
      expect(await present(one)).toMatchObject({ status: 'trialing', trialPhase: 1 });
      expect(await calls(account)).toBe('10');
    });
  });

  describe('a free phase that is changed to what is sent', () => {
    const ROOM = { product: 'ROOM', quantity: 1 };
    const phase = (length: number) => ({
      items: [{ product: 'CALLS', quantity: 300 }, ROOM],
      trialPhases: [
        {
          price: '0',
          length: { unit: 'day', count: length } as const,
          items: [{ product: 'CALLS', quantity: 20 }, ROOM],
        },
      ],
    });
    beforeAll(() => billing.catalog.saveProduct({ key: 'ROOM', name: 'Room', kind: 'period' }));

    /** Five days into a phase, ten of it, or another offer; its invoice is sent. */
    const changed = async ({ length = 14, price = '' } = {}) => {
      const account = await newAccount();
      const tried = await start(account, await offer(phase(length)), { collection: 'send' });
      const { subscriptionId } = tried;
      clock.advance(5 * DAY);
      const items = [{ product: 'CALLS', quantity: 100 }, ROOM];
      const to = price === '' ? { quantity: 10 } : { sku: await offer({ price, items }) };
      await billing.subscriptions.change({ subscriptionId, when: 'now', ...to });
      await cycle();
      const [invoice] = await invoicesOf(account);
      const room = async () =>
        (await billing.ledger.balance({ account, product: 'ROOM' })).available;
      return { account, subscriptionId, invoice: invoice!, room };
    };
    const use = async (account: string, amount: number) =>
      (await billing.ledger.consume({ account, product: 'CALLS', amount })).allowed;

    test('goes on until that is paid, and as far as its days allow then', async () => {
      const { account, subscriptionId, invoice, room } = await changed();
      expect(await present({ subscriptionId })).toMatchObject({ awaitingPayment: true });
      clock.advance(3 * DAY);
      expect([await calls(account), await room()]).toEqual(['20', '1']);
      await pay(invoice);
      // 5 of 14 days of 20, and ten times 300; and what comes by time comes from the new one alone.
      expect([await calls(account), await room()]).toEqual(['3007', '10']);
      clock.advance(6 * DAY);
      expect([await calls(account), await room()]).toEqual(['3000', '10']);
    });

    test('what is used until then is used', async () => {
      const { account, invoice } = await changed();
      expect(await use(account, 10)).toBe(true);
      await pay(invoice);
      expect(await calls(account)).toBe('2997');
    });

    test('paid after its end there is nothing between', async () => {
      const { account, invoice, room } = await changed();
      clock.advance(9 * DAY - 1);
      expect([await calls(account), await room()]).toEqual(['20', '1']);
      clock.advance(1);
      expect([await calls(account), await room()]).toEqual(['0', '0']);
      expect(await billing.ledger.consume({ account, product: 'CALLS', amount: 1 })).toMatchObject({
        reason: 'payment_awaited',
      });
      clock.advance(DAY);
      await pay(invoice);
      expect([await calls(account), await room()]).toEqual(['3000', '10']);
    });

    test('not paid it has its time, also where it is over later than what lapsed', async () => {
      const short = await changed();
      await days(22);
      expect(await present(short)).toMatchObject({ endReason: 'payment_lapsed' });
      expect(await calls(short.account)).toBe('0');
      const long = await changed({ length: 60 });
      await days(54);
      expect(await present(long)).toMatchObject({ endReason: 'payment_lapsed' });
      expect([await calls(long.account), await long.room()]).toEqual(['20', '1']);
      clock.advance(DAY);
      expect([await calls(long.account), await long.room()]).toEqual(['0', '0']);
    });

    test('late money begins the new one whole', async () => {
      const { account, subscriptionId, invoice } = await changed();
      expect(await use(account, 20)).toBe(true);
      await days(25);
      await pay(invoice);
      expect(await present({ subscriptionId })).toMatchObject({ status: 'active' });
      expect(await calls(account)).toBe('3000');
    });

    test('a cheaper one waits in the same way', async () => {
      const { account, invoice } = await changed({ price: '10.00' });
      expect(invoice.total).toBe('10.00');
      expect(await calls(account)).toBe('20');
      await pay(invoice);
      expect(await calls(account)).toBe('107');
    });

    test('cancelled now it is over, for the end of the period it has its time', async () => {
      const one = await changed();
      const { cancel } = billing.subscriptions;
      await cancel({ subscriptionId: one.subscriptionId, when: 'now' });
      expect([await calls(one.account), await one.room()]).toEqual(['0', '0']);
      const other = await changed();
      await cancel({ subscriptionId: other.subscriptionId });
      clock.advance(9 * DAY - 1);
      expect([await calls(other.account), await other.room()]).toEqual(['20', '1']);
      clock.advance(1);
      expect([await calls(other.account), await other.room()]).toEqual(['0', '0']);
    });
  });

  describe('a trial that was to begin later', () => {
    test('and was cancelled before is still to be had, by whoever it was', async () => {
      const sku = await offer(freeDays);
      const account = await newAccount();
      const startAt = new Date(clock.now().getTime() + 5 * DAY);
      const one = await start(account, sku, { startAt });
      await billing.subscriptions.cancel({ subscriptionId: one.subscriptionId });
      const again = await start(account, sku, { trial: true });
      expect(again.status).toBe('trialing');
      await billing.subscriptions.cancel({ subscriptionId: again.subscriptionId, when: 'now' });
      expect(await billing.subscriptions.start({ account, sku, trial: true })).toMatchObject({
        reason: 'trial_already_used',
      });
    });
  });

  describe('`renewalGrants: "payment"`', () => {
    test('lets what was paid for last as long as its period, and the renewal wait', async () => {
      const account = await newAccount('test_ok');
      const sku = await offer({ collect: { renewalGrants: 'payment' } });
      const one = await start(account, sku);
      await cycle();
      await card(account, 'test_declined');
      clock.advance(29 * DAY);
      expect(await calls(account)).toBe('300');
      clock.advance(DAY);
      await cycle();
      expect(await calls(account)).toBe('0');
      expect(await present(one)).toMatchObject({ status: 'past_due', lapsesAt: null });
      const [renewal] = await invoicesOf(account);
      await pay(renewal!);
      expect(await calls(account)).toBe('300');
    });

    /** Paid once; its renewal, with what else was to come, is invoiced and declined. */
    const renewed = async (also: boolean) => {
      const account = await newAccount('test_ok');
      const one = await start(account, await offer({ collect: { renewalGrants: 'payment' } }));
      await cycle();
      await card(account, 'test_declined');
      const work = { description: 'Work', quantity: 1, unitPrice: '5.00' };
      if (also) await billing.invoicing.addItem({ account, currency: 'USD', item: work });
      clock.advance(30 * DAY);
      await cycle();
      const [renewal] = await invoicesOf(account);
      return { account, one, renewal: renewal! };
    };
    const read = ({ invoiceId }: Invoice) => billing.invoicing.getInvoice({ invoiceId });

    test('that dunning ended is asked for no more, and earns nothing', async () => {
      const { account, one, renewal } = await renewed(false);
      await days(16);
      expect(await present(one)).toMatchObject({ status: 'ended', endReason: 'payment_failed' });
      expect(await read(renewal)).toMatchObject({ status: 'void', amountDue: '0.00' });
      await days(30);
      expect(await earned(account)).toBe('-30.00000000');
      await pay(renewal);
      expect(await told(account, 'refund.due')).toMatchObject([
        { reason: 'subscription_ended', amount: '30.00' },
      ]);
      expect(await calls(account)).toBe('0');
      // Nothing is owed of it that would put what begins anew past due.
      const { subscriptionId } = one;
      const anew = await billing.subscriptions.reactivate({ subscriptionId });
      expect(anew.status).toBe('active');
    });

    test('what else stands on its invoice is owed', async () => {
      const { account, renewal } = await renewed(true);
      await days(16);
      expect(await read(renewal)).toMatchObject({
        status: 'open',
        creditNoted: '30.00',
        amountDue: '5.00',
      });
      await pay(renewal);
      expect(await read(renewal)).toMatchObject({ status: 'paid', paid: '5.00' });
      expect(await told(account, 'refund.due')).toEqual([]);
    });

    test('nor does money bring anything when its customer ended it', async () => {
      const { account, one, renewal } = await renewed(false);
      const { subscriptionId } = one;
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await pay(renewal);
      expect(await told(account, 'refund.due')).toMatchObject([
        { reason: 'subscription_cancelled', amount: '30.00' },
      ]);
      await days(16);
      expect(await read(renewal)).toMatchObject({ status: 'void' });
      expect(await earned(account)).toBe('-30.00000000');
    });
  });

  describe('a denial', () => {
    test('says what is to be paid, and does not suggest the same plan', async () => {
      const account = await newAccount();
      const [sku, pack] = [await offer(), `pack-${counter}`];
      await billing.catalog.saveOffer({
        sku: pack,
        name: 'Pack',
        price: '10.00',
        currency: 'USD',
        items: [{ product: 'CALLS', quantity: 100 }],
      });
      await start(account, sku);
      const ask = () => billing.ledger.check({ account, product: 'CALLS', amount: 1 });
      const before = await ask();
      expect(before).toMatchObject({
        allowed: false,
        reason: 'payment_awaited',
        invoiceId: null,
        amount: '30.00',
        currency: 'USD',
      });
      const skus = before.suggestedOffers.map((one) => one.sku);
      expect(skus).toContain(pack);
      expect(skus).not.toContain(sku);
      await cycle();
      const [invoice] = await invoicesOf(account);
      const { invoiceId } = invoice!;
      const use = { account, product: 'CALLS', amount: 1 };
      const said = { reason: 'payment_awaited', invoiceId, amount: '30.00', currency: 'USD' };
      expect(await ask()).toMatchObject(said);
      const keyed = { ...use, idempotencyKey: `use-${counter}` };
      expect(await billing.ledger.consume(keyed)).toMatchObject(said);
      expect(
        await billing.ledger.hold({ ...use, expiresIn: { unit: 'hour', count: 1 } }),
      ).toMatchObject(said);
      await pay(invoice!);
      expect((await billing.ledger.consume(use)).allowed).toBe(true);
      expect(await billing.ledger.consume(keyed)).toMatchObject({ ...said, replayed: true });
      const much = await billing.ledger.consume({ ...use, amount: 1000 });
      expect(much.reason).toBe('insufficient_balance');
      expect(much).not.toHaveProperty('invoiceId');
    });

    test('a child is told of what it began itself, not of what its parent waits for', async () => {
      const [parent, child] = [await newAccount(), await newAccount()];
      await billing.accounts.attachChild({ parent, child });
      const ask = () => billing.ledger.check({ account: child, product: 'CALLS' });
      await start(parent, await offer());
      await cycle();
      expect((await ask()).reason).toBe('payment_awaited');
      expect(await ask()).not.toHaveProperty('invoiceId');
      await start(child, await offer({ price: '11.00' }));
      await cycle();
      const [own] = await invoicesOf(parent);
      expect(await ask()).toMatchObject({ invoiceId: own!.invoiceId, amount: '11.00' });
    });

    test('packs bought beside it can be used meanwhile', async () => {
      const account = await newAccount();
      await start(account, await offer());
      await billing.ledger.grant({ account, product: 'CALLS', quantity: 5 });
      const use = { account, product: 'CALLS' };
      expect((await billing.ledger.consume({ ...use, amount: 5 })).allowed).toBe(true);
      expect((await billing.ledger.consume({ ...use, amount: 1 })).reason).toBe('payment_awaited');
    });
  });

  describe('access that ends by the clock', () => {
    /** What this process knew before anything was owed; nobody has done jobs since. */
    const outcomes = async (account: string) => {
      const wanted = { account, product: 'CALLS' };
      const { reason } = await billing.ledger.check(wanted);
      return [reason, (await billing.ledger.consume(wanted)).reason];
    };

    test('ends for who was known before the payment failed', async () => {
      const account = await newAccount();
      const sku = await offer({ interval: { unit: 'month', count: 1 } });
      await start(account, sku, { collection: 'send' });
      await cycle();
      await pay((await invoicesOf(account))[0]!);
      clock.advance(32 * DAY);
      await cycle();
      for (let times = 0; times < 3; times += 1) {
        expect(await outcomes(account)).toEqual([null, null]);
      }
      const { dueAt } = (await invoicesOf(account))[0]!;
      clock.set(Date.parse(dueAt!) + HOUR);
      await billing.runDue();
      expect(await outcomes(account)).toEqual([null, null]);
      clock.set(Date.parse(dueAt!) + 7 * DAY + HOUR);
      expect(await outcomes(account)).toEqual(['payment_overdue', 'payment_overdue']);
      await pay((await invoicesOf(account))[0]!);
      expect(await outcomes(account)).toEqual([null, null]);
    });
  });
});
