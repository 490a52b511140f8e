import type { IDataObject } from 'n8n-workflow';

import {
  billing,
  by,
  customer,
  does,
  ofProduct,
  onEngine,
  ourNode,
  PROVIDER,
  run,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

describe('Billing: Account', () => {
  it('identifies: creates once, finds again, refreshes contact data', async () => {
    const parameters = {
      ...by('={{ $json.id }}'),
      additionalFields: { name: '={{ $json.name }}', email: '', metadata: '{"plan":"free"}' },
    };
    const [first, again] = await does('account', 'identify', parameters, [
      { id: 1001, name: 'Ann' },
      { id: '1001' },
    ]);
    expect(first).toMatchObject({ created: true, trialEligible: true, replayed: false });
    expect(again).toMatchObject({ created: false, accountId: first?.accountId });
    expect(await does('account', 'get', by('1001'))).toEqual([
      expect.objectContaining({
        accountId: first?.accountId,
        name: 'Ann',
        email: null,
        metadata: { plan: 'free' },
        identities: [{ provider: PROVIDER, externalId: '1001' }],
      }),
    ]);
  });

  it('gets many, by pages, and searches', async () => {
    await Promise.all(Array.from({ length: 7 }, (_, index) => customer(`page-${index}`)));
    expect(
      await does('account', 'getAll', { limit: 3, filters: { search: 'page-' } }),
    ).toHaveLength(3);
    const all = await does('account', 'getAll', { returnAll: true, filters: { search: 'page-' } });
    expect(new Set(all.map((account) => account.accountId)).size).toBe(7);
    await expect(does('account', 'getAll', { limit: 0 })).rejects.toThrow(/^"Limit" must be/);
  });

  it('updates what is given, and removes what is left empty', async () => {
    await customer('upd');
    const change = (updateFields: Record<string, unknown>) =>
      does('account', 'update', { ...by('upd'), updateFields });
    await change({
      name: 'Bo',
      email: 'bo@example.com',
      timeZone: 'Europe/Berlin',
      metadata: { a: 1 },
    });
    expect(await change({ name: '', status: 'suspended' })).toEqual([
      expect.objectContaining({
        name: null,
        email: 'bo@example.com',
        timeZone: 'Europe/Berlin',
        status: 'suspended',
        metadata: { a: 1 },
      }),
    ]);
    await expect(change({ name: '={{ $json.nothing }}' })).rejects.toThrow('"Name" is missing.');
    await expect(change({ timeZone: 'Mars' })).rejects.toThrow(/^"Time Zone" must be an IANA/);
  });

  it('takes an account by its id', async () => {
    const accountId = await customer('by-id');
    const account = { __rl: true, mode: 'list', value: accountId };
    expect(await does('account', 'get', { accountBy: 'account', account })).toEqual([
      expect.objectContaining({ accountId }),
    ]);
  });
});

describe('Billing: Product', () => {
  it('creates, updates and gets', async () => {
    const created = await does('product', 'upsert', {
      key: 'tokens',
      name: 'Tokens',
      additionalFields: {
        unit: 'token',
        decimals: 2,
        kind: 'quantity',
        isCurrency: true,
        lowBalanceThreshold: '0.5',
        metadata: '{"model":"x"}',
      },
    });
    expect(created).toEqual([
      expect.objectContaining({
        key: 'tokens',
        unit: 'token',
        decimals: 2,
        isCurrency: true,
        lowBalanceThreshold: '0.5',
        metadata: { model: 'x' },
      }),
    ]);
    await does('product', 'upsert', { key: 'tokens', name: 'AI tokens' });
    const product = { __rl: true, mode: 'key', value: 'tokens' };
    expect(await does('product', 'get', { product })).toEqual([
      expect.objectContaining({ name: 'AI tokens', unit: 'token', lowBalanceThreshold: '0.5' }),
    ]);
  });

  it('takes and removes usage thresholds', async () => {
    const save = (additionalFields: object) =>
      does('product', 'upsert', { key: 'tokens', name: 'AI tokens', additionalFields });
    expect(await save({ usageThresholds: '100, 80,' })).toMatchObject([
      { usageThresholds: ['80', '100'] },
    ]);
    expect(await save({ usageThresholds: '={{ [50, 90] }}' })).toMatchObject([
      { usageThresholds: ['50', '90'] },
    ]);
    expect(await save({})).toMatchObject([{ usageThresholds: ['50', '90'] }]);
    await expect(save({ usageThresholds: '120' })).rejects.toThrow(/^"Usage Thresholds/);
    expect(await save({ usageThresholds: '' })).toMatchObject([{ usageThresholds: [] }]);
  });

  it('gets many', async () => {
    const all = await does('product', 'getAll', { returnAll: true });
    expect(all.map((product) => product.key)).toEqual(['credits', 'messages', 'tokens']);
    expect(await does('product', 'getAll', { limit: 1 })).toHaveLength(1);
  });

  it('names the field that is wrong', async () => {
    await expect(does('product', 'upsert', { key: 'a b', name: 'X' })).rejects.toThrow(
      /^"Key" must/,
    );
    await expect(does('product', 'upsert', { key: 'MESSAGES', name: 'X' })).rejects.toThrow(
      /^"Key" MESSAGES differs/,
    );
    const product = { __rl: true, mode: 'key', value: 'nothing' };
    await expect(does('product', 'get', { product })).rejects.toThrow(
      'There is no product "nothing".',
    );
  });
});

describe('Billing: Offer', () => {
  const pack = (more: Record<string, unknown> = {}) => ({
    sku: 'pack',
    name: 'Pack',
    price: 4.5,
    currency: 'USD',
    items: {
      item: [
        { product: 'messages', quantity: 100, expiresUnit: 'month', expiresCount: 3, priority: 7 },
        { product: 'credits', quantity: '0.5' },
      ],
    },
    ...more,
  });

  it('creates, writes another version, and gets', async () => {
    expect(
      await does('offer', 'upsert', pack({ additionalFields: { listPrice: '9', public: false } })),
    ).toEqual([
      expect.objectContaining({
        sku: 'pack',
        version: 1,
        price: '4.50',
        listPrice: '9.00',
        public: false,
        active: true,
        items: [
          expect.objectContaining({
            product: 'messages',
            quantity: '100',
            expiresAfter: { unit: 'month', count: 3 },
            priority: 7,
          }),
          expect.objectContaining({
            product: 'credits',
            quantity: '0.5',
            expiresAfter: null,
            priority: 50,
          }),
        ],
      }),
    ]);
    await does('offer', 'upsert', pack({ price: '4.75' }));
    const offer = { __rl: true, mode: 'sku', value: 'pack' };
    expect(await does('offer', 'get', { offer })).toEqual([
      expect.objectContaining({ version: 2, price: '4.75', listPrice: '9.00', public: false }),
    ]);
  });

  it('gets many: the public ones on sale, others when asked for', async () => {
    await does('offer', 'upsert', pack({ sku: 'old', additionalFields: { active: false } }));
    const skus = async (filters: Record<string, unknown>) =>
      (await does('offer', 'getAll', { returnAll: true, filters })).map((offer) => offer.sku);
    expect(await skus({})).toEqual(['messages-10']);
    expect(await skus({ includePrivate: true })).toEqual(['both', 'messages-10', 'pack']);
    expect(await skus({ includeInactive: true })).toEqual(['messages-10', 'old']);
    expect(await does('offer', 'getAll', { limit: 1 })).toHaveLength(1);
  });

  it('names the field that is wrong', async () => {
    const refused = (more: Record<string, unknown>) => does('offer', 'upsert', pack(more));
    await expect(refused({ items: {} })).rejects.toThrow('"Items" is missing. Add an item');
    await expect(refused({ price: '={{ $json.nothing }}' })).rejects.toThrow('"Price" is missing.');
    await expect(refused({ price: '4.555' })).rejects.toThrow(/^"Price" is 4\.555, but USD has/);
    await expect(refused({ currency: 'XXY' })).rejects.toThrow(/^"Currency" XXY is neither/);
    await expect(
      refused({ items: { item: [{ product: 'messages', quantity: '' }] } }),
    ).rejects.toThrow('"Items: 1: Quantity" is missing.');
    await expect(
      refused({ items: { item: [{ product: 'nothing', quantity: '1' }] } }),
    ).rejects.toThrow('There is no product "nothing".');
  });
});

describe('Billing: Balance', () => {
  beforeAll(async () => {
    const account = await customer('bal', { messages: '5', credits: '1.5' });
    await onEngine(async ({ ledger }) => {
      await ledger.consume({ account, product: 'messages', amount: 2 });
      await ledger.consume({ account, product: 'messages', amount: 1 });
    });
  });

  it('gets all products or one', async () => {
    const accountId = await customer('bal');
    const nothingElse = { held: '0', expiresAt: null, accountId };
    expect(await does('balance', 'get', by('bal'))).toEqual([
      { product: 'credits', unit: 'credit', available: '1.5', ...nothingElse },
      { product: 'messages', unit: 'message', available: '2', ...nothingElse },
    ]);
    const product = { __rl: true, mode: 'key', value: 'messages' };
    expect(await does('balance', 'get', { ...by('bal'), product })).toEqual([
      expect.objectContaining({ available: '2' }),
    ]);
    const nothing = { __rl: true, mode: 'key', value: '={{ $json.nothing }}' };
    await expect(does('balance', 'get', { ...by('bal'), product: nothing })).rejects.toThrow(
      '"Product" is missing.',
    );
  });

  it('gets grants and entries, each an item that is paired with its input', async () => {
    const grants = await does('balance', 'getGrants', { ...by('bal'), returnAll: true });
    expect(grants.map(({ product, initial, remaining }) => [product, initial, remaining])).toEqual(
      expect.arrayContaining([
        ['messages', '5', '2'],
        ['credits', '1.5', '1.5'],
      ]),
    );
    const { items, json } = await run(
      [{}, {}],
      billing('balance', 'getEntries', { ...by('bal'), limit: 2 }),
    );
    expect(json('Billing').map(({ kind, amount }) => [kind, amount])).toEqual([
      ['use', '-1'],
      ['use', '-2'],
      ['use', '-1'],
      ['use', '-2'],
    ]);
    expect(items('Billing').map((item) => item.pairedItem)).toEqual([
      { item: 0 },
      { item: 0 },
      { item: 1 },
      { item: 1 },
    ]);
    expect(await does('balance', 'getEntries', { ...by('bal'), returnAll: true })).toHaveLength(4);
  });
});

describe('Billing: Balance, Get Statement', () => {
  beforeAll(async () => {
    const account = await customer('file', { messages: '5' });
    await onEngine(async ({ ledger }) => {
      for (let count = 0; count < 4; count += 1) {
        await ledger.consume({ account, product: 'messages' });
      }
    });
  });

  /** The file that came out, as text. */
  const fileOf = async (parameters: Record<string, unknown>, field = 'data') => {
    const { error, items } = await run(
      [{}],
      billing('balance', 'getStatement', { ...by('file'), ...parameters }),
    );
    if (error !== null) throw new Error(error.message);
    const [item] = items('Billing');
    const { data, ...about } = item!.binary![field]!;
    return { json: item!.json, about, text: Buffer.from(data, 'base64').toString('utf8') };
  };

  it('puts a CSV file into the field named', async () => {
    const { json, about, text } = await fileOf({ returnAll: true });
    expect(json).toEqual({ rows: 5, fileName: 'statement.csv' });
    expect(about).toMatchObject({ fileName: 'statement.csv', mimeType: 'text/csv' });
    const lines = text.trimEnd().split('\r\n');
    expect(lines[0]).toMatch(/^entryId,effectiveAt,/);
    expect(lines).toHaveLength(6);
    expect(lines.at(-1)).toContain(',grant,5,');
    const named = await fileOf(
      { limit: 2, binaryPropertyName: 'file', options: { fileName: 'may.csv', kind: 'use' } },
      'file',
    );
    expect(named.json).toEqual({ rows: 2, fileName: 'may.csv' });
    expect(named.text.trimEnd().split('\r\n')).toHaveLength(3);
  });

  it('takes times as the editor writes them, and as expressions give them', async () => {
    const rows = async (options: Record<string, unknown>) =>
      (await fileOf({ returnAll: true, options })).json.rows;
    expect(await rows({ from: '2001-01-01T00:00:00' })).toBe(5);
    expect(await rows({ to: '2001-01-01T00:00:00' })).toBe(0);
    expect(await rows({ from: '={{ $now.minus({ days: 1 }) }}' })).toBe(5);
    expect(await rows({ from: '={{ $now.plus({ days: 1 }) }}' })).toBe(0);
    await expect(rows({ from: 'yesterday' })).rejects.toThrow(/^"From" must be a time/);
    await expect(rows({ kind: 'gift' })).rejects.toThrow(/^"Kind" must be one of/);
  });
});

describe('Billing: Ledger', () => {
  it('verifies: one item that says whether all agrees', async () => {
    await customer('verified', { messages: '5' });
    const [answer, ...others] = await does('ledger', 'verify');
    expect(others).toEqual([]);
    expect(answer).toMatchObject({ ok: true, problems: [] });
    expect(answer!.checked).toMatchObject({ entries: expect.any(Number) as number });
  });

  it('writes what is due', async () => {
    const account = await customer('due');
    // Over before the node runs: by its own clock, since nodes run on the system's.
    const expiresAt = new Date(Date.now() + 2_000);
    await onEngine(({ ledger }) =>
      ledger.grant({ account, product: 'messages', quantity: 3, expiresAt }),
    );
    await new Promise((resolve) => setTimeout(resolve, expiresAt.getTime() - Date.now() + 1));
    const nothing = { holds: 0, answers: 0, postings: 0, failed: [] };
    expect(await does('ledger', 'runDue')).toMatchObject([{ expiries: 1, ...nothing }]);
    expect(await does('ledger', 'runDue', { limit: 1 })).toMatchObject([
      { expiries: 0, ...nothing },
    ]);
    await expect(does('ledger', 'runDue', { limit: 0 })).rejects.toThrow(/^"Limit" must be/);
  });
});

describe('Billing in short, from version 1.1 on', () => {
  beforeAll(async () => {
    await customer('kinds', { messages: '20' });
    await onEngine(async ({ catalog, ledger, sales, subscriptions, invoicing }) => {
      const account = by('kinds');
      await catalog.saveCoupon({ code: 'HALF', percent: 50 });
      await catalog.saveTaxRate({ key: 'vat', name: 'VAT', percent: 19, country: 'DE' });
      await catalog.saveOffer({
        sku: 'a-month',
        name: 'A month',
        price: '30.00',
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'month', count: 1 },
        items: [{ product: 'messages', quantity: 1000 }],
      });
      await sales.createOrder({ account, items: [{ sku: 'messages-10', quantity: 1 }] });
      await ledger.hold({
        account,
        product: 'messages',
        amount: 2,
        expiresIn: { unit: 'hour', count: 1 },
      });
      await subscriptions.start({ account, sku: 'a-month' });
      await invoicing.createInvoice({
        account,
        currency: 'USD',
        items: [{ description: 'Travel', quantity: '1.5', unitPrice: '10.00' }],
      });
    });
  });

  const newest = async (parameters: Record<string, unknown>): Promise<IDataObject[]> => {
    const { error, json } = await run([{}], {
      ...ourNode('Billing', 'billing', parameters),
      typeVersion: 1.1,
    });
    expect(error).toBeNull();
    return json('Billing');
  };
  const one = { accountBy: 'externalId', ...by('kinds'), limit: 1 };

  it.each<[string, string, object, string]>([
    ['account', 'get', one, 'accountId status identities'],
    ['balance', 'getEntries', one, 'entryId kind product amount account'],
    ['balance', 'get', { ...one, ...ofProduct('messages') }, 'product available unit held'],
    ['balance', 'getGrants', one, 'grantId product remaining initial held'],
    ['coupon', 'getAll', {}, 'code percent duration redeemed'],
    ['event', 'getAll', { limit: 1 }, 'eventId type occurredAt account payer data'],
    ['hold', 'getAll', one, 'holdId status product amount account'],
    ['invoice', 'getAll', one, 'invoiceId status account payer currency total amountDue'],
    ['offer', 'getAll', { limit: 1 }, 'sku name price currency billing interval items'],
    ['order', 'getAll', one, 'orderId status account payer currency total paid refunded'],
    ['product', 'getAll', { limit: 1 }, 'key name unit kind decimals'],
    ['subscription', 'getAll', one, 'subscriptionId status account payer sku name quantity'],
    ['taxRate', 'getAll', {}, 'key name percent country inclusive'],
  ])('%s, %s: %j begins with %s', async (resource, operation, parameters, begins) => {
    const asked = { resource, operation, ...parameters };
    const [short] = await newest(asked);
    expect(Object.keys(short!).join(' ')).toMatch(new RegExp(`^${begins}`));
    expect(JSON.stringify(short)).not.toContain('null');
    const [whole] = await newest({ ...asked, simple: false });
    expect(await does(resource, operation, { ...parameters })).toEqual([whole]);
    expect(Object.keys(whole!).length).toBeGreaterThan(Object.keys(short!).length);
    expect(whole).toMatchObject(short!);

    // What still reads like an amount is called by digits, or a rate.
    const [numbers] = await newest({
      ...asked,
      simple: false,
      outputOptions: { amountsAsNumbers: true },
    });
    const named = /"(\w+)":"-?\d+(\.\d+)?"/g;
    const texts = [...JSON.stringify(numbers).matchAll(named)].map(([, name]) => name);
    expect(texts.filter((name) => !['externalId', 'percent'].includes(name!))).toEqual([]);
  });

  it('gives exports whole', async () => {
    const [exported] = await newest({ resource: 'account', operation: 'export', ...one });
    expect(JSON.stringify(exported)).toContain('null');
  });
});

it('says so when there is no such operation', async () => {
  const { error } = await run([{}], billing('account', 'explode'));
  expect(error?.message).toBe('There is no operation "account: explode".');
});
