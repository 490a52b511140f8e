import knexFactory, { type Knex } from 'knex';

import {
  TestClock,
  openBilling,
  type Billing,
  type Offer,
  type SaveOfferRequest,
} from '../../../engine';
import { findFreeTier, findOfferVersion } from '../../../engine/catalog';
import { Database } from '../../../engine/database';
import { openEmbedded } from '../../../engine/database/embedded';
import { newId } from '../../../engine/kernel';
import { newSchema, forRules, serverUrl, type TestDatabase } from '../each-database';

const HOUR = 3_600_000;

const openKnex = async (name: TestDatabase['name']) => {
  if (name === 'embedded') return openEmbedded('memory', 10_000);
  const knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 20 } });
  return { knex, close: () => knex.destroy() };
};

const refused = (parameter: string, code = 'invalid_input') =>
  expect.objectContaining({ code, parameter }) as Error;

/** What saves an offer as it is, once more. */
const requestOf = (offer: Offer): SaveOfferRequest => {
  const { version: _v, createdAt: _c, updatedAt: _u, ...request } = offer;
  return request;
};

forRules('offers', ({ name }) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const schema = newSchema();
  let knex: Knex;
  let close: () => Promise<void>;
  let billing: Billing;
  let catalog: Billing['catalog'];
  /** The same tables, as later rooms read them. */
  let within: Database;
  let counter = 0;

  beforeAll(async () => {
    ({ knex, close } = await openKnex(name));
    billing = await openBilling({ connection: knex, schema, clock });
    within = await Database.open({ connection: knex, schema });
    catalog = billing.catalog;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
    await catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
    await catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
    await catalog.saveProduct({ key: 'GEM', name: 'Gems', isCurrency: true, decimals: 1 });
  });
  afterAll(async () => {
    try {
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    } finally {
      await close();
    }
  });

  const fresh = (prefix = 'offer-'): string => {
    counter += 1;
    return `${prefix}${counter}`;
  };
  const saveOffer = (sku: string, more: Partial<SaveOfferRequest> = {}) =>
    catalog.saveOffer({
      sku,
      name: 'Offer',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 100 }],
      ...more,
    });
  const month = { unit: 'month', count: 1 } as const;
  const recurring = { billing: 'recurring', interval: month } as const;

  /** Something of everything that an offer can say. */
  const whole = (): Partial<SaveOfferRequest> => ({
    description: 'All you need.\n\nAnd more.',
    summary: 'All you need',
    imageUrl: 'https://shop.example/all.png',
    returnUrl: 'https://shop.example/thanks?offer=all#top',
    listPrice: '15.00',
    billing: 'recurring',
    interval: { unit: 'months', count: 3 },
    oncePerAccount: true,
    items: [
      {
        product: 'MSG',
        quantity: 1_000,
        share: '2.50',
        leadTime: { unit: 'day', count: 3 },
        expiresAtNextPayment: true,
        refill: false,
        step: { size: 1_000, price: '7.99' },
        overage: {
          limit: 5_000,
          pricing: {
            model: 'graduated',
            tiers: [
              { upTo: 1_000, unitPrice: '0.0150' },
              { unitPrice: '0.01', flatPrice: 1 },
            ],
          },
        },
      },
      {
        product: 'GB',
        quantity: '0.5',
        share: 1,
        expiresAfter: month,
        overage: { pricing: { model: 'package', size: '0.125', price: '0.5' } },
      },
      { product: 'PRO', share: 0, priority: 7, step: { size: 1, price: 5 } },
    ],
    trialPhases: [
      { price: 0, length: { unit: 'hours', count: 36 }, items: [{ product: 'MSG', quantity: 10 }] },
      {
        price: '1',
        length: { unit: 'day', count: 15 },
        items: [{ product: 'PRO' }, { product: 'GB', quantity: '0.1' }],
      },
    ],
    bonuses: [
      { product: 'MSG', quantity: '5.0', expiresAfter: { unit: 'weeks', count: 2 }, priority: 1 },
      { product: 'ALL' },
    ],
    upsells: ['not-there-yet', 'nor-this'],
    pricing: { model: 'volume', tiers: [{ upTo: 5, unitPrice: 10 }, { unitPrice: '8.5' }] },
    collect: { bill: 'arrears', anchorDay: 31 },
    metadata: { colour: 'red' },
  });

  describe('what an offer says', () => {
    test('all of it comes out as it was put in', async () => {
      const sku = fresh();
      const saved = await saveOffer(sku, whole());
      const now = clock.now().toISOString();
      expect(saved).toEqual({
        sku,
        version: 1,
        name: 'Offer',
        description: 'All you need.\n\nAnd more.',
        summary: 'All you need',
        imageUrl: 'https://shop.example/all.png',
        returnUrl: 'https://shop.example/thanks?offer=all#top',
        price: '10.00',
        listPrice: '15.00',
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'month', count: 3 },
        public: true,
        active: true,
        accountId: null,
        oncePerAccount: true,
        freeTier: false,
        items: [
          {
            product: 'MSG',
            quantity: '1000',
            expiresAfter: null,
            priority: 50,
            share: '2.5',
            leadTime: { unit: 'day', count: 3 },
            expiresAtNextPayment: true,
            refill: false,
            step: { size: '1000', price: '7.99' },
            overage: {
              limit: '5000',
              pricing: {
                model: 'graduated',
                tiers: [
                  { upTo: '1000', unitPrice: '0.015', flatPrice: '0.00' },
                  { upTo: null, unitPrice: '0.01', flatPrice: '1.00' },
                ],
              },
            },
          },
          {
            product: 'GB',
            quantity: '0.5',
            expiresAfter: { unit: 'month', count: 1 },
            priority: 50,
            share: '1',
            leadTime: null,
            expiresAtNextPayment: false,
            refill: true,
            step: null,
            overage: { limit: null, pricing: { model: 'package', size: '0.125', price: '0.50' } },
          },
          {
            product: 'PRO',
            quantity: '1',
            expiresAfter: null,
            priority: 7,
            share: '0',
            leadTime: null,
            expiresAtNextPayment: false,
            refill: true,
            step: { size: '1', price: '5.00' },
            overage: null,
          },
        ],
        trialPhases: [
          {
            price: '0.00',
            length: { unit: 'hour', count: 36 },
            items: [{ product: 'MSG', quantity: '10' }],
          },
          {
            price: '1.00',
            length: { unit: 'day', count: 15 },
            items: [
              { product: 'PRO', quantity: '1' },
              { product: 'GB', quantity: '0.1' },
            ],
          },
        ],
        bonuses: [
          {
            product: 'MSG',
            quantity: '5',
            expiresAfter: { unit: 'week', count: 2 },
            priority: 1,
          },
          { product: 'ALL', quantity: '1', expiresAfter: null, priority: 50 },
        ],
        upsells: ['not-there-yet', 'nor-this'],
        pricing: {
          model: 'volume',
          tiers: [
            { upTo: '5', unitPrice: '10.00', flatPrice: '0.00' },
            { upTo: null, unitPrice: '8.50', flatPrice: '0.00' },
          ],
        },
        collect: {
          bill: 'arrears',
          atPeriodEnd: 'expire',
          dates: 'exact',
          anchorDay: 31,
          renewalGrants: 'period_start',
          access: 'on_payment',
          firstPaymentWithin: null,
          withoutMethod: 'invoice',
          prorations: 'now',
          whenInForce: 'change',
        },
        metadata: { colour: 'red' },
        createdAt: now,
        updatedAt: now,
        replayed: false,
      });
      const { replayed: _replayed, ...offer } = saved;
      expect(await catalog.getOffer({ sku })).toEqual(offer);
      expect(JSON.parse(JSON.stringify(offer))).toEqual(offer);
    });

    test('an offer can be saved as it was given out, and that is no change', async () => {
      for (const more of [{}, recurring, whole(), { pricing: { model: 'package', size: 5 } }]) {
        const sku = fresh();
        const { replayed: _replayed, ...offer } = await saveOffer(
          sku,
          more as Partial<SaveOfferRequest>,
        );
        clock.advance(HOUR);
        expect(await catalog.saveOffer(requestOf(offer))).toEqual({ ...offer, replayed: false });
        expect(await saveOffer(sku, more as Partial<SaveOfferRequest>)).toMatchObject({
          version: 1,
        });
      }
    });

    test('what is left out stays; null and empty lists clear', async () => {
      const sku = fresh();
      const first = await saveOffer(sku, whole());
      const { items } = whole();
      expect(await saveOffer(sku, { items })).toEqual(first);
      expect(await saveOffer(sku, { items, summary: 'Nearly all' })).toEqual({
        ...first,
        version: 2,
        summary: 'Nearly all',
        updatedAt: clock.now().toISOString(),
      });
      expect(
        await saveOffer(sku, {
          description: null,
          summary: null,
          imageUrl: null,
          returnUrl: null,
          listPrice: null,
          oncePerAccount: false,
          trialPhases: [],
          bonuses: [],
          upsells: [],
          pricing: null,
          collect: null,
        }),
      ).toMatchObject({
        version: 3,
        description: null,
        summary: null,
        imageUrl: null,
        returnUrl: null,
        listPrice: null,
        oncePerAccount: false,
        trialPhases: [],
        bonuses: [],
        upsells: [],
        pricing: { model: 'per_unit', unitPrice: '10.00' },
        collect: {
          bill: 'advance',
          atPeriodEnd: 'expire',
          dates: 'exact',
          anchorDay: null,
          renewalGrants: 'period_start',
          access: 'on_payment',
          firstPaymentWithin: null,
          withoutMethod: 'invoice',
          prorations: 'now',
          whenInForce: 'change',
        },
        billing: 'recurring',
        interval: { unit: 'month', count: 3 },
        metadata: { colour: 'red' },
      });
    });

    test('of how it is collected each word stays that is left out', async () => {
      const sku = fresh();
      await saveOffer(sku, { ...recurring, collect: { bill: 'arrears', dates: 'midnight' } });
      expect(await saveOffer(sku, { collect: { anchorDay: 15, dates: 'exact' } })).toMatchObject({
        collect: { bill: 'arrears', dates: 'exact', anchorDay: 15 },
      });
      expect(await saveOffer(sku, { collect: { anchorDay: null } })).toMatchObject({
        collect: { bill: 'arrears', anchorDay: null },
      });
    });

    test.each([
      { unit: 'day', count: 1 },
      { unit: 'week', count: 2 },
      { unit: 'month', count: 18 },
      { unit: 'year', count: 100 },
    ] as const)('recurs every $count $unit', async (interval) => {
      const offer = await saveOffer(fresh(), { billing: 'recurring', interval });
      expect(offer).toMatchObject({
        billing: 'recurring',
        interval,
        items: [{ refill: true }],
        collect: { bill: 'advance', anchorDay: null },
      });
    });

    test('made a one-time offer it loses what only recurring ones have', async () => {
      const sku = fresh();
      await saveOffer(sku, { ...whole(), public: false });
      expect(await saveOffer(sku, { billing: 'one_time' })).toMatchObject({
        version: 2,
        billing: 'one_time',
        interval: null,
        collect: null,
        trialPhases: [],
        items: [{ refill: false }],
        summary: 'All you need',
        public: false,
        bonuses: [{ product: 'MSG' }, { product: 'ALL' }],
      });
      await expect(saveOffer(sku, { billing: 'recurring' })).rejects.toEqual(refused('interval'));
    });

    test('prices are as fine as their currency, also when it becomes finer', async () => {
      const sku = fresh();
      await saveOffer(sku, {
        ...recurring,
        currency: 'GEM',
        price: '7.5',
        trialPhases: [{ price: 1, length: month, items: [{ product: 'MSG', quantity: 1 }] }],
        items: [{ product: 'MSG', quantity: 100, step: { size: 10, price: '0.5' } }],
      });
      await catalog.saveProduct({ key: 'GEM', name: 'Gems', decimals: 3 });
      expect(await catalog.getOffer({ sku })).toMatchObject({
        price: '7.500',
        pricing: { unitPrice: '7.500' },
        trialPhases: [{ price: '1.000' }],
        items: [{ step: { price: '0.500' } }],
      });
      await expect(saveOffer(sku, { price: '7', currency: 'GEM' })).resolves.toMatchObject({
        trialPhases: [{ price: '1.000' }],
      });
    });

    test('a kept price that does not fit a new currency is refused', async () => {
      const sku = fresh();
      const phase = { length: month, items: [{ product: 'MSG', quantity: 1 }] };
      await saveOffer(sku, {
        ...recurring,
        trialPhases: [
          { ...phase, price: 1 },
          { ...phase, price: '1.50' },
        ],
      });
      const inYen = { price: 1_000, currency: 'JPY' };
      await expect(saveOffer(sku, inYen)).rejects.toEqual(refused('trialPhases[1].price'));
      expect(
        await saveOffer(sku, { ...inYen, trialPhases: [{ ...phase, price: 150 }] }),
      ).toMatchObject({ price: '1000', trialPhases: [{ price: '150' }] });
    });
  });

  describe('how a quantity makes the price', () => {
    test("the offer's own price is what its pricing takes, and goes on taking", async () => {
      const sku = fresh();
      expect(await saveOffer(sku, { pricing: { model: 'flat' } })).toMatchObject({
        pricing: { model: 'flat', price: '10.00' },
      });
      expect(await saveOffer(sku, { price: '12' })).toMatchObject({
        version: 2,
        price: '12.00',
        pricing: { model: 'flat', price: '12.00' },
      });
      expect(await saveOffer(sku, { pricing: { model: 'package', size: 6 } })).toMatchObject({
        pricing: { model: 'package', size: '6', price: '10.00' },
      });
      expect(await saveOffer(sku, { price: 3_000, currency: 'JPY' })).toMatchObject({
        pricing: { model: 'package', size: '6', price: '3000' },
      });
      await expect(
        saveOffer(sku, { pricing: { model: 'per_unit', unitPrice: '9.00' } }),
      ).rejects.toEqual(refused('pricing.unitPrice'));
    });

    test('tiers stay when the price that is shown changes', async () => {
      const sku = fresh();
      const pricing = {
        model: 'graduated' as const,
        tiers: [{ upTo: 10, unitPrice: '0.001' }, { unitPrice: '0.0005' }],
      };
      await saveOffer(sku, { pricing });
      expect(await saveOffer(sku, { price: '11.00' })).toMatchObject({
        price: '11.00',
        pricing: { model: 'graduated', tiers: [{ unitPrice: '0.001' }, { unitPrice: '0.0005' }] },
      });
    });
  });

  describe('who may buy it', () => {
    test('a custom plan is for one account, and never public', async () => {
      const shop = await openBilling({ connection: knex, schema: newSchema(), clock });
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
      const [one, other] = [newId(), newId()];
      await save('a-for-all');
      await save('b-hidden', { public: false });
      expect(await save('c-custom', { accountId: one.toUpperCase() })).toMatchObject({
        accountId: one,
        public: false,
      });
      await save('d-withdrawn', { accountId: one, active: false });
      await save('e-other', { accountId: other });

      const listed = async (request: Parameters<typeof shop.catalog.listOffers>[0]) =>
        (await shop.catalog.listOffers(request)).map((offer) => offer.sku);
      expect(await listed({})).toEqual(['a-for-all']);
      expect(await listed({ accountId: one })).toEqual(['a-for-all', 'c-custom']);
      expect(await listed({ accountId: one, includeInactive: true })).toEqual([
        'a-for-all',
        'c-custom',
        'd-withdrawn',
      ]);
      expect(await listed({ accountId: newId() })).toEqual(['a-for-all']);
      expect(await listed({ includePrivate: true })).toEqual([
        'a-for-all',
        'b-hidden',
        'c-custom',
        'e-other',
      ]);
      expect(await listed({ accountId: one, skus: ['e-other', 'c-custom', 'b-hidden'] })).toEqual([
        'c-custom',
      ]);
      await expect(shop.catalog.listOffers({ accountId: 'me' })).rejects.toEqual(
        refused('accountId'),
      );

      await expect(save('c-custom', { public: true })).rejects.toEqual(refused('public'));
      expect(await save('a-for-all', { accountId: one })).toMatchObject({ public: false });
      // For all again: hidden, until it is told to be public.
      expect(await save('a-for-all', { accountId: null })).toMatchObject({
        accountId: null,
        public: false,
      });
      expect(await save('a-for-all', { public: true })).toMatchObject({ public: true });
      await shop.close();
    });

    test('a free tier is what is marked so and on sale', async () => {
      const sku = fresh();
      const free = { price: 0, freeTier: true };
      expect(await saveOffer(sku, { ...free, ...recurring })).toMatchObject({
        freeTier: true,
        price: '0.00',
      });
      const hidden = fresh();
      await saveOffer(hidden, { ...free, public: false });
      expect((await findFreeTier(within)).map((offer) => offer.sku)).toEqual([sku, hidden]);
      await saveOffer(sku, { ...free, active: false });
      expect(await findFreeTier(within)).toEqual([await catalog.getOffer({ sku: hidden })]);

      await expect(saveOffer(hidden, { price: '0.01' })).rejects.toEqual(refused('price'));
      expect(await saveOffer(hidden, { price: '0.01', freeTier: false })).toMatchObject({
        freeTier: false,
        price: '0.01',
      });
      expect(await findFreeTier(within)).toEqual([]);
    });
  });

  describe('refused', () => {
    const item = { product: 'MSG', quantity: 100 };
    const phase = { price: 0, length: month, items: [item] };
    const graduated = (...tiers: object[]) => ({ pricing: { model: 'graduated', tiers } });

    test.each<[string, object, string, string?]>([
      ['a recurring offer without an interval', { billing: 'recurring' }, 'interval'],
      ['one with none', { billing: 'recurring', interval: null }, 'interval'],
      ['an interval without recurring', { interval: month }, 'interval'],
      [
        'an interval of hours',
        { billing: 'recurring', interval: { unit: 'hours', count: 48 } },
        'interval.unit',
      ],
      [
        'half a month',
        { billing: 'recurring', interval: { unit: 'month', count: '0.5' } },
        'interval.count',
      ],
      ['a trial phase of a one-time offer', { trialPhases: [phase] }, 'trialPhases'],
      ['three trial phases', { ...recurring, trialPhases: [phase, phase, phase] }, 'trialPhases'],
      [
        'a trial phase without a length',
        { ...recurring, trialPhases: [{ ...phase, length: undefined }] },
        'trialPhases[0].length',
      ],
      [
        'a trial phase of no time',
        { ...recurring, trialPhases: [phase, { ...phase, length: { unit: 'day', count: 0 } }] },
        'trialPhases[1].length.count',
      ],
      [
        'a trial phase without items',
        { ...recurring, trialPhases: [{ ...phase, items: [] }] },
        'trialPhases[0].items',
      ],
      [
        'a trial price finer than cents',
        { ...recurring, trialPhases: [{ ...phase, price: '0.999' }] },
        'trialPhases[0].price',
      ],
      [
        'a trial price below 0',
        { ...recurring, trialPhases: [{ ...phase, price: -1 }] },
        'trialPhases[0].price',
      ],
      [
        'half a message on trial',
        { ...recurring, trialPhases: [{ ...phase, items: [{ ...item, quantity: '0.5' }] }] },
        'trialPhases[0].items[0].quantity',
      ],
      [
        'an unknown product on trial',
        { ...recurring, trialPhases: [{ ...phase, items: [item, { product: 'NOTHING' }] }] },
        'trialPhases[0].items[1].product',
        'unknown_product',
      ],
      [
        'an unknown bonus',
        { bonuses: [{ product: 'X' }] },
        'bonuses[0].product',
        'unknown_product',
      ],
      [
        'a bonus of half a message',
        { bonuses: [{ ...item, quantity: '.5' }] },
        'bonuses[0].quantity',
      ],
      ['a bonus of no number', { bonuses: [{ product: 'MSG' }] }, 'bonuses[0].quantity'],
      ['a bonus below 0', { bonuses: [{ ...item, quantity: -5 }] }, 'bonuses[0].quantity'],
      ['an upsell that is no sku', { upsells: ['a b'] }, 'upsells[0]'],
      ['an upsell there twice', { upsells: ['a', 'b', 'a'] }, 'upsells[2]'],
      ['a free tier with a price', { freeTier: true }, 'price'],
      ['a free tier for one account', { freeTier: true, price: 0, accountId: newId() }, 'freeTier'],
      [
        'a free tier with a paid trial',
        { freeTier: true, price: 0, ...recurring, trialPhases: [{ ...phase, price: 1 }] },
        'trialPhases[0].price',
      ],
      [
        'a free tier that its tiers give a price',
        { freeTier: true, price: 0, ...graduated({ unitPrice: 1 }) },
        'pricing',
      ],
      ['an account that is no id', { accountId: 'customer-1' }, 'accountId'],
      ['a custom plan for everybody', { accountId: newId(), public: true }, 'public'],
      ['a collection of a one-time offer', { collect: { bill: 'arrears' } }, 'collect'],
      ['a bill at noon', { ...recurring, collect: { bill: 'noon' } }, 'collect.bill'],
      ['a 32nd of the month', { ...recurring, collect: { anchorDay: 32 } }, 'collect.anchorDay'],
      [
        'a day of the month for weeks',
        {
          billing: 'recurring',
          interval: { unit: 'week', count: 1 },
          collect: { anchorDay: 1 },
        },
        'collect.anchorDay',
      ],
      ['a refill of a one-time offer', { items: [{ ...item, refill: true }] }, 'items[0].refill'],
      [
        'access that ends at the next payment',
        { items: [{ product: 'PRO', expiresAtNextPayment: true }] },
        'items[0].expiresAtNextPayment',
      ],
      [
        'everything that ends at the next payment',
        { items: [item, { product: 'ALL', expiresAtNextPayment: true }] },
        'items[1].expiresAtNextPayment',
      ],
      ['time after no end', { items: [{ ...item, leadTime: month }] }, 'items[0].leadTime'],
      ['a share of one item among two', { items: [{ ...item, share: 1 }, item] }, 'items[1].share'],
      ['a share below 0', { items: [{ ...item, share: -1 }] }, 'items[0].share'],
      [
        'steps of half a message',
        { items: [{ ...item, step: { size: '0.5', price: 1 } }] },
        'items[0].step.size',
      ],
      [
        'steps of nothing',
        { items: [{ ...item, step: { size: 0, price: 1 } }] },
        'items[0].step.size',
      ],
      [
        'a step that costs half a cent',
        { items: [{ ...item, step: { size: 1, price: '0.005' } }] },
        'items[0].step.price',
      ],
      [
        'a step without a price',
        { items: [{ ...item, step: { size: 1 } }] },
        'items[0].step.price',
      ],
      [
        'steps of what has no end',
        { items: [{ product: 'ALL', step: { size: 1, price: 1 } }] },
        'items[0].step',
      ],
      [
        'overage of access',
        { items: [{ product: 'PRO', overage: { pricing: { model: 'flat', price: 1 } } }] },
        'items[0].overage',
      ],
      ['overage for no price', { items: [{ ...item, overage: {} }] }, 'items[0].overage.pricing'],
      [
        'overage without a unit price',
        { items: [{ ...item, overage: { pricing: { model: 'per_unit' } } }] },
        'items[0].overage.pricing.unitPrice',
      ],
      [
        'overage up to half a message',
        {
          items: [
            { ...item, overage: { limit: '0.5', pricing: { model: 'per_unit', unitPrice: 1 } } },
          ],
        },
        'items[0].overage.limit',
      ],
      [
        'overage tiers with a gap',
        {
          items: [
            {
              ...item,
              overage: graduated({ upTo: 10, unitPrice: 1 }, { from: 20, unitPrice: 1 }),
            },
          ],
        },
        'items[0].overage.pricing.tiers[1].from',
        'tier_invalid',
      ],
      [
        'overage tiers that overlap',
        {
          items: [
            item,
            {
              ...item,
              overage: graduated({ upTo: 10, unitPrice: 1 }, { upTo: 10, unitPrice: 1 }, {}),
            },
          ],
        },
        'items[1].overage.pricing.tiers[1].upTo',
        'tier_invalid',
      ],
      [
        'tiers finer than the units',
        {
          items: [
            {
              product: 'GB',
              quantity: 1,
              overage: graduated({ upTo: '0.0005', unitPrice: 1 }, { unitPrice: 1 }),
            },
          ],
        },
        'items[0].overage.pricing.tiers[0].upTo',
        'tier_invalid',
      ],
      [
        'tiers that end',
        graduated({ upTo: 10, unitPrice: 1 }),
        'pricing.tiers[0].upTo',
        'tier_invalid',
      ],
      [
        'tiers of half an offer',
        graduated({ upTo: '1.5', unitPrice: 1 }, { unitPrice: 1 }),
        'pricing.tiers[0].upTo',
        'tier_invalid',
      ],
      ['another price than its own', { pricing: { model: 'flat', price: 9 } }, 'pricing.price'],
      ['packages of half', { pricing: { model: 'package', size: '0.5' } }, 'pricing.size'],
      ['an unknown model', { pricing: { model: 'auction' } }, 'pricing.model'],
      ['a picture that is a script', { imageUrl: 'javascript:alert(1)' }, 'imageUrl'],
      ['a return to nowhere', { returnUrl: 'https://' }, 'returnUrl'],
      ['a summary of a page', { summary: 'x'.repeat(501) }, 'summary'],
      // A rest, since jest takes a fourth parameter that a row does not fill for its callback.
    ])('%s', async (_what, ...[more, parameter, code]) => {
      const sku = fresh();
      await expect(saveOffer(sku, more as Partial<SaveOfferRequest>)).rejects.toEqual(
        refused(parameter, code),
      );
      expect(await catalog.listOffers({ skus: [sku], includePrivate: true })).toEqual([]);
      // Nothing was kept of it, its name neither.
      await catalog.saveProduct({ key: sku, name: 'Product' });
    });

    test('its own sku as an upsell', async () => {
      const sku = fresh();
      await expect(saveOffer(sku, { upsells: ['other', sku] })).rejects.toEqual(
        refused('upsells[1]'),
      );
    });
  });

  describe('versions', () => {
    test('each stays as it was sold', async () => {
      const sku = fresh();
      const { replayed: _a, ...first } = await saveOffer(sku, whole());
      clock.advance(HOUR);
      const { replayed: _b, ...second } = await saveOffer(sku, {
        price: '20.00',
        billing: 'one_time',
        pricing: null,
      });
      expect(second.version).toBe(2);
      expect(await findOfferVersion(within, sku, 1)).toEqual(first);
      expect(await findOfferVersion(within, sku, 2)).toEqual(second);
      await expect(findOfferVersion(within, sku, 3)).rejects.toEqual(
        refused('sku', 'unknown_offer'),
      );
      await expect(findOfferVersion(within, sku.toUpperCase(), 1)).rejects.toEqual(
        refused('sku', 'unknown_offer'),
      );
    });

    test('a key answers again as it was, the terms among what must be the same', async () => {
      const sku = fresh();
      const request = { ...whole(), idempotencyKey: fresh('k') };
      const first = await saveOffer(sku, request);
      await saveOffer(sku, { summary: 'Other' });
      expect(await saveOffer(sku, request)).toEqual({ ...first, replayed: true });
      await expect(saveOffer(sku, { ...request, upsells: [] })).rejects.toEqual(
        refused('idempotencyKey', 'idempotency_conflict'),
      );
    });

    test('the database refuses what no offer can be', async () => {
      const sku = fresh();
      await saveOffer(sku);
      const version = (more: Record<string, unknown>) =>
        knex
          .withSchema(schema)
          .table('offer_versions')
          .insert({
            sku,
            version: 2,
            name: 'Offer',
            price: 1,
            currency: 'USD',
            billing: 'one_time',
            public: false,
            active: true,
            created_at: clock.now().toISOString(),
            ...more,
          });
      for (const more of [
        { billing: 'sometimes' },
        { billing: 'recurring' },
        { interval_unit: 'month', interval_count: 1 },
        { billing: 'recurring', interval_unit: 'hour', interval_count: 1 },
        { billing: 'recurring', interval_unit: 'month', interval_count: null },
        { public: true, account_id: newId() },
        { free_tier: true },
        { price: 0, free_tier: true, account_id: newId() },
        { terms: '[]' },
      ]) {
        await expect(version(more)).rejects.toMatchObject({ code: '23514' });
      }
      await expect(
        knex.withSchema(schema).table('offer_versions').where({ sku }).update({ terms: '{}' }),
      ).rejects.toMatchObject({ code: '23001' });
    });
  });

  describe('names of products and offers', () => {
    test('a product and an offer may have one name, and each keeps its spelling', async () => {
      const name = fresh('Name-Ä');
      const [lower, upper] = [name.toLowerCase(), name.toUpperCase()];
      await catalog.saveProduct({ key: name, name: 'Product' });
      await saveOffer(lower);
      for (const sku of [name, upper]) await expect(saveOffer(sku)).rejects.toEqual(refused('sku'));
      for (const key of [lower, upper]) {
        await expect(catalog.saveProduct({ key, name: 'Product' })).rejects.toMatchObject({
          code: 'invalid_input',
          parameter: 'key',
          advice: `Use ${name}, or a key that differs by more.`,
        });
      }
      // What has its name goes on under it.
      expect(await catalog.saveProduct({ key: name, name: 'Renamed' })).toMatchObject({
        name: 'Renamed',
      });
      expect(await saveOffer(lower, { price: 1 })).toMatchObject({ version: 2 });
      await expect(catalog.getOffer({ sku: name })).rejects.toMatchObject({
        code: 'unknown_offer',
      });
    });

    test('of products, and of offers, that differ by case and are saved at once, one each is there', async () => {
      for (let round = 0; round < 5; round += 1) {
        const named = fresh('Race');
        const outcomes = await Promise.allSettled([
          catalog.saveProduct({ key: named, name: 'Product' }),
          saveOffer(named.toLowerCase()),
          saveOffer(named.toUpperCase()),
          catalog.saveProduct({ key: named.toLowerCase(), name: 'Product' }),
        ]);
        expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(2);
        const spellings = [named, named.toLowerCase(), named.toUpperCase()];
        expect(await catalog.listProducts({ keys: spellings })).toHaveLength(1);
        expect(await catalog.listOffers({ skus: spellings })).toHaveLength(1);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') {
            expect(outcome.reason).toMatchObject({ code: 'invalid_input' });
          }
        }
      }
    });

    test('first saves of one key at once each keep what the others said', async () => {
      const key = fresh('P');
      await Promise.all([
        catalog.saveProduct({ key, name: 'P', unit: 'page' }),
        catalog.saveProduct({ key, name: 'P', decimals: 2 }),
        catalog.saveProduct({ key, name: 'P', lowBalanceThreshold: 3 }),
      ]);
      expect(await catalog.getProduct({ key })).toMatchObject({
        unit: 'page',
        decimals: 2,
        lowBalanceThreshold: '3',
      });
    });
  });
});
