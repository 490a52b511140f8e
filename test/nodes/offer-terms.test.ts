import { customer, does, withSoundLedger } from './billing-in-workflows';

withSoundLedger();

const save = async (parameters: Record<string, unknown>) =>
  (
    await does('offer', 'upsert', {
      sku: 'offer',
      name: 'Offer',
      price: '10.00',
      currency: 'USD',
      items: { item: [{ product: 'messages', quantity: 100 }] },
      ...parameters,
    })
  )[0]!;

const saveWith = (additionalFields: Record<string, unknown>, more: object = {}) =>
  save({ additionalFields, ...more });

describe('Billing: Offer, what it may say', () => {
  it('texts and addresses, which can be removed again', async () => {
    const texts = {
      description: 'For teams',
      summary: 'Short',
      imageUrl: 'https://example.com/a.png',
      returnUrl: 'https://example.com/thanks',
    };
    expect(await saveWith(texts)).toMatchObject(texts);
    expect(await saveWith({ summary: 'Shorter' })).toMatchObject({ ...texts, summary: 'Shorter' });
    expect(
      await saveWith({ description: '', summary: '', imageUrl: '', returnUrl: '' }),
    ).toMatchObject({ description: null, summary: null, imageUrl: null, returnUrl: null });
    await expect(saveWith({ summary: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Summary" is missing.',
    );
    await expect(saveWith({ imageUrl: 'not an address' })).rejects.toThrow(/"Image URL" must/);
  });

  it('who may buy it: once, everybody for free, or one account', async () => {
    const accountId = await customer('special');
    expect(await saveWith({ oncePerAccount: true })).toMatchObject({ oncePerAccount: true });
    expect(await saveWith({ oncePerAccount: false, accountId })).toMatchObject({
      oncePerAccount: false,
      accountId,
      public: false,
    });
    const skus = async (filters: object) =>
      (await does('offer', 'getAll', { returnAll: true, filters })).map(({ sku }) => sku);
    expect(await skus({})).not.toContain('offer');
    expect(await skus({ accountId })).toContain('offer');
    expect(await saveWith({ accountId: '' })).toMatchObject({ accountId: null });
    expect(
      await saveWith({ freeTier: true, public: false }, { sku: 'gift', price: '0' }),
    ).toMatchObject({ freeTier: true });
    await saveWith({ freeTier: false }, { sku: 'gift', price: '0' });
  });

  it('bonuses and upsells, which can be removed again', async () => {
    const bonus = { product: 'credits', quantity: 1.5, expiresUnit: 'month', expiresCount: 2 };
    expect(
      await saveWith({ bonuses: { bonus: [bonus] }, upsells: 'messages-10, both' }),
    ).toMatchObject({
      bonuses: [
        {
          product: 'credits',
          quantity: '1.5',
          expiresAfter: { unit: 'month', count: 2 },
          priority: 50,
        },
      ],
      upsells: ['messages-10', 'both'],
    });
    expect(await saveWith({})).toMatchObject({ upsells: ['messages-10', 'both'] });
    expect(await saveWith({ bonuses: {}, upsells: '' })).toMatchObject({
      bonuses: [],
      upsells: [],
    });
  });

  it('offers and accounts chosen in lists, since version 1.2', async () => {
    const accountId = await customer('chosen');
    const now = async (additionalFields: Record<string, unknown>) =>
      (
        await does(
          'offer',
          'upsert',
          {
            ...{ sku: 'chosen', name: 'Chosen', price: '1.00', currency: 'USD', simple: false },
            items: { item: [{ product: 'messages', quantity: 1 }] },
            additionalFields,
          },
          [{ skus: ['both'], typed: 'both, messages-10' }],
          { typeVersion: 1.2 },
        )
      )[0]!;
    const account = (value: string) => ({ __rl: true, mode: 'list', value });
    expect(
      await now({ upsells: ['messages-10', 'both'], accountId: account(accountId) }),
    ).toMatchObject({ upsells: ['messages-10', 'both'], accountId });
    expect(await now({ upsells: '={{ $json.skus }}' })).toMatchObject({ upsells: ['both'] });
    expect(await now({ upsells: '={{ $json.typed }}' })).toMatchObject({
      upsells: ['both', 'messages-10'],
    });
    expect(await now({ upsells: [], accountId: account('') })).toMatchObject({
      upsells: [],
      accountId: null,
    });
    const filters = { accountId: account(accountId) };
    expect(await does('offer', 'getAll', { filters }, [{}], { typeVersion: 1.2 })).not.toEqual([]);
  });

  it('how the quantity makes the price', async () => {
    const priced = (pricing: object) => saveWith({ pricing: { pricing } });
    expect(await priced({ model: 'package', size: 10 })).toMatchObject({
      pricing: { model: 'package', size: '10', price: '10.00' },
    });
    const tiers = {
      tier: [
        { upTo: '100', unitPrice: '0.10' },
        { unitPrice: '0.055', flatPrice: '2' },
      ],
    };
    expect(await priced({ model: 'graduated', tiers })).toMatchObject({
      pricing: {
        model: 'graduated',
        tiers: [
          { upTo: '100', unitPrice: '0.10', flatPrice: '0.00' },
          { upTo: null, unitPrice: '0.055', flatPrice: '2.00' },
        ],
      },
    });
    expect(await priced({ model: 'flat' })).toMatchObject({ pricing: { model: 'flat' } });
    await expect(
      priced({ model: 'volume', tiers: { tier: [{ upTo: '100', unitPrice: '1' }] } }),
    ).rejects.toThrow();
    expect(await priced({ model: 'per_unit' })).toMatchObject({
      pricing: { model: 'per_unit', unitPrice: '10.00' },
    });
  });

  it('S7: a tripwire with two phases, its terms, and back to a one-time offer', async () => {
    const phase = (price: string, count: number, unit: string, quantity: number) => ({
      price,
      count,
      unit,
      items: { item: [{ product: 'messages', quantity }] },
    });
    const recurring = { sku: 'plan', price: '99.00', sold: 'recurring' };
    const plan = await saveWith(
      {
        trialPhases: { phase: [phase('1.00', 15, 'day', 10), phase('50.00', 1, 'month', 25)] },
        collect: { bill: 'arrears', anchorDay: 1, dates: 'midnight' },
      },
      recurring,
    );
    expect(plan).toMatchObject({
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      trialPhases: [
        {
          price: '1.00',
          length: { unit: 'day', count: 15 },
          items: [{ product: 'messages', quantity: '10' }],
        },
        { price: '50.00', length: { unit: 'month', count: 1 } },
      ],
      collect: { bill: 'arrears', anchorDay: 1, dates: 'midnight', atPeriodEnd: 'expire' },
    });
    expect(await saveWith({ collect: { anchorDay: 0 } }, recurring)).toMatchObject({
      collect: { bill: 'arrears', anchorDay: null },
    });
    expect(await saveWith({ trialPhases: {} }, recurring)).toMatchObject({ trialPhases: [] });
    expect(await saveWith({}, { ...recurring, sold: 'once' })).toMatchObject({
      billing: 'one_time',
      interval: null,
      collect: null,
    });
    const within = { firstPaymentWithin: { time: { count: 2, unit: 'day' } } };
    const quarterly = { ...recurring, everyCount: 3 };
    expect(await saveWith({ collect: within }, quarterly)).toMatchObject({
      interval: { unit: 'month', count: 3 },
      collect: { firstPaymentWithin: { unit: 'day', count: 2 } },
    });
    const usual = { firstPaymentWithin: { time: { count: 0, unit: 'hour' } } };
    expect(await saveWith({ collect: usual }, quarterly)).toMatchObject({
      collect: { firstPaymentWithin: null },
    });
    await expect(saveWith({}, { ...recurring, everyCount: '={{ $json.x }}' })).rejects.toThrow(
      '"Every" is missing.',
    );
    await expect(saveWith({}, { ...recurring, sold: '={{ $json.x }}' })).rejects.toThrow(
      '"Sold" is missing.',
    );
  });

  it('of an item: share, lead time, end at payment, steps and overage', async () => {
    const more = {
      share: 3,
      leadTime: { time: { count: 3, unit: 'day' } },
      expiresAtNextPayment: true,
      step: { step: { size: 10, price: '7.99' } },
      overage: { overage: { limit: 50, model: 'per_unit', price: '0.02' } },
    };
    const item = (options: object) => ({
      items: { item: [{ product: 'messages', quantity: 100, more: options }] },
    });
    const saved = await saveWith({}, item(more));
    expect(saved).toMatchObject({
      items: [
        {
          share: '3',
          leadTime: { unit: 'day', count: 3 },
          expiresAtNextPayment: true,
          step: { size: '10', price: '7.99' },
          overage: { limit: '50', pricing: { model: 'per_unit', unitPrice: '0.02' } },
        },
      ],
    });
    expect(
      await saveWith({}, item({ overage: { overage: { model: 'package', size: 100, price: 1 } } })),
    ).toMatchObject({
      items: [
        {
          share: null,
          step: null,
          overage: { limit: null, pricing: { model: 'package', size: '100', price: '1.00' } },
        },
      ],
    });
  });
});
