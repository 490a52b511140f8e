import { TestClock, type Billing, type SaveOfferRequest } from '../../../engine';
import { forRules } from '../each-database';

/** A price per unit may be finer than its currency: what is rounded is the line, once. */

const PACK = { name: 'Fine', currency: 'USD', items: [{ product: 'MSG', quantity: 1 }] };
const PER_UNIT = { model: 'per_unit' } as const;
const MONTH = { unit: 'month', count: 1 } as const;

forRules('prices finer than their currency', (database) => {
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(new TestClock('2027-01-10T12:00:00Z'));
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'TALK', name: 'Minutes' });
    await billing.catalog.saveProduct({ key: 'COIN', name: 'Coins', isCurrency: true });
    await billing.invoicing.saveSettings({
      seller: {
        name: 'We',
        address: { line1: '1 Road', city: 'Berlin', postalCode: '10115', country: 'DE' },
      },
    });
  });

  const name = (): string => `fine-${(counter += 1)}`;
  const account = async (): Promise<string> =>
    (await billing.accounts.identify({ externalId: name() })).accountId;
  const saved = async (more: Partial<SaveOfferRequest>): Promise<string> => {
    const offer = { ...PACK, sku: name(), price: '0.0035', ...more };
    return (await billing.catalog.saveOffer(offer)).sku;
  };

  test.each<[model: string, pricing: SaveOfferRequest['pricing'], price: string]>([
    ['flat', { model: 'flat' }, '0.0035'],
    ['package', { model: 'package', size: 100 }, '0.0035'],
    ['graduated', { model: 'graduated', tiers: [{ unitPrice: '0.0035' }] }, '0.0035'],
    ['volume', { model: 'volume', tiers: [{ unitPrice: '0.0035' }] }, '0.0035'],
    ['none that is said', undefined, '0.0035'],
    ['none that is said, as null', null, '0.0035'],
    ['per unit, too fine', PER_UNIT, '0.0000000000001'],
  ])('%s: the price of the offer is as fine as the currency', async (_what, pricing, price) => {
    await expect(saved({ price, pricing })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'price',
    });
  });

  test('units of a product are no money: no price is finer', async () => {
    await expect(
      saved({ price: '0.5', currency: 'COIN', pricing: PER_UNIT }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'price' });
  });

  test.each<[currency: string, price: string, quantity: number, total: string]>([
    ['USD', '0.0035', 1, '0.00'],
    ['USD', '0.0035', 3, '0.01'],
    ['USD', '0.0035', 10, '0.04'],
    ['USD', '0.0035', 1_000, '3.50'],
    ['USD', '1.005', 1, '1.01'],
    ['USD', '1.005', 2, '2.01'],
    ['JPY', '0.5', 3, '2'],
    ['KWD', '0.00005', 100, '0.005'],
  ])('%s %s each, %i of it: %s', async (currency, price, quantity, total) => {
    const sku = await saved({ currency, price, pricing: { ...PER_UNIT, unitPrice: price } });
    const offer = await billing.catalog.getOffer({ sku });
    expect(offer).toMatchObject({ price, pricing: { model: 'per_unit', unitPrice: price } });
    const order = await billing.sales.createOrder({
      account: await account(),
      items: [{ sku, quantity }],
    });
    expect(order).toMatchObject({ total, items: [{ quantity, unitPrice: price, total }] });
    const invoice = await billing.invoicing.createInvoice({
      account: await account(),
      currency,
      items: [{ sku, quantity }],
    });
    expect(invoice).toMatchObject({ lines: [{ unitPrice: price, subtotal: total }] });
  });

  test('two lines are rounded each by itself', async () => {
    const sku = await saved({ pricing: PER_UNIT });
    const items = [{ sku, quantity: 2 }, { sku, quantity: 2 }, { sku }];
    const order = await billing.sales.createOrder({ account: await account(), items });
    expect(order).toMatchObject({ total: '0.02' });
  });

  test('a subscription to so many seats costs them together', async () => {
    const sku = await saved({
      price: '0.1234',
      listPrice: '0.15678',
      pricing: PER_UNIT,
      billing: 'recurring',
      interval: MONTH,
    });
    const of = await account();
    const begun = await billing.subscriptions.start({ account: of, sku, quantity: 1_000 });
    expect(begun).toMatchObject({ allowed: true, price: '123.40' });
    await billing.invoicing.runBillingCycle();
    const { items } = await billing.invoicing.listInvoices({ account: of });
    expect(items).toMatchObject([
      { total: '123.40', lines: [{ quantity: '1000', unitPrice: '0.1234', net: '123.40' }] },
    ]);
    expect(await billing.catalog.getOffer({ sku })).toMatchObject({ listPrice: '0.15678' });
  });

  test('what is said once holds until the pricing is another', async () => {
    const sku = await saved({ pricing: PER_UNIT });
    const save = (more: object) =>
      billing.catalog.saveOffer({ ...PACK, sku, price: '0.0035', ...more });
    expect(await save({ name: 'Finer', price: '0.00301' })).toMatchObject({
      version: 2,
      price: '0.00301',
    });
    const refused = { code: 'invalid_input', parameter: 'price' };
    await expect(save({ pricing: { model: 'flat' } })).rejects.toMatchObject(refused);
    await expect(save({ currency: 'COIN' })).rejects.toMatchObject(refused);
    expect(await save({ price: '1' })).toMatchObject({ price: '1.00' });
    await expect(save({})).rejects.toMatchObject(refused);
  });

  test('goes out and in with the catalog, in both forms', async () => {
    const sku = await saved({ pricing: PER_UNIT });
    const { catalog } = billing;
    const { json } = await catalog.exportCatalog({ format: 'json' });
    const tables = await catalog.exportCatalog({ format: 'csv' });
    const forms = [
      { format: 'json', json } as const,
      { format: 'csv', offers: tables.offers } as const,
    ];
    for (const form of forms) {
      const { counts } = await catalog.importCatalog(form);
      expect(counts).toMatchObject({ create: 0, update: 0 });
    }
    expect(await catalog.getOffer({ sku })).toMatchObject({ version: 1, price: '0.0035' });
  });

  test('is suggested at the price of one', async () => {
    const sku = await saved({ items: [{ product: 'TALK', quantity: 1 }], pricing: PER_UNIT });
    const denied = await billing.ledger.check({ account: await account(), product: 'TALK' });
    expect(denied.suggestedOffers).toMatchObject([{ sku, price: '0.0035', currency: 'USD' }]);
  });
});
