import { TestClock, signTestNotice, type Billing, type Gateway } from '../../../engine';
import { onEachDatabase } from '../each-database';

const SECRET = 'a secret of the test gateway';
const START = Date.parse('2027-03-01T09:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

onEachDatabase('refunds of invoices', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, undefined, {
      testGateway: { webhookSecret: SECRET },
    });
  });

  /** An invoice of items, charged through the test gateway. */
  const charged = async (...prices: string[]) => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `customer-${counter}` });
    await billing.payments.saveMethod({ account: accountId, gateway: 'test', token: 'test_ok' });
    const { invoiceId } = await billing.invoicing.createInvoice({
      account: accountId,
      currency: 'USD',
      items: prices.map((unitPrice, index) => ({ description: `Item ${index + 1}`, unitPrice })),
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    await billing.invoicing.dispatchInvoices({ invoiceIds: [invoiceId] });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({ status: 'paid' });
    return { account: accountId, invoiceId };
  };

  const balances = async (account: string) => {
    const rows = await billing.books.balances({ account });
    return Object.fromEntries(
      rows
        .filter(({ balance }) => balance !== '0.00000000')
        .map(({ account: name, balance }) => [name, balance]),
    );
  };

  it('R3: two items of 9.99: 19.98 takes back both', async () => {
    const { account, invoiceId } = await charged('9.99', '9.99');
    expect(await billing.invoicing.refundInvoice({ invoiceId, amount: '19.98' })).toMatchObject({
      total: '19.98',
      to: { due: '0.00', credit: '0.00', refund: '19.98' },
      reason: 'refund',
      lines: [
        { position: 1, total: '9.99' },
        { position: 2, total: '9.99' },
      ],
      refunds: [{ gateway: 'test', amount: '19.98', status: 'succeeded' }],
      replayed: false,
    });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'paid',
      paid: '19.98',
      creditNoted: '19.98',
      refunded: '19.98',
    });
    expect(await balances(account)).toEqual({});
  });

  it('R3: 9.99 without naming the item is ambiguous, naming it works', async () => {
    const { invoiceId } = await charged('9.99', '9.99');
    expect(await failure(billing.invoicing.refundInvoice({ invoiceId, amount: '9.99' }))).toEqual({
      code: 'refund_ambiguous',
      parameter: 'line',
    });
    expect(
      await billing.invoicing.refundInvoice({ invoiceId, amount: '9.99', line: 2 }),
    ).toMatchObject({ lines: [{ position: 2, total: '9.99' }], refunds: [{ amount: '9.99' }] });
    // One is left: 9.99 is not ambiguous any more.
    expect(await billing.invoicing.refundInvoice({ invoiceId, amount: '9.99' })).toMatchObject({
      lines: [{ position: 1, total: '9.99' }],
    });
  });

  it('R3: refunds never exceed what was paid, in sum', async () => {
    const { invoiceId } = await charged('9.99', '9.99');
    const { refundInvoice } = billing.invoicing;
    const exceeds = { code: 'refund_exceeds_paid', parameter: 'amount' };
    expect(await failure(refundInvoice({ invoiceId, amount: '19.99' }))).toEqual(exceeds);
    await refundInvoice({ invoiceId, line: 1 });
    expect(await failure(refundInvoice({ invoiceId, amount: '9.99', line: 1 }))).toEqual(exceeds);
    expect(await failure(refundInvoice({ invoiceId, amount: '10.00' }))).toEqual(exceeds);
    await billing.invoicing.createCreditNote({ invoiceId, amount: '5.00', to: 'credit' });
    expect(await failure(refundInvoice({ invoiceId, amount: '5.00' }))).toEqual(exceeds);
    expect(await refundInvoice({ invoiceId })).toMatchObject({ total: '4.99' });
    expect(await failure(refundInvoice({ invoiceId }))).toEqual(exceeds);
  });

  it('what is not paid is not refunded', async () => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `customer-${counter}` });
    const { invoiceId } = await billing.invoicing.createInvoice({
      account: accountId,
      currency: 'USD',
      collection: 'send',
      items: [{ description: 'x', unitPrice: '10.00' }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    expect(await failure(billing.invoicing.refundInvoice({ invoiceId }))).toMatchObject({
      code: 'refund_exceeds_paid',
    });
    await billing.invoicing.markPaid({ invoiceId, amount: '4.00', method: 'cash' });
    expect(
      await failure(billing.invoicing.refundInvoice({ invoiceId, amount: '4.01' })),
    ).toMatchObject({ code: 'refund_exceeds_paid' });
    // What came by hand goes back by hand.
    const refunded = await billing.invoicing.refundInvoice({ invoiceId, amount: '4.00' });
    expect(refunded).toMatchObject({
      refunds: [{ gateway: 'manual', amount: '4.00', status: 'due' }],
    });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'open',
      refunded: '0.00',
      amountDue: '6.00',
    });
    const { refundId } = refunded.refunds[0]!;
    await billing.payments.markRefunded({ refundId, reference: 'cash back' });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({ refunded: '4.00' });
    expect(await balances(accountId)).toEqual({
      receivable: '6.00000000',
      revenue: '-6.00000000',
    });
  });

  it('a refund made at the gateway is recorded by its id, once', async () => {
    const { account, invoiceId } = await charged('10.00');
    const request = { invoiceId, amount: '10.00', refundId: 're_123' };
    const first = await billing.invoicing.refundInvoice(request);
    expect(first).toMatchObject({
      refunds: [{ refundId: 're_123', gateway: 'test', status: 'succeeded' }],
      replayed: false,
    });
    expect(await billing.invoicing.refundInvoice(request)).toMatchObject({
      creditNoteId: first.creditNoteId,
      replayed: true,
    });
    expect(
      await failure(billing.invoicing.refundInvoice({ ...request, amount: '9.00' })),
    ).toMatchObject({ code: 'payment_mismatch' });
    expect(await balances(account)).toEqual({});
  });

  it('a lost dispute is a refund by the gateway: its credit note goes over all lines, once', async () => {
    const { account, invoiceId } = await charged('10.00', '20.00');
    const [attempt] = (await billing.payments.attempts({ invoiceId })).items;
    const tell = (noticeId: string, reference: string, amount: string) => {
      const refund = { status: 'succeeded', reference, charge: attempt!.reference };
      const rawBody = JSON.stringify([
        { noticeId, kind: 'refund', refund, amount, currency: 'USD' },
      ]);
      const headers = signTestNotice(SECRET, rawBody);
      return billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
    };
    await tell(`a-${invoiceId}`, `dp-${invoiceId}`, '9.00');
    await tell(`b-${invoiceId}`, `dp-${invoiceId}`, '9.00');
    expect((await billing.invoicing.listCreditNotes({ invoiceId })).items).toMatchObject([
      {
        total: '9.00',
        reason: 'dispute',
        lines: [
          { position: 1, total: '3.00' },
          { position: 2, total: '6.00' },
        ],
      },
    ]);
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({ refunded: '9.00' });
    // What was given back as credit before cannot be taken back from us twice.
    await billing.invoicing.createCreditNote({ invoiceId, lines: [{ position: 1 }] });
    await tell(`c-${invoiceId}`, `dq-${invoiceId}`, '21.00');
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      refunded: '23.00',
      creditNoted: '30.00',
    });
    expect((await balances(account)).receivable).toBeUndefined();
  });

  it('a refund that its gateway refuses is owed still: it is given back by hand', async () => {
    const refusing: Gateway = {
      name: 'refusing',
      charges: true,
      refunds: true,
      createCustomer: () => Promise.resolve({ reference: 'customer' }),
      attachMethod: () => Promise.resolve({ reference: 'method', kind: 'card' }),
      charge: ({ attemptId }) =>
        Promise.resolve({
          status: 'succeeded',
          reference: `charge ${attemptId}`,
          code: null,
          text: null,
          rejectReason: null,
          message: null,
          hard: false,
          actionUrl: null,
        }),
      refund: () =>
        Promise.resolve({
          status: 'failed',
          reference: null,
          code: 'balance_too_low',
          message: 'no',
        }),
    };
    const other = await database.open(clock, undefined, { gateways: [refusing] });
    const { accountId: account } = await other.accounts.identify({ externalId: 'someone' });
    await other.payments.saveMethod({ account, gateway: 'refusing', token: 'token' });
    const { invoiceId } = await other.invoicing.createInvoice({
      account,
      currency: 'USD',
      items: [{ description: 'Advice', unitPrice: 20 }],
    });
    await other.invoicing.finalizeInvoice({ invoiceId });
    await other.invoicing.dispatchInvoices({ invoiceIds: [invoiceId] });
    const { refunds } = await other.invoicing.refundInvoice({ invoiceId });
    expect(refunds).toMatchObject([{ status: 'due', amount: '20.00' }]);
    expect(await other.invoicing.getInvoice({ invoiceId })).toMatchObject({ refunded: '0.00' });
    const { items } = await other.payments.refundsDue({ account });
    expect(items).toMatchObject([{ amount: '20.00', code: 'balance_too_low', status: 'due' }]);
    await other.payments.markRefunded({ refundId: items[0]!.refundId, reference: 'transfer 1' });
    expect(await other.invoicing.getInvoice({ invoiceId })).toMatchObject({ refunded: '20.00' });
    const left = await other.books.balances({ account });
    expect(left.filter(({ account: name }) => name === 'receivable')).toMatchObject([
      { balance: '0.00000000' },
    ]);
  });

  it('what a merged account paid too much is credit of the one it was merged into', async () => {
    const { accountId: into } = await billing.accounts.identify({ externalId: 'stays' });
    const { accountId: from } = await billing.accounts.identify({
      provider: 'shop',
      externalId: 'goes',
    });
    const { invoiceId } = await billing.invoicing.createInvoice({
      account: from,
      currency: 'USD',
      collection: 'send',
      items: [{ description: 'Advice', unitPrice: 20 }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    const { checkoutId } = await billing.payments.checkoutLink({
      account: from,
      invoiceId,
      gateway: 'test',
      returnUrl: 'https://example.com/thanks',
    });
    await billing.invoicing.markPaid({ invoiceId, method: 'cash', amount: 15 });
    await billing.accounts.merge({ into, from });
    const charge = {
      status: 'succeeded',
      reference: 'late_charge',
      code: null,
      text: null,
      rejectReason: null,
      message: null,
      hard: false,
      actionUrl: null,
    };
    const rawBody = JSON.stringify([
      { noticeId: 'late', kind: 'payment', checkoutId, amount: '20.00', currency: 'USD', charge },
    ]);
    const headers = signTestNotice(SECRET, rawBody);
    await billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'paid',
      paid: '20.00',
    });
    expect(await billing.invoicing.accountCredit({ account: into })).toMatchObject({
      credits: [{ currency: 'USD', amount: '15.00' }],
    });
  });

  it('the same key refunds once', async () => {
    const { invoiceId } = await charged('10.00');
    const request = { invoiceId, amount: '4.00', idempotencyKey: 'once' };
    const first = await billing.invoicing.refundInvoice(request);
    expect(first.refunds).toMatchObject([{ status: 'succeeded', amount: '4.00' }]);
    expect(await billing.invoicing.refundInvoice(request)).toEqual({ ...first, replayed: true });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({ refunded: '4.00' });
  });

  it('the same key tells what became of the refund since, in a transaction of the caller, too', async () => {
    const { invoiceId } = await charged('10.00');
    const request = { invoiceId, idempotencyKey: 'later' };
    const first = await billing.transaction((tx) =>
      billing.invoicing.refundInvoice({ ...request, tx }),
    );
    expect(first.refunds).toMatchObject([{ status: 'open' }]);
    expect(await billing.invoicing.refundInvoice(request)).toEqual({ ...first, replayed: true });
    await billing.runDue();
    const refunds = first.refunds.map((refund) => ({ ...refund, status: 'succeeded' }));
    const now = { ...first, refunds, replayed: true };
    expect(await billing.invoicing.refundInvoice(request)).toEqual(now);
    await billing.transaction(async (tx) => {
      expect(await billing.invoicing.refundInvoice({ ...request, tx })).toEqual(now);
    });
  });

  it('in a transaction of the caller the gateway is asked by runDue', async () => {
    const { invoiceId } = await charged('10.00');
    await billing.transaction(async (tx) => {
      expect(await billing.invoicing.refundInvoice({ invoiceId, tx })).toMatchObject({
        refunds: [{ status: 'open' }],
      });
    });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({ refunded: '0.00' });
    await billing.runDue();
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({ refunded: '10.00' });
  });

  it('a merged account: the credit of the other goes along, and its invoices are found', async () => {
    const one = await charged('10.00');
    const other = await charged('20.00');
    await billing.invoicing.createCreditNote({ invoiceId: other.invoiceId, amount: '20.00' });
    await billing.accounts.merge({ into: one.account, from: other.account, prefer: 'into' });
    expect(await billing.invoicing.accountCredit({ account: one.account })).toMatchObject({
      credits: [{ amount: '20.00' }],
    });
    const { items } = await billing.invoicing.listInvoices({ account: one.account });
    expect(items).toHaveLength(2);
    // A credit note of the old invoice goes to who pays now.
    await billing.invoicing.createCreditNote({ invoiceId: one.invoiceId, amount: '1.00' });
    expect(await billing.invoicing.accountCredit({ account: one.account })).toMatchObject({
      credits: [{ amount: '21.00' }],
    });
  });
});
