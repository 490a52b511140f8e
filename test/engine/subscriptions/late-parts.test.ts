import {
  TestClock,
  type Billing,
  type Dunning,
  type Invoice,
  type SaveOfferRequest,
} from '../../../engine';
import { newSchema, forRules } from '../each-database';
import { startPlan } from './monthly-plans';

const DAY = 86_400_000;
const START = Date.parse('2027-03-10T12:00:00Z');

forRules('invoices of which a part comes too late', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: true });
    await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    await billing.catalog.saveProduct({ key: 'SEATS', name: 'Seats' });
    await billing.catalog.saveTaxRate({ key: 'vat', name: 'VAT', percent: '20', country: 'AT' });
  });

  beforeEach(() => {
    counter += 1;
    clock.set(START + counter * 400 * DAY);
  });

  afterEach(async () => {
    const { items } = await billing.subscriptions.list({ limit: 500 });
    for (const { subscriptionId, endedAt } of items) {
      if (endedAt === null) await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    }
  });

  const offer = async (
    product: string,
    price: string,
    more: Partial<SaveOfferRequest> = {},
  ): Promise<string> => {
    counter += 1;
    const { sku } = await billing.catalog.saveOffer({
      sku: `plan-${counter}`,
      name: 'Plan',
      price,
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'day', count: 30 },
      items: [{ product, quantity: 300 }],
      ...more,
    });
    return sku;
  };
  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `late-${counter}` });
    await billing.accounts.update({ account: accountId, tax: { country: 'AT' } });
    return accountId;
  };
  const card = (account: string, token: 'test_ok' | 'test_declined') =>
    billing.payments.saveMethod({ account, gateway: 'test', token, makeDefault: true });
  const cycle = () => billing.invoicing.runBillingCycle();
  const present = ({ subscriptionId }: { subscriptionId: string }) =>
    billing.subscriptions.get({ subscriptionId });
  const read = ({ invoiceId }: Invoice) => billing.invoicing.getInvoice({ invoiceId });
  const pay = ({ invoiceId }: Invoice) =>
    billing.invoicing.markPaid({ invoiceId, method: 'bank_transfer' });
  const told = async (account: string) =>
    (await billing.events.list({ account, types: ['refund.due'] })).items.map(({ data }) => data);
  const units = async (account: string, product: string) =>
    (await billing.ledger.balance({ account, product })).available;
  const books = async (account: string) => {
    const balances = await billing.books.balances({ account });
    const found = balances.map((one) => [one.account, Number(one.balance)] as const);
    return Object.fromEntries(found.filter(([, balance]) => balance !== 0));
  };

  /** Two subscriptions on their first invoice, which nobody has paid in time. */
  const lapsed = async (token?: 'test_declined') => {
    const account = await newAccount();
    if (token !== undefined) await card(account, token);
    const late = await startPlan(billing, { account, sku: await offer('CALLS', '30.00') });
    const good = await startPlan(billing, { account, sku: await offer('SEATS', '10.00') });
    await cycle();
    const { items } = await billing.invoicing.listInvoices({ account });
    expect(items).toMatchObject([{ status: 'open', total: '48.00', lines: [{}, {}] }]);
    clock.advance(token === undefined ? 60 * DAY : 2 * DAY);
    await billing.runDue();
    expect((await present(good)).endReason).toBe('payment_lapsed');
    return { account, late, good, invoice: items[0]! };
  };
  type Lapsed = Awaited<ReturnType<typeof lapsed>>;

  const WAYS: Array<[string, (one: Lapsed) => Promise<unknown>]> = [
    ['its place is taken', ({ account, late }) => startPlan(billing, { account, sku: late.sku })],
    [
      'it was begun anew',
      ({ late: { subscriptionId } }) => billing.subscriptions.reactivate({ subscriptionId }),
    ],
  ];

  describe.each(WAYS)('of a first payment: %s', (way, spoil) => {
    test('money by hand begins the good one, and the late part is to be given back', async () => {
      const one = await lapsed();
      const { account, late, good, invoice } = one;
      await spoil(one);
      expect(await pay(invoice)).toMatchObject({ status: 'paid', creditNoted: '36.00' });
      expect(await told(account)).toMatchObject([
        { invoiceId: invoice.invoiceId, amount: '36.00', currency: 'USD', gateway: 'manual' },
      ]);
      const notes = await billing.invoicing.listCreditNotes({ invoiceId: invoice.invoiceId });
      expect(notes.items).toMatchObject([
        { net: '30.00', tax: '6.00', total: '36.00', to: { refund: '36.00' }, reason: 'refund' },
      ]);
      expect(await present(good)).toMatchObject({ status: 'active', awaitingPayment: false });
      expect(await units(account, 'SEATS')).toBe('300');
      expect(await units(account, 'CALLS')).toBe('0');
      const { subscriptionId } = late;
      const again = (await billing.subscriptions.list({ account })).items.find(
        ({ sku, endedAt }) => sku === late.sku && endedAt === null,
      )!;
      expect(again.awaitingPayment).toBe(true);
      expect(again.subscriptionId === subscriptionId).toBe(way === 'it was begun anew');
      // What is owed to the customer, what is deferred of the good one, and its tax.
      expect(await books(account)).toEqual({
        cash: 48,
        receivable: -36,
        deferred: -10,
        tax_payable: -2,
      });
      const [due] = (await billing.payments.refundsDue({ account })).items;
      await billing.payments.markRefunded({ refundId: due!.refundId, reference: 'back' });
      expect(await read(invoice)).toMatchObject({ status: 'paid', refunded: '36.00' });
      expect(await books(account)).toEqual({ cash: 12, deferred: -10, tax_payable: -2 });
    });

    test('a card that is charged for both has the late part back, once', async () => {
      const one = await lapsed('test_declined');
      const { account, good, invoice } = one;
      await card(account, 'test_ok');
      await spoil(one);
      const { invoiceId } = invoice;
      expect(await billing.invoicing.retryInvoice({ invoiceId })).toMatchObject({
        status: 'succeeded',
        invoiceStatus: 'paid',
      });
      expect(await told(account)).toMatchObject([{ amount: '36.00', gateway: 'test' }]);
      expect(await present(good)).toMatchObject({ status: 'active' });
      await billing.runDue();
      await billing.runDue();
      expect(await read(invoice)).toMatchObject({ status: 'paid', refunded: '36.00' });
      expect(await told(account)).toHaveLength(1);
      expect(await units(account, 'SEATS')).toBe('300');
    });
  });

  test('what account credit paid of the late part is account credit again', async () => {
    const account = await newAccount();
    const credit = { account, currency: 'USD', amount: '40.00', reason: 'a gift' };
    await billing.invoicing.addCredit(credit);
    const late = await startPlan(billing, { account, sku: await offer('CALLS', '30.00') });
    await startPlan(billing, { account, sku: await offer('SEATS', '10.00') });
    await cycle();
    clock.advance(60 * DAY);
    await startPlan(billing, { account, sku: late.sku });
    const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
    expect(await pay(invoice!)).toMatchObject({ paid: '8.00', credited: '40.00' });
    expect(await told(account)).toMatchObject([{ amount: '8.00' }]);
    expect(await billing.invoicing.accountCredit({ account })).toMatchObject({
      credits: [{ amount: '28.00' }],
    });
  });

  test('paid in parts, the last of which is too late for one, that one goes back whole', async () => {
    const { account, late, invoice } = await lapsed();
    const { invoiceId } = invoice;
    await billing.invoicing.markPaid({ invoiceId, method: 'cash', amount: '40.00' });
    await startPlan(billing, { account, sku: late.sku });
    await pay(invoice);
    expect(await told(account)).toMatchObject([{ amount: '36.00' }]);
    expect(await units(account, 'SEATS')).toBe('300');
  });

  test('what a credit note makes paid, too late for one in part, gives that one back', async () => {
    const { account, late, good, invoice } = await lapsed();
    const { invoiceId } = invoice;
    await billing.invoicing.markPaid({ invoiceId, method: 'cash', amount: '42.00' });
    await startPlan(billing, { account, sku: late.sku });
    const { position } = invoice.lines.find(({ sku }) => sku === good.sku)!;
    const lines = [{ position, amount: '6.00' }];
    await billing.invoicing.createCreditNote({ invoiceId, lines });
    expect(await read(invoice)).toMatchObject({ status: 'paid', creditNoted: '42.00' });
    expect(await told(account)).toMatchObject([{ amount: '36.00' }]);
    expect(await units(account, 'SEATS')).toBe('300');
  });

  describe('what a credit note took off an invoice that is not paid yet', () => {
    test('a line: it brings nothing when the rest is paid', async () => {
      const { account, late, invoice } = await lapsed();
      const { invoiceId } = invoice;
      const { position } = invoice.lines.find(({ sku }) => sku === late.sku)!;
      await billing.invoicing.createCreditNote({ invoiceId, lines: [{ position }] });
      expect(await pay(invoice)).toMatchObject({ status: 'paid', paid: '12.00' });
      expect(await units(account, 'SEATS')).toBe('300');
      expect(await units(account, 'CALLS')).toBe('0');
      expect(await books(account)).toEqual({ cash: 12, deferred: -10, tax_payable: -2 });
    });

    test('all of it, though a part was paid: it brings nothing', async () => {
      const { account, invoice } = await lapsed();
      const { invoiceId } = invoice;
      await billing.invoicing.markPaid({ invoiceId, method: 'cash', amount: '8.00' });
      await billing.invoicing.createCreditNote({ invoiceId });
      expect(await read(invoice)).toMatchObject({ status: 'paid' });
      expect(await units(account, 'SEATS')).toBe('0');
      expect(await units(account, 'CALLS')).toBe('0');
      expect(await books(account)).toEqual({ cash: 8, customer_credit: -8 });
    });
  });

  describe('cancelled while its invoice is a draft', () => {
    const cancelledOnDraft = async (account: string, product: string) => {
      const one = await startPlan(billing, { account, sku: await offer(product, '30.00') });
      await billing.invoicing.createInvoices({ account });
      await billing.subscriptions.cancel({ subscriptionId: one.subscriptionId, when: 'now' });
      await cycle();
      await billing.runDue();
      return (await billing.invoicing.listInvoices({ account })).items;
    };

    test('nobody is asked for it: alone there is no invoice', async () => {
      const account = await newAccount();
      await card(account, 'test_ok');
      expect(await cancelledOnDraft(account, 'CALLS')).toEqual([]);
      expect(await books(account)).toEqual({});
    });

    test('a card is charged for the other one alone', async () => {
      const account = await newAccount();
      await card(account, 'test_ok');
      await startPlan(billing, { account, sku: await offer('SEATS', '10.00') });
      const invoices = await cancelledOnDraft(account, 'CALLS');
      expect(invoices).toMatchObject([{ status: 'paid', total: '12.00', paid: '12.00' }]);
      expect(await told(account)).toEqual([]);
      expect(await units(account, 'SEATS')).toBe('300');
    });

    test('account credit pays for the other one alone', async () => {
      const account = await newAccount();
      const credit = { account, currency: 'USD', amount: '48.00', reason: 'a gift' };
      await billing.invoicing.addCredit(credit);
      await startPlan(billing, { account, sku: await offer('SEATS', '10.00') });
      const invoices = await cancelledOnDraft(account, 'CALLS');
      expect(invoices).toMatchObject([{ status: 'paid', total: '12.00', credited: '12.00' }]);
      expect(await units(account, 'SEATS')).toBe('300');
    });
  });

  test.each(['add', 'full'] as const)(
    'sent out of a free phase by %s: what is free goes on, also beside what is paid, to its own end',
    async (mode) => {
      const account = await newAccount();
      const length = { unit: 'day', count: 14 } as const;
      const items = [{ product: 'CALLS', quantity: 20 }];
      const trial = { trialPhases: [{ price: '0', length, items }] };
      const sku = await offer('CALLS', '30.00', trial);
      const free = { account, sku, trial: true, collection: 'send' } as const;
      const { subscriptionId } = await startPlan(billing, free);
      await billing.ledger.consume({ account, product: 'CALLS', amount: 3 });
      clock.advance(5 * DAY);
      const paid = await offer('CALLS', '60.00');
      await billing.subscriptions.change({ subscriptionId, sku: paid, mode });
      await cycle();
      expect(await units(account, 'CALLS')).toBe('17');
      await pay((await billing.invoicing.listInvoices({ account })).items[0]!);
      expect(await units(account, 'CALLS')).toBe('317');
      clock.advance(9 * DAY);
      expect(await units(account, 'CALLS')).toBe('300');
    },
  );

  test('a renewal that waited until its period ran out is owed, the present one is not', async () => {
    const account = await newAccount();
    const sku = await offer('CALLS', '30.00', { collect: { renewalGrants: 'payment' } });
    const { subscriptionId } = await startPlan(billing, { account, sku, collection: 'send' });
    await cycle();
    await pay((await billing.invoicing.listInvoices({ account })).items[0]!);
    // Due later than its period lasts, so that nothing is overdue.
    for (const days of [30, 30]) {
      clock.advance(days * DAY);
      await billing.invoicing.createInvoices({ account });
      await billing.invoicing.dispatchInvoices({ account });
    }
    expect(await units(account, 'CALLS')).toBe('0');
    await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    for (const days of [20, 20, 20]) {
      clock.advance(days * DAY);
      await billing.runDue();
    }
    const { items } = await billing.invoicing.listInvoices({ account });
    expect(items.map(({ status, paid }) => [status, paid])).toEqual([
      ['void', '0.00'],
      ['open', '0.00'],
      ['paid', '36.00'],
    ]);
  });

  describe('a credit of the customer on the invoice of what comes too late', () => {
    /** 10 of 30 days of a plan of 30.00 are left: 12.00 with tax, on the invoice of another one of 20.00. */
    const credited = async (more: { alsoGood?: true } = {}) => {
      const account = await newAccount();
      await card(account, 'test_ok');
      const old = await startPlan(billing, { account, sku: await offer('CALLS', '30.00') });
      await cycle();
      clock.advance(20 * DAY);
      await card(account, 'test_declined');
      const late = await startPlan(billing, { account, sku: await offer('SEATS', '20.00') });
      const { subscriptionId } = old;
      await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit: true });
      if (more.alsoGood) {
        const { sku } = await billing.catalog.saveOffer({
          sku: `good-${account}`,
          name: 'Good',
          price: '5.00',
          currency: 'USD',
          billing: 'recurring',
          interval: { unit: 'day', count: 30 },
          items: [{ product: 'CALLS', quantity: 50 }],
        });
        await startPlan(billing, { account, sku });
      }
      await cycle();
      const { items } = await billing.invoicing.listInvoices({ account });
      return { account, late, invoice: items[0]! };
    };
    /** What the customer has to its credit, waiting or not, once all is invoiced. */
    const creditOf = async (account: string) => {
      await cycle();
      return (await billing.invoicing.accountCredit({ account })).credits;
    };

    test('cancelled before it is paid: the credit goes on the next invoice', async () => {
      const { account, late, invoice } = await credited();
      expect(invoice).toMatchObject({ status: 'open', total: '12.00' });
      const { subscriptionId } = late;
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      clock.advance(8 * DAY);
      await billing.runDue();
      await billing.runDue();
      expect(await read(invoice)).toMatchObject({
        status: 'paid',
        paid: '0.00',
        creditNoted: '12.00',
      });
      expect(await creditOf(account)).toEqual([{ currency: 'USD', amount: '12.00' }]);
      // Money that comes all the same goes back, and nothing else.
      await pay(invoice);
      expect(await told(account)).toMatchObject([{ amount: '12.00' }]);
      expect(await creditOf(account)).toEqual([{ currency: 'USD', amount: '12.00' }]);
    });

    test('its place is taken: nobody is charged, and money by hand goes back with the credit', async () => {
      const { account, late, invoice } = await credited();
      clock.advance(2 * DAY);
      await startPlan(billing, { account, sku: late.sku, collection: 'send' });
      await pay(invoice);
      expect(await told(account)).toMatchObject([{ amount: '12.00', reason: 'already_purchased' }]);
      const [credit] = await creditOf(account);
      const { items } = await billing.invoicing.listInvoices({ account });
      const other = items.find(({ total, paid }) => total === '24.00' && paid === '0.00')!;
      // Of the other one of 24.00 it pays a half, on whichever invoice it came first.
      expect(Number(other.amountDue) - Number(credit?.amount ?? 0)).toBe(12);
    });

    test('beside what begins: the late line goes back whole, by money first', async () => {
      const { account, late, invoice } = await credited({ alsoGood: true });
      expect(invoice).toMatchObject({ status: 'open', total: '18.00' });
      clock.advance(2 * DAY);
      const { subscriptionId } = late;
      await billing.subscriptions.reactivate({ subscriptionId });
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await pay(invoice);
      expect(await told(account)).toMatchObject([{ amount: '18.00' }]);
      expect(await units(account, 'CALLS')).toBe('50');
      expect(await units(account, 'SEATS')).toBe('0');
      // 24.00 of it: the rest was paid by the credit, of which 6.00 paid the good one.
      expect(await creditOf(account)).toEqual([{ currency: 'USD', amount: '6.00' }]);
    });
  });

  describe('units that are kept at the end of a period which nobody paid', () => {
    const KEPT = { collect: { atPeriodEnd: 'keep' } } as const;

    /** 100 of the 300 that were paid for are used; 300 of the next period are there, and the card fails. */
    const renewedUnpaid = async () => {
      const account = await newAccount();
      await card(account, 'test_ok');
      const plan = { account, sku: await offer('CALLS', '30.00', KEPT) };
      const { subscriptionId } = await startPlan(billing, plan);
      await cycle();
      await billing.ledger.consume({ account, product: 'CALLS', amount: 100 });
      await card(account, 'test_declined');
      clock.advance(30 * DAY);
      await cycle();
      expect(await units(account, 'CALLS')).toBe('500');
      return { account, subscriptionId };
    };
    const dunning = (change: Partial<Dunning>) =>
      billing.invoicing.saveSettings({ dunning: change });
    afterEach(() => dunning({ finalAction: 'cancel', graceDays: 7 }));
    const check = (account: string) => billing.ledger.check({ account, product: 'CALLS' });
    const dun = async () => {
      for (const days of [3, 5, 7]) {
        clock.advance(days * DAY);
        await cycle();
      }
    };

    /** Not paid to the end of the dunning, and renewed all the same. */
    const renewedTwice = async () => {
      const one = await renewedUnpaid();
      await dun();
      clock.advance(15 * DAY);
      await cycle();
      const [latest] = (await billing.invoicing.listInvoices({ account: one.account })).items;
      expect(latest).toMatchObject({ status: 'open', total: '36.00' });
      return { ...one, latest: latest! };
    };

    test('end with the dunning: those that were paid for stay', async () => {
      const { account, subscriptionId } = await renewedUnpaid();
      await dun();
      expect(await present({ subscriptionId })).toMatchObject({ endReason: 'payment_failed' });
      expect(await units(account, 'CALLS')).toBe('200');
    });

    test('end when the customer cancelled and nothing is tried any more', async () => {
      const { account, subscriptionId } = await renewedUnpaid();
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await dun();
      const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
      expect(invoice).toMatchObject({ status: 'open', paid: '0.00' });
      expect(await units(account, 'CALLS')).toBe('200');
    });

    test('end at once, when it is overdue and cancelled now', async () => {
      const { account, subscriptionId } = await renewedUnpaid();
      clock.advance(8 * DAY);
      await cycle();
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      expect(await units(account, 'CALLS')).toBe('200');
    });

    test.each(['keep', 'uncollectible'] as const)(
      'end with a subscription that dunning left past due (%s)',
      async (finalAction) => {
        await dunning({ finalAction });
        const { account, subscriptionId } = await renewedUnpaid();
        await billing.subscriptions.cancel({ subscriptionId, when: 'period_end' });
        await dun();
        expect(await present({ subscriptionId })).toMatchObject({ status: 'past_due' });
        clock.advance(20 * DAY);
        await cycle();
        expect(await present({ subscriptionId })).toMatchObject({ endReason: 'cancelled' });
        expect(await units(account, 'CALLS')).toBe('200');
      },
    );

    test('of a plan that ended within its grace end with that', async () => {
      const account = await newAccount();
      await card(account, 'test_declined');
      const collect = { ...KEPT.collect, access: 'at_once' } as const;
      const short = { interval: { unit: 'day', count: 5 } } as const;
      const sku = await offer('CALLS', '30.00', { collect, ...short });
      const one = await startPlan(billing, { account, sku, renew: false });
      await cycle();
      clock.advance(6 * DAY);
      await cycle();
      expect(await present(one)).toMatchObject({ endReason: 'expired' });
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '300' });
      clock.advance(DAY);
      await billing.runDue();
      expect(await check(account)).toMatchObject({ allowed: false, remaining: '0' });
    });

    test('of an earlier period end with the plan that a refund of the present one ends', async () => {
      await dunning({ finalAction: 'keep' });
      const { account, subscriptionId, latest } = await renewedTwice();
      await pay(latest);
      expect(await check(account)).toMatchObject({ reason: 'payment_overdue' });
      await billing.invoicing.refundInvoice({ invoiceId: latest.invoiceId });
      expect(await present({ subscriptionId })).toMatchObject({ endReason: 'refunded' });
      expect(await units(account, 'CALLS')).toBe('200');
    });

    test('are denied while the plan rests, too, by the clock, until they are paid for', async () => {
      const { account, subscriptionId } = await renewedUnpaid();
      clock.advance(25 * DAY);
      // Whatever of the dunning was due has not run.
      await billing.subscriptions.pause({ subscriptionId });
      clock.advance(5 * DAY);
      expect(await present({ subscriptionId })).toMatchObject({ status: 'paused', overdue: true });
      expect(await check(account)).toMatchObject({ allowed: false, reason: 'payment_overdue' });
      const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
      await pay(invoice!);
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '500' });
      expect(await present({ subscriptionId })).toMatchObject({ status: 'paused', overdue: false });
    });

    test('end with a plan that is cancelled while it rests', async () => {
      const { account, subscriptionId } = await renewedUnpaid();
      await billing.subscriptions.pause({ subscriptionId });
      clock.advance(30 * DAY);
      await billing.subscriptions.cancel({ subscriptionId });
      expect(await present({ subscriptionId })).toMatchObject({ endReason: 'cancelled' });
      expect(await units(account, 'CALLS')).toBe('200');
    });

    test.each(['merged', 'ended, then merged'])(
      'end in the account that stays: %s',
      async (way) => {
        const { account, subscriptionId } = await renewedUnpaid();
        const into = await newAccount();
        const isOver = way !== 'merged';
        if (isOver) await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
        await billing.accounts.merge({ from: account, into, prefer: 'into' });
        expect(await check(into)).toMatchObject({ allowed: true, remaining: '500' });
        clock.advance(7 * DAY);
        if (!isOver) {
          expect(await check(into)).toMatchObject({ allowed: false, reason: 'payment_overdue' });
          await billing.subscriptions.cancel({ subscriptionId });
          clock.advance(23 * DAY);
        }
        await billing.runDue();
        expect(await units(into, 'CALLS')).toBe('200');
      },
    );

    test('paid for while it rests in its grace it goes on in order', async () => {
      await dunning({ graceDays: 40 });
      const { account, subscriptionId } = await renewedUnpaid();
      await billing.subscriptions.pause({ subscriptionId });
      clock.advance(30 * DAY);
      expect(await present({ subscriptionId })).toMatchObject({ status: 'paused' });
      const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
      await pay(invoice!);
      clock.advance(20 * DAY);
      const resumed = await billing.subscriptions.resume({ subscriptionId });
      expect(resumed).toMatchObject({ status: 'active', overdue: false });
      expect(await check(account)).toMatchObject({ allowed: true });
    });

    test('are denied under the plan, too, that it was changed to meanwhile', async () => {
      await dunning({ finalAction: 'keep' });
      const { account, subscriptionId } = await renewedUnpaid();
      const sku = await offer('SEATS', '1.00');
      await billing.subscriptions.change({ subscriptionId, sku, when: 'period_end' });
      await dun();
      clock.advance(16 * DAY);
      expect(await present({ subscriptionId })).toMatchObject({ sku, overdue: true });
      expect(await check(account)).toMatchObject({ allowed: false, reason: 'payment_overdue' });
      const invoices = (await billing.invoicing.listInvoices({ account })).items;
      await pay(invoices.find(({ status }) => status === 'open')!);
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '500' });
    });

    test('written off, they end of a plan that is over', async () => {
      const { account, subscriptionId } = await renewedUnpaid();
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
      expect(await units(account, 'CALLS')).toBe('500');
      await billing.invoicing.markUncollectible({ invoiceId: invoice!.invoiceId });
      expect(await units(account, 'CALLS')).toBe('200');
    });

    test('what an offer before brought once is denied no longer than that', async () => {
      const account = await newAccount();
      await card(account, 'test_ok');
      const sku = await offer('CALLS', '30.00', { bonuses: [{ product: 'SEATS', quantity: 5 }] });
      const { subscriptionId } = await startPlan(billing, { account, sku });
      await cycle();
      const other = await offer('CALLS', '20.00');
      await billing.subscriptions.change({ subscriptionId, sku: other, when: 'period_end' });
      await card(account, 'test_declined');
      clock.advance(30 * DAY);
      await cycle();
      clock.advance(8 * DAY);
      await billing.runDue();
      const bonus = () => billing.ledger.check({ account, product: 'SEATS' });
      expect(await bonus()).toMatchObject({ allowed: false, reason: 'payment_overdue' });
      await card(account, 'test_ok');
      await cycle();
      expect(await present({ subscriptionId })).toMatchObject({ status: 'active' });
      expect(await bonus()).toMatchObject({ allowed: true, remaining: '5' });
    });

    test('written off, they end when what came after them is paid', async () => {
      await dunning({ finalAction: 'uncollectible' });
      const { account, subscriptionId, latest } = await renewedTwice();
      expect(await check(account)).toMatchObject({ reason: 'payment_overdue' });
      await pay(latest);
      expect(await present({ subscriptionId })).toMatchObject({ status: 'active' });
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '500' });
    });

    test('written off within the grace, too', async () => {
      await dunning({ graceDays: 40 });
      const { account, subscriptionId } = await renewedUnpaid();
      const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
      await billing.invoicing.markUncollectible({ invoiceId: invoice!.invoiceId });
      clock.advance(30 * DAY);
      await cycle();
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '800' });
      const [latest] = (await billing.invoicing.listInvoices({ account })).items;
      await pay(latest!);
      expect(await present({ subscriptionId })).toMatchObject({ status: 'active' });
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '500' });
    });

    test('written off and paid after all, they are there', async () => {
      await dunning({ finalAction: 'uncollectible' });
      const { account } = await renewedUnpaid();
      await dun();
      const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
      expect(invoice).toMatchObject({ status: 'uncollectible' });
      await pay(invoice!);
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '500' });
    });

    test('of a plan that was begun anew within its grace end with that, though its payment is awaited', async () => {
      const { account, subscriptionId } = await renewedUnpaid();
      clock.advance(DAY);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await billing.subscriptions.reactivate({ subscriptionId });
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '500' });
      clock.advance(6 * DAY);
      await billing.runDue();
      expect(await units(account, 'CALLS')).toBe('200');
    });

    test('may not be used while the dunning of a shorter period goes on, nor after it', async () => {
      const account = await newAccount();
      await card(account, 'test_ok');
      const week = { interval: { unit: 'day', count: 5 } } as const;
      const plan = { account, sku: await offer('CALLS', '30.00', { ...KEPT, ...week }) };
      const { subscriptionId } = await startPlan(billing, plan);
      await cycle();
      await billing.ledger.consume({ account, product: 'CALLS', amount: 100 });
      await card(account, 'test_declined');
      clock.advance(5 * DAY);
      await cycle();
      const denials: unknown[] = [];
      for (let day = 0; day < 14; day += 1) {
        clock.advance(DAY);
        await cycle();
        denials.push((await check(account)).reason);
      }
      // Seven days of grace, of which the last is over by the clock.
      const denied = Array.from({ length: 8 }, () => 'payment_overdue');
      expect(denials).toEqual([...Array.from({ length: 6 }, () => null), ...denied]);
      clock.advance(DAY);
      await cycle();
      expect(await present({ subscriptionId })).toMatchObject({ endReason: 'payment_failed' });
      expect(await check(account)).toMatchObject({ allowed: true, remaining: '200' });
    });

    test('sent, and never paid, they end with the dunning, too, also of what is over by then', async () => {
      const account = await newAccount();
      const sku = await offer('CALLS', '30.00', {
        collect: { ...KEPT.collect, access: 'at_once' },
      });
      const { subscriptionId } = await startPlan(billing, { account, sku, collection: 'send' });
      await cycle();
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      expect(await units(account, 'CALLS')).toBe('300');
      // The due date, the grace and the final action.
      for (const days of [30, 30, 30]) {
        clock.advance(days * DAY);
        await billing.runDue();
      }
      expect(await units(account, 'CALLS')).toBe('0');
    });

    test('of a period in arrears that ends now stay as far as the days had allow', async () => {
      const account = await newAccount();
      const sku = await offer('CALLS', '30.00', { collect: { ...KEPT.collect, bill: 'arrears' } });
      const { subscriptionId } = await startPlan(billing, { account, sku, collection: 'send' });
      await billing.ledger.consume({ account, product: 'CALLS', amount: 20 });
      clock.advance(6 * DAY);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await cycle();
      const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
      expect(invoice!.lines).toMatchObject([{ kind: 'fee', subtotal: '6.00' }]);
      expect(await units(account, 'CALLS')).toBe('40');
    });
  });
});
