import { TestClock, type Billing } from '../../../engine';
import { onEachDatabase } from '../each-database';

const START = Date.parse('2027-01-10T12:00:00Z');

onEachDatabase('exchange', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'INTERNAL', name: 'Coins', isCurrency: true, decimals: 2 });
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await catalog.saveProduct({ key: 'IMAGES', name: 'Images' });
    await catalog.saveProduct({ key: 'PREMIUM', name: 'Premium', kind: 'period' });
    const tokens = { product: 'TOKENS', quantity: 100 };
    const internal = { price: 300, currency: 'INTERNAL' };
    await catalog.saveOffer({ sku: 'goods', name: 'Goods', ...internal, items: [tokens] });
    await catalog.saveOffer({
      sku: 'bundle',
      name: 'Bundle',
      ...internal,
      items: [
        { ...tokens, share: 1 },
        { product: 'IMAGES', quantity: 10, share: 2, expiresAfter: { unit: 'month', count: 1 } },
      ],
      bonuses: [{ product: 'IMAGES', quantity: 1 }],
    });
    await catalog.saveOffer({
      sku: 'priced',
      name: 'Shared by prices',
      ...internal,
      items: [tokens, { product: 'IMAGES', quantity: 10 }],
    });
    await catalog.saveOffer({
      sku: 'one-image',
      name: 'An image',
      price: 5,
      currency: 'INTERNAL',
      items: [{ product: 'IMAGES', quantity: 1 }],
    });
    await catalog.saveOffer({
      sku: 'access',
      name: 'Access',
      price: 10,
      currency: 'INTERNAL',
      items: [{ product: 'PREMIUM', expiresAfter: { unit: 'month', count: 1 } }],
    });
    await catalog.saveOffer({
      sku: 'in-dollars',
      name: 'Dollars',
      price: 3,
      currency: 'USD',
      items: [tokens],
    });
    await catalog.saveOffer({
      sku: 'coins',
      name: 'Coins',
      price: 9,
      currency: 'USD',
      items: [{ product: 'INTERNAL', quantity: 1000 }],
    });
    await catalog.saveOffer({
      sku: 'free',
      name: 'Free',
      price: 0,
      currency: 'INTERNAL',
      items: [tokens],
    });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `person-${counter}` });
    return accountId;
  };
  const give = (account: string, quantity: number | string, paid?: [string, string]) =>
    billing.ledger.grant({
      account,
      product: 'INTERNAL',
      quantity,
      paid: paid && { amount: paid[0], currency: paid[1] },
    });
  const available = async (account: string, product = 'INTERNAL') =>
    (await billing.ledger.balance({ account, product })).available;
  const grantsOf = async (account: string, product: string) =>
    (await billing.ledger.grants({ account, product }))
      .reverse()
      .map(({ initial, value, currency, expiresAt }) => [initial, value, currency, expiresAt]);

  test('L9: 500 spent for an offer of 300 are 200, and the goods are there', async () => {
    const account = await newAccount();
    await give(account, 500, ['50.00', 'USD']);
    const answer = await billing.ledger.exchange({ account, sku: 'goods' });
    expect(answer).toMatchObject({
      allowed: true,
      reason: null,
      spent: '300',
      remaining: '200',
      currency: 'INTERNAL',
      entryId: expect.any(String) as string,
      grants: [{ product: 'TOKENS', initial: '100', value: '30.00000000', currency: 'USD' }],
      replayed: false,
      suggestedOffers: [],
    });
    expect(await available(account)).toBe('200');
    expect(await available(account, 'TOKENS')).toBe('100');
    const { items } = await billing.ledger.entries({ account, limit: 2 });
    expect(items).toMatchObject([
      { kind: 'grant', amount: '100', value: '30.00000000', causeId: answer.entryId },
      { kind: 'exchange', amount: '-300', value: '-30.00000000', entryId: answer.entryId },
    ]);
  });

  test('L9: with 50 there is nothing, and nothing changes', async () => {
    const account = await newAccount();
    await give(account, 50, ['5.00', 'USD']);
    const answer = await billing.ledger.exchange({ account, sku: 'goods' });
    expect(answer).toMatchObject({
      allowed: false,
      reason: 'insufficient_balance',
      spent: '0',
      remaining: '50',
      entryId: null,
      grants: [],
      suggestedOffers: [{ sku: 'coins', product: 'INTERNAL', quantity: '1000' }],
    });
    expect(await available(account)).toBe('50');
    expect((await billing.ledger.entries({ account })).items).toHaveLength(1);
  });

  test('L9: an offer priced in no product is no exchange', async () => {
    const account = await newAccount();
    await give(account, 500);
    await expect(billing.ledger.exchange({ account, sku: 'in-dollars' })).rejects.toMatchObject({
      code: 'currency_mismatch',
      parameter: 'sku',
    });
    await expect(billing.ledger.exchange({ account, sku: 'nowhere' })).rejects.toMatchObject({
      code: 'unknown_offer',
    });
    expect(await available(account)).toBe('500');
  });

  test('a key is one exchange, and its first answer is given again', async () => {
    const account = await newAccount();
    await give(account, 1000);
    const request = { account, sku: 'goods', idempotencyKey: 'one' };
    const first = await billing.ledger.exchange(request);
    expect(await billing.ledger.exchange(request)).toEqual({ ...first, replayed: true });
    expect(await available(account)).toBe('700');
    await expect(billing.ledger.exchange({ ...request, quantity: 2 })).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
  });

  test('twenty at once spend what is there, and no more', async () => {
    const account = await newAccount();
    await give(account, 1000);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => billing.ledger.exchange({ account, sku: 'goods' })),
    );
    expect(answers.filter(({ allowed }) => allowed)).toHaveLength(3);
    expect(await available(account)).toBe('100');
    expect(await available(account, 'TOKENS')).toBe('300');
  });

  test('value is shared by the shares of the items; bonuses are worth nothing', async () => {
    const account = await newAccount();
    await give(account, 500, ['50.00', 'USD']);
    await billing.ledger.exchange({ account, sku: 'bundle' });
    expect(await grantsOf(account, 'TOKENS')).toEqual([['100', '10.00000000', 'USD', null]]);
    expect(await grantsOf(account, 'IMAGES')).toEqual([
      ['10', '20.00000000', 'USD', '2027-02-10T12:00:00.000Z'],
      ['1', '0.00000000', null, null],
    ]);
  });

  test('without shares it is shared by what the items cost alone: 300 and 50', async () => {
    const account = await newAccount();
    await give(account, 300, ['7.00', 'USD']);
    await billing.ledger.exchange({ account, sku: 'priced' });
    expect(await grantsOf(account, 'TOKENS')).toEqual([['100', '6.00000000', 'USD', null]]);
    expect(await grantsOf(account, 'IMAGES')).toEqual([['10', '1.00000000', 'USD', null]]);
  });

  test('units of two currencies make goods of two currencies', async () => {
    const account = await newAccount();
    await give(account, 100, ['10.00', 'USD']);
    await give(account, 100, ['20.00', 'EUR']);
    await give(account, 100);
    await billing.ledger.exchange({ account, sku: 'goods' });
    expect(await grantsOf(account, 'TOKENS')).toEqual([
      ['50', '10.00000000', 'USD', null],
      ['50', '20.00000000', 'EUR', null],
    ]);
  });

  test('a part that would be no unit is one, since value needs a unit to lie in', async () => {
    const account = await newAccount();
    await give(account, '4.99', ['1.00', 'USD']);
    await give(account, '0.01', ['0.01', 'EUR']);
    await billing.catalog.saveOffer({
      sku: 'two-images',
      name: 'Two',
      price: 5,
      currency: 'INTERNAL',
      public: false,
      accountId: account,
      items: [{ product: 'IMAGES', quantity: 2 }],
    });
    expect(await billing.ledger.exchange({ account, sku: 'two-images' })).toMatchObject({
      allowed: true,
    });
    expect(await grantsOf(account, 'IMAGES')).toEqual([
      ['1', '1.00000000', 'USD', null],
      ['1', '0.01000000', 'EUR', null],
    ]);
  });

  test('what cannot be divided between currencies is refused, and nothing is spent', async () => {
    const account = await newAccount();
    await give(account, 5, ['5.00', 'USD']);
    await give(account, 5, ['5.00', 'EUR']);
    await expect(billing.ledger.exchange({ account, sku: 'access' })).rejects.toMatchObject({
      code: 'currency_mismatch',
    });
    expect(await available(account)).toBe('10');
  });

  test('access for a time carries the value, and a second one extends it', async () => {
    const account = await newAccount();
    await give(account, 20, ['4.00', 'USD']);
    await billing.ledger.exchange({ account, sku: 'access', quantity: 1 });
    await billing.ledger.exchange({ account, sku: 'access' });
    expect(await grantsOf(account, 'PREMIUM')).toEqual([
      ['1', '2.00000000', 'USD', '2027-02-10T12:00:00.000Z'],
      ['1', '2.00000000', 'USD', '2027-03-10T12:00:00.000Z'],
    ]);
  });

  test('private, inactive and others custom offers are not to be had', async () => {
    const [account, other] = [await newAccount(), await newAccount()];
    await give(account, 500);
    const base = {
      name: 'X',
      price: 1,
      currency: 'INTERNAL',
      items: [{ product: 'TOKENS', quantity: 1 }],
    };
    await billing.catalog.saveOffer({ ...base, sku: 'private', public: false });
    await billing.catalog.saveOffer({ ...base, sku: 'inactive', active: false });
    await billing.catalog.saveOffer({ ...base, sku: 'theirs', accountId: other });
    for (const sku of ['private', 'inactive', 'theirs']) {
      expect(await billing.ledger.exchange({ account, sku })).toMatchObject({
        allowed: false,
        reason: 'offer_unavailable',
      });
    }
    expect(await available(account)).toBe('500');
  });

  test('suspended and closed accounts are denied', async () => {
    const account = await newAccount();
    await give(account, 500);
    for (const status of ['suspended', 'closed'] as const) {
      await billing.accounts.update({ account, status });
      expect(await billing.ledger.exchange({ account, sku: 'goods' })).toMatchObject({
        allowed: false,
        reason: `account_${status}`,
      });
    }
  });

  test('a price of 0 takes nothing', async () => {
    const account = await newAccount();
    expect(await billing.ledger.exchange({ account, sku: 'free' })).toMatchObject({
      allowed: true,
      spent: '0',
      remaining: '0',
      entryId: null,
      grants: [{ product: 'TOKENS', value: '0.00000000', currency: null }],
    });
  });

  test('units on hold are not spent', async () => {
    const account = await newAccount();
    await give(account, 400);
    await billing.ledger.hold({
      account,
      product: 'INTERNAL',
      amount: 200,
      expiresIn: { unit: 'hour', count: 1 },
    });
    expect(await billing.ledger.exchange({ account, sku: 'goods' })).toMatchObject({
      allowed: false,
      remaining: '200',
    });
    clock.set(START + 3_600_000);
    expect(await billing.ledger.exchange({ account, sku: 'goods' })).toMatchObject({
      allowed: true,
      remaining: '100',
    });
  });

  test.each([
    ['quantity', { quantity: 0 }],
    ['quantity', { quantity: -1 }],
    ['quantity', { quantity: 1.5 }],
    ['sku', { sku: '' }],
    ['account', { account: 7 }],
    ['extra', { extra: true }],
  ])('bad input: %s %j', async (parameter, wrong) => {
    const account = await newAccount();
    const request = { account, sku: 'goods', ...wrong } as { account: string; sku: string };
    await expect(billing.ledger.exchange(request)).rejects.toMatchObject({
      code: 'invalid_input',
      parameter,
    });
  });
});
