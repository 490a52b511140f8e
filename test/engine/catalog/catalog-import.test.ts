import fc from 'fast-check';

import {
  TestClock,
  type Billing,
  type CatalogDocument,
  type ImportCatalogRequest,
  type SaveOfferRequest,
} from '../../../engine';
import { forRules, runs } from '../each-database';

type Row = Record<string, unknown>;

const invalid = (parameter: string | null, message?: string) =>
  expect.objectContaining({
    code: 'import_invalid',
    parameter,
    ...(message === undefined ? {} : { message: expect.stringContaining(message) as string }),
  }) as Error;

forRules('catalog import and export', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');

  /** A catalog with something in every field. */
  async function fill({ catalog }: Billing): Promise<void> {
    await catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await catalog.saveProduct({
      key: 'GEM',
      name: '=1+1, "gems"\nof glass',
      decimals: 2,
      isCurrency: true,
      lowBalanceThreshold: '2.5',
      usageThresholds: ['12.5', '80', '100'],
      metadata: { colour: 'grün', sizes: [1, 2] },
    });
    await catalog.saveProduct({ key: 'PRO', name: 'Access', kind: 'period' });
    await catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
    const offers: SaveOfferRequest[] = [
      {
        sku: 'pack',
        name: 'A pack',
        price: '10',
        listPrice: '12.5',
        currency: 'USD',
        description: 'Two lines;\r\nof "text"',
        summary: 'Short',
        imageUrl: 'https://example.com/a,b.png',
        returnUrl: 'https://example.com/thanks?a=1',
        oncePerAccount: true,
        items: [
          {
            product: 'MSG',
            quantity: 100,
            expiresAfter: { unit: 'day', count: 30 },
            leadTime: { unit: 'hour', count: 12 },
            priority: 3,
            share: '2.5',
          },
          { product: 'GEM', quantity: '0.25', expiresAtNextPayment: true, share: 1 },
        ],
        bonuses: [{ product: 'GEM', quantity: '1.5', expiresAfter: { unit: 'week', count: 1 } }],
        upsells: ['plan', 'not-yet'],
        pricing: { model: 'package', size: 10 },
        metadata: { tags: ['a'] },
      },
      {
        sku: 'plan',
        name: 'A plan',
        price: '99.00',
        currency: 'EUR',
        billing: 'recurring',
        interval: { unit: 'month', count: 1 },
        active: false,
        public: false,
        trialPhases: [
          {
            price: 1,
            length: { unit: 'day', count: 15 },
            items: [{ product: 'MSG', quantity: 5 }],
          },
        ],
        pricing: {
          model: 'graduated',
          tiers: [
            { upTo: 10, unitPrice: '99' },
            { unitPrice: '0.125', flatPrice: 3 },
          ],
        },
        collect: { bill: 'arrears', anchorDay: 31, dates: 'midnight' },
        items: [
          {
            product: 'MSG',
            quantity: 25,
            refill: false,
            step: { size: 1000, price: '7.99' },
            overage: { limit: 50, pricing: { model: 'per_unit', unitPrice: '0.005' } },
          },
          {
            product: 'GEM',
            quantity: 1,
            overage: { pricing: { model: 'package', size: 5, price: '1' } },
          },
          { product: 'PRO' },
          { product: 'ALL' },
        ],
      },
      {
        sku: 'free',
        name: 'Free',
        price: 0,
        currency: 'GEM',
        freeTier: true,
        items: [{ product: 'MSG', quantity: 1 }],
      },
      {
        sku: 'own',
        name: 'For one',
        price: 500,
        currency: 'JPY',
        accountId: '01890a5d-ac96-774b-bcce-b302099a8057',
        items: [{ product: 'MSG', quantity: 1 }],
        pricing: { model: 'flat' },
      },
    ];
    for (const offer of offers) await catalog.saveOffer(offer);
    await catalog.saveCoupon({
      code: 'Spring-27',
      name: 'In spring',
      percent: '12.5',
      duration: { times: 3 },
      maxRedemptions: 100,
      maxPerAccount: 1,
      startsAt: '2027-03-01T00:00:00Z',
      expiresAt: '2027-06-01T00:00:00Z',
      skus: ['pack', 'plan'],
    });
    await catalog.saveCoupon({ code: 'FIVE', amount: 5, currency: 'EUR', duration: 'forever' });
    await catalog.saveTaxRate({ key: 'de', name: 'MwSt.', percent: 19, country: 'DE' });
    await catalog.saveTaxRate({
      key: 'ch',
      name: 'MWST',
      percent: '8.1',
      inclusive: true,
      active: false,
    });
  }

  const exported = async (billing: Billing): Promise<CatalogDocument> =>
    (await billing.catalog.exportCatalog({ format: 'json' })).json;

  /** Rows of one product each. */
  const productRows = (count: number): Row[] =>
    Array.from({ length: count }, (_, index) => ({ key: `P${index}`, name: `Product ${index}` }));

  const offerRow = (sku: string, more: Row = {}): Row => ({
    sku,
    name: 'Offer',
    price: '10.00',
    currency: 'USD',
    product: 'MSG',
    quantity: 1,
    ...more,
  });

  describe('a catalog with something in every field', () => {
    let billing: Billing;
    beforeAll(async () => {
      billing = await database.open(clock);
      await fill(billing);
    });

    test.each(['json', 'csv'] as const)(
      'goes through %s to an empty one and is the same there',
      async (format) => {
        const other = await database.open(clock);
        const request =
          format === 'json'
            ? { format, ...(await billing.catalog.exportCatalog({ format })) }
            : { format, ...(await billing.catalog.exportCatalog({ format })) };
        const planned = await other.catalog.importCatalog({ ...request, dryRun: true });
        expect(planned).toMatchObject({
          applied: false,
          counts: { create: 12, update: 0, unchanged: 0 },
        });
        expect((await exported(other)).products).toEqual([]);

        const done = await other.catalog.importCatalog(request);
        expect(done).toEqual({ ...planned, applied: true });
        expect(done.changes.map(({ key }) => key)).toEqual([
          ...['ALL', 'GEM', 'MSG', 'PRO'],
          ...['free', 'own', 'pack', 'plan'],
          ...['FIVE', 'Spring-27'],
          ...['ch', 'de'],
        ]);
        expect(await exported(other)).toEqual(await exported(billing));
        expect(await other.catalog.listOffers({ includePrivate: true })).toEqual(
          (await billing.catalog.listOffers({ includePrivate: true })).map((offer) => ({
            ...offer,
            version: 1,
          })),
        );
      },
    );

    test('imported again changes nothing, and no offer gets another version', async () => {
      const before = await billing.catalog.getOffer({ sku: 'pack' });
      for (const format of ['json', 'csv'] as const) {
        const request = { format, ...(await billing.catalog.exportCatalog({ format })) };
        const { counts } = await billing.catalog.importCatalog(
          request as Parameters<Billing['catalog']['importCatalog']>[0],
        );
        expect(counts).toEqual({ create: 0, update: 0, unchanged: 12 });
      }
      expect(await billing.catalog.getOffer({ sku: 'pack' })).toEqual(before);
    });

    test('is text that a person can read', async () => {
      const { offers, products } = await billing.catalog.exportCatalog({ format: 'csv' });
      expect(products).toContain('GEM,"\'=1+1, ""gems""\nof glass",unit,2,quantity,true,2.5,');
      expect(offers.split('\n')[0]).toBe(
        'sku,name,description,summary,imageUrl,returnUrl,price,listPrice,currency,billing,interval,' +
          'public,active,accountId,oncePerAccount,freeTier,pricing,bill,atPeriodEnd,dates,anchorDay,' +
          'renewalGrants,access,firstPaymentWithin,withoutMethod,prorations,whenInForce,' +
          'trialPhases,bonuses,upsells,metadata,' +
          'product,quantity,expiresAfter,priority,' +
          'share,leadTime,expiresAtNextPayment,refill,stepSize,stepPrice,overageLimit,overagePricing',
      );
      expect(offers).toContain(
        '\nfree,Free,,,,,0.00,,GEM,one_time,,true,true,,false,true,per_unit,',
      );
      // The second item of the plan.
      expect(offers).toMatch(/\nplan(,){31}GEM,1,,50,,,false,true,,,,"\{""model"":""package""/);
    });

    test('says what a change was and is', async () => {
      const answer = await billing.catalog.importCatalog({
        format: 'rows',
        dryRun: true,
        products: [{ key: 'MSG', name: 'Messages', unit: 'mail', metadata: { a: 1 } }],
        taxRates: [{ key: 'ch', name: 'MWST', percent: 8.1 }],
        coupons: [{ code: 'spring-27', percent: '', amount: '1', currency: 'EUR' }],
      });
      expect(answer).toEqual({
        applied: false,
        counts: { create: 0, update: 2, unchanged: 1 },
        replayed: false,
        changes: [
          {
            table: 'products',
            key: 'MSG',
            action: 'update',
            fields: { unit: { from: 'message', to: 'mail' }, metadata: { from: {}, to: { a: 1 } } },
          },
          {
            table: 'coupons',
            key: 'spring-27',
            action: 'update',
            fields: {
              code: { from: 'Spring-27', to: 'spring-27' },
              percent: { from: '12.5', to: null },
              amount: { from: null, to: '1.00' },
              currency: { from: null, to: 'EUR' },
            },
          },
          { table: 'taxRates', key: 'ch', action: 'unchanged', fields: {} },
        ],
      });
      expect(await billing.catalog.getProduct({ key: 'MSG' })).toMatchObject({ unit: 'message' });
    });

    test('a dry run within a transaction leaves what else was done there', async () => {
      await billing.transaction(async (tx) => {
        await billing.catalog.saveProduct({ key: 'KEPT', name: 'Kept', tx });
        const products = [{ key: 'DRY', name: 'Dry' }];
        await billing.catalog.importCatalog({ format: 'rows', products, dryRun: true, tx });
      });
      const found = await billing.catalog.listProducts({ keys: ['KEPT', 'DRY'] });
      expect(found.map(({ key }) => key)).toEqual(['KEPT']);
    });
  });

  describe('rows', () => {
    let billing: Billing;
    beforeAll(async () => {
      billing = await database.open(clock);
      await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', decimals: 2 });
    });
    const importRows = (
      tables: Partial<Record<'products' | 'offers' | 'coupons' | 'taxRates', Row[]>>,
    ) => billing.catalog.importCatalog({ format: 'rows', ...tables });
    const importCsv = (offers: string) => billing.catalog.importCatalog({ format: 'csv', offers });

    test('take numbers, texts and columns as a spreadsheet has them', async () => {
      await importRows({
        products: [{ Key: 'CREDIT', name: 2027, 'Is Currency': 'yes', decimals: 1 }],
        offers: [
          offerRow('sheet', {
            price: 9.99,
            list_price: 12,
            quantity: 0.25,
            'Expires After': '30 Days',
            active: 'TRUE',
            upsells: 'a; b c',
          }),
          { product: 'CREDIT', quantity: '5', sku: '' },
          { sku: '', product: null },
          { sku: 'sheet', name: 'Offer', price: 9.99, product: 'MSG', quantity: 3 },
        ],
      });
      expect(await billing.catalog.getProduct({ key: 'CREDIT' })).toMatchObject({
        name: '2027',
        isCurrency: true,
      });
      expect(await billing.catalog.getOffer({ sku: 'sheet' })).toMatchObject({
        price: '9.99',
        listPrice: '12.00',
        upsells: ['a', 'b', 'c'],
        items: [
          { product: 'MSG', quantity: '0.25', expiresAfter: { unit: 'day', count: 30 } },
          { product: 'CREDIT', quantity: '5' },
          { product: 'MSG', quantity: '3' },
        ],
      });
    });

    const bytes = (csv: string, encoding: BufferEncoding = 'latin1') => Buffer.from(csv, encoding);
    const nameOf = async (sku: string): Promise<string> =>
      (await billing.catalog.getOffer({ sku })).name;
    const HEAD = 'sku,name,price,currency,product,quantity\n';
    const lineOf = (sku: string, name: string): string => `${sku},${name},9.00,USD,MSG,1\n`;

    // 0x80, 0x84, 0x93 and 0x96: the euro sign, quotes, a dash.
    const WESTERN = 'M\u00fcller \u0080 \u0084x\u0093 \u0096 \u00df';
    test.each<[what: string, file: Uint8Array, encoding: string | undefined, name: string]>([
      ['UTF-8', bytes(HEAD + lineOf('in-utf8', 'Müller €'), 'utf8'), undefined, 'Müller €'],
      [
        'UTF-8 with a mark',
        bytes(`\uFEFF${HEAD}${lineOf('in-bom', 'Müller €')}`, 'utf8'),
        undefined,
        'Müller €',
      ],
      [
        'UTF-16 with a mark',
        bytes(`\uFEFF${HEAD}${lineOf('in-utf16', 'Müller €')}`, 'utf16le'),
        undefined,
        'Müller €',
      ],
      ['Windows-1252', bytes(HEAD + lineOf('in-1252', WESTERN)), undefined, 'Müller € „x“ – ß'],
      [
        'Windows-1252 by name',
        bytes(HEAD + lineOf('in-named', WESTERN)),
        'Windows-1252',
        'Müller € „x“ – ß',
      ],
      [
        'what is called Latin-1',
        bytes(HEAD + lineOf('in-latin1', WESTERN)),
        'latin1',
        'Müller € „x“ – ß',
      ],
      [
        'UTF-8 by name',
        bytes(HEAD + lineOf('in-utf8-named', 'Müller €'), 'utf8'),
        'utf-8',
        'Müller €',
      ],
      [
        'Windows-1250 by name',
        bytes(HEAD + lineOf('in-1250', 'K\u00e8a \u0080')),
        'windows-1250',
        'Kča €',
      ],
    ])('as bytes in %s', async (_what, offers, encoding, name) => {
      const sku = /in-[\w-]+/.exec(Buffer.from(offers).toString('latin1').replace(/\0/g, ''))![0];
      await billing.catalog.importCatalog({ format: 'csv', offers, encoding });
      expect(await nameOf(sku)).toBe(name);
    });

    test.each<[what: string, request: object, message: RegExp]>([
      [
        'Latin-1 called UTF-8',
        { offers: bytes(HEAD + lineOf('bad', 'M\u00fcller')), encoding: 'utf-8' },
        /^offers\.csv row 2, name: holds a character that could not be read/,
      ],
      [
        'bytes that mean nothing in Windows-1252',
        { offers: bytes(HEAD + lineOf('bad', 'M\u00fcller \u0081')) },
        /^offers\.csv row 2, name: holds a character/,
      ],
      [
        'a text that was read in the wrong encoding before',
        { offers: HEAD + lineOf('bad', 'M\uFFFDller') },
        /^offers\.csv row 2, name: holds a character/,
      ],
      [
        'such a row',
        { format: 'rows', products: [{ key: 'BAD', name: 'M\uFFFDller' }] },
        /^products row 1, name: holds a character/,
      ],
    ])('%s is refused', async (_what, request, message) => {
      await expect(
        billing.catalog.importCatalog({ format: 'csv', ...request } as ImportCatalogRequest),
      ).rejects.toMatchObject({
        code: 'import_invalid',
        message: expect.stringMatching(message) as string,
      });
    });

    test.each<[request: object, parameter: string]>([
      [{ format: 'csv', offers: bytes(HEAD), encoding: 'klingon' }, 'encoding'],
      [{ format: 'csv', offers: bytes(HEAD), encoding: 'base64' }, 'encoding'],
      [{ format: 'csv', offers: HEAD, encoding: 'utf-8' }, 'encoding'],
      [{ format: 'json', json: {}, encoding: 'utf-8' }, 'encoding'],
      [{ format: 'json', json: {}, decimalComma: true }, 'decimalComma'],
    ])('%j is no request', async (request, parameter) => {
      await expect(
        billing.catalog.importCatalog(request as ImportCatalogRequest),
      ).rejects.toMatchObject({ code: 'invalid_input', parameter });
    });

    test.each([
      ['blanks around numbers', `${HEAD}blanks, Offer , 9.00 ,USD, MSG ,\u00a07 \n`],
      ['blanks around quotes', `${HEAD}blanks, "Offer" , "9.00" ,USD,"MSG" ," 7"\n`],
      ['a line that says what separates', `sep=,\n${HEAD}blanks,Offer,9.00,USD,MSG,7\n`],
      [
        'one for semicolons',
        `\uFEFFsep=;\r\n${HEAD.replace(/,/g, ';')}blanks;Offer;9.00;USD;MSG;7\n`,
      ],
      [
        'one that was filled up',
        `"sep=;";;;;;\r\n${HEAD.replace(/,/g, ';')}blanks;Offer;9.00;USD;MSG;7\n`,
      ],
      [
        'empty lines ahead',
        `\uFEFF\r\n;;;;;\r\n${HEAD.replace(/,/g, ';')}blanks;Offer;9.00;USD;MSG;7\n`,
      ],
      ['one for bars', `SEP=|\r\n${HEAD.replace(/,/g, '|')}blanks|Offer|9.00|USD|MSG|7\n`],
      ['tabs', `${HEAD.replace(/,/g, '\t')}blanks\tOffer\t 9.00 \tUSD\tMSG\t7\n`],
    ])('with %s', async (_what, csv) => {
      await importCsv(csv);
      expect(await billing.catalog.getOffer({ sku: 'blanks' })).toMatchObject({
        name: 'Offer',
        price: '9.00',
        items: [{ product: 'MSG', quantity: '7' }],
      });
    });

    test('of rows, blanks around numbers are not meant', async () => {
      await importRows({ offers: [offerRow('spaced', { price: ' 9.50', quantity: '7 ' })] });
      expect(await billing.catalog.getOffer({ sku: 'spaced' })).toMatchObject({
        price: '9.50',
        items: [{ quantity: '7' }],
      });
    });

    test('a row is counted as the spreadsheet counts it, which hides the line of the separator', async () => {
      const csv = `sep=;\n${HEAD.replace(/,/g, ';')}bad;Offer;nine;USD;MSG;1\n`;
      await expect(importCsv(csv)).rejects.toMatchObject({
        message: expect.stringMatching(/^offers\.csv row 2, price/) as string,
      });
    });

    describe('with decimals behind a comma', () => {
      const offers = (cells: string): string =>
        `sku;name;price;currency;product;quantity;stepSize;stepPrice;overagePricing\n${cells}\n`;
      const request = (cells: string) =>
        ({ format: 'csv', offers: offers(cells), decimalComma: true }) as const;

      test('is read in all columns of numbers', async () => {
        await billing.catalog.importCatalog({
          ...request('comma;A, B;9,5;USD;MSG;0,25;1;0,50;0,005'),
          products: 'key;name;decimals;usageThresholds\nCOMMAS;Comma, 1,5;1;"12,5; 80"\n',
          taxRates: 'key;name;percent\ncomma;MwSt;7,7\n',
          coupons: 'code;amount;currency\ncomma;1,5;USD\n',
        });
        expect(await billing.catalog.getOffer({ sku: 'comma' })).toMatchObject({
          name: 'A, B',
          price: '9.50',
          items: [
            {
              quantity: '0.25',
              step: { size: '1', price: '0.50' },
              overage: { pricing: { unitPrice: '0.005' } },
            },
          ],
        });
        const product = await billing.catalog.getProduct({ key: 'COMMAS' });
        expect(product).toMatchObject({ name: 'Comma, 1,5', usageThresholds: ['12.5', '80'] });
        const coupon = await billing.catalog.getCoupon({ code: 'comma' });
        expect(coupon).toMatchObject({ amount: '1.50' });
        const rates = await billing.catalog.listTaxRates({ keys: ['comma'] });
        expect(rates).toMatchObject([{ percent: '7.7' }]);
      });

      test('rows, too, whose numbers stay numbers', async () => {
        await billing.catalog.importCatalog({
          format: 'rows',
          decimalComma: true,
          offers: [offerRow('comma-row', { price: '9,50', quantity: 0.5 })],
        });
        expect(await billing.catalog.getOffer({ sku: 'comma-row' })).toMatchObject({
          price: '9.50',
          items: [{ quantity: '0.5' }],
        });
      });

      test.each(['9.5', '1.500', '1.500,00', '1 500,00', '9,', ',5', 'nine'])(
        'refuses %s, which may mean something else',
        async (price) => {
          await expect(
            billing.catalog.importCatalog(request(`bad;Offer;${price};USD;MSG;1;;;`)),
          ).rejects.toMatchObject({
            code: 'import_invalid',
            message: expect.stringMatching(/^offers\.csv row 2, price/) as string,
          });
        },
      );

      test('is not guessed', async () => {
        await expect(importCsv(offers('bad;Offer;9,50;USD;MSG;1;;;'))).rejects.toMatchObject({
          code: 'import_invalid',
          message: expect.stringMatching(/^offers\.csv row 2, price/) as string,
        });
      });
    });

    test('a column that is left out stays, an empty cell clears', async () => {
      await importRows({
        offers: [offerRow('clear', { listPrice: 20, summary: 'S', public: 'no' })],
      });
      const changed = await importRows({
        offers: [offerRow('clear', { listPrice: '', public: '' })],
      });
      expect(changed.changes[0]!.fields).toEqual({ listPrice: { from: '20.00', to: null } });
      expect(await billing.catalog.getOffer({ sku: 'clear' })).toMatchObject({
        summary: 'S',
        public: false,
        version: 2,
      });
    });

    test('one bad row out of a thousand: nothing is applied, and the row is named', async () => {
      const lines = productRows(1000).map(({ key, name }) => `${String(key)},${String(name)},0`);
      const csv = ['key,name,decimals', ...lines].join('\r\n');
      const importProducts = (products: string) =>
        billing.catalog.importCatalog({ format: 'csv', products });
      await expect(importProducts(csv.replace('Product 729,0', 'Product 729,13'))).rejects.toEqual(
        invalid(
          'products.csv row 731, decimals',
          'products.csv row 731, decimals: "decimals" must',
        ),
      );
      expect(await billing.catalog.listProducts({ keys: ['P0', 'P728', 'P999'] })).toEqual([]);
      expect((await importProducts(csv)).counts).toEqual({ create: 1000, update: 0, unchanged: 0 });
    });

    test('a price too fine among offers is named, and none of them is there', async () => {
      const lines = Array.from({ length: 20 }, (_, at) => `bulk${at},Offer,10,USD,MSG,1`);
      lines[12] = 'bulk12,Offer,10.001,USD,MSG,1';
      const csv = ['sku,name,price,currency,product,quantity', ...lines].join('\n');
      await expect(importCsv(csv)).rejects.toEqual(
        invalid('offers.csv row 14, price', '"price" is 10.001, but USD has at most 2 decimals'),
      );
      expect(await billing.catalog.listOffers({ skus: ['bulk0', 'bulk19'] })).toEqual([]);
      expect((await importCsv(csv.replace('10.001', '10'))).counts).toMatchObject({ create: 20 });
    });

    test.each<[string, Row[], string, string?]>([
      ['a product that nobody has', [offerRow('x', { product: 'NONE' })], 'row 1, product'],
      ['a finer quantity', [offerRow('x'), { product: 'MSG', quantity: 0.001 }], 'row 2, quantity'],
      ['no item', [offerRow('x', { product: '', quantity: '' })], 'row 1, product'],
      ['a flag that is none', [offerRow('x', { public: 'maybe' })], 'row 1, public'],
      ['a duration that is none', [offerRow('x', { expiresAfter: 'P1M' })], 'row 1, expiresAfter'],
      ['a unit of time that is none', [offerRow('x', { leadTime: '3 moons' })], 'row 1, leadTime'],
      ['JSON that is none', [offerRow('x', { trialPhases: '[' })], 'row 1, trialPhases'],
      ['a bad trial phase', [offerRow('x', { trialPhases: '[{}]' })], 'row 1, trialPhases'],
      ['a step without price', [offerRow('x', { stepSize: 5 })], 'row 1, stepPrice'],
      ['a limit without pricing', [offerRow('x', { overageLimit: 5 })], 'row 1, overagePricing'],
      [
        'tiers with a gap',
        [
          offerRow('x'),
          {
            product: 'MSG',
            quantity: 1,
            overagePricing: {
              model: 'volume',
              tiers: [
                { upTo: 5, unitPrice: 1 },
                { from: 7, unitPrice: 2 },
              ],
            },
          },
        ],
        'row 2, overagePricing',
        'leaves a gap',
      ],
      ['a term of recurring offers', [offerRow('x', { bill: 'arrears' })], 'row 1, bill'],
      ['another price further down', [offerRow('x'), offerRow('x', { price: 11 })], 'row 2, price'],
      ['a sku twice', [offerRow('x'), offerRow('y'), offerRow('x')], 'row 3, sku', 'row 1, sku'],
      ['a sku twice but for its case', [offerRow('x'), offerRow('X')], 'row 2, sku', 'row 1, sku'],
      ['no sku', [offerRow(''), offerRow('x')], 'row 1, sku'],
      ['an unknown column', [offerRow('x', { colour: 'red' })], 'row 1, column 7', 'no column'],
      ['a column twice', [offerRow('x', { 'list price': 1, listPrice: 1 })], 'row 1, listPrice'],
    ])('%s is refused', async (_what, offers, place, message = '') => {
      await expect(importRows({ offers })).rejects.toEqual(invalid(`offers ${place}`, message));
      expect(await billing.catalog.listOffers({ skus: ['x', 'y'] })).toEqual([]);
    });

    test('of all tables are one import: products first, and nothing when a later table fails', async () => {
      const tables = {
        taxRates: [{ key: 'at', name: 'USt.', percent: 120 }],
        coupons: [{ code: 'NEW', percent: 10, skus: 'later-pack' }],
        offers: [offerRow('later-pack', { product: 'LATER' })],
        products: [{ key: 'LATER', name: 'Later' }],
      };
      await expect(importRows(tables)).rejects.toEqual(invalid('taxRates row 1, percent'));
      expect(await billing.catalog.listProducts({ keys: ['LATER'] })).toEqual([]);
      tables.taxRates[0]!.percent = 20;
      expect((await importRows(tables)).changes.map(({ table }) => table)).toEqual([
        'products',
        'offers',
        'coupons',
        'taxRates',
      ]);
      tables.coupons[0]!.skus = 'later-pack, none';
      await expect(importRows(tables)).rejects.toEqual(invalid('coupons row 1, skus', '"none"'));
    });

    test("a country's rate may pass from one to another in one import", async () => {
      const row = (key: string, country: string) => ({ key, name: 'IVA', percent: 21, country });
      await importRows({ taxRates: [row('es-old', 'ES')] });
      await importRows({ taxRates: [row('es-new', 'ES'), row('es-old', '')] });
      const rates = await billing.catalog.listTaxRates({ keys: ['es-old', 'es-new'] });
      expect(rates.map(({ country }) => country)).toEqual([null, 'ES']);
    });

    test('more than 10,000 are refused, and so is nothing at all', async () => {
      await expect(importRows({ products: productRows(10_001) })).rejects.toEqual(
        invalid(null, '10000'),
      );
      await expect(importRows({})).rejects.toMatchObject({ code: 'invalid_input' });
      await expect(billing.catalog.importCatalog({ format: 'xml' } as never)).rejects.toMatchObject(
        { code: 'invalid_input', parameter: 'format' },
      );
      await expect(
        billing.catalog.importCatalog({ format: 'json', json: {}, offers: '' } as never),
      ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'offers' });
    });

    test('a repeat with its key gives the first answer', async () => {
      const request = {
        format: 'rows',
        products: productRows(2),
        idempotencyKey: 'import',
      } as const;
      const first = await billing.catalog.importCatalog(request);
      expect(await billing.catalog.importCatalog(request)).toEqual({ ...first, replayed: true });
      await expect(
        billing.catalog.importCatalog({ ...request, products: productRows(3) }),
      ).rejects.toMatchObject({ code: 'idempotency_conflict' });
    });

    test('two imports of the same at once: both succeed, everything is there once', async () => {
      const products = productRows(40).map((row) => ({ ...row, key: `twice-${String(row.key)}` }));
      const answers = await Promise.all(
        [products, [...products].reverse()].map((rows) => importRows({ products: rows })),
      );
      const created = answers.reduce((sum, { counts }) => sum + counts.create, 0);
      expect(created).toBe(40);
    });
  });

  describe('CSV', () => {
    let billing: Billing;
    beforeAll(async () => {
      billing = await database.open(clock);
    });
    const importProducts = (products: string) =>
      billing.catalog.importCatalog({ format: 'csv', products });

    test('may be separated by semicolons or tabs, begin with a byte order mark and hold empty lines', async () => {
      await importProducts('\uFEFFkey;name;metadata\r\n\r\nA;"One; two";"{""a"": 1}"\r\n;;\r\n');
      await importProducts('key\tname\t\nB\tThree\t\n');
      const found = await billing.catalog.listProducts({ keys: ['A', 'B'] });
      expect(found).toMatchObject([{ name: 'One; two', metadata: { a: 1 } }, { name: 'Three' }]);
    });

    test.each([
      ['a row after empty ones', 'key,name\n\n\nC,\n', 'products.csv row 4, name'],
      ['a cell too many', 'key,name\nC,Name,more\n', 'products.csv row 2'],
      ['an open quote', 'key,name\nC,"Name\n', 'products.csv'],
      ['an unknown column', 'key,colour\nC,red\n', 'products.csv, column 2'],
      ['a column twice', 'key,name,KEY\nC,Name,C\n', 'products.csv, key'],
      ['a key twice', 'key,name\nC,Name\nD,Name\nc,Name\n', 'products.csv row 4, key'],
    ])('%s is named', async (_what, csv, place) => {
      await expect(importProducts(csv)).rejects.toEqual(invalid(place));
      expect(await billing.catalog.listProducts({ keys: ['C', 'D'] })).toEqual([]);
    });

    test('whatever text is in it comes back', async () => {
      const name = fc
        .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
        .map((text) => text.normalize('NFC').trim())
        .filter((text) => text !== '' && text.length <= 200)
        // U+FFFD stands for what could not be read, and is refused.
        .filter((text) => !/[\0\ufffd]/.test(text));
      await fc.assert(
        fc.asyncProperty(fc.array(name, { minLength: 1, maxLength: 8 }), async (names) => {
          for (const [index, text] of names.entries()) {
            await billing.catalog.saveProduct({
              key: `T${index}`,
              name: text,
              metadata: { text },
            });
          }
          const tables = await billing.catalog.exportCatalog({ format: 'csv' });
          const answer = await billing.catalog.importCatalog({ format: 'csv', ...tables });
          expect(answer.changes.filter(({ action }) => action !== 'unchanged')).toEqual([]);
        }),
        { numRuns: runs(database.name, 30) },
      );
    });
  });

  describe('JSON', () => {
    let billing: Billing;
    beforeAll(async () => {
      billing = await database.open(clock);
    });
    const importJson = (json: unknown) => billing.catalog.importCatalog({ format: 'json', json });

    test('may be text, a part, and records as they are listed', async () => {
      await importJson('{"products": [{"key": "MSG", "name": "Messages"}]}');
      const listed = await billing.catalog.listProducts();
      expect((await importJson({ products: listed })).counts).toMatchObject({ unchanged: 1 });
    });

    test.each<[string, unknown, string, string?]>([
      ['text that is no JSON', '{', 'json'],
      ['a list', [], 'json'],
      ['another format', { format: 'other' }, 'format'],
      ['a later version', { version: 2 }, 'version'],
      ['an unknown table', { plans: [] }, 'plans'],
      ['a table that is no list', { products: {} }, 'products'],
      ['a record that is none', { products: [{ key: 'Q', name: 'Q' }, 5] }, 'products[1]'],
      ['an unknown field', { products: [{ key: 'Q', name: 'Q', hue: 1 }] }, 'products[0].hue'],
      ['a key of the call', { products: [{ key: 'Q', tx: 1 }] }, 'products[0].tx'],
      [
        'a fault deep inside',
        {
          products: [{ key: 'Q', name: 'Q' }],
          offers: [
            {
              sku: 'o',
              name: 'O',
              price: '1',
              currency: 'USD',
              items: [{ product: 'Q', quantity: 1, step: { size: '0.5', price: 1 } }],
            },
          ],
        },
        'offers[0].items[0].step.size',
      ],
    ])('%s is named', async (_what, json, place) => {
      await expect(importJson(json)).rejects.toEqual(invalid(place));
      expect(await billing.catalog.listProducts({ keys: ['Q'] })).toEqual([]);
    });
  });
});
