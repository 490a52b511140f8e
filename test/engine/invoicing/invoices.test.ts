import { TestClock, type Billing, type Invoice } from '../../../engine';
import { onEachDatabase } from '../each-database';
import { invoicesOf, payOpen } from '../subscriptions/monthly-plans';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** What of an invoice most tests look at. */
const shown = (invoice: Pick<Invoice, 'number' | 'status' | 'total' | 'lines'>) => ({
  number: invoice.number,
  status: invoice.status,
  total: invoice.total,
  lines: invoice.lines.map(
    (line) => `${line.kind} ${line.product ?? line.sku} ${line.quantity} ${line.subtotal}`,
  ),
});

onEachDatabase('invoices', (database) => {
  let counter = 0;

  /** A catalog of its own for each test: series of numbers are shared by all that there is. */
  async function setUp(at: string, options: Parameters<typeof database.open>[2] = {}) {
    const clock = new TestClock(at);
    const billing = await database.open(clock, undefined, options);
    await billing.catalog.saveProduct({
      key: 'MSG',
      name: 'Messages',
      unit: 'message',
      lowBalanceThreshold: 200,
    });
    await billing.catalog.saveProduct({ key: 'CREDIT', name: 'Credits' });
    return { clock, billing };
  }

  async function person(billing: Billing, more: { timeZone?: string; name?: string } = {}) {
    counter += 1;
    const { timeZone, ...identify } = more;
    const { accountId } = await billing.accounts.identify({
      provider: 'app',
      externalId: `person-${counter}`,
      ...identify,
    });
    if (timeZone !== undefined) await billing.accounts.update({ account: accountId, timeZone });
    return accountId;
  }

  const plan = (billing: Billing, more: Record<string, unknown> = {}) =>
    billing.catalog.saveOffer({
      sku: 'plan',
      name: 'The plan',
      price: '30.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'MSG', quantity: 1000 }],
      ...more,
    } as never);

  test('I1: flat rate, steps and a reset after dispatch', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing, {
      sku: 'flat',
      price: '9.99',
      collect: { bill: 'arrears' },
      items: [{ product: 'MSG', quantity: 1000, step: { size: 1000, price: '7.99' } }],
    });
    const account = await person(billing);
    const started = await billing.subscriptions.start({ account, sku: 'flat', collection: 'send' });
    expect(started).toMatchObject({ allowed: true, status: 'active' });
    const { subscriptionId } = started as { subscriptionId: string };
    await billing.subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 2 });
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '3000',
    });
    await billing.ledger.consume({ account, product: 'MSG', amount: 2700 });
    await billing.ledger.consume({ account, product: 'MSG', amount: 150 });
    await billing.ledger.consume({ account, product: 'MSG', amount: 50 });
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '100',
    });
    const { events } = await billing.events.poll({
      reader: 'all',
      from: 'beginning',
      types: ['quota.low'],
    });
    expect(events).toHaveLength(1);

    clock.set('2027-02-01T00:00:00Z');
    expect(await billing.invoicing.createInvoices()).toMatchObject({ created: 1, drafts: 1 });
    expect(await billing.invoicing.dispatchInvoices()).toMatchObject({
      issued: 1,
      sent: 1,
      failed: 0,
    });
    const [invoice, ...others] = await invoicesOf(billing, account);
    expect(others).toEqual([]);
    expect(shown(invoice!)).toEqual({
      number: 'INV-000001',
      status: 'open',
      total: '25.97',
      lines: ['fee flat 1 9.99', 'step MSG 2 15.98'],
    });
    await billing.invoicing.resetProducts();
    await billing.invoicing.restoreProducts();
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '1000',
    });
  });

  test('I2: drafts are made once, dispatched and charged once, and none for a free trial alone', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z', { testGateway: true });
    await plan(billing);
    await plan(billing, {
      sku: 'tried',
      trialPhases: [
        {
          price: '0',
          length: { unit: 'day', count: 14 },
          items: [{ product: 'MSG', quantity: 5 }],
        },
      ],
    });
    const payer = await person(billing);
    const trying = await person(billing);
    await billing.payments.saveMethod({ account: payer, gateway: 'test', token: 'test_ok' });
    await billing.subscriptions.start({ account: payer, sku: 'plan' });
    await billing.subscriptions.start({ account: trying, sku: 'tried' });

    expect(await billing.invoicing.createInvoices()).toMatchObject({
      created: 1,
      items: 1,
      drafts: 1,
    });
    expect(await billing.invoicing.createInvoices()).toMatchObject({
      created: 0,
      items: 0,
      drafts: 1,
    });
    const [draft] = await invoicesOf(billing, payer);
    expect(draft).toMatchObject({ status: 'draft', number: null, total: '30.00', issuedAt: null });
    expect(await billing.invoicing.dispatchInvoices()).toMatchObject({
      issued: 1,
      paid: 1,
      sent: 1,
      failed: 0,
    });
    expect(await billing.invoicing.dispatchInvoices()).toMatchObject({
      issued: 0,
      paid: 0,
      sent: 0,
    });
    expect(await billing.payments.attempts({ account: payer })).toMatchObject({
      items: [{ status: 'succeeded', amount: '30.00' }],
    });
    expect(await invoicesOf(billing, payer)).toMatchObject([
      { status: 'paid', paid: '30.00', amountDue: '0.00' },
    ]);
    expect(await invoicesOf(billing, trying)).toEqual([]);
    expect(await billing.ledger.balance({ account: payer, product: 'MSG' })).toMatchObject({
      available: '1000',
    });
    clock.advance(HOUR);
    expect(await billing.invoicing.runBillingCycle()).toMatchObject({
      created: { created: 0 },
      dispatched: { issued: 0 },
    });
  });

  test('I2: an invoice of 0.00 is issued as paid, and nobody is charged', async () => {
    const { billing } = await setUp('2027-01-01T00:00:00Z', { testGateway: true });
    await plan(billing);
    await billing.catalog.saveCoupon({ code: 'FREE', percent: '100', duration: 'forever' });
    const account = await person(billing);
    await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
    await billing.subscriptions.start({ account, sku: 'plan', coupon: 'FREE' });
    await billing.invoicing.createInvoices();
    expect(await billing.invoicing.dispatchInvoices()).toMatchObject({ issued: 1, paid: 1 });
    expect(await invoicesOf(billing, account)).toMatchObject([
      { status: 'paid', subtotal: '30.00', discount: '30.00', total: '0.00', amountDue: '0.00' },
    ]);
    expect(await billing.payments.attempts({ account })).toMatchObject({ items: [] });
    const { events } = await billing.events.poll({
      reader: 'all',
      from: 'beginning',
      types: ['invoice.issued', 'invoice.paid', 'invoice.sent'],
    });
    expect(events.map(({ type }) => type)).toEqual([
      'invoice.issued',
      'invoice.paid',
      'invoice.sent',
    ]);
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '1000',
    });
  });

  test("I4: a child's use draws on the parent's units, and lands on the parent's invoice as the child's", async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing, {
      items: [
        {
          product: 'MSG',
          quantity: 100,
          overage: { pricing: { model: 'per_unit', unitPrice: '0.05' } },
        },
      ],
      collect: { bill: 'arrears' },
    });
    const parent = await person(billing, { name: 'Parent Ltd' });
    const child = await person(billing, { name: 'Child A' });
    await billing.accounts.attachChild({ parent, child });
    await billing.subscriptions.start({ account: parent, sku: 'plan', collection: 'send' });
    await billing.ledger.consume({ account: child, product: 'MSG', amount: 90 });
    expect(
      await billing.ledger.consume({ account: parent, product: 'MSG', amount: 30 }),
    ).toMatchObject({
      allowed: true,
      overage: '20',
    });
    expect(
      await billing.ledger.consume({ account: child, product: 'MSG', amount: 5 }),
    ).toMatchObject({
      overage: '5',
    });
    clock.set('2027-02-01T00:00:00Z');
    await billing.invoicing.createInvoices();
    await billing.invoicing.dispatchInvoices();
    const [invoice] = await invoicesOf(billing, parent);
    expect(invoice).toMatchObject({ payer: parent, total: '31.25' });
    expect(
      invoice!.lines.map(({ kind, account, quantity, subtotal }) => [
        kind,
        account,
        quantity,
        subtotal,
      ]),
    ).toEqual([
      ['fee', parent, '1', '30.00'],
      ...[
        ['usage', parent, '20', '1.00'],
        ['usage', child, '5', '0.25'],
      ].toSorted((a, b) => a[1]!.localeCompare(b[1]!)),
    ]);
    expect(await invoicesOf(billing, child)).toEqual([]);
  });

  test('I6: a month that was missed is billed when the job next runs, once', async () => {
    const { billing, clock } = await setUp('2027-01-31T10:00:00Z');
    await plan(billing);
    const account = await person(billing, { timeZone: 'Europe/Berlin' });
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    await billing.invoicing.runBillingCycle();
    await payOpen(billing, account, 'cash');
    clock.set('2027-04-02T00:00:00Z');
    expect(await billing.invoicing.runBillingCycle()).toMatchObject({
      created: { created: 2, items: 2 },
      dispatched: { issued: 2 },
    });
    expect(await billing.invoicing.runBillingCycle()).toMatchObject({
      created: { created: 0 },
      dispatched: { issued: 0 },
    });
    const invoices = await invoicesOf(billing, account);
    expect(invoices.map(({ number, total, periodStart }) => [number, total, periodStart])).toEqual([
      ['INV-000001', '30.00', '2027-01-31T10:00:00.000Z'],
      ['INV-000002', '30.00', '2027-02-28T10:00:00.000Z'],
      // Summer time began on 28 March.
      ['INV-000003', '30.00', '2027-03-31T09:00:00.000Z'],
    ]);
  });

  test('S7: 1.00, 50.00, 99.00 and 99.00 on the right days', async () => {
    const { billing, clock } = await setUp('2027-03-01T08:00:00Z', { testGateway: true });
    await plan(billing, {
      sku: 'tripwire',
      price: '99.00',
      items: [{ product: 'CREDIT', quantity: 25 }],
      trialPhases: [
        {
          price: '1.00',
          length: { unit: 'day', count: 15 },
          items: [{ product: 'CREDIT', quantity: 10 }],
        },
        {
          price: '50.00',
          length: { unit: 'month', count: 1 },
          items: [{ product: 'CREDIT', quantity: 25 }],
        },
      ],
    });
    const account = await person(billing);
    await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
    await billing.subscriptions.start({ account, sku: 'tripwire' });
    const balances: unknown[] = [];
    for (let day = 0; day < 80; day += 1) {
      await billing.invoicing.runBillingCycle();
      const { available } = await billing.ledger.balance({ account, product: 'CREDIT' });
      if (balances.at(-1) !== available) balances.push(available);
      clock.advance(DAY);
    }
    const invoices = await invoicesOf(billing, account);
    expect(
      invoices.map(({ total, status, issuedAt }) => [total, status, issuedAt!.slice(0, 10)]),
    ).toEqual([
      ['1.00', 'paid', '2027-03-01'],
      ['50.00', 'paid', '2027-03-16'],
      ['99.00', 'paid', '2027-04-16'],
      ['99.00', 'paid', '2027-05-16'],
    ]);
    expect(balances).toEqual(['10', '25']);
    const { items } = await billing.subscriptions.list({ account });
    await billing.subscriptions.cancel({ subscriptionId: items[0]!.subscriptionId, when: 'now' });
    expect(
      await billing.subscriptions.start({ account, sku: 'tripwire', trial: true }),
    ).toMatchObject({
      allowed: false,
      reason: 'trial_already_used',
    });
  });

  test('I7: an upgrade in mid-period is a credit and a charge on one invoice', async () => {
    const { billing, clock } = await setUp('2027-04-01T00:00:00Z', { testGateway: true });
    await plan(billing);
    await plan(billing, {
      sku: 'bigger',
      name: 'Bigger',
      price: '60.00',
      items: [{ product: 'MSG', quantity: 3000 }],
    });
    const account = await person(billing);
    await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
    const started = await billing.subscriptions.start({ account, sku: 'plan' });
    await billing.invoicing.runBillingCycle();
    clock.set('2027-04-16T00:00:00Z');
    await billing.subscriptions.change({
      subscriptionId: (started as { subscriptionId: string }).subscriptionId,
      sku: 'bigger',
      mode: 'prorate',
    });
    await billing.invoicing.runBillingCycle();
    const [, upgrade, ...others] = await invoicesOf(billing, account);
    expect(others).toEqual([]);
    expect(upgrade).toMatchObject({ status: 'paid', total: '15.00' });
    expect(upgrade!.lines.map(({ kind, subtotal }) => [kind, subtotal])).toEqual([
      ['proration_credit', '-15.00'],
      ['proration_charge', '30.00'],
    ]);
  });

  test('late use comes on the next invoice, and names its period', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing, {
      items: [
        {
          product: 'MSG',
          quantity: 10,
          overage: {
            pricing: {
              model: 'graduated',
              tiers: [{ upTo: 100, unitPrice: '0.10' }, { unitPrice: '0.05' }],
            },
          },
        },
      ],
    });
    const account = await person(billing);
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    await billing.invoicing.runBillingCycle();
    const [first] = await invoicesOf(billing, account);
    await billing.invoicing.markPaid({
      invoiceId: first!.invoiceId,
      reference: 'w-1',
      method: 'bank_transfer',
    });
    const use = await billing.ledger.consume({ account, product: 'MSG', amount: 130 });
    expect(use).toMatchObject({ allowed: true, overage: '120' });

    clock.set('2027-02-01T00:00:00Z');
    await billing.invoicing.runBillingCycle();
    const [, second] = await invoicesOf(billing, account);
    expect(shown(second!)).toMatchObject({
      lines: ['fee plan 1 30.00', 'usage MSG 120 11.00'],
      total: '41.00',
    });

    // Taken back after it was billed: 40 fewer in January.
    clock.set('2027-02-10T00:00:00Z');
    await billing.ledger.restore({ entryId: use.entryId!, amount: 40 });
    await billing.ledger.consume({ account, product: 'MSG', amount: 10 });
    clock.set('2027-03-01T00:00:00Z');
    await billing.invoicing.runBillingCycle();
    const [, , third] = await invoicesOf(billing, account);
    const late = third!.lines.find(({ kind }) => kind === 'usage');
    expect(late).toMatchObject({
      quantity: '-40',
      // 120 cost 11.00, 80 cost 8.00.
      subtotal: '-3.00',
      periodNumber: 1,
      periodStart: '2027-01-01T00:00:00.000Z',
      periodEnd: '2027-02-01T00:00:00.000Z',
    });
  });

  test('two currencies make two invoices, and another zone is billed at its own midnight', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing);
    await plan(billing, {
      sku: 'euro',
      currency: 'EUR',
      price: '20.00',
      items: [{ product: 'CREDIT', quantity: 1 }],
    });
    const account = await person(billing, { timeZone: 'Pacific/Kiritimati' });
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    await billing.subscriptions.start({ account, sku: 'euro', collection: 'send' });
    clock.set('2027-01-31T23:59:59.999Z');
    await billing.invoicing.runBillingCycle();
    expect(await invoicesOf(billing, account)).toHaveLength(2);
    await payOpen(billing, account, 'cash');
    clock.set('2027-02-01T00:00:00Z');
    expect(await billing.invoicing.runBillingCycle()).toMatchObject({ dispatched: { issued: 2 } });
    const invoices = await invoicesOf(billing, account);
    expect(
      invoices
        .map(({ currency, total, periodStart }) => `${currency} ${total} ${periodStart}`)
        .toSorted(),
    ).toEqual([
      'EUR 20.00 2027-01-01T00:00:00.000Z',
      'EUR 20.00 2027-02-01T00:00:00.000Z',
      'USD 30.00 2027-01-01T00:00:00.000Z',
      'USD 30.00 2027-02-01T00:00:00.000Z',
    ]);
  });

  test('subscriptions that share a boundary share the invoice, each with its own coupon', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await billing.catalog.saveTaxRate({ key: 'de', name: 'USt', percent: '19', country: 'DE' });
    await plan(billing);
    await plan(billing, {
      sku: 'more',
      price: '10.00',
      items: [{ product: 'CREDIT', quantity: 5 }],
    });
    await billing.catalog.saveCoupon({
      code: 'TWICE',
      percent: '50',
      duration: { times: 2 },
      skus: ['more'],
    });
    const account = await person(billing);
    await billing.accounts.update({ account, tax: { country: 'DE' } });
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    await billing.subscriptions.start({
      account,
      sku: 'more',
      collection: 'send',
      coupon: 'TWICE',
    });
    for (const month of ['01', '02', '03']) {
      clock.set(`2027-${month}-01T00:00:00Z`);
      await billing.invoicing.runBillingCycle();
      if (month === '01') await payOpen(billing, account, 'cash');
    }
    const invoices = await invoicesOf(billing, account);
    expect(invoices.map(({ discount, net, tax, total }) => [discount, net, tax, total])).toEqual([
      ['5.00', '35.00', '6.65', '41.65'],
      ['5.00', '35.00', '6.65', '41.65'],
      ['0.00', '40.00', '7.60', '47.60'],
    ]);
    expect(invoices[0]!.taxes).toEqual([
      { key: 'de', name: 'USt', percent: '19', net: '35.00', tax: '6.65' },
    ]);
    expect(invoices[0]!.lines.map(({ coupon }) => coupon).toSorted()).toEqual(['TWICE', null]);
    const book = await billing.books.balances({ account });
    expect(Object.fromEntries(book.map((one) => [one.account, one.balance]))).toMatchObject({
      receivable: '89.25000000',
      tax_payable: '-20.90000000',
    });
  });

  test('a coupon for some invoices lowers no more of them, when months were missed too', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing, {
      items: [
        {
          product: 'MSG',
          quantity: 10,
          overage: { pricing: { model: 'per_unit', unitPrice: '1.00' } },
        },
      ],
    });
    await billing.catalog.saveCoupon({ code: 'THREE', percent: '50', duration: { times: 3 } });
    const subscribe = async (account: string) => {
      const more = { sku: 'plan', collection: 'send', coupon: 'THREE' } as const;
      const answer = await billing.subscriptions.start({ account, ...more });
      await billing.invoicing.runBillingCycle();
      const [first] = await invoicesOf(billing, account);
      await billing.invoicing.markPaid({ invoiceId: first!.invoiceId, method: 'cash' });
      return answer.allowed ? answer.subscriptionId : '';
    };
    const missed = await person(billing);
    await subscribe(missed);
    // The last invoice of one that ends is of use alone.
    const leaving = await person(billing);
    const subscriptionId = await subscribe(leaving);
    await billing.ledger.consume({ account: leaving, product: 'MSG', amount: 14 });
    await billing.subscriptions.cancel({ subscriptionId, when: 'period_end' });
    clock.set('2027-04-01T00:00:00Z');
    await billing.invoicing.runBillingCycle();
    const totals = async (account: string) =>
      (await invoicesOf(billing, account)).map(({ total }) => total);
    expect(await totals(missed)).toEqual(['15.00', '15.00', '15.00', '30.00']);
    expect(await totals(leaving)).toEqual(['15.00', '2.00']);
  });

  test('a period that was over when it began is no obstacle', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    const over = (product: string) => ({
      items: [
        {
          product,
          quantity: 10,
          overage: { pricing: { model: 'per_unit', unitPrice: '1.00' } },
        },
      ],
    });
    await plan(billing, over('CREDIT'));
    await plan(billing, { sku: 'never', ...over('MSG') });
    const account = await person(billing);
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    await billing.invoicing.runBillingCycle();
    const [first] = await invoicesOf(billing, account);
    await billing.invoicing.markPaid({ invoiceId: first!.invoiceId, method: 'cash' });
    await billing.ledger.consume({ account, product: 'CREDIT', amount: 15 });
    await billing.ledger.setOverage({ account, product: 'MSG', limit: null });
    await billing.ledger.consume({ account, product: 'MSG', amount: 5 });
    clock.advance(DAY);
    const never = await billing.subscriptions.start({ account, sku: 'never', collection: 'send' });
    if (!never.allowed) throw new Error(never.reason);
    await billing.subscriptions.cancel({ subscriptionId: never.subscriptionId, when: 'now' });
    clock.set('2027-02-01T00:00:00Z');
    await billing.invoicing.runBillingCycle();
    const last = (await invoicesOf(billing, account)).at(-1)!;
    expect(shown(last).lines).toEqual(['fee plan 1 30.00', 'usage CREDIT 5 5.00']);
  });

  test('a limit beyond what there is runs through', async () => {
    const { billing } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing);
    const account = await person(billing);
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'charge' });
    const { dispatched } = await billing.invoicing.runBillingCycle({ limit: 100_000_000 });
    expect(dispatched).toMatchObject({ issued: 1, failed: 1 });
  });

  test('credit is used after tax, before charging', async () => {
    const { billing } = await setUp('2027-01-01T00:00:00Z', { testGateway: true });
    await plan(billing);
    const account = await person(billing);
    await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
    await billing.invoicing.addCredit({
      account,
      currency: 'USD',
      amount: '12.50',
      reason: 'sorry',
    });
    await billing.subscriptions.start({ account, sku: 'plan' });
    await billing.invoicing.runBillingCycle();
    expect(await invoicesOf(billing, account)).toMatchObject([
      { total: '30.00', credited: '12.50', paid: '17.50', amountDue: '0.00', status: 'paid' },
    ]);
    expect(await billing.payments.attempts({ account })).toMatchObject({
      items: [{ amount: '17.50' }],
    });
  });

  test('what is to be sent is due by the terms, in the days of the payer; the snapshot stays', async () => {
    const { billing } = await setUp('2027-03-20T23:30:00Z');
    await plan(billing);
    await billing.invoicing.saveSettings({
      seller: { name: 'Seller AG' },
      paymentTerms: { days: 30 },
      numbering: { prefix: '2027/A', digits: 4 },
    });
    const account = await person(billing, { timeZone: 'Europe/Berlin', name: 'Buyer One' });
    await billing.accounts.update({
      account,
      tax: { status: 'reverse_charge', taxIds: [{ type: 'eu_vat', value: 'FR1' }] },
    });
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    await billing.invoicing.runBillingCycle();
    const [invoice] = await invoicesOf(billing, account);
    expect(invoice).toMatchObject({
      number: '2027/A-0001',
      series: '2027/A',
      taxStatus: 'reverse_charge',
      issuedAt: '2027-03-20T23:30:00.000Z',
      // An hour earlier by UTC: summer time.
      dueAt: '2027-04-19T22:30:00.000Z',
      collection: 'send',
    });
    await billing.accounts.update({ account, name: 'Another Name' });
    const paper = await billing.invoicing.renderInvoice({
      invoiceId: invoice!.invoiceId,
      format: 'html',
    });
    expect(paper.content).toContain('Buyer One');
    expect(paper.content).not.toContain('Another Name');
  });

  test('a draft that cannot be reckoned stays, and stops nobody else', async () => {
    const { billing } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing);
    await billing.catalog.saveTaxRate({ key: 'gone', name: 'Tax', percent: '10' });
    const [odd, sound] = [await person(billing), await person(billing)];
    await billing.accounts.update({ account: odd, tax: { taxRate: 'gone' } });
    for (const account of [odd, sound]) {
      await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    }
    await billing.catalog.saveTaxRate({ key: 'gone', name: 'Tax', percent: '10', active: false });
    await billing.invoicing.createInvoices();
    const dispatched = await billing.invoicing.dispatchInvoices();
    const [draft] = await invoicesOf(billing, odd);
    expect(dispatched).toMatchObject({
      issued: 1,
      problems: [{ invoiceId: draft!.invoiceId, code: 'invalid_input' }],
    });
    expect(draft).toMatchObject({ status: 'draft' });
    await billing.catalog.saveTaxRate({ key: 'gone', name: 'Tax', percent: '10', active: true });
    expect(await billing.invoicing.dispatchInvoices()).toMatchObject({ issued: 1, problems: [] });
    expect(await invoicesOf(billing, odd)).toMatchObject([
      { number: 'INV-000002', total: '33.00' },
    ]);
  });

  test('a preview is the next invoice to the cent, and writes nothing', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing, {
      items: [
        {
          product: 'MSG',
          quantity: 10,
          overage: { pricing: { model: 'per_unit', unitPrice: '0.01' } },
        },
      ],
    });
    const account = await person(billing);
    expect(await billing.invoicing.previewInvoice({ account })).toBeNull();
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    expect(await billing.invoicing.previewInvoice({ account })).toMatchObject({
      total: '30.00',
      status: 'draft',
      number: null,
    });
    expect(await invoicesOf(billing, account)).toEqual([]);
    await billing.invoicing.runBillingCycle();
    const [first] = await invoicesOf(billing, account);
    await billing.invoicing.markPaid({
      invoiceId: first!.invoiceId,
      reference: 'w-2',
      method: 'cash',
    });
    await billing.ledger.consume({ account, product: 'MSG', amount: 60 });
    const before = await billing.events.poll({ reader: 'before', from: 'beginning', limit: 500 });
    const preview = await billing.invoicing.previewInvoice({ account });
    expect(preview).toMatchObject({
      invoiceId: null,
      total: '30.50',
      periodStart: '2027-02-01T00:00:00.000Z',
    });
    expect(
      await billing.events.poll({ reader: 'after', from: 'beginning', limit: 500 }),
    ).toMatchObject({
      events: before.events.map(({ type }) => ({ type })),
    });
    clock.set('2027-02-01T00:00:00Z');
    await billing.invoicing.runBillingCycle();
    const [, next] = await invoicesOf(billing, account);
    expect(next).toMatchObject({ number: 'INV-000002', total: preview!.total });
    expect(shown(next!).lines).toEqual(
      preview!.lines.map(
        (line) => `${line.kind} ${line.product ?? line.sku} ${line.quantity} ${line.subtotal}`,
      ),
    );
  });

  test('a rating of your own says what use costs', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z', {
      rating: { MSG: ({ quantity }) => ({ amount: quantity === '50' ? '4.56' : '0' }) },
    });
    await plan(billing, {
      items: [
        {
          product: 'MSG',
          quantity: 10,
          overage: { pricing: { model: 'per_unit', unitPrice: '9.99' } },
        },
      ],
      collect: { bill: 'arrears' },
    });
    const account = await person(billing);
    await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    await billing.ledger.consume({ account, product: 'MSG', amount: 60 });
    clock.set('2027-02-01T00:00:00Z');
    await billing.invoicing.runBillingCycle();
    expect(await invoicesOf(billing, account)).toMatchObject([{ total: '34.56' }]);
  });

  test('what is dispatched is told by batch, summed up, and found by number', async () => {
    const { billing } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing);
    for (let index = 0; index < 5; index += 1) {
      await billing.subscriptions.start({
        account: await person(billing),
        sku: 'plan',
        collection: 'send',
      });
    }
    const progress: number[] = [];
    await billing.invoicing.createInvoices({ onProgress: ({ done }) => progress.push(done) });
    const batches: string[][] = [];
    const answer = await billing.invoicing.dispatchInvoices({
      onInvoices: (invoices) => {
        batches.push(invoices.map(({ number }) => number!));
      },
    });
    expect(progress.at(-1)).toBe(5);
    expect(answer).toMatchObject({ issued: 5, sent: 5, truncated: false });
    expect(batches.flat().toSorted()).toEqual([1, 2, 3, 4, 5].map((n) => `INV-00000${n}`));
    expect(answer.invoices.map(({ number }) => number).toSorted()).toEqual(
      batches.flat().toSorted(),
    );
    expect(await billing.invoicing.listInvoices({ number: 'INV-000003' })).toMatchObject({
      items: [{ number: 'INV-000003' }],
    });
    const page = await billing.invoicing.listInvoices({ limit: 3, status: 'open' });
    expect(page.items).toHaveLength(3);
    const rest = await billing.invoicing.listInvoices({ limit: 3, cursor: page.nextCursor! });
    expect(rest).toMatchObject({ nextCursor: null });
    expect(rest.items).toHaveLength(2);
  });

  test('one account alone, and named drafts alone', async () => {
    const { billing } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing);
    const accounts = [await person(billing), await person(billing), await person(billing)];
    for (const account of accounts) {
      await billing.subscriptions.start({ account, sku: 'plan', collection: 'send' });
    }
    const [one, two, three] = accounts as [string, string, string];
    expect(await billing.invoicing.createInvoices({ account: one })).toMatchObject({
      created: 1,
      drafts: 1,
    });
    expect(await billing.invoicing.createInvoices()).toMatchObject({ created: 2, drafts: 3 });
    expect(await billing.invoicing.dispatchInvoices({ account: two })).toMatchObject({ issued: 1 });
    const [draft] = await invoicesOf(billing, three);
    expect(
      await billing.invoicing.dispatchInvoices({ invoiceIds: [draft!.invoiceId] }),
    ).toMatchObject({
      issued: 1,
      invoices: [{ invoiceId: draft!.invoiceId }],
    });
    expect(await invoicesOf(billing, one)).toMatchObject([{ status: 'draft' }]);
    await expect(billing.invoicing.dispatchInvoices({ invoiceIds: ['no'] })).rejects.toMatchObject({
      code: 'unknown_invoice',
    });
    await expect(billing.invoicing.getInvoice({ invoiceId: one })).rejects.toMatchObject({
      code: 'unknown_invoice',
    });
    await expect(billing.invoicing.createInvoices({ limit: 0 })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'limit',
    });
    await expect(billing.invoicing.previewInvoice({ account: 'nobody' })).rejects.toMatchObject({
      code: 'unknown_account',
    });
  });

  test('S6: a draft that waits while its account is merged bills what was used', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing, {
      items: [
        {
          product: 'MSG',
          quantity: 10,
          overage: { pricing: { model: 'per_unit', unitPrice: '0.10' } },
        },
      ],
    });
    const [into, from] = [await person(billing), await person(billing)];
    const wanted = { account: from, sku: 'plan', collection: 'send' } as const;
    const started = await billing.subscriptions.start(wanted);
    if (!started.allowed) throw new Error(started.reason);
    await billing.invoicing.runBillingCycle();
    const [{ invoiceId }] = (await invoicesOf(billing, from)) as [Invoice];
    await billing.invoicing.markPaid({ invoiceId, method: 'cash', reference: invoiceId });
    await billing.ledger.consume({ account: from, product: 'MSG', amount: 30 });
    await billing.subscriptions.cancel({ subscriptionId: started.subscriptionId });
    clock.set('2027-02-01T00:00:00Z');
    // Nothing but use is due any more.
    expect(await billing.invoicing.createInvoices()).toMatchObject({ created: 1 });
    await billing.accounts.merge({ from, into, prefer: 'into' });
    await billing.invoicing.runBillingCycle();
    const totals = (await invoicesOf(billing, into)).map(({ total }) => total);
    expect(totals.toSorted()).toEqual(['2.00', '30.00']);
  });

  test('S6: what a merged account owes comes on one invoice of the one that stays', async () => {
    const { billing, clock } = await setUp('2027-01-01T00:00:00Z');
    await plan(billing, {
      items: [
        {
          product: 'MSG',
          quantity: 10,
          overage: { pricing: { model: 'per_unit', unitPrice: '0.10' } },
        },
      ],
      collect: { bill: 'arrears' },
    });
    await plan(billing, { sku: 'other', price: '5.00', collect: { bill: 'arrears' } });
    const [into, from] = [await person(billing, { name: 'Stays' }), await person(billing)];
    await billing.subscriptions.start({ account: into, sku: 'other', collection: 'send' });
    await billing.subscriptions.start({ account: from, sku: 'plan', collection: 'send' });
    await billing.ledger.consume({ account: from, product: 'MSG', amount: 30 });
    clock.set('2027-01-15T00:00:00Z');
    await billing.accounts.merge({ from, into, prefer: 'into' });
    clock.set('2027-02-01T00:00:00Z');
    await billing.invoicing.runBillingCycle();
    const [invoice, ...others] = await invoicesOf(billing, into);
    expect(others).toEqual([]);
    expect(invoice).toMatchObject({ payer: into, total: '37.00' });
    expect(
      invoice!.lines.map(({ kind, sku, subtotal }) => [kind, sku, subtotal]).toSorted(),
    ).toEqual([
      ['fee', 'other', '5.00'],
      ['fee', 'plan', '30.00'],
      ['usage', 'plan', '2.00'],
    ]);
    expect(await invoicesOf(billing, from)).toEqual([invoice]);
  });
});
