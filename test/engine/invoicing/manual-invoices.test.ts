import { TestClock, type Billing } from '../../../engine';
import { databaseKinds, newSchema, forRules, openOnServer } from '../each-database';

const DAY = 86_400_000;
const START = Date.parse('2027-01-10T12:00:00Z');

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => ({
      code: error.code,
      parameter: error.parameter,
    }),
  );

forRules('invoices by hand', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await catalog.saveOffer({
      sku: 'setup',
      name: 'Set-up',
      price: '25.00',
      currency: 'EUR',
      items: [{ product: 'TOKENS', quantity: 10 }],
    });
    await catalog.saveTaxRate({ key: 'de', name: 'MwSt.', percent: '19', country: 'DE' });
    await catalog.saveTaxRate({ key: 'reduced', name: 'MwSt.', percent: '7' });
  });

  const customer = async (country: string | null = null): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `customer-${counter}` });
    if (country !== null) await billing.accounts.update({ account: accountId, tax: { country } });
    return accountId;
  };

  const draft = async (account: string, unitPrice = '9.99') =>
    billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      items: [{ description: 'Advice', unitPrice }],
    });

  const issued = async (account: string, unitPrice?: string) => {
    const { invoiceId } = await draft(account, unitPrice);
    return billing.invoicing.finalizeInvoice({ invoiceId });
  };

  const balance = async (account: string, name: string): Promise<string | undefined> =>
    (await billing.books.balances({ account })).find((row) => row.account === name)?.balance;

  it('a draft holds items in words and offers; it is taxed and numbered when it is issued', async () => {
    const account = await customer('DE');
    const { invoiceId, ...made } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      items: [
        { description: 'Advice', quantity: '1.5', unitPrice: '80' },
        { sku: 'setup', quantity: 2, discount: '5.00' },
        { description: 'A book', unitPrice: '10.00', taxRate: 'reduced' },
        { description: 'A stamp', unitPrice: '1.00', taxable: false },
      ],
      dueIn: { unit: 'week', count: 2 },
      collection: 'send',
      memo: 'as agreed',
      metadata: { ticket: 7 },
    });
    expect(made).toMatchObject({
      number: null,
      status: 'draft',
      kind: 'manual',
      subtotal: '181.00',
      discount: '5.00',
      total: '176.00',
      memo: 'as agreed',
      metadata: { ticket: 7 },
      replayed: false,
    });
    const invoice = await billing.invoicing.finalizeInvoice({ invoiceId });
    expect(invoice).toMatchObject({
      number: expect.stringMatching(/^INV-\d{6}$/),
      status: 'open',
      net: '176.00',
      // 19 % of 120.00 + 45.00, 7 % of 10.00.
      tax: '32.05',
      total: '208.05',
      amountDue: '208.05',
      dueAt: '2027-01-24T12:00:00.000Z',
      collection: 'send',
      memo: 'as agreed',
      metadata: { ticket: 7 },
      taxes: [
        { key: 'de', percent: '19', net: '165.00', tax: '31.35' },
        { key: 'reduced', percent: '7', net: '10.00', tax: '0.70' },
        { key: null, net: '1.00', tax: '0.00' },
      ],
    });
    expect(invoice.lines.map(({ total }) => total)).toEqual(['142.80', '53.55', '10.70', '1.00']);
    expect(await balance(account, 'receivable')).toBe('208.05000000');
    expect(await balance(account, 'tax_payable')).toBe('-32.05000000');
    expect(await balance(account, 'revenue')).toBe('-176.00000000');
  });

  it('items of a draft are added, changed and taken off', async () => {
    const { invoiceId } = await draft(await customer());
    const added = await billing.invoicing.addItem({ invoiceId, item: { sku: 'setup' } });
    expect(added).toMatchObject({ pending: null, invoice: { total: '34.99' } });
    const [first] = added.invoice!.lines;
    expect(
      await billing.invoicing.updateItem({
        invoiceId,
        lineId: first!.lineId,
        quantity: 3,
        description: 'More advice',
        discount: '0.97',
      }),
    ).toMatchObject({
      total: '54.00',
      lines: [
        { description: 'More advice', quantity: '3', unitPrice: '9.99', net: '29.00' },
        { sku: 'setup' },
      ],
    });
    expect(await billing.invoicing.removeItem({ invoiceId, lineId: added.lineId! })).toMatchObject({
      total: '29.00',
      lines: [{ position: 1 }],
    });
    expect(await billing.invoicing.finalizeInvoice({ invoiceId })).toMatchObject({
      total: '29.00',
      status: 'open',
    });
  });

  it('an issued invoice cannot be edited', async () => {
    const invoice = await issued(await customer());
    const { invoiceId } = invoice;
    const { lineId } = invoice.lines[0]!;
    const refused = { code: 'invoice_state', parameter: 'invoiceId' };
    const item = { description: 'One more', unitPrice: 1 };
    const { invoicing } = billing;
    expect(await failure(invoicing.addItem({ invoiceId, item }))).toEqual(refused);
    expect(await failure(invoicing.updateItem({ invoiceId, lineId, quantity: 2 }))).toEqual(
      refused,
    );
    expect(await failure(invoicing.removeItem({ invoiceId, lineId }))).toEqual(refused);
    expect(await failure(invoicing.deleteDraft({ invoiceId }))).toEqual(refused);
    expect(await failure(invoicing.finalizeInvoice({ invoiceId }))).toEqual(refused);
    const now = await invoicing.getInvoice({ invoiceId });
    expect(now).toMatchObject({ total: '9.99', lines: [{ quantity: '1' }] });
  });

  it('a draft is deleted; an empty one cannot be issued', async () => {
    const { invoiceId } = await draft(await customer());
    expect(await billing.invoicing.deleteDraft({ invoiceId })).toEqual({
      invoiceId,
      deleted: true,
      replayed: false,
    });
    expect(await failure(billing.invoicing.getInvoice({ invoiceId }))).toMatchObject({
      code: 'unknown_invoice',
    });
    const account = await customer();
    const empty = await billing.invoicing.createInvoice({ account, currency: 'EUR' });
    expect(
      await failure(billing.invoicing.finalizeInvoice({ invoiceId: empty.invoiceId })),
    ).toEqual({ code: 'invoice_state', parameter: 'invoiceId' });
    // Refused, and still there.
    expect(await billing.invoicing.getInvoice({ invoiceId: empty.invoiceId })).toMatchObject({
      status: 'draft',
    });
  });

  it('the same key deletes a draft once, and says so again', async () => {
    const { invoiceId } = await draft(await customer());
    const request = { invoiceId, idempotencyKey: 'delete' };
    expect(await billing.invoicing.deleteDraft(request)).toEqual({
      invoiceId,
      deleted: true,
      replayed: false,
    });
    expect(await billing.invoicing.deleteDraft(request)).toEqual({
      invoiceId,
      deleted: true,
      replayed: true,
    });
    for (const other of [{ invoiceId }, { invoiceId, idempotencyKey: 'another' }]) {
      expect(await failure(billing.invoicing.deleteDraft(other))).toEqual({
        code: 'unknown_invoice',
        parameter: 'invoiceId',
      });
    }
  });

  it('an item without a draft waits for the next invoice', async () => {
    const account = await customer();
    expect(
      await billing.invoicing.addItem({
        account,
        currency: 'EUR',
        item: { description: 'Travel', quantity: 2, unitPrice: '30.00' },
      }),
    ).toMatchObject({
      invoice: null,
      pending: { payer: account, amount: '60.00', dueAt: new Date(START).toISOString() },
    });
    await billing.invoicing.createInvoices({ account });
    const { items } = await billing.invoicing.listInvoices({ account });
    expect(items).toMatchObject([
      { status: 'draft', kind: 'cycle', lines: [{ description: 'Travel', total: '60.00' }] },
    ]);
    // A draft of the cycle is edited like one by hand.
    const { invoiceId } = items[0]!;
    await billing.invoicing.addItem({ invoiceId, item: { description: 'Tip', unitPrice: '1' } });
    expect(await billing.invoicing.finalizeInvoice({ invoiceId })).toMatchObject({
      total: '61.00',
    });
  });

  it('what is taken off a draft of the cycle is not billed again, what was on a deleted one is', async () => {
    const account = await customer();
    const add = (description: string) =>
      billing.invoicing.addItem({ account, currency: 'EUR', item: { description, unitPrice: 5 } });
    await add('keep');
    await add('waive');
    await billing.invoicing.createInvoices({ account });
    const [first] = (await billing.invoicing.listInvoices({ account })).items;
    const { invoiceId, lines } = first!;
    const { lineId } = lines.find(({ description }) => description === 'waive')!;
    await billing.invoicing.removeItem({ invoiceId, lineId });
    await billing.invoicing.deleteDraft({ invoiceId });
    await billing.invoicing.createInvoices({ account });
    expect((await billing.invoicing.listInvoices({ account })).items).toMatchObject([
      { lines: [{ description: 'keep' }] },
    ]);
  });

  it('an invoice that was not sent is voided without a credit note; its number stays', async () => {
    const account = await customer('DE');
    const { invoiceId, number } = await issued(account, '100.00');
    expect(await billing.invoicing.voidInvoice({ invoiceId })).toMatchObject({
      status: 'void',
      number,
      amountDue: '0.00',
      creditNoted: '0.00',
      replayed: false,
    });
    expect(await billing.invoicing.voidInvoice({ invoiceId })).toMatchObject({ replayed: true });
    expect((await billing.invoicing.listCreditNotes({ invoiceId })).items).toEqual([]);
    for (const name of ['receivable', 'tax_payable', 'revenue']) {
      expect([name, await balance(account, name)]).toEqual([name, '0.00000000']);
    }
    expect(await failure(billing.invoicing.markPaid({ invoiceId, method: 'cash' }))).toMatchObject({
      code: 'invoice_state',
    });
  });

  it('an invoice that was sent is voided by a whole credit note', async () => {
    const account = await customer('DE');
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      collection: 'send',
      items: [{ description: 'Advice', unitPrice: '100.00' }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    await billing.invoicing.dispatchInvoices({ invoiceIds: [invoiceId] });
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      sentAt: expect.any(String),
    });
    await billing.invoicing.voidInvoice({ invoiceId, reason: 'written twice' });
    const { items } = await billing.invoicing.listCreditNotes({ invoiceId });
    expect(items).toMatchObject([
      {
        number: expect.stringMatching(/^CN-\d{6}$/),
        total: '119.00',
        tax: '19.00',
        reason: 'void',
        note: 'written twice',
        to: { due: '119.00', credit: '0.00', refund: '0.00' },
      },
    ]);
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'void',
      creditNoted: '119.00',
      amountDue: '0.00',
    });
    expect(await balance(account, 'receivable')).toBe('0.00000000');
  });

  it('a void invoice is billed again only when told so', async () => {
    const account = await customer();
    const item = { description: 'Travel', unitPrice: '30.00' };
    await billing.invoicing.addItem({ account, currency: 'EUR', item });
    await billing.invoicing.createInvoices({ account });
    const [first] = (await billing.invoicing.listInvoices({ account })).items;
    await billing.invoicing.finalizeInvoice({ invoiceId: first!.invoiceId });
    await billing.invoicing.voidInvoice({ invoiceId: first!.invoiceId });
    expect(await billing.invoicing.createInvoices({ account })).toMatchObject({ created: 0 });

    await billing.invoicing.addItem({ account, currency: 'EUR', item });
    await billing.invoicing.createInvoices({ account });
    const [second] = (await billing.invoicing.listInvoices({ account })).items;
    await billing.invoicing.finalizeInvoice({ invoiceId: second!.invoiceId });
    await billing.invoicing.voidInvoice({ invoiceId: second!.invoiceId, rebill: true });
    expect(await billing.invoicing.createInvoices({ account })).toMatchObject({ created: 1 });
    const [third] = (await billing.invoicing.listInvoices({ account })).items;
    expect(third).toMatchObject({ status: 'draft', lines: [{ total: '30.00' }] });
  });

  it('use that a void invoice billed is billed again when told so, once', async () => {
    await billing.catalog.saveProduct({ key: 'CALL', name: 'Calls' });
    await billing.catalog.saveOffer({
      sku: 'calls',
      name: 'Calls',
      price: '0.00',
      currency: 'EUR',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [
        {
          product: 'CALL',
          quantity: 10,
          overage: { pricing: { model: 'per_unit', unitPrice: '0.50' } },
        },
      ],
    });
    const account = await customer();
    await billing.subscriptions.start({ account, sku: 'calls', collection: 'send' });
    await billing.ledger.consume({ account, product: 'CALL', amount: 14 });
    clock.set(START + 32 * DAY);
    await billing.invoicing.runBillingCycle();
    const usage = async () =>
      (await billing.invoicing.listInvoices({ account })).items.filter(({ lines }) =>
        lines.some(({ kind }) => kind === 'usage'),
      );
    const [first] = await usage();
    expect(first).toMatchObject({ status: 'open', total: '2.00' });
    await billing.invoicing.voidInvoice({ invoiceId: first!.invoiceId, rebill: true });
    clock.set(START + 63 * DAY);
    await billing.invoicing.runBillingCycle();
    expect(await usage()).toMatchObject([{ status: 'open', total: '2.00' }, { status: 'void' }]);
  });

  it('use of a subscription that is over comes back from a deleted draft, and from a void invoice', async () => {
    const from = clock.now().getTime();
    const account = await customer();
    const { subscriptionId } = await billing.subscriptions.start({
      account,
      sku: 'calls',
      collection: 'send',
    });
    await billing.ledger.consume({ account, product: 'CALL', amount: 14 });
    await billing.subscriptions.cancel({ subscriptionId: subscriptionId!, when: 'period_end' });
    clock.set(from + 32 * DAY);
    await billing.invoicing.createInvoices({ account });
    for (const { invoiceId, status } of (await billing.invoicing.listInvoices({ account })).items) {
      if (status === 'draft') await billing.invoicing.deleteDraft({ invoiceId });
    }
    const totals = async () =>
      (await billing.invoicing.listInvoices({ account })).items
        .filter(({ lines }) => lines.some(({ kind }) => kind === 'usage'))
        .map(({ status, total }) => [status, total]);
    await billing.invoicing.runBillingCycle();
    expect(await totals()).toEqual([['open', '2.00']]);
    const [open] = (await billing.invoicing.listInvoices({ account, status: 'open' })).items;
    await billing.invoicing.voidInvoice({ invoiceId: open!.invoiceId, rebill: true });
    await billing.invoicing.runBillingCycle();
    await billing.invoicing.runBillingCycle();
    expect(await totals()).toEqual([
      ['open', '2.00'],
      ['void', '2.00'],
    ]);
  });

  it('credit of the account that another was merged into pays its drafts', async () => {
    const account = await customer();
    counter += 1;
    const { accountId: from } = await billing.accounts.identify({
      provider: 'shop',
      externalId: `customer-${counter}`,
    });
    await billing.invoicing.addCredit({ account, currency: 'EUR', amount: '50.00' });
    const { invoiceId } = await draft(from, '20.00');
    await billing.accounts.merge({ into: account, from });
    expect(await billing.invoicing.finalizeInvoice({ invoiceId })).toMatchObject({
      status: 'paid',
      credited: '20.00',
      amountDue: '0.00',
    });
    expect(await billing.invoicing.accountCredit({ account })).toMatchObject({
      credits: [{ currency: 'EUR', amount: '30.00' }],
    });
  });

  it('what is written off can still be paid', async () => {
    const account = await customer();
    const { invoiceId } = await issued(account, '40.00');
    expect(await billing.invoicing.markUncollectible({ invoiceId })).toMatchObject({
      status: 'uncollectible',
      amountDue: '40.00',
    });
    expect(await balance(account, 'written_off')).toBe('40.00000000');
    expect(await balance(account, 'receivable')).toBe('0.00000000');
    expect(await billing.invoicing.markPaid({ invoiceId, method: 'cash' })).toMatchObject({
      status: 'paid',
      paid: '40.00',
    });
    expect(await balance(account, 'written_off')).toBe('0.00000000');
    expect(await failure(billing.invoicing.markUncollectible({ invoiceId }))).toMatchObject({
      code: 'invoice_state',
    });
  });

  it('it is paid by hand in parts; what is beyond becomes credit, which pays the next one', async () => {
    const account = await customer();
    const { invoiceId } = await issued(account, '50.00');
    const pay = (amount: string, reference: string) =>
      billing.invoicing.markPaid({ invoiceId, amount, method: 'bank_transfer', reference });
    expect(await pay('20.00', 'tr-1')).toMatchObject({
      status: 'open',
      paid: '20.00',
      amountDue: '30.00',
      replayed: false,
    });
    expect(await pay('20.00', 'tr-1')).toMatchObject({ paid: '20.00', replayed: true });
    expect(await failure(pay('21.00', 'tr-1'))).toEqual({
      code: 'payment_mismatch',
      parameter: 'reference',
    });
    expect(await pay('42.50', 'tr-2')).toMatchObject({ status: 'paid', paid: '50.00' });
    expect(await billing.invoicing.accountCredit({ account })).toEqual({
      account,
      payer: account,
      credits: [{ currency: 'EUR', amount: '12.50' }],
    });
    expect(await issued(account, '20.00')).toMatchObject({
      total: '20.00',
      credited: '12.50',
      amountDue: '7.50',
    });
    expect(await billing.invoicing.accountCredit({ account })).toMatchObject({ credits: [] });
    expect(await balance(account, 'customer_credit')).toBe('0.00000000');
  });

  it('credit that a voided invoice had used comes back', async () => {
    const account = await customer();
    expect(
      await billing.invoicing.addCredit({
        account,
        currency: 'EUR',
        amount: '15.00',
        received: 'bank_transfer',
        reason: 'paid ahead',
      }),
    ).toMatchObject({ credits: [{ amount: '15.00' }] });
    expect(await balance(account, 'cash')).toBe('15.00000000');
    const { invoiceId } = await issued(account, '40.00');
    expect(await billing.invoicing.accountCredit({ account })).toMatchObject({ credits: [] });
    await billing.invoicing.voidInvoice({ invoiceId });
    expect(await billing.invoicing.accountCredit({ account })).toMatchObject({
      credits: [{ amount: '15.00' }],
    });
  });

  it('the same key answers the same, another request under it is a conflict', async () => {
    const account = await customer();
    const request = { account, currency: 'EUR', idempotencyKey: `k-${counter}` };
    const first = await billing.invoicing.createInvoice(request);
    expect(await billing.invoicing.createInvoice(request)).toEqual({ ...first, replayed: true });
    expect(
      await failure(billing.invoicing.createInvoice({ ...request, currency: 'USD' })),
    ).toMatchObject({ code: 'idempotency_conflict' });
  });

  it('a child is invoiced to its parent', async () => {
    const parent = await customer();
    const child = await customer();
    await billing.accounts.attachChild({ parent, child });
    const invoice = await draft(child);
    expect(invoice).toMatchObject({ account: child, payer: parent });
    await billing.invoicing.deleteDraft({ invoiceId: invoice.invoiceId });
  });

  it.each([
    ['money that is none', { currency: 'XXQ' }, 'currency_mismatch', 'currency'],
    ['an item of nothing', { items: [{}] }, 'invalid_input', 'items[0].description'],
    [
      'an item both in words and an offer',
      { items: [{ sku: 'setup', description: 'x', unitPrice: 1 }] },
      'invalid_input',
      'items[0]',
    ],
    [
      'a number that is none',
      { items: [{ description: 'x', unitPrice: 0.1 }] },
      'invalid_input',
      'items[0].unitPrice',
    ],
    [
      'more discount than there is',
      { items: [{ description: 'x', unitPrice: 1, discount: '1.01' }] },
      'invalid_input',
      'items[0].discount',
    ],
    [
      'a discount finer than money',
      { items: [{ description: 'x', unitPrice: 1, discount: '0.001' }] },
      'invalid_input',
      'items[0].discount',
    ],
    ['an offer that there is not', { items: [{ sku: 'nope' }] }, 'unknown_offer', 'items[0].sku'],
    [
      'an offer in other money',
      { currency: 'USD', items: [{ sku: 'setup' }] },
      'currency_mismatch',
      'items[0].sku',
    ],
    [
      'a rate that there is not',
      { items: [{ description: 'x', unitPrice: 1, taxRate: 'nope' }] },
      'invalid_input',
      'taxRate',
    ],
    ['a time to pay in months', { dueIn: { unit: 'month', count: 1 } }, 'invalid_input', 'dueIn'],
  ])('refused: %s', async (_name, wrong, code, parameter) => {
    const account = await customer();
    const request = { account, currency: 'EUR', ...wrong } as never;
    expect(await failure(billing.invoicing.createInvoice(request))).toEqual({ code, parameter });
    expect((await billing.invoicing.listInvoices({ account })).items).toEqual([]);
  });

  it('refused: what is paid later than now, and invoices that there are not', async () => {
    const { invoiceId } = await issued(await customer());
    const paidAt = new Date(START + 365 * DAY).toISOString();
    expect(
      await failure(billing.invoicing.markPaid({ invoiceId, method: 'cash', paidAt })),
    ).toEqual({ code: 'invalid_input', parameter: 'paidAt' });
    for (const unknown of ['nonsense', '01948b5c-4c00-7000-8000-000000000002']) {
      expect(await failure(billing.invoicing.voidInvoice({ invoiceId: unknown }))).toMatchObject({
        code: 'unknown_invoice',
      });
    }
  });
});

if (databaseKinds.includes('server')) {
  describe('invoices by hand at once (server)', () => {
    it('numbers have no gap, and a payment counts once', async () => {
      const billing = await openOnServer({ schema: newSchema(), poolSize: 10 });
      try {
        const made = await Promise.all(
          Array.from({ length: 12 }, async (_, index) => {
            const { accountId } = await billing.accounts.identify({ externalId: `c-${index}` });
            const { invoiceId } = await billing.invoicing.createInvoice({
              account: accountId,
              currency: 'EUR',
              items: [{ description: 'Advice', unitPrice: '10.00' }],
            });
            return billing.invoicing.finalizeInvoice({ invoiceId });
          }),
        );
        const expected = Array.from(
          { length: 12 },
          (_, index) => `INV-${String(index + 1).padStart(6, '0')}`,
        );
        expect(made.map(({ number }) => number).sort()).toEqual(expected);
        const { invoiceId } = made[0]!;
        const paid = await Promise.all(
          Array.from({ length: 6 }, () =>
            billing.invoicing.markPaid({ invoiceId, method: 'cash', reference: 'receipt 1' }),
          ),
        );
        expect(paid.filter(({ replayed }) => !replayed)).toHaveLength(1);
        expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({ paid: '10.00' });
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });
  });
}
