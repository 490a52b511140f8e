import { TestClock, type Billing, type SaveOfferRequest } from '../../../engine';
import { onEachDatabase } from '../each-database';

const HOUR = 3_600_000;

/** What an item of a one-time offer says when it says no more than what it brings. */
const PLAIN_ITEM = {
  expiresAfter: null,
  priority: 50,
  share: null,
  leadTime: null,
  expiresAtNextPayment: false,
  refill: false,
  step: null,
  overage: null,
};

onEachDatabase('catalog', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let billing: Billing;
  let catalog: Billing['catalog'];
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    catalog = billing.catalog;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
    await catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
    await catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
    await catalog.saveProduct({ key: 'GEM', name: 'Gems', isCurrency: true, decimals: 4 });
  });

  /** A key or sku that no other test has. */
  const fresh = (prefix: string): string => {
    counter += 1;
    return `${prefix}${counter}`;
  };
  const newAccount = async (): Promise<string> =>
    (await billing.accounts.identify({ externalId: fresh('person-') })).accountId;
  const saveOffer = (sku: string, more: Partial<SaveOfferRequest> = {}) =>
    catalog.saveOffer({
      sku,
      name: 'Offer',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 100 }],
      ...more,
    });
  const refused = (parameter: string, code = 'invalid_input') =>
    expect.objectContaining({ code, parameter }) as Error;

  describe('products', () => {
    test('a name and a key are enough; the rest has defaults', async () => {
      const key = fresh('P');
      const now = clock.now().toISOString();
      const saved = await catalog.saveProduct({ key, name: 'Plain' });
      expect(saved).toEqual({
        key,
        name: 'Plain',
        unit: 'unit',
        decimals: 0,
        kind: 'quantity',
        isCurrency: false,
        lowBalanceThreshold: null,
        usageThresholds: [],
        metadata: {},
        createdAt: now,
        updatedAt: now,
        replayed: false,
      });
      const { replayed: _replayed, ...product } = saved;
      expect(await catalog.getProduct({ key })).toEqual(product);
      expect(JSON.parse(JSON.stringify(product))).toEqual(product);
    });

    test('saving it again changes what is given and keeps what is left out', async () => {
      const key = fresh('P');
      const first = await catalog.saveProduct({
        key,
        name: 'Before',
        unit: 'page',
        decimals: 2,
        isCurrency: true,
        lowBalanceThreshold: '1.50',
        metadata: { a: 1 },
      });
      expect(first).toMatchObject({ lowBalanceThreshold: '1.5' });
      clock.advance(HOUR);
      expect(await catalog.saveProduct({ key, name: 'After' })).toEqual({
        ...first,
        name: 'After',
        updatedAt: clock.now().toISOString(),
      });
      expect(
        await catalog.saveProduct({
          key,
          name: 'After',
          unit: 'sheet',
          isCurrency: false,
          kind: 'unlimited',
          lowBalanceThreshold: null,
          metadata: { b: 2 },
        }),
      ).toMatchObject({
        unit: 'sheet',
        decimals: 2,
        isCurrency: false,
        kind: 'unlimited',
        lowBalanceThreshold: null,
        metadata: { b: 2 },
      });
    });

    test('a key is written one way: case alone makes no other product', async () => {
      const key = fresh('Größe-');
      await catalog.saveProduct({ key, name: 'A' });
      for (const other of [key.toLowerCase(), key.toUpperCase().replace('SS', 'ß')]) {
        expect(other).not.toBe(key);
        await expect(catalog.saveProduct({ key: other, name: 'B' })).rejects.toEqual(
          refused('key'),
        );
        await expect(catalog.getProduct({ key: other })).rejects.toEqual(
          refused('key', 'unknown_product'),
        );
      }
      // Another Unicode form of the same letters is the same key.
      await catalog.saveProduct({ key: key.normalize('NFD'), name: 'C' });
      expect(await catalog.getProduct({ key: ` ${key.normalize('NFD')} ` })).toMatchObject({
        key,
        name: 'C',
      });
    });

    test('of two first saves at once that differ by case alone one wins', async () => {
      for (let round = 0; round < 5; round += 1) {
        const key = fresh('Race');
        const outcomes = await Promise.allSettled(
          [key, key.toLowerCase(), key.toUpperCase()].map((one) =>
            catalog.saveProduct({ key: one, name: one }),
          ),
        );
        const won = outcomes.filter((outcome) => outcome.status === 'fulfilled');
        expect(won).toHaveLength(1);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).toEqual(refused('key'));
        }
        const there = await catalog.listProducts({
          keys: [key, key.toLowerCase(), key.toUpperCase()],
        });
        expect(there).toHaveLength(1);
      }
    });

    test('twenty first saves at once make one product', async () => {
      const key = fresh('P');
      const saved = await Promise.all(
        Array.from({ length: 20 }, (_, index) => catalog.saveProduct({ key, name: `N${index}` })),
      );
      expect(saved.map((product) => product.key)).toEqual(Array(20).fill(key));
      const all = await catalog.listProducts();
      expect(all.filter((product) => product.key === key)).toHaveLength(1);
    });

    test('kind and currency are fixed from the first grant on; decimals may only grow', async () => {
      const key = fresh('P');
      const save = (more: object) => catalog.saveProduct({ key, name: 'P', decimals: 2, ...more });
      await save({ kind: 'period' });
      await save({ kind: 'quantity' });
      const account = await newAccount();
      await billing.ledger.grant({ account, product: key, quantity: '0.25' });

      await expect(save({ kind: 'period' })).rejects.toEqual(refused('kind'));
      await expect(save({ kind: 'unlimited' })).rejects.toEqual(refused('kind'));
      await expect(save({ isCurrency: true })).rejects.toEqual(refused('isCurrency'));
      await expect(save({ decimals: 1 })).rejects.toEqual(refused('decimals'));
      expect(await catalog.getProduct({ key })).toMatchObject({
        kind: 'quantity',
        isCurrency: false,
        decimals: 2,
      });
      expect(await save({ decimals: 4, unit: 'bit', kind: 'quantity' })).toMatchObject({
        decimals: 4,
        unit: 'bit',
      });
      expect(
        await billing.ledger.consume({ account, product: key, amount: '0.0001' }),
      ).toMatchObject({ allowed: true, remaining: '0.2499' });
    });

    test('a currency stays one while an offer is priced in it, and no price changes', async () => {
      const key = fresh('COIN');
      const sku = fresh('offer-');
      await catalog.saveProduct({ key, name: 'Coin', isCurrency: true, decimals: 2 });
      await saveOffer(sku, { price: '1.50', currency: key });
      await expect(catalog.saveProduct({ key, name: 'Coin', isCurrency: false })).rejects.toEqual(
        refused('isCurrency'),
      );
      expect(await catalog.getOffer({ sku })).toMatchObject({ price: '1.50', currency: key });
      await catalog.saveProduct({ key, name: 'Coin', decimals: 4 });
      expect(await catalog.getOffer({ sku })).toMatchObject({ price: '1.5000' });
    });

    test.each([
      ['only counted units are money', { isCurrency: true, kind: 'period' }, 'isCurrency'],
      ['a threshold as fine as the units', { lowBalanceThreshold: '0.5' }, 'lowBalanceThreshold'],
      ['a threshold of 0 or more', { lowBalanceThreshold: -1 }, 'lowBalanceThreshold'],
      ['decimals of 0 or more', { decimals: -1 }, 'decimals'],
      ['decimals of 12 or less', { decimals: 13 }, 'decimals'],
      ['a kind out of three', { kind: 'counter' }, 'kind'],
      ['a unit', { unit: ' ' }, 'unit'],
      ['a name', { name: '' }, 'name'],
      ['a key that is none', { key: 'a b' }, 'key'],
      ['a field that nobody knows', { colour: 'red' }, 'colour'],
    ])('refused: %s', async (_what, more, parameter) => {
      const key = fresh('P');
      await expect(catalog.saveProduct({ key, name: 'P', ...(more as object) })).rejects.toEqual(
        refused(parameter),
      );
      expect(await catalog.listProducts({ keys: [key] })).toEqual([]);
    });

    test('a key is answered once: the first answer again, another request a conflict', async () => {
      const key = fresh('P');
      const request = { key, name: 'First', lowBalanceThreshold: 5, idempotencyKey: fresh('k') };
      const first = await catalog.saveProduct(request);
      await catalog.saveProduct({ key, name: 'Second' });
      expect(
        await catalog.saveProduct({ ...request, lowBalanceThreshold: '5.0', metadata: { n: 1 } }),
      ).toEqual({ ...first, replayed: true });
      expect(await catalog.getProduct({ key })).toMatchObject({ name: 'Second', metadata: {} });
      await expect(catalog.saveProduct({ ...request, name: 'Other' })).rejects.toEqual(
        refused('idempotencyKey', 'idempotency_conflict'),
      );
    });

    test('to leave a field out and to clear it are two requests', async () => {
      const key = fresh('P');
      await catalog.saveProduct({ key, name: 'P', lowBalanceThreshold: 5 });
      const request = { key, name: 'P', idempotencyKey: fresh('k') };
      await catalog.saveProduct(request);
      await expect(catalog.saveProduct({ ...request, lowBalanceThreshold: null })).rejects.toEqual(
        refused('idempotencyKey', 'idempotency_conflict'),
      );
    });

    test('lists go by key, or in the order asked for without the unknown', async () => {
      const keys = [fresh('LIST'), fresh('LIST'), fresh('LIST')].sort();
      for (const key of [...keys].reverse()) await catalog.saveProduct({ key, name: key });
      const all = (await catalog.listProducts()).map((product) => product.key);
      expect(all.filter((key) => keys.includes(key))).toEqual(keys);
      const asked = [keys[2]!, 'NOTHING', keys[0]!];
      expect((await catalog.listProducts({ keys: asked })).map((one) => one.key)).toEqual([
        keys[2],
        keys[0],
      ]);
      expect(await catalog.listProducts({ keys: [] })).toEqual([]);
      await expect(catalog.getProduct({ key: 'NOTHING' })).rejects.toEqual(
        refused('key', 'unknown_product'),
      );
    });

    test('saved in a transaction of the caller it stands and falls with it', async () => {
      const key = fresh('P');
      const sku = fresh('offer-');
      await expect(
        billing.transaction(async (tx) => {
          await catalog.saveProduct({ key, name: 'P', tx });
          await saveOffer(sku, { items: [{ product: key, quantity: 1 }], tx });
          throw new Error('undone');
        }),
      ).rejects.toThrow('undone');
      expect(await catalog.listProducts({ keys: [key] })).toEqual([]);
      expect(await catalog.listOffers({ skus: [sku] })).toEqual([]);
      // Their names are free again.
      await catalog.saveProduct({ key: sku, name: 'P' });
      await saveOffer(key);
    });
  });

  describe('offers', () => {
    test('the least that makes an offer, and what is assumed', async () => {
      const sku = fresh('offer-');
      const now = clock.now().toISOString();
      const saved = await saveOffer(sku, { price: 40 });
      expect(saved).toEqual({
        sku,
        version: 1,
        name: 'Offer',
        description: null,
        summary: null,
        imageUrl: null,
        returnUrl: null,
        price: '40.00',
        listPrice: null,
        currency: 'USD',
        billing: 'one_time',
        interval: null,
        public: true,
        active: true,
        accountId: null,
        oncePerAccount: false,
        freeTier: false,
        items: [{ ...PLAIN_ITEM, product: 'MSG', quantity: '100' }],
        trialPhases: [],
        bonuses: [],
        upsells: [],
        pricing: { model: 'per_unit', unitPrice: '40.00' },
        collect: null,
        metadata: {},
        createdAt: now,
        updatedAt: now,
        replayed: false,
      });
      const { replayed: _replayed, ...offer } = saved;
      expect(await catalog.getOffer({ sku })).toEqual(offer);
    });

    test('items keep their order, their ends and their priorities', async () => {
      const offer = await saveOffer(fresh('bundle-'), {
        items: [
          { product: 'PRO', expiresAfter: { unit: 'months', count: 1 } },
          { product: 'MSG', quantity: '10.0', priority: 1 },
          { product: 'ALL', expiresAfter: { unit: 'year', count: 2 }, priority: -1000 },
          { product: 'GB', quantity: '0.125', expiresAfter: null },
          { product: 'MSG', quantity: 5, expiresAfter: { unit: 'seconds', count: 100_000 } },
        ],
      });
      expect(offer.items).toEqual(
        [
          { product: 'PRO', quantity: '1', expiresAfter: { unit: 'month', count: 1 } },
          { product: 'MSG', quantity: '10', priority: 1 },
          {
            product: 'ALL',
            quantity: '1',
            expiresAfter: { unit: 'year', count: 2 },
            priority: -1000,
          },
          { product: 'GB', quantity: '0.125' },
          { product: 'MSG', quantity: '5', expiresAfter: { unit: 'second', count: 100_000 } },
        ].map((item) => ({ ...PLAIN_ITEM, ...item })),
      );
      expect(await catalog.getOffer({ sku: offer.sku })).toMatchObject({ items: offer.items });
    });

    test.each([
      ['USD', '9.9', '9.90'],
      ['USD', 0, '0.00'],
      ['JPY', '500', '500'],
      ['JPY', '500.00', '500'],
      ['KWD', '1.25', '1.250'],
      ['GEM', '300', '300.0000'],
      ['GEM', '0.0001', '0.0001'],
    ])('a price in %s, %p, goes out as %s', async (currency, price, expected) => {
      const offer = await saveOffer(fresh('offer-'), { currency, price, listPrice: price });
      expect(offer).toMatchObject({ currency, price: expected, listPrice: expected });
    });

    test.each([
      ['more decimals than dollars have', { price: '9.999' }, 'price'],
      ['decimals in yen', { price: '0.5', currency: 'JPY' }, 'price'],
      ['four decimals in dinars', { price: '1.0001', currency: 'KWD' }, 'price'],
      ['five decimals in gems', { price: '1.00001', currency: 'GEM' }, 'price'],
      ['a list price finer than the currency', { listPrice: '19.999' }, 'listPrice'],
      ['a price below 0', { price: '-0.01' }, 'price'],
      ['a fractional JS number', { price: 9.99 }, 'price'],
      ['a currency in small letters', { currency: 'usd' }, 'currency'],
      ['a currency that does not exist', { currency: 'ABC' }, 'currency'],
      ['a product that is no currency', { currency: 'MSG' }, 'currency'],
      ['no items', { items: [] }, 'items'],
      ['a hundred and one', { items: Array(101).fill({ product: 'MSG', quantity: 1 }) }, 'items'],
      ['counted units without a number', { items: [{ product: 'MSG' }] }, 'items[0].quantity'],
      ['half a message', { items: [{ product: 'MSG', quantity: '0.5' }] }, 'items[0].quantity'],
      [
        'none at all, in the second',
        {
          items: [
            { product: 'MSG', quantity: 1 },
            { product: 'GB', quantity: 0 },
          ],
        },
        'items[1].quantity',
      ],
      [
        'an end that is none',
        { items: [{ product: 'PRO', expiresAfter: { unit: 'moon', count: 1 } }] },
        'items[0].expiresAfter.unit',
      ],
      [
        'a priority out of bounds',
        { items: [{ product: 'PRO', priority: 1001 }] },
        'items[0].priority',
      ],
      ['an unknown billing', { billing: 'sometimes' }, 'billing'],
      ['a field that nobody knows', { prize: '1.00' }, 'prize'],
      ['a name that is too long', { name: 'x'.repeat(201) }, 'name'],
    ])('refused: %s', async (_what, more, parameter) => {
      const sku = fresh('offer-');
      await expect(saveOffer(sku, more as Partial<SaveOfferRequest>)).rejects.toEqual(
        refused(parameter),
      );
      expect(await catalog.listOffers({ skus: [sku] })).toEqual([]);
    });

    test('refused: a product that does not exist, named by its place', async () => {
      const sku = fresh('offer-');
      const items = [
        { product: 'MSG', quantity: 1 },
        { product: 'NOTHING', quantity: 1 },
      ];
      await expect(saveOffer(sku, { items })).rejects.toEqual(
        refused('items[1].product', 'unknown_product'),
      );
      // Case counts: msg is not MSG.
      await expect(saveOffer(sku, { items: [{ product: 'msg', quantity: 1 }] })).rejects.toEqual(
        refused('items[0].product', 'unknown_product'),
      );
    });

    test('every change is a version; options left out stay, items are the ones given', async () => {
      const sku = fresh('offer-');
      await saveOffer(sku, {
        listPrice: '20.00',
        public: false,
        active: false,
        metadata: { first: 1, a: 2 },
      });
      clock.advance(HOUR);
      const second = await saveOffer(sku, {
        price: '12.00',
        items: [{ product: 'GB', quantity: 1 }],
      });
      expect(second).toMatchObject({
        version: 2,
        price: '12.00',
        listPrice: '20.00',
        public: false,
        active: false,
        metadata: { first: 1, a: 2 },
        items: [{ product: 'GB', quantity: '1' }],
        updatedAt: clock.now().toISOString(),
        createdAt: new Date(clock.now().getTime() - HOUR).toISOString(),
      });
      const third = await saveOffer(sku, { listPrice: null, public: true, active: true });
      expect(third).toMatchObject({
        version: 3,
        listPrice: null,
        public: true,
        active: true,
        price: '10.00',
        items: [{ product: 'MSG', quantity: '100' }],
      });
    });

    test('saving the same again is no change', async () => {
      const sku = fresh('offer-');
      const more = { listPrice: '20', metadata: { zz: 1, a: { y: 1, b: 2 }, mmm: [1] } };
      const first = await saveOffer(sku, more);
      clock.advance(HOUR);
      for (const again of [more, { ...more, price: '10' }, {}]) {
        expect(await saveOffer(sku, again)).toEqual(first);
      }
    });

    test('versions of saves at once follow one another', async () => {
      const sku = fresh('offer-');
      const saved = await Promise.all(
        Array.from({ length: 12 }, (_, index) => saveOffer(sku, { name: `Name ${index}` })),
      );
      expect(saved.map((offer) => offer.version).sort((a, b) => a - b)).toEqual(
        Array.from({ length: 12 }, (_, index) => index + 1),
      );
      const last = saved.find((offer) => offer.version === 12)!;
      expect(await catalog.getOffer({ sku })).toMatchObject({ version: 12, name: last.name });
    });

    test('a new version changes nothing that was granted before', async () => {
      const sku = fresh('offer-');
      const account = await newAccount();
      await saveOffer(sku);
      const [before] = await billing.sales.grantOffer({ account, sku });
      await saveOffer(sku, { items: [{ product: 'MSG', quantity: 7, priority: 3 }] });
      await billing.sales.grantOffer({ account, sku, quantity: 2 });
      const grants = await billing.ledger.grants({ account });
      expect(grants).toMatchObject([
        { initial: '14', priority: 3 },
        { grantId: before!.grantId, initial: '100', priority: 50 },
      ]);
    });

    test('a list price that does not fit a new currency is not shown as another number', async () => {
      const sku = fresh('offer-');
      await saveOffer(sku, { price: '40.00', listPrice: '49.99' });
      await expect(saveOffer(sku, { price: '4000', currency: 'JPY' })).rejects.toEqual(
        refused('listPrice'),
      );
      expect(await catalog.getOffer({ sku })).toMatchObject({
        currency: 'USD',
        listPrice: '49.99',
      });
      expect(
        await saveOffer(sku, { price: '4000', currency: 'JPY', listPrice: '5000' }),
      ).toMatchObject({ price: '4000', listPrice: '5000', version: 2 });
    });

    test('a list price is as fine as its price may be', async () => {
      const key = fresh('FINE');
      await catalog.saveProduct({ key, name: 'Fine', isCurrency: true, decimals: 12 });
      const finest = '0.000000000001';
      expect(
        await saveOffer(fresh('offer-'), { currency: key, price: finest, listPrice: finest }),
      ).toMatchObject({ price: finest, listPrice: finest });
    });

    test('a sku is written one way: case alone makes no other offer', async () => {
      const sku = fresh('Pack-Ä');
      await saveOffer(sku);
      await expect(saveOffer(sku.toLowerCase())).rejects.toEqual(refused('sku'));
      await expect(catalog.getOffer({ sku: sku.toLowerCase() })).rejects.toEqual(
        refused('sku', 'unknown_offer'),
      );
      const race = fresh('Race');
      const outcomes = await Promise.allSettled(
        [race, race.toLowerCase(), race.toUpperCase()].map((one) => saveOffer(one)),
      );
      expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toEqual(refused('sku'));
      }
    });

    test('a key is answered once: the first answer again, another request a conflict', async () => {
      const sku = fresh('offer-');
      const idempotencyKey = fresh('k');
      const first = await saveOffer(sku, { idempotencyKey, listPrice: '20.00' });
      await saveOffer(sku, { name: 'Later' });
      expect(
        await saveOffer(sku, { idempotencyKey, price: 10, listPrice: '20', metadata: { n: 1 } }),
      ).toEqual({ ...first, replayed: true });
      expect(await catalog.getOffer({ sku })).toMatchObject({ version: 2, name: 'Later' });
      for (const other of [{ name: 'Other' }, { listPrice: null }, { public: true }]) {
        await expect(
          saveOffer(sku, { idempotencyKey, listPrice: '20.00', ...other }),
        ).rejects.toEqual(refused('idempotencyKey', 'idempotency_conflict'));
      }
    });

    test('lists hold what is public and on sale; the rest when it is asked for', async () => {
      const shop = await database.open(clock);
      await shop.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      const save = (sku: string, more: Partial<SaveOfferRequest> = {}) =>
        shop.catalog.saveOffer({
          sku,
          name: sku,
          price: 1,
          currency: 'USD',
          items: [{ product: 'MSG', quantity: 1 }],
          ...more,
        });
      await save('d-open');
      await save('c-private', { public: false });
      await save('b-withdrawn', { active: false });
      await save('a-open');
      await save('e-hidden', { public: false, active: false });
      const listed = async (request?: object): Promise<string[]> =>
        (await shop.catalog.listOffers(request)).map((offer) => offer.sku);

      expect(await listed()).toEqual(['a-open', 'd-open']);
      expect(await listed({})).toEqual(['a-open', 'd-open']);
      expect(await listed({ includePrivate: true })).toEqual(['a-open', 'c-private', 'd-open']);
      expect(await listed({ includeInactive: true })).toEqual(['a-open', 'b-withdrawn', 'd-open']);
      expect(await listed({ includePrivate: true, includeInactive: true })).toEqual([
        'a-open',
        'b-withdrawn',
        'c-private',
        'd-open',
        'e-hidden',
      ]);
      const skus = ['d-open', 'unknown', 'c-private', 'a-open'];
      expect(await listed({ skus })).toEqual(['d-open', 'a-open']);
      expect(await listed({ skus, includePrivate: true })).toEqual([
        'd-open',
        'c-private',
        'a-open',
      ]);
      expect(await listed({ skus: [] })).toEqual([]);
      // By its sku each can be had, and goes on being what it is.
      expect(await shop.catalog.getOffer({ sku: 'e-hidden' })).toMatchObject({
        public: false,
        active: false,
      });
      await expect(shop.catalog.getOffer({ sku: 'unknown' })).rejects.toEqual(
        refused('sku', 'unknown_offer'),
      );
    });
  });

  describe('what is suggested after a denial', () => {
    /** Skus suggested when an amount of a product is asked for that an account lacks. */
    const suggested = async (
      shop: Billing,
      account: string,
      amount: string | number,
      product = 'MSG',
    ): Promise<string[]> => {
      const checked = await shop.ledger.check({ account, product, amount });
      const consumed = await shop.ledger.consume({ account, product, amount });
      // Check and consume never disagree.
      expect(consumed.allowed).toBe(checked.allowed);
      expect(consumed.suggestedOffers).toEqual(checked.suggestedOffers);
      return checked.suggestedOffers.map((offer) => offer.sku);
    };

    let shop: Billing;
    let account: string;

    beforeAll(async () => {
      shop = await database.open(clock);
      const products = [
        { key: 'MSG', name: 'Messages' },
        { key: 'GB', name: 'Storage', decimals: 3 },
        { key: 'PRO', name: 'Pro', kind: 'period' as const },
        { key: 'ALL', name: 'All', kind: 'unlimited' as const },
        { key: 'RARE', name: 'Not for sale' },
      ];
      for (const product of products) await shop.catalog.saveProduct(product);
      const save = (
        sku: string,
        price: string,
        items: SaveOfferRequest['items'],
        more: Partial<SaveOfferRequest> = {},
      ) => shop.catalog.saveOffer({ sku, name: sku, price, currency: 'USD', items, ...more });
      await save('m-1000', '100.00', [{ product: 'MSG', quantity: 1_000 }]);
      await save('m-10', '9.00', [{ product: 'MSG', quantity: 10 }]);
      await save('m-100', '10.00', [{ product: 'MSG', quantity: 100 }], { listPrice: '15.00' });
      await save('m-100-twin', '10.00', [{ product: 'MSG', quantity: 100 }]);
      await save('m-bundle', '50.00', [
        { product: 'GB', quantity: '0.5' },
        { product: 'MSG', quantity: 60 },
        { product: 'MSG', quantity: 60, expiresAfter: { unit: 'month', count: 1 } },
      ]);
      await save('m-private', '0.00', [{ product: 'MSG', quantity: 9_999 }], { public: false });
      await save('m-withdrawn', '0.00', [{ product: 'MSG', quantity: 9_999 }], { active: false });
      await save('m-shrunk', '0.50', [{ product: 'MSG', quantity: 9_999 }]);
      await save('m-shrunk', '0.50', [{ product: 'MSG', quantity: 1 }]);
      await save('pro-1', '5.00', [{ product: 'PRO', expiresAfter: { unit: 'month', count: 1 } }]);
      await save('pro-2', '8.00', [
        { product: 'PRO', quantity: 2, expiresAfter: { unit: 'month', count: 1 } },
      ]);
      await save('all-1', '99.00', [{ product: 'ALL' }]);
      account = (await shop.accounts.identify({ externalId: 'buyer' })).accountId;
    });

    test('only public offers on sale that cover what is missing, cheapest first', async () => {
      expect(await suggested(shop, account, 1)).toEqual([
        'm-shrunk',
        'm-10',
        'm-100',
        'm-100-twin',
        'm-bundle',
        'm-1000',
      ]);
      expect(await suggested(shop, account, 11)).toEqual([
        'm-100',
        'm-100-twin',
        'm-bundle',
        'm-1000',
      ]);
      // Items of the same product count together.
      expect(await suggested(shop, account, 120)).toEqual(['m-bundle', 'm-1000']);
      expect(await suggested(shop, account, 121)).toEqual(['m-1000']);
      expect(await suggested(shop, account, 1_001)).toEqual([]);
      expect(await suggested(shop, account, 1, 'RARE')).toEqual([]);
    });

    test('each says what it costs and how much of the missing product it brings', async () => {
      const { suggestedOffers } = await shop.ledger.check({ account, product: 'MSG', amount: 50 });
      expect(suggestedOffers[0]).toEqual({
        sku: 'm-100',
        name: 'm-100',
        price: '10.00',
        listPrice: '15.00',
        currency: 'USD',
        product: 'MSG',
        quantity: '100',
      });
      const bundle = suggestedOffers.find((offer) => offer.sku === 'm-bundle');
      expect(bundle).toMatchObject({ product: 'MSG', quantity: '120' });
      const gigabytes = await shop.ledger.check({ account, product: 'GB', amount: '0.5' });
      expect(gigabytes.suggestedOffers).toMatchObject([
        { sku: 'm-bundle', product: 'GB', quantity: '0.5' },
      ]);
    });

    test('what is missing is what is asked for beyond what is there', async () => {
      const { accountId } = await shop.accounts.identify({ externalId: 'has some' });
      await shop.ledger.grant({ account: accountId, product: 'MSG', quantity: 40 });
      expect(await suggested(shop, accountId, 50)).toContain('m-10');
      expect(await suggested(shop, accountId, 51)).not.toContain('m-10');
      expect(await suggested(shop, accountId, 40)).toEqual([]);
    });

    test('nothing is suggested where nothing sold would help', async () => {
      const { accountId } = await shop.accounts.identify({ externalId: 'suspended' });
      await shop.accounts.update({ account: accountId, status: 'suspended' });
      expect(await suggested(shop, accountId, 5)).toEqual([]);
    });

    test('access by time and without limit is suggested like units', async () => {
      const { accountId } = await shop.accounts.identify({ externalId: 'visitor' });
      expect(await suggested(shop, accountId, 1, 'PRO')).toEqual(['pro-1', 'pro-2']);
      expect(await suggested(shop, accountId, 2, 'PRO')).toEqual(['pro-2']);
      expect(await suggested(shop, accountId, 1, 'ALL')).toEqual(['all-1']);
      await shop.sales.grantOffer({ account: accountId, sku: 'pro-1' });
      // Access in force is extended by another purchase, not raised: none would help now.
      expect(await suggested(shop, accountId, 2, 'PRO')).toEqual([]);
    });

    test('each denial of a batch has its own', async () => {
      const answers = await shop.ledger.consumeMany([
        { account, product: 'MSG', amount: 1_000 },
        { account, product: 'PRO', amount: 2 },
        { account, product: 'MSG', amount: 121 },
        { account, product: 'RARE' },
      ]);
      expect(
        answers.map(
          (answer) => 'suggestedOffers' in answer && answer.suggestedOffers.map((o) => o.sku),
        ),
      ).toEqual([['m-1000'], ['pro-2'], ['m-1000'], []]);
    });

    test('a denial that replays suggests what it suggested then', async () => {
      const { accountId } = await shop.accounts.identify({ externalId: 'asks twice' });
      const request = { account: accountId, product: 'RARE', amount: 3, idempotencyKey: 'again' };
      const first = await shop.ledger.consume(request);
      expect(first.suggestedOffers).toEqual([]);
      await shop.catalog.saveOffer({
        sku: 'rare-1',
        name: 'Rare',
        price: 1,
        currency: 'USD',
        items: [{ product: 'RARE', quantity: 5 }],
      });
      expect(await shop.ledger.consume(request)).toEqual({ ...first, replayed: true });
      expect(await suggested(shop, accountId, 3, 'RARE')).toEqual(['rare-1']);
      await shop.catalog.saveOffer({
        sku: 'rare-1',
        name: 'Rare',
        price: 1,
        currency: 'USD',
        active: false,
        items: [{ product: 'RARE', quantity: 5 }],
      });
      expect(await suggested(shop, accountId, 3, 'RARE')).toEqual([]);
    });
  });
});
