import { TestClock, type Billing, type SaveOfferRequest } from '../../../engine';
import { forRules } from '../each-database';

/** Offers of which an item brings no units: what is paid for is steps, and use beyond. */

const START = '2027-06-01T09:00:00Z';
const NEXT = '2027-07-01T09:00:00Z';
const MONTH = { unit: 'month', count: 1 } as const;

forRules('items of 0 units', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await catalog.saveProduct({ key: 'GB', name: 'Storage' });
    await catalog.saveProduct({ key: 'PRO', name: 'Access', kind: 'period' });
    await catalog.saveProduct({ key: 'ALL', name: 'All', kind: 'unlimited' });
    const overage = { pricing: { model: 'per_unit', unitPrice: '0.05' } } as const;
    await catalog.saveOffer({
      ...PLAN,
      sku: 'usage',
      price: '0',
      items: [{ product: 'MSG', quantity: 0, overage }],
    });
    await catalog.saveOffer({
      ...PLAN,
      sku: 'mixed',
      price: '10.00',
      items: [
        { product: 'GB', quantity: 50 },
        { product: 'MSG', quantity: 0, overage, step: { size: 100, price: '2.00' } },
      ],
    });
    await catalog.saveOffer({
      ...PLAN,
      sku: 'bare',
      price: '10.00',
      items: [{ product: 'MSG', quantity: '0', overage }],
    });
    await billing.invoicing.saveSettings({
      seller: {
        name: 'We',
        address: { line1: '1 Road', city: 'Berlin', postalCode: '10115', country: 'DE' },
      },
    });
  });
  beforeEach(() => clock.set(START));

  const PLAN = { name: 'Plan', currency: 'USD', billing: 'recurring', interval: MONTH } as const;
  const account = async (): Promise<string> =>
    (await billing.accounts.identify({ externalId: `user-${(counter += 1)}` })).accountId;
  const started = async (sku: string) => {
    const of = await account();
    const collect = { collection: 'send' } as const;
    const begun = await billing.subscriptions.start({ account: of, sku, ...collect });
    return { account: of, subscriptionId: begun.subscriptionId! };
  };
  /** Pays the first invoice. */
  const paid = async (of: string): Promise<void> => {
    await billing.invoicing.runBillingCycle();
    const [first] = (await billing.invoicing.listInvoices({ account: of })).items;
    await billing.invoicing.markPaid({ invoiceId: first!.invoiceId, method: 'bank_transfer' });
  };
  const use = (of: string, amount: number) =>
    billing.ledger.consume({ account: of, product: 'MSG', amount });

  test('use is paid for, and nothing else', async () => {
    const { account: of } = await started('usage');
    expect(await billing.ledger.grants({ account: of })).toEqual([]);
    expect(await use(of, 30)).toMatchObject({ allowed: true, overage: '30', remaining: '0' });
    clock.set(NEXT);
    await billing.invoicing.runBillingCycle();
    const { items } = await billing.invoicing.listInvoices({ account: of });
    const lines = items.flatMap((invoice) => invoice.lines);
    expect(lines.filter(({ kind }) => kind === 'usage')).toMatchObject([
      { quantity: '30', unitPrice: '0.05', net: '1.50' },
    ]);
    expect(lines.filter(({ kind, net }) => kind !== 'usage' && net !== '0.00')).toEqual([]);
    expect(await use(of, 1)).toMatchObject({ allowed: true, overage: '1' });
  });

  test('what a child used is in its export, as it stands on the invoice of its parent', async () => {
    const { account: parent } = await started('usage');
    const child = await account();
    await billing.accounts.attachChild({ parent, child });
    await use(child, 20);
    await use(parent, 1);
    clock.set(NEXT);
    await billing.invoicing.runBillingCycle();
    const { billedToPayer, invoices } = await billing.accounts.export({ account: child });
    expect(invoices).toEqual([]);
    expect(billedToPayer).toMatchObject([
      { kind: 'usage', product: 'MSG', quantity: '20', currency: 'USD' },
    ]);
  });

  test('steps are bought where none are included', async () => {
    const { account: of, subscriptionId } = await started('mixed');
    await paid(of);
    await billing.subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 2 });
    const grants = await billing.ledger.grants({ account: of });
    expect(grants.map(({ product, initial }) => [product, initial]).sort()).toEqual([
      ['GB', '50'],
      ['MSG', '200'],
    ]);
    expect(await use(of, 230)).toMatchObject({ allowed: true, overage: '30' });
    clock.set(NEXT);
    await billing.invoicing.runBillingCycle();
    const bills = await billing.invoicing.listInvoices({ account: of });
    const kinds = bills.items.flatMap(({ lines }) => lines.map(({ kind, net }) => [kind, net]));
    expect(kinds.sort()).toEqual([
      ['fee', '10.00'],
      ['fee', '10.00'],
      ['step', '4.00'],
      ['usage', '1.50'],
    ]);
  });

  test('an offer of nothing else is changed, and ended with credit for its time', async () => {
    const { account: of, subscriptionId } = await started('bare');
    await paid(of);
    clock.set('2027-06-16T09:00:00Z');
    const more = { subscriptionId, quantity: 2, when: 'now' } as const;
    expect(await billing.subscriptions.change(more)).toMatchObject({ allowed: true, quantity: 2 });
    clock.set('2027-06-21T09:00:00Z');
    await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit: true });
    expect(await use(of, 1)).toMatchObject({ allowed: false });
  });

  test('ordered, what is paid for must lie in units', async () => {
    const of = await account();
    const order = (sku: string) => billing.sales.createOrder({ account: of, items: [{ sku }] });
    for (const sku of ['bare', 'usage']) {
      await expect(order(sku)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'items[0].sku',
      });
    }
    const mixed = await order('mixed');
    const paid = await billing.sales.confirmOrder({ orderId: mixed.orderId!, paymentId: 'mixed' });
    expect(paid.grants).toMatchObject([{ product: 'GB', initial: '50', value: '10.00000000' }]);
    expect(await use(of, 3)).toMatchObject({ allowed: true, overage: '3' });
  });

  test('given, it brings what it has', async () => {
    const of = await account();
    const given = await billing.sales.grantOffer({ account: of, sku: 'mixed' });
    expect(given).toMatchObject([{ product: 'GB', initial: '50' }]);
    expect(await billing.sales.grantOffer({ account: of, sku: 'bare' })).toEqual([]);
  });

  test.each<[what: string, offer: Partial<SaveOfferRequest>, parameter: string]>([
    [
      'of an offer that is sold once',
      { billing: 'one_time', interval: null, items: [{ product: 'MSG', quantity: 0 }] },
      'items[0].quantity',
    ],
    ['of access', { items: [{ product: 'PRO', quantity: 0 }] }, 'items[0].quantity'],
    ['without end', { items: [{ product: 'ALL', quantity: 0 }] }, 'items[0].quantity'],
    ['as a bonus', { bonuses: [{ product: 'MSG', quantity: 0 }] }, 'bonuses[0].quantity'],
    ['below', { items: [{ product: 'MSG', quantity: -1 }] }, 'items[0].quantity'],
  ])('0 units %s are none', async (_what, offer, parameter) => {
    const items = [{ product: 'MSG', quantity: 1 }];
    await expect(
      billing.catalog.saveOffer({ ...PLAN, sku: 'none', price: '1', items, ...offer }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter });
  });

  test('goes out and in with the catalog', async () => {
    const csv = await billing.catalog.exportCatalog({ format: 'csv' });
    const { counts } = await billing.catalog.importCatalog({ format: 'csv', offers: csv.offers });
    expect(counts).toMatchObject({ create: 0, update: 0 });
  });
});
