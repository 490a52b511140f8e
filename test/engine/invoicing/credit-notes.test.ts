import { TestClock, type Billing } from '../../../engine';
import { databaseKinds, newSchema, forRules, openOnServer } from '../each-database';

const DAY = 86_400_000;
const START = Date.parse('2027-03-01T09:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

forRules('credit notes', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, undefined, { testGateway: true });
    await billing.catalog.saveTaxRate({ key: 'de', name: 'MwSt.', percent: '19', country: 'DE' });
    await billing.catalog.saveProduct({ key: 'SEAT', name: 'Seat', kind: 'period' });
    await billing.catalog.saveOffer({
      sku: 'monthly',
      name: 'Monthly',
      price: '31.00',
      currency: 'EUR',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'SEAT' }],
    });
  });

  const customer = async (country: string | null = 'DE'): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `customer-${counter}` });
    if (country !== null) await billing.accounts.update({ account: accountId, tax: { country } });
    return accountId;
  };

  const issued = async (account: string, ...prices: string[]) => {
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      collection: 'send',
      items: prices.map((unitPrice, index) => ({ description: `Item ${index + 1}`, unitPrice })),
    });
    return billing.invoicing.finalizeInvoice({ invoiceId });
  };

  const balance = async (account: string, name: string): Promise<string | undefined> =>
    (await billing.books.balances({ account })).find((row) => row.account === name)?.balance;

  /** The invoice of a second period, which nobody has paid; the first was. */
  const owedForMonth = async (account: string) => {
    clock.set(START);
    await billing.subscriptions.start({ account, sku: 'monthly', collection: 'send' });
    await billing.invoicing.runBillingCycle();
    const [first] = (await billing.invoicing.listInvoices({ account })).items;
    await billing.invoicing.markPaid({ invoiceId: first!.invoiceId, method: 'cash' });
    clock.set(START + 31 * DAY);
    await billing.invoicing.runBillingCycle();
    return (await billing.invoicing.listInvoices({ account, status: 'open' })).items[0]!;
  };

  it('lowers what is due, net and tax by the line, in a series of its own', async () => {
    const account = await customer();
    const { invoiceId } = await issued(account, '10.00', '20.01');
    const note = await billing.invoicing.createCreditNote({
      invoiceId,
      lines: [{ position: 2, amount: '11.90' }],
      reason: 'late',
    });
    expect(note).toMatchObject({
      number: expect.stringMatching(/^CN-\d{6}$/),
      invoiceId,
      net: '10.00',
      tax: '1.90',
      total: '11.90',
      to: { due: '11.90', credit: '0.00', refund: '0.00' },
      reason: 'correction',
      note: 'late',
      lines: [{ position: 2, net: '10.00', tax: '1.90', total: '11.90' }],
      taxes: [{ key: 'de', percent: '19', net: '10.00', tax: '1.90' }],
      replayed: false,
    });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'open',
      total: '35.71',
      creditNoted: '11.90',
      amountDue: '23.81',
    });
    expect(await balance(account, 'receivable')).toBe('23.81000000');
    expect(await balance(account, 'tax_payable')).toBe('-3.80000000');
    const { creditNoteId } = note;
    const { replayed: _replayed, ...record } = note;
    expect(await billing.invoicing.getCreditNote({ creditNoteId })).toEqual(record);
    // The rest of the line is its rest, to the cent.
    await billing.invoicing.createCreditNote({ invoiceId, lines: [{ position: 2 }] });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      amountDue: '11.90',
    });
    expect((await billing.invoicing.listCreditNotes({ account })).items).toMatchObject([
      { total: '11.91' },
      { total: '11.90' },
    ]);
  });

  it('a whole one settles the invoice; no line and no sum is taken back twice', async () => {
    const account = await customer();
    const { invoiceId } = await issued(account, '10.00', '20.00');
    await billing.invoicing.createCreditNote({ invoiceId, lines: [{ position: 1 }] });
    const exceeds = { code: 'refund_exceeds_paid', parameter: 'amount' };
    const { createCreditNote } = billing.invoicing;
    expect(await failure(createCreditNote({ invoiceId, lines: [{ position: 1 }] }))).toEqual(
      exceeds,
    );
    expect(
      await failure(createCreditNote({ invoiceId, lines: [{ position: 2, amount: '23.81' }] })),
    ).toEqual(exceeds);
    expect(await failure(createCreditNote({ invoiceId, amount: '23.81' }))).toEqual(exceeds);
    expect(await createCreditNote({ invoiceId })).toMatchObject({ total: '23.80' });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'paid',
      paid: '0.00',
      creditNoted: '35.70',
      amountDue: '0.00',
    });
    expect(await failure(createCreditNote({ invoiceId }))).toEqual(exceeds);
    for (const name of ['receivable', 'tax_payable', 'revenue']) {
      expect([name, await balance(account, name)]).toEqual([name, '0.00000000']);
    }
  });

  it('of a paid invoice it becomes account credit; of one paid in part, what is due goes first', async () => {
    const account = await customer(null);
    const { invoiceId } = await issued(account, '40.00');
    await billing.invoicing.markPaid({ invoiceId, amount: '30.00', method: 'bank_transfer' });
    expect(
      await failure(billing.invoicing.createCreditNote({ invoiceId, amount: 31, to: 'credit' })),
    ).toMatchObject({ code: 'refund_exceeds_paid' });
    expect(
      await billing.invoicing.createCreditNote({ invoiceId, amount: '25.00', to: 'due' }),
    ).toMatchObject({ to: { due: '10.00', credit: '15.00', refund: '0.00' } });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'paid',
      amountDue: '0.00',
    });
    expect(await billing.invoicing.createCreditNote({ invoiceId, amount: '5.00' })).toMatchObject({
      to: { due: '0.00', credit: '5.00', refund: '0.00' },
    });
    expect(await billing.invoicing.accountCredit({ account })).toMatchObject({
      credits: [{ currency: 'EUR', amount: '20.00' }],
    });
    expect(await balance(account, 'customer_credit')).toBe('-20.00000000');
    expect(await balance(account, 'receivable')).toBe('0.00000000');
  });

  it('what a fee has not earned yet is taken out of what is deferred', async () => {
    const account = await customer(null);
    const invoice = await owedForMonth(account);
    expect(invoice).toMatchObject({ status: 'open', total: '31.00' });
    clock.set(START + 41 * DAY);
    await billing.invoicing.createCreditNote({ invoiceId: invoice.invoiceId });
    expect(await balance(account, 'deferred')).toBe('0.00000000');
    // The month before.
    expect(await balance(account, 'revenue')).toBe('-31.00000000');
    expect(await balance(account, 'receivable')).toBe('0.00000000');
  });

  it('what a fee has not earned yet is taken back from whom it went to in a merge', async () => {
    clock.set(START);
    const account = await customer(null);
    counter += 1;
    const { accountId: from } = await billing.accounts.identify({
      provider: 'shop',
      externalId: `customer-${counter}`,
    });
    const { invoiceId } = await owedForMonth(from);
    clock.set(START + 41 * DAY);
    await billing.accounts.merge({ into: account, from });
    await billing.invoicing.createCreditNote({ invoiceId });
    clock.set(START + 51 * DAY);
    await billing.runDue();
    for (const name of ['receivable', 'deferred']) {
      expect([name, await balance(account, name)]).toEqual([name, '0.00000000']);
    }
    // The month before.
    expect(await balance(account, 'revenue')).toBe('-31.00000000');
  });

  it('the same key answers the same', async () => {
    const { invoiceId } = await issued(await customer(), '10.00');
    const request = { invoiceId, amount: '5.00', idempotencyKey: 'once' };
    const first = await billing.invoicing.createCreditNote(request);
    expect(await billing.invoicing.createCreditNote(request)).toEqual({ ...first, replayed: true });
    expect(
      await failure(billing.invoicing.createCreditNote({ ...request, amount: '6.00' })),
    ).toMatchObject({ code: 'idempotency_conflict' });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      creditNoted: '5.00',
    });
  });

  it('refused: drafts, what is void, amounts that say nothing, and what there is not', async () => {
    const account = await customer();
    const { createCreditNote } = billing.invoicing;
    const draft = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      items: [{ description: 'x', unitPrice: '10.00' }],
    });
    expect(await failure(createCreditNote({ invoiceId: draft.invoiceId }))).toMatchObject({
      code: 'invoice_state',
    });
    await billing.invoicing.finalizeInvoice({ invoiceId: draft.invoiceId });
    await billing.invoicing.voidInvoice({ invoiceId: draft.invoiceId });
    expect(await failure(createCreditNote({ invoiceId: draft.invoiceId }))).toMatchObject({
      code: 'invoice_state',
    });
    const { invoiceId } = await issued(account, '10.00', '20.00');
    expect(await failure(createCreditNote({ invoiceId, amount: '7.00' }))).toEqual({
      code: 'refund_ambiguous',
      parameter: 'line',
    });
    expect(await failure(createCreditNote({ invoiceId, amount: '0.001' }))).toMatchObject({
      code: 'invalid_input',
      parameter: 'amount',
    });
    expect(await failure(createCreditNote({ invoiceId, amount: 0 }))).toMatchObject({
      code: 'invalid_input',
    });
    expect(await failure(createCreditNote({ invoiceId, lines: [{ position: 3 }] }))).toMatchObject({
      code: 'invalid_input',
      parameter: 'line',
    });
    const twice = [{ position: 1 }, { position: 1 }];
    expect(await failure(createCreditNote({ invoiceId, lines: twice }))).toMatchObject({
      code: 'invalid_input',
      parameter: 'lines',
    });
    const both = { invoiceId, lines: [{ position: 1 }, { position: 2 }], amount: 5 };
    expect(await failure(createCreditNote(both))).toMatchObject({
      code: 'invalid_input',
      parameter: 'amount',
    });
    for (const creditNoteId of ['nonsense', '01948b5c-4c00-7000-8000-000000000002']) {
      expect(await failure(billing.invoicing.getCreditNote({ creditNoteId }))).toEqual({
        code: 'unknown_invoice',
        parameter: 'creditNoteId',
      });
    }
    expect((await billing.invoicing.listCreditNotes({ invoiceId })).items).toEqual([]);
  });
});

if (databaseKinds.includes('server')) {
  it('credit notes at once never take back more than there is, and leave no gap', async () => {
    const billing = await openOnServer({ schema: newSchema(), poolSize: 10 });
    try {
      const { accountId } = await billing.accounts.identify({ externalId: 'c' });
      const { invoiceId } = await billing.invoicing.createInvoice({
        account: accountId,
        currency: 'EUR',
        items: [{ description: 'Advice', unitPrice: '10.00' }],
      });
      await billing.invoicing.finalizeInvoice({ invoiceId });
      const done = await Promise.allSettled(
        Array.from({ length: 8 }, () =>
          billing.invoicing.createCreditNote({ invoiceId, amount: '3.00' }),
        ),
      );
      expect(done.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
      const { items } = await billing.invoicing.listCreditNotes({ invoiceId });
      expect(items.map(({ number }) => number)).toEqual(['CN-000003', 'CN-000002', 'CN-000001']);
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    } finally {
      await billing.close();
    }
  });
}
