import { extractText, getDocumentProxy } from 'unpdf';

import { TestClock, type Billing } from '../../../engine';
import { forRules } from '../each-database';

/** What people see of each kind of line, on HTML and PDF. */
forRules('lines of papers', (database) => {
  let clock: TestClock;
  let billing: Billing;
  let account: string;

  beforeEach(async () => {
    clock = new TestClock('2027-11-30T09:00:00Z');
    billing = await database.open(clock);
    await billing.invoicing.saveSettings({ locale: 'en-US' });
    await billing.catalog.saveProduct({ key: 'CREDIT', name: 'Credits', unit: 'credit' });
    const plan = {
      currency: 'EUR',
      billing: 'recurring' as const,
      interval: { unit: 'month' as const, count: 1 },
      collect: { bill: 'arrears' as const },
      items: [
        {
          product: 'CREDIT',
          quantity: 300,
          step: { size: 1_000, price: '7.99' },
          overage: { pricing: { model: 'per_unit' as const, unitPrice: '0.05' } },
        },
      ],
    };
    await billing.catalog.saveOffer({ ...plan, sku: 'small', name: 'Small plan', price: '30.00' });
    const advance = { ...plan, collect: { bill: 'advance' as const } };
    await billing.catalog.saveOffer({ ...advance, sku: 'ahead', name: 'Ahead', price: '30.00' });
    await billing.catalog.saveOffer({ ...advance, sku: 'big', name: 'Big plan', price: '60.00' });
    await billing.catalog.saveOffer({
      sku: 'setup',
      name: 'Set-up',
      price: '15.00',
      currency: 'EUR',
      items: [{ product: 'CREDIT', quantity: 10 }],
    });
    account = (await billing.accounts.identify({ externalId: 'ada', name: 'Ada' })).accountId;
  });

  const subscribe = async (sku: string, quantity = 1): Promise<string> => {
    const request = { account, sku, quantity, collection: 'send' as const };
    const started = await billing.subscriptions.start(request);
    if (!started.allowed) throw new Error(started.reason);
    return started.subscriptionId;
  };

  const html = async (request: { invoiceId: string } | { creditNoteId: string }) =>
    (await billing.invoicing.renderInvoice({ ...request, format: 'html' })).content
      .replaceAll('&#x3D;', '=')
      .replace(/\s+/g, ' ');

  const pdf = async (
    request: { invoiceId: string } | { creditNoteId: string },
  ): Promise<string> => {
    const { content } = await billing.invoicing.renderInvoice({ ...request, format: 'pdf' });
    const bytes = new Uint8Array(Buffer.from(content, 'base64'));
    const { text } = await extractText(await getDocumentProxy(bytes), { mergePages: true });
    return text.replace(/\s+/g, ' ');
  };

  /** Description, details, quantity, unit price, amount. */
  const rowsOf = async (
    request: { invoiceId: string } | { creditNoteId: string },
  ): Promise<string[]> => {
    const [, table] = /<tbody>(.*?)<\/tbody>/.exec(await html(request))!;
    return [...table!.matchAll(/<tr>(.*?)<\/tr>/g)].map(([, row]) =>
      row!
        .replaceAll('<small>', ' | ')
        .replaceAll('</td><td>', ' || ')
        .replace(/<[^>]*>/g, ''),
    );
  };

  /** The rows of the HTML are these, in whatever order, and the PDF has each. */
  const expectRows = async (
    request: { invoiceId: string } | { creditNoteId: string },
    rows: readonly string[],
  ): Promise<void> => {
    expect((await rowsOf(request)).toSorted()).toEqual(rows.toSorted());
    const text = await pdf(request);
    for (const row of rows) expect(text).toContain(row.replace(/[ |]+/g, ' '));
  };

  const invoices = async () => (await billing.invoicing.listInvoices({ account })).items;

  test('fee, steps and use: how many of what, at which price, and the days that were had', async () => {
    const subscriptionId = await subscribe('small', 2);
    await billing.subscriptions.addSteps({ subscriptionId, product: 'CREDIT', steps: 2 });
    expect(
      await billing.ledger.consume({ account, product: 'CREDIT', amount: 2_700 }),
    ).toMatchObject({ allowed: true, overage: '100' });
    clock.set('2027-12-30T09:00:00Z');
    await billing.invoicing.runBillingCycle();
    const { invoiceId } = (await invoices())[0]!;
    const days = 'November 30 – December 29, 2027';
    await expectRows({ invoiceId }, [
      `Small plan | ${days} || 2 || €30.00 || €60.00`,
      `Credits, extra | 2 × 1,000 = 2,000 credit | ${days} || 2 || €7.99 || €15.98`,
      `Credits, usage | ${days} || 100 credit || €0.05 || €5.00`,
    ]);
  });

  test('credit and charge of a change name the days that are left', async () => {
    const subscriptionId = await subscribe('ahead');
    await billing.invoicing.runBillingCycle();
    const [first] = await invoices();
    await billing.invoicing.markPaid({ invoiceId: first!.invoiceId, method: 'cash' });
    clock.set('2027-12-15T09:00:00Z');
    await billing.subscriptions.change({ subscriptionId, sku: 'big' });
    await billing.invoicing.runBillingCycle();
    const latest = (await invoices()).find(({ invoiceId }) => invoiceId !== first!.invoiceId)!;
    await expectRows({ invoiceId: latest.invoiceId }, [
      'Ahead: Credit for unused time | December 15 – 29, 2027 || 1 ||  || -€15.00',
      'Big plan, part of a period | December 15 – 29, 2027 || 1 || €30.00 || €30.00',
    ]);
  });

  test('lines by hand, and what a credit note takes back', async () => {
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      collection: 'send',
      items: [{ description: 'Advice', quantity: '2.5', unitPrice: '100.00' }],
    });
    await billing.invoicing.addItem({ invoiceId, item: { sku: 'setup', quantity: 3 } });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    await expectRows({ invoiceId }, [
      'Advice || 2.5 || €100.00 || €250.00',
      'Set-up || 3 || €15.00 || €45.00',
    ]);
    const { creditNoteId } = await billing.invoicing.createCreditNote({
      invoiceId,
      lines: [
        { position: 1, amount: '50.00' },
        { position: 2, amount: '15.00' },
      ],
    });
    await expectRows({ creditNoteId }, ['Advice ||  ||  || €50.00', 'Set-up ||  ||  || €15.00']);
  });

  test.each([
    ['VAT', '19', 'VAT 19% ('],
    ['USt 19 %', '19', 'USt 19 % ('],
    ['TVA 8,5%', '8.5', 'TVA 8,5% ('],
    ['Tax (50 % reduced)', '5', 'Tax (50 % reduced) 5% ('],
  ])('a rate called "%s" of %s percent says its percent once', async (name, percent, label) => {
    await billing.catalog.saveTaxRate({ key: 'rate', name, percent });
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      collection: 'send',
      items: [{ description: 'Advice', unitPrice: '100.00', taxRate: 'rate' }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId });
    expect(await html({ invoiceId })).toContain(`>${label}`);
    expect(await pdf({ invoiceId })).toContain(label);
  });

  test('what is paid has not the colour of what is void', async () => {
    const issue = async (): Promise<string> => {
      const items = [{ description: 'Advice', unitPrice: '100.00' }];
      const request = { account, currency: 'EUR', collection: 'send' as const, items };
      const { invoiceId } = await billing.invoicing.createInvoice(request);
      await billing.invoicing.finalizeInvoice({ invoiceId });
      return invoiceId;
    };
    const paid = await issue();
    await billing.invoicing.markPaid({ invoiceId: paid, method: 'cash' });
    expect(await html({ invoiceId: paid })).toContain('<span class="mark">Paid</span>');
    const off = await issue();
    await billing.invoicing.voidInvoice({ invoiceId: off });
    expect(await html({ invoiceId: off })).toContain('<span class="mark off">Void</span>');
  });
});
