import { TestClock, type Billing } from '../../../engine';
import { newSchema, forRules } from '../each-database';

/** Items by hand go on the next invoice that their payer gets in their currency. */

const DAY = 86_400_000;
const START = '2027-03-01T12:00:00Z';

forRules('items on the next invoice', (database) => {
  let clock: TestClock;
  let billing: Billing;
  let account: string;

  beforeEach(async () => {
    clock = new TestClock(START);
    billing = await database.open(clock, newSchema());
    await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    for (const sku of ['plan', 'other']) {
      await billing.catalog.saveOffer({
        sku,
        name: sku,
        price: '30.00',
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'month', count: 1 },
        items: [{ product: 'CALLS', quantity: 10 }],
        collect: { whenInForce: 'beside' },
      });
    }
    ({ accountId: account } = await billing.accounts.identify({ externalId: 'payer' }));
    await billing.subscriptions.start({ account, sku: 'plan' });
    await billing.invoicing.runBillingCycle();
    const { items } = await billing.invoicing.listInvoices({ account });
    await billing.invoicing.markPaid({ invoiceId: items[0]!.invoiceId, method: 'cash' });
  });

  const add = (description: string, more: { currency?: string; dueAt?: string } = {}) =>
    billing.invoicing.addItem({
      account,
      currency: 'USD',
      item: { description, unitPrice: '5.00' },
      ...more,
    });
  /** What stands on the invoice made last, and what it comes to. */
  const latest = async () => {
    const { items } = await billing.invoicing.listInvoices({ account });
    const { lines, total, status } = items[0]!;
    return { status, total, lines: lines.map(({ sku, description }) => sku ?? description) };
  };

  test('a draft that is there gets it', async () => {
    clock.advance(31 * DAY);
    await billing.invoicing.createInvoices();
    const added = await add('Travel');
    expect(added).toMatchObject({ pending: null, invoice: { status: 'draft', kind: 'cycle' } });
    const line = added.invoice!.lines.find(({ lineId }) => lineId === added.lineId);
    expect(line).toMatchObject({ description: 'Travel', total: '5.00' });
    await billing.invoicing.dispatchInvoices();
    expect(await latest()).toEqual({ status: 'open', total: '35.00', lines: ['plan', 'Travel'] });
    clock.advance(31 * DAY);
    await billing.invoicing.runBillingCycle();
    expect(await latest()).toMatchObject({ total: '30.00' });
  });

  test('without one the next that is made, also in mid-period; at the latest at its end', async () => {
    const next = '2027-04-01T12:00:00.000Z';
    expect(await add('Travel')).toMatchObject({ invoice: null, pending: { dueAt: next } });
    await billing.invoicing.runBillingCycle();
    expect(await latest()).toMatchObject({ total: '30.00' });
    clock.advance(5 * DAY);
    await billing.subscriptions.start({ account, sku: 'other' });
    expect(await billing.invoicing.previewInvoice({ account })).toMatchObject({ total: '35.00' });
    await billing.invoicing.runBillingCycle();
    expect(await latest()).toMatchObject({ total: '35.00', lines: ['other', 'Travel'] });
    await add('Food');
    clock.set(next);
    await billing.invoicing.runBillingCycle();
    expect(await latest()).toMatchObject({ total: '35.00', lines: ['plan', 'Food'] });
  });

  test('not one in another currency, nor before the day that was said', async () => {
    clock.advance(31 * DAY);
    await billing.invoicing.createInvoices();
    expect(await add('Euros', { currency: 'EUR' })).toMatchObject({ invoice: null });
    const dueAt = '2027-05-01T12:00:00.000Z';
    expect(await add('May', { dueAt })).toMatchObject({ invoice: null, pending: { dueAt } });
    await billing.invoicing.dispatchInvoices();
    expect(await latest()).toMatchObject({ total: '30.00' });
    clock.set('2027-04-15T12:00:00Z');
    await billing.subscriptions.start({ account, sku: 'other' });
    await billing.invoicing.runBillingCycle();
    const { items } = await billing.invoicing.listInvoices({ account, status: 'open' });
    const totals = items.map(({ currency, total }) => `${total} ${currency}`);
    expect(totals.toSorted()).toEqual(['30.00 USD', '30.00 USD', '5.00 EUR']);
    clock.set(dueAt);
    await billing.invoicing.runBillingCycle();
    expect(await latest()).toMatchObject({ total: '35.00', lines: ['plan', 'May'] });
  });

  test('one by hand is one, too; what stood on a draft that is deleted waits again', async () => {
    await add('Travel');
    const byHand = () =>
      billing.invoicing.createInvoice({
        account,
        currency: 'USD',
        items: [{ description: 'Work', unitPrice: '25.00' }],
      });
    const first = await byHand();
    expect(first.lines.map(({ description }) => description)).toEqual(['Work', 'Travel']);
    expect(await add('Food')).toMatchObject({ invoice: { invoiceId: first.invoiceId } });
    await billing.invoicing.deleteDraft({ invoiceId: first.invoiceId });
    const { invoiceId } = await byHand();
    await billing.invoicing.finalizeInvoice({ invoiceId });
    expect(await latest()).toEqual({
      status: 'open',
      total: '35.00',
      lines: ['Work', 'Travel', 'Food'],
    });
  });

  test('twenty at once are each on one invoice', async () => {
    clock.advance(31 * DAY);
    const names = Array.from({ length: 20 }, (_, index) => `Item ${index}`);
    await Promise.all([
      ...names.map((name) => add(name)),
      billing.invoicing.createInvoices(),
      billing.invoicing.createInvoices(),
    ]);
    await billing.invoicing.runBillingCycle();
    clock.advance(31 * DAY);
    await billing.invoicing.runBillingCycle();
    const { items } = await billing.invoicing.listInvoices({ account });
    const stood = items.flatMap(({ lines }) =>
      lines.flatMap(({ description }) => description ?? []),
    );
    expect(stood.filter((one) => one.startsWith('Item')).toSorted()).toEqual(names.toSorted());
  });
});
