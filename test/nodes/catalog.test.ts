import type { IDataObject } from 'n8n-workflow';

import {
  billing,
  chain,
  does,
  run,
  runnerWith,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const importing = (parameters: Record<string, unknown>, items?: IDataObject[]) =>
  does('catalog', 'import', parameters, items);

const product = (key: string) => ({ table: 'products', key, name: key, unit: 'piece' });

const summary = (answer: IDataObject | undefined) =>
  (answer?.changes as IDataObject[]).map(({ table, key, action }) =>
    [table, key, action].join(' '),
  );

describe('Billing: Catalog, Import from items', () => {
  /** As one sheet gives them: every row has all columns, and its number. */
  const sheet: IDataObject[] = [
    { row_number: 2, table: 'products', key: 'reports', sku: '', name: 'Reports', unit: 'report' },
    {
      row_number: 3,
      table: 'offers',
      sku: 'reports-5',
      name: '5 reports',
      price: 12.5,
      currency: 'USD',
      product: 'reports',
      quantity: 5,
      key: '',
    },
    {
      row_number: 4,
      table: 'offers',
      sku: 'mixed',
      name: 'Mixed',
      price: '20',
      currency: 'USD',
      product: 'reports',
      quantity: 5,
    },
    {
      row_number: 5,
      table: 'offers',
      sku: 'mixed',
      product: 'messages',
      quantity: '10',
      expiresAfter: '1 month',
    },
    { row_number: 6, table: 'coupons', code: 'FIRST', percent: 10 },
    { row_number: 7, table: 'taxRates', key: 'nz', name: 'GST', percent: 15, country: 'NZ' },
  ];

  it('says what would change, then takes several tables in one import', async () => {
    const changes = [
      'products reports create',
      'offers reports-5 create',
      'offers mixed create',
      'coupons FIRST create',
      'taxRates nz create',
    ];
    const dry = await importing({ table: 'field', dryRun: true }, sheet);
    expect(dry).toHaveLength(1);
    expect(dry[0]).toMatchObject({ applied: false });
    expect(summary(dry[0])).toEqual(changes);
    expect(await does('coupon', 'getAll')).toEqual([]);
    const [done] = await importing({ table: 'field' }, sheet);
    expect(done).toMatchObject({ applied: true });
    expect(summary(done)).toEqual(changes);
    const offer = { __rl: true, mode: 'sku', value: 'mixed' };
    expect(await does('offer', 'get', { offer })).toMatchObject([
      {
        price: '20.00',
        items: [
          { product: 'reports', quantity: '5' },
          { product: 'messages', quantity: '10', expiresAfter: { unit: 'month', count: 1 } },
        ],
      },
    ]);
    const [again] = await importing({ table: 'field' }, sheet);
    expect(again).toMatchObject({ counts: { create: 0, update: 0, unchanged: 5 } });
  });

  it('takes one table, and none of it when a row is wrong', async () => {
    const rows = [1, 2, 3].map((quantity) => ({
      sku: `reports-${quantity}0`,
      name: 'Reports',
      price: quantity === 3 ? 'cheap' : quantity,
      currency: 'USD',
      product: 'reports',
      quantity: quantity * 10,
    }));
    await expect(importing({ table: 'offers' }, rows)).rejects.toThrow(/price/);
    const all = await does('offer', 'getAll', { returnAll: true });
    expect(all.map(({ sku }) => sku)).not.toContain('reports-10');
    const [done] = await importing({ table: 'offers' }, rows.slice(0, 2));
    expect(summary(done)).toEqual(['offers reports-10 create', 'offers reports-20 create']);
    await expect(importing({ table: 'field' }, [product('x'), { key: 'y' }])).rejects.toThrow(
      'The item 2 belongs to no table',
    );
  });
});

describe('Billing: Catalog, Import from text and Export', () => {
  it('takes back what it gave, as JSON and as CSV', async () => {
    const [json] = await does('catalog', 'export', { format: 'json' });
    const texts = (await does('catalog', 'export', { format: 'csv' }))[0]!;
    expect(String(texts.products)).toMatch(/^key,name/);
    const fromJson = { importFrom: 'text', format: 'json', json: '={{ $json }}' };
    const unchanged = { create: 0, update: 0 };
    expect(await importing(fromJson, [json!])).toMatchObject([{ counts: unchanged }]);
    const csvTexts = { products: '={{ $json.products }}', offers: '={{ $json.offers }}' };
    expect(await importing({ importFrom: 'text', format: 'csv', csvTexts }, [texts])).toMatchObject(
      [{ counts: unchanged }],
    );
    await expect(importing({ importFrom: 'text', format: 'csv', csvTexts: {} })).rejects.toThrow(
      '"CSV Texts" is missing.',
    );
    await expect(
      importing({ importFrom: 'text', format: 'json', json: '={{ "{" }}' }),
    ).rejects.toThrow('"JSON" is not valid JSON.');
  });

  it('takes back its files', async () => {
    const through = async (exported: object, imported: object) => {
      const workflow = chain(
        { ...billing('catalog', 'export', { putOutputIn: 'file', ...exported }), name: 'Export' },
        billing('catalog', 'import', { importFrom: 'file', dryRun: true, ...imported }),
      );
      const { error, items, json } = await runnerWith().run(workflow, { items: [{}] });
      expect(error).toBeNull();
      return { item: items('Export')[0]!, answer: json('Billing')[0]! };
    };
    const one = await through({ format: 'json' }, { format: 'json' });
    expect(one.item.json).toEqual({ files: ['catalog.json'] });
    expect(one.item.binary!.data).toMatchObject({ fileName: 'catalog.json' });
    expect(one.answer).toMatchObject({ counts: { create: 0, update: 0 } });
    const csvFiles = {
      coupons: 'coupons',
      offers: 'offers',
      products: 'products',
      taxRates: 'taxRates',
    };
    const many = await through({ format: 'csv' }, { format: 'csv', csvFiles });
    expect(Object.keys(many.item.binary!).sort()).toEqual(Object.keys(csvFiles));
    expect(many.item.binary!.taxRates).toMatchObject({
      fileName: 'tax-rates.csv',
      mimeType: 'text/csv',
    });
    expect(many.answer).toMatchObject({ counts: { create: 0, update: 0 } });
  });

  it('an agent may read the catalog, and not write it', async () => {
    expect(await toldToAgent('catalog', 'import', {})).toEqual({
      error: expect.stringContaining('is not for AI agents') as string,
    });
    const exported = await toldToAgent('catalog', 'export', { putOutputIn: 'file' });
    expect(exported).toHaveProperty('offers');
    const { error } = await run([{}], billing('catalog', 'import', { importFrom: 'file' }));
    expect(error?.message).toMatch(/data/);
  });
});
