import knexFactory, { type Knex } from 'knex';

import {
  TestClock,
  signTestNotice,
  type Billing,
  type CreditNote,
  type SaveOfferRequest,
} from '../../../engine';
import {
  databaseKinds,
  newSchema,
  onEachDatabase,
  openOnServer,
  serverUrl,
} from '../each-database';
import { bill, invoicesOf, monthlyPlan, startPlan } from '../subscriptions/monthly-plans';

const SECRET = 'a secret of the test gateway';
/** A month of 30 days follows. */
const START = Date.parse('2027-06-01T09:00:00Z');
/** 20, and 15, of its 30 days are left. */
const TWO_THIRDS = Date.parse('2027-06-11T11:00:00Z');
const HALF = Date.parse('2027-06-16T11:00:00Z');
const HOUR = 3_600_000;

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown }) => error.code,
  );

async function fill({ catalog }: Billing): Promise<void> {
  await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
  const plan = (sku: string, price: string, more: Partial<SaveOfferRequest> = {}) =>
    catalog.saveOffer(
      monthlyPlan(sku, price, {
        currency: 'EUR',
        items: [{ product: 'TOKENS', quantity: 300 }],
        ...more,
      }),
    );
  await plan('plan', '30.00');
  await plan('metered', '10.00', {
    name: 'Metered',
    items: [
      {
        product: 'TOKENS',
        quantity: 10,
        overage: { pricing: { model: 'per_unit', unitPrice: '1.00' } },
      },
    ],
  });
  await plan('gross', '119.00');
  await plan('larger', '60.00');
  for (const [sku, price, quantity] of [
    ['pack', '10.00', 100],
    ['large-pack', '20.00', 200],
  ] as const) {
    const items = [{ product: 'TOKENS', quantity }];
    await catalog.saveOffer({ sku, name: sku, price, currency: 'EUR', items });
  }
}

onEachDatabase('what comes back comes back once', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, undefined, { testGateway: { webhookSecret: SECRET } });
    await fill(billing);
  });
  beforeEach(() => clock.set(START));

  const newAccount = async (tax?: object): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `customer-${counter}` });
    await billing.payments.saveMethod({ account: accountId, gateway: 'test', token: 'test_ok' });
    if (tax !== undefined) await billing.accounts.update({ account: accountId, tax });
    return accountId;
  };
  const cycle = (account: string) => bill(billing, account);
  const invoices = (account: string) => invoicesOf(billing, account);
  const latest = async (account: string) => (await invoices(account)).at(-1)!;
  const creditOf = async (account: string): Promise<string> => {
    const { credits } = await billing.invoicing.accountCredit({ account });
    return credits[0]?.amount ?? '0.00';
  };
  const balanceOf = async (account: string, name: string): Promise<string> => {
    const rows = await billing.books.balances({ account });
    const found = rows.filter((row) => row.account === name);
    return found.reduce((sum, { balance }) => sum + Number(balance), 0).toFixed(2);
  };

  /** All balances that are not zero. */
  const bookOf = async (account: string): Promise<Record<string, string>> => {
    const names = new Set((await billing.books.balances({ account })).map((row) => row.account));
    const all: Record<string, string> = {};
    for (const name of names) all[name] = await balanceOf(account, name);
    return Object.fromEntries(Object.entries(all).filter(([, balance]) => Number(balance) !== 0));
  };

  /** A plan whose first invoice is paid by card. */
  const subscribed = async (account: string, sku = 'plan', more: object = {}) => {
    const { subscriptionId } = await startPlan(billing, { account, sku, ...more });
    await cycle(account);
    const [invoice] = await invoices(account);
    expect(invoice).toMatchObject({ status: 'paid' });
    return { subscriptionId, invoiceId: invoice!.invoiceId };
  };
  /** The same, paid by an order. */
  const ordered = async (account: string) => {
    const { orderId } = await billing.sales.createOrder({
      account,
      items: [{ sku: 'plan' }],
      renew: true,
    });
    await billing.payments.payOrder({ orderId: orderId! });
    const [subscription] = (await billing.subscriptions.list({ account })).items;
    return { orderId: orderId!, subscriptionId: subscription!.subscriptionId };
  };
  const credited = (subscriptionId: string) =>
    billing.subscriptions.cancel({ subscriptionId, when: 'now', credit: true });
  const disputed = async (of: { invoiceId: string } | { orderId: string }, amount: string) => {
    counter += 1;
    const { items } = await billing.payments.attempts(of);
    const refund = {
      status: 'succeeded',
      reference: `dispute-${counter}`,
      charge: items[0]!.reference,
    };
    const rawBody = JSON.stringify([
      { noticeId: `notice-${counter}`, kind: 'refund', refund, amount, currency: 'EUR' },
    ]);
    const headers = signTestNotice(SECRET, rawBody);
    await billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
  };
  const notes = async (invoiceId: string): Promise<CreditNote[]> =>
    (await billing.invoicing.listCreditNotes({ invoiceId })).items;

  describe('C4: an invoice of 30.00, cancelled with credit at two thirds left', () => {
    it('C4: 20.00 come back, and a credit note of the whole gives 10.00', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      expect(
        await failure(billing.invoicing.createCreditNote({ invoiceId, amount: '10.01' })),
      ).toBe('refund_exceeds_paid');
      expect(await billing.invoicing.createCreditNote({ invoiceId })).toMatchObject({
        total: '10.00',
      });
      await cycle(account);
      expect(await creditOf(account)).toBe('30.00');
      expect(await failure(billing.invoicing.createCreditNote({ invoiceId }))).toBe(
        'refund_exceeds_paid',
      );
    });

    it('C4: a refund of the whole gives 10.00, also once the credit is on an invoice', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      await cycle(account);
      expect(await failure(billing.invoicing.refundInvoice({ invoiceId, amount: '10.01' }))).toBe(
        'refund_exceeds_paid',
      );
      expect(await billing.invoicing.refundInvoice({ invoiceId })).toMatchObject({
        to: { refund: '10.00' },
        refunds: [{ amount: '10.00', status: 'succeeded' }],
      });
      expect(await creditOf(account)).toBe('20.00');
      expect(await latest(account)).toMatchObject({
        total: '0.00',
        carried: '20.00',
        lines: [{ corrects: { invoiceId, orderId: null, position: 1 } }],
      });
    });

    it('C4: the other way round the same sum', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await billing.invoicing.createCreditNote({ invoiceId, to: 'credit' });
      await credited(subscriptionId);
      await cycle(account);
      expect(await creditOf(account)).toBe('30.00');
    });

    it('C4: so it is of a part: 10.00 by a credit note, and 20.00 for the days', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await billing.invoicing.createCreditNote({ invoiceId, amount: '10.00', to: 'credit' });
      await credited(subscriptionId);
      await cycle(account);
      expect(await creditOf(account)).toBe('30.00');
    });

    it('C4: a lost dispute takes 10.00 beside the credit, which waits no more', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      await disputed({ invoiceId }, '30.00');
      await cycle(account);
      expect(await creditOf(account)).toBe('0.00');
      expect(await notes(invoiceId)).toMatchObject([{ total: '30.00', reason: 'dispute' }]);
      expect(await balanceOf(account, 'cash')).toBe('0.00');
    });

    it('C4: part of a waiting credit stays when less than all was disputed', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      await disputed({ invoiceId }, '15.00');
      await cycle(account);
      expect(await notes(invoiceId)).toMatchObject([{ total: '15.00' }]);
      expect(await creditOf(account)).toBe('15.00');
    });

    it('C4: a lost dispute after the credit was carried takes that credit', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      await cycle(account);
      expect(await creditOf(account)).toBe('20.00');
      await disputed({ invoiceId }, '30.00');
      expect(await notes(invoiceId)).toMatchObject([{ total: '10.00' }]);
      expect(await creditOf(account)).toBe('0.00');
      expect(await balanceOf(account, 'cash')).toBe('0.00');
      expect(await balanceOf(account, 'written_off')).toBe('0.00');
    });
  });

  describe('C4: the same of an order', () => {
    it('C4: a refund of the whole gives what the credit left', async () => {
      const account = await newAccount();
      const { orderId, subscriptionId } = await ordered(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      expect(await failure(billing.sales.refundOrder({ orderId, amount: '10.01' }))).toBe(
        'refund_exceeds_paid',
      );
      expect(await billing.sales.refundOrder({ orderId })).toMatchObject({
        refund: { amount: '10.00', rounding: '0.00000000' },
      });
      expect(await failure(billing.sales.refundOrder({ orderId }))).toBe('refund_exceeds_paid');
      await cycle(account);
      expect(await creditOf(account)).toBe('20.00');
      expect((await latest(account)).lines).toMatchObject([
        { corrects: { invoiceId: null, orderId, position: 1 } },
      ]);
    });

    it('C4: a part that was refunded first, and the credit, come to no more', async () => {
      const account = await newAccount();
      const { orderId, subscriptionId } = await ordered(account);
      clock.set(TWO_THIRDS);
      await billing.sales.refundOrder({ orderId, amount: '12.00' });
      await credited(subscriptionId);
      await cycle(account);
      expect(await creditOf(account)).toBe('18.00');
      expect((await billing.sales.refundOrder({ orderId })).refund.amount).toBe('0.00');
    });

    it.each([
      ['waits', false],
      ['was carried', true],
    ])('C4: a lost dispute after a credit that %s', async (_how, isCarried) => {
      const account = await newAccount();
      const { orderId, subscriptionId } = await ordered(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      if (isCarried) await cycle(account);
      await disputed({ orderId }, '30.00');
      await cycle(account);
      expect(await creditOf(account)).toBe('0.00');
      expect(await balanceOf(account, 'cash')).toBe('0.00');
      expect(await billing.sales.getOrder({ orderId })).toMatchObject({
        refunded: isCarried ? '10.00' : '30.00',
      });
    });
  });

  it('a lost dispute of a part that no item comes to is of all items, by what is left of each', async () => {
    const account = await newAccount();
    const items = [{ sku: 'pack' }, { sku: 'large-pack' }];
    const order = await billing.sales.createOrder({ account, items });
    const orderId = order.orderId!;
    await billing.payments.payOrder({ orderId });
    await disputed({ orderId }, '9.00');
    expect(await billing.sales.getOrder({ orderId })).toMatchObject({
      status: 'partly_refunded',
      refunded: '9.00',
      items: [{ refunded: '3.00' }, { refunded: '6.00' }],
    });
    // 30 of 100 and 60 of 200 units went with it.
    const left = async () =>
      (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
    expect(await left()).toBe('210');
    expect(await failure(billing.sales.refundOrder({ orderId, amount: '21.01' }))).toBe(
      'refund_exceeds_paid',
    );
    await disputed({ orderId }, '20.99');
    await disputed({ orderId }, '0.01');
    expect(await billing.sales.getOrder({ orderId })).toMatchObject({ status: 'refunded' });
    expect(await left()).toBe('0');
    expect(await bookOf(account)).toEqual({});
  });

  describe('the book says at once what came back', () => {
    const byNote = (invoiceId: string) =>
      billing.invoicing.createCreditNote({ invoiceId, to: 'refund' });

    it.each([
      ['is on an invoice', true],
      ['waits', false],
    ])('a credit note of the whole while the credit %s', async (_how, isIssued) => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      if (isIssued) await cycle(account);
      await byNote(invoiceId);
      if (!isIssued) await cycle(account);
      expect(await bookOf(account)).toEqual({ cash: '20.00', customer_credit: '-20.00' });
    });

    it('a refund of what was changed, and a lost dispute of it', async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(HALF - 2 * HOUR);
      await billing.subscriptions.change({ subscriptionId, sku: 'larger' });
      await cycle(account);
      expect(await bookOf(account)).toEqual({
        cash: '45.00',
        deferred: '-30.00',
        revenue: '-15.00',
      });
      await billing.invoicing.refundInvoice({ invoiceId });
      expect(await bookOf(account)).toEqual({ cash: '30.00', deferred: '-30.00' });

      clock.set(START);
      const other = await newAccount();
      const one = await subscribed(other);
      clock.set(TWO_THIRDS);
      await credited(one.subscriptionId);
      await cycle(other);
      await disputed({ invoiceId: one.invoiceId }, '30.00');
      expect(await bookOf(other)).toEqual({});
    });

    it('the same of an account that was merged since', async () => {
      const account = await newAccount();
      const into = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      await cycle(account);
      await billing.accounts.merge({ into, from: account, prefer: 'into' });
      await byNote(invoiceId);
      // 20.00 of account credit, paid by what was kept of the money.
      expect(await bookOf(into)).toMatchObject({ customer_credit: '-20.00' });
      expect(await balanceOf(into, 'deferred')).toBe('0.00');
      expect(await balanceOf(into, 'revenue')).toBe('0.00');
    });

    it('a credit for what an order paid, and its refund', async () => {
      const account = await newAccount();
      const { orderId, subscriptionId } = await ordered(account);
      clock.set(TWO_THIRDS);
      await credited(subscriptionId);
      await cycle(account);
      expect(await bookOf(account)).toEqual({
        cash: '30.00',
        customer_credit: '-20.00',
        revenue: '-10.00',
      });
      await billing.sales.refundOrder({ orderId });
      expect(await bookOf(account)).toEqual({ cash: '20.00', customer_credit: '-20.00' });
    });
  });

  it('a dispute of what became account credit takes it; what was used of it is lost', async () => {
    const account = await newAccount();
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      items: [{ description: 'Advice', unitPrice: '30.00' }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    await billing.invoicing.dispatchInvoices({ invoiceIds: [invoiceId] });
    await billing.invoicing.createCreditNote({ invoiceId, to: 'credit' });
    const next = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      items: [{ description: 'More', unitPrice: '12.00' }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId: next.invoiceId });
    expect(await creditOf(account)).toBe('18.00');
    await disputed({ invoiceId }, '30.00');
    expect(await creditOf(account)).toBe('0.00');
    expect(await balanceOf(account, 'cash')).toBe('0.00');
    expect(await balanceOf(account, 'written_off')).toBe('12.00');
  });

  it('a refund that was made at the gateway is on record there, and its notice is no second one', async () => {
    const account = await newAccount();
    const { invoiceId } = await subscribed(account);
    await billing.invoicing.refundInvoice({ invoiceId, amount: '30.00', refundId: 're_made' });
    const exported = await billing.accounts.export({ account });
    expect(exported.paymentRefunds).toMatchObject([
      { invoiceId, gateway: 'test', amount: '30.00', status: 'succeeded', reference: 're_made' },
    ]);
    const { items } = await billing.payments.attempts({ invoiceId });
    const refund = { status: 'succeeded', reference: 're_made', charge: items[0]!.reference };
    const rawBody = JSON.stringify([
      { noticeId: `made-${account}`, kind: 'refund', refund, amount: '30.00', currency: 'EUR' },
    ]);
    const headers = signTestNotice(SECRET, rawBody);
    await billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
    expect(await notes(invoiceId)).toHaveLength(1);
    expect(await balanceOf(account, 'cash')).toBe('0.00');
  });

  describe('C5: a credit carries the tax of its line', () => {
    const inGermany = { country: 'DE' };
    beforeAll(async () => {
      await billing.catalog.saveTaxRate({ key: 'at', name: 'USt', percent: '20', country: 'AT' });
    });
    const rate = (percent: string, inclusive = true) =>
      billing.catalog.saveTaxRate({
        key: 'de',
        name: 'MwSt.',
        percent,
        inclusive,
        country: 'DE',
      });
    const half = async (account: string, change: () => Promise<unknown>, sku = 'gross') => {
      const { subscriptionId } = await subscribed(account, sku);
      await change();
      clock.set(HALF);
      await credited(subscriptionId);
      await cycle(account);
      return latest(account);
    };

    it('C5: 119.00 at 19 %, half the time left, 16 % today: 59.50', async () => {
      await rate('19');
      const account = await newAccount(inGermany);
      const invoice = await half(account, () => rate('16'));
      expect(invoice).toMatchObject({
        net: '-50.00',
        tax: '-9.50',
        carried: '59.50',
        taxes: [{ key: 'de', percent: '19', net: '-50.00', tax: '-9.50' }],
      });
      expect(await balanceOf(account, 'tax_payable')).toBe('-9.50');
    });

    it('C5: after a move to another country', async () => {
      await rate('19');
      const account = await newAccount(inGermany);
      const invoice = await half(account, () =>
        billing.accounts.update({ account, tax: { country: 'AT' } }),
      );
      expect(invoice).toMatchObject({ carried: '59.50', tax: '-9.50' });
    });

    it('C5: after reverse charge, and of an exempt line', async () => {
      await rate('19');
      const account = await newAccount(inGermany);
      const reversed = await half(account, () =>
        billing.accounts.update({ account, tax: { status: 'reverse_charge', country: 'DE' } }),
      );
      expect(reversed).toMatchObject({
        carried: '59.50',
        tax: '-9.50',
        taxStatus: 'reverse_charge',
      });

      clock.set(START);
      const free = await newAccount({ status: 'exempt', country: 'DE' });
      const taxed = await half(free, () =>
        billing.accounts.update({ account: free, tax: { status: 'normal', country: 'DE' } }),
      );
      expect(taxed).toMatchObject({ carried: '59.50', tax: '0.00', taxStatus: 'normal' });
      const { content } = await billing.invoicing.renderInvoice({
        invoiceId: taxed.invoiceId,
        format: 'html',
      });
      expect(content.toString()).toContain('Exempt from tax.');
    });

    it('C5: a rate on top, and one that holds the tax by now', async () => {
      await rate('19', false);
      const account = await newAccount(inGermany);
      const invoice = await half(account, () => rate('19', true), 'plan');
      expect(invoice).toMatchObject({ net: '-15.00', tax: '-2.85', carried: '17.85' });
    });

    it('goes back with its invoice, whose tax is below 0 since the buyer bears it by now', async () => {
      const account = await newAccount({ country: 'AT' });
      const { subscriptionId } = await subscribed(account);
      await billing.accounts.update({
        account,
        tax: { status: 'reverse_charge', country: 'AT' },
      });
      clock.set(HALF);
      await billing.subscriptions.change({ subscriptionId, sku: 'larger' });
      await cycle(account);
      const { invoiceId, ...invoice } = await latest(account);
      expect(invoice).toMatchObject({ net: '15.00', tax: '-3.00', total: '12.00' });
      expect(await billing.invoicing.refundInvoice({ invoiceId })).toMatchObject({
        net: '15.00',
        tax: '-3.00',
        total: '12.00',
        taxes: [
          { key: 'at', percent: '20', net: '-15.00', tax: '-3.00' },
          { key: null, percent: null, net: '30.00', tax: '0.00' },
        ],
      });
      expect(await balanceOf(account, 'tax_payable')).toBe('-6.00');
    });

    it('stands beside the rate of today, and both sum to the tax', async () => {
      await rate('19', false);
      const account = await newAccount(inGermany);
      const { subscriptionId } = await subscribed(account);
      await rate('16', false);
      clock.set(HALF);
      await billing.subscriptions.change({ subscriptionId, sku: 'larger' });
      await cycle(account);
      expect(await latest(account)).toMatchObject({
        net: '15.00',
        tax: '1.95',
        total: '16.95',
        taxes: [
          { key: 'de', percent: '19', net: '-15.00', tax: '-2.85' },
          { key: 'de', percent: '16', net: '30.00', tax: '4.80' },
        ],
      });
      const { content } = await billing.invoicing.renderInvoice({
        invoiceId: (await latest(account)).invoiceId,
        format: 'html',
      });
      expect(content.toString()).toMatch(/16\s?%[^]*19\s?%|19\s?%[^]*16\s?%/);
    });
  });

  describe('use that was billed and is restored after the subscription is over', () => {
    const OVER = Date.parse('2027-07-02T09:00:00Z');
    /** 5 beyond the 10 were used, and billed with 5.00 when it was over. */
    const usedBeyond = async (account: string) => {
      const { subscriptionId } = await subscribed(account, 'metered');
      const use = await billing.ledger.consume({ account, product: 'TOKENS', amount: 15 });
      await billing.subscriptions.cancel({ subscriptionId });
      clock.set(OVER);
      await cycle(account);
      const { invoiceId } = await latest(account);
      return { entryId: use.entryId!, invoiceId };
    };

    it('is credited', async () => {
      const account = await newAccount();
      const { entryId, invoiceId } = await usedBeyond(account);
      expect(await latest(account)).toMatchObject({ total: '5.00', status: 'paid' });
      await billing.ledger.restore({ entryId, amount: 3 });
      await cycle(account);
      expect(await latest(account)).toMatchObject({
        carried: '3.00',
        lines: [{ kind: 'usage', quantity: '-3', corrects: { invoiceId, position: 1 } }],
      });
      expect(await billing.invoicing.createCreditNote({ invoiceId, to: 'credit' })).toMatchObject({
        total: '2.00',
      });
      await billing.ledger.restore({ entryId, amount: 2 });
      await cycle(account);
      expect(await creditOf(account)).toBe('5.00');
    });

    it('is credited with what a coupon left of it', async () => {
      await billing.catalog.saveCoupon({ code: 'HALF', percent: '50' });
      const account = await newAccount();
      const { subscriptionId } = await subscribed(account, 'metered', { coupon: 'HALF' });
      const use = await billing.ledger.consume({ account, product: 'TOKENS', amount: 15 });
      await billing.subscriptions.cancel({ subscriptionId });
      clock.set(OVER);
      await cycle(account);
      expect(await latest(account)).toMatchObject({ subtotal: '5.00', total: '2.50' });
      await billing.ledger.restore({ entryId: use.entryId!, amount: 2 });
      await cycle(account);
      expect(await creditOf(account)).toBe('1.00');
      await billing.ledger.restore({ entryId: use.entryId! });
      await cycle(account);
      expect(await creditOf(account)).toBe('2.50');
    });

    it('is credited as it was taxed, and what a credit note took back is not', async () => {
      await billing.catalog.saveTaxRate({ key: 'nl', name: 'BTW', percent: '21', country: 'NL' });
      const account = await newAccount({ country: 'NL' });
      const { entryId, invoiceId } = await usedBeyond(account);
      await billing.invoicing.createCreditNote({ invoiceId, amount: '1.21', to: 'credit' });
      await billing.catalog.saveTaxRate({ key: 'nl', name: 'BTW', percent: '9', country: 'NL' });
      await billing.ledger.restore({ entryId });
      await cycle(account);
      expect(await latest(account)).toMatchObject({ net: '-4.00', tax: '-0.84', carried: '4.84' });
      expect(await creditOf(account)).toBe('6.05');
    });
  });

  it('a credit is issued though the rate of its line is not used any more', async () => {
    await billing.catalog.saveTaxRate({ key: 'be', name: 'TVA', percent: '21', country: 'BE' });
    const account = await newAccount({ country: 'BE' });
    const { subscriptionId } = await subscribed(account);
    await billing.catalog.saveTaxRate({
      key: 'be',
      name: 'TVA',
      percent: '21',
      country: 'BE',
      active: false,
    });
    clock.set(HALF);
    await credited(subscriptionId);
    await cycle(account);
    expect(await latest(account)).toMatchObject({ net: '-15.00', tax: '-3.15', carried: '18.15' });
  });

  describe('a credit that is taken back itself', () => {
    const upgraded = async () => {
      const account = await newAccount();
      const { subscriptionId, invoiceId } = await subscribed(account);
      clock.set(HALF);
      await billing.subscriptions.change({ subscriptionId, sku: 'larger' });
      return { account, invoiceId };
    };

    it('is left to give back again after a credit note of its invoice', async () => {
      const { account, invoiceId } = await upgraded();
      await cycle(account);
      const second = await latest(account);
      expect(second).toMatchObject({ total: '15.00' });
      await billing.invoicing.refundInvoice({ invoiceId: second.invoiceId });
      expect(await billing.invoicing.refundInvoice({ invoiceId })).toMatchObject({
        total: '30.00',
      });
      expect(await balanceOf(account, 'cash')).toBe('0.00');
    });

    it('stays given when its invoice goes on: 15.00 are left', async () => {
      const { account, invoiceId } = await upgraded();
      await cycle(account);
      expect(await billing.invoicing.refundInvoice({ invoiceId })).toMatchObject({
        total: '15.00',
      });
    });

    it('stands against voiding the invoice of its line, until it is void itself', async () => {
      const account = await newAccount();
      const wanted = { account, sku: 'plan', collection: 'send' as const };
      const { subscriptionId } = await startPlan(billing, wanted);
      await cycle(account);
      const { invoiceId } = await latest(account);
      await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
      // The second month is not paid yet as it is changed.
      clock.set('2027-07-01T10:00:00Z');
      await cycle(account);
      const first = (await latest(account)).invoiceId;
      clock.set('2027-07-05T10:00:00Z');
      await billing.subscriptions.change({ subscriptionId, sku: 'larger' });
      await cycle(account);
      const second = (await latest(account)).invoiceId;
      expect(second).not.toBe(first);
      expect(await failure(billing.invoicing.voidInvoice({ invoiceId: first }))).toBe(
        'invoice_state',
      );
      await billing.invoicing.voidInvoice({ invoiceId: second });
      expect(await billing.invoicing.voidInvoice({ invoiceId: first })).toMatchObject({
        status: 'void',
      });
    });

    it('is left again when it is taken off a draft', async () => {
      const { account, invoiceId } = await upgraded();
      await billing.invoicing.createInvoices({ account });
      const draft = await latest(account);
      const line = draft.lines.find(({ kind }) => kind === 'proration_credit')!;
      await billing.invoicing.removeItem({ invoiceId: draft.invoiceId, lineId: line.lineId });
      expect(await billing.invoicing.refundInvoice({ invoiceId })).toMatchObject({
        total: '30.00',
      });
    });
  });
});

if (databaseKinds.includes('server')) {
  describe('one line given back in two ways at once (server)', () => {
    const clock = new TestClock(START);
    const schema = newSchema();
    let billing: Billing;
    let knex: Knex;

    beforeAll(async () => {
      billing = await openOnServer({ schema, clock, poolSize: 20, testGateway: true });
      knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 4 } });
      await fill(billing);
    });
    afterAll(async () => {
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      await billing.close();
      await knex.destroy();
    });

    const paid = async (externalId: string) => {
      clock.set(START);
      const { accountId: account } = await billing.accounts.identify({ externalId });
      await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
      const { subscriptionId } = await startPlan(billing, { account, sku: 'plan' });
      await bill(billing, account);
      const [invoice] = await invoicesOf(billing, account);
      clock.set(TWO_THIRDS);
      return { account, subscriptionId, invoiceId: invoice!.invoiceId };
    };
    const back = async (invoiceId: string): Promise<number> => {
      const { rows } = await knex.raw<{ rows: Array<{ sum: string }> }>(
        `select coalesce(sum(net + tax), 0)::text as sum from "${schema}".line_returns
         where document_id = ?::uuid`,
        [invoiceId],
      );
      return Number(rows[0]!.sum);
    };

    it('a credit, a credit note and a refund of the whole come to the line, whoever is first', async () => {
      for (let round = 0; round < 10; round += 1) {
        const { subscriptionId, invoiceId } = await paid(`racer-${round}`);
        const { invoicing, subscriptions } = billing;
        const done = await Promise.allSettled([
          subscriptions.cancel({ subscriptionId, when: 'now', credit: true }),
          invoicing.createCreditNote({ invoiceId, to: 'credit' }),
          invoicing.refundInvoice({ invoiceId }),
        ]);
        for (const one of done) {
          if (one.status === 'rejected') {
            // After a refund of what pays the period it is over already.
            expect(['refund_exceeds_paid', 'subscription_state']).toContain(
              (one.reason as { code: string }).code,
            );
          }
        }
        expect(await back(invoiceId)).toBe(30);
      }
    });

    it('two that hold no lock: the database lets one in', async () => {
      const { account, invoiceId } = await paid('lawless');
      const give = (tx: Knex.Transaction, amount: number) =>
        tx.raw(
          `insert into "${schema}".line_returns (payer_id, return_id, sold_by, document_id, position,
             kind, credit_note_id, net, tax, returned_at)
           values (?::uuid, gen_random_uuid(), 'invoice', ?::uuid, 1, 'credit_note',
             gen_random_uuid(), ?::numeric, 0, now())`,
          [account, invoiceId, amount],
        );
      const first = await knex.transaction();
      await give(first, 20);
      const second = knex.transaction(async (tx) => give(tx, 20));
      const refused = expect(second).rejects.toThrow(/than there was/);
      // It waits for the first, and then sees it.
      await first.commit();
      await refused;
      expect(await back(invoiceId)).toBe(20);
      await knex.transaction(async (tx) => {
        await tx.raw('set local session_replication_role = replica');
        await tx.raw(`delete from "${schema}".line_returns where document_id = ?::uuid`, [
          invoiceId,
        ]);
      });
    });
  });
}
