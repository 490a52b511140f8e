import { TestClock, isFailed, type Billing, type ConsumeAnswer } from '../../../engine';
import { onEachDatabase } from '../each-database';

onEachDatabase('overage', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
    await billing.catalog.saveOffer({
      sku: 'pack-5',
      name: 'Five',
      price: '1.00',
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 5 }],
    });
  });

  /** An account with so many messages and so much overage. */
  const newAccount = async (quantity: number, limit?: number | null): Promise<string> => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({
      externalId: `person-${counter}`,
    });
    if (quantity > 0) await billing.ledger.grant({ account, product: 'MSG', quantity });
    if (limit !== undefined) await billing.ledger.setOverage({ account, product: 'MSG', limit });
    return account;
  };
  const use = (account: string, amount: number, key?: string): Promise<ConsumeAnswer> =>
    billing.ledger.consume({ account, product: 'MSG', amount, idempotencyKey: key });
  const used = async (account: string): Promise<string> =>
    (await billing.ledger.overage({ account, product: 'MSG' })).used;

  test('grants pay first, the rest is overage in the same entry, and nothing remains', async () => {
    const account = await newAccount(10, 7);
    expect(await use(account, 4)).toEqual({
      accountId: account,
      allowed: true,
      reason: null,
      consumed: '4',
      remaining: '6',
      entryId: expect.any(String) as string,
      suggestedOffers: [],
      replayed: false,
    });
    const answer = await use(account, 11, 'key');
    expect(answer).toEqual({
      accountId: account,
      allowed: true,
      reason: null,
      consumed: '11',
      overage: '5',
      remaining: '0',
      entryId: expect.any(String) as string,
      suggestedOffers: [],
      replayed: false,
    });
    const [entry] = (await billing.ledger.entries({ account, limit: 1 })).items;
    expect(entry).toMatchObject({
      kind: 'use',
      amount: '-11',
      overage: '5',
      causeId: null,
      grants: [{ amount: '6' }],
    });
    expect(await billing.ledger.overage({ account, product: 'MSG' })).toEqual({
      product: 'MSG',
      limit: '7',
      used: '5',
    });
    expect((await billing.ledger.balance({ account, product: 'MSG' })).available).toBe('0');
    // The replay tells it too, whatever was said since.
    await billing.ledger.setOverage({ account, product: 'MSG', limit: 0 });
    expect(await use(account, 11, 'key')).toEqual({ ...answer, replayed: true });
  });

  test('up to the limit, all or nothing; a denial suggests what the limit does not cover', async () => {
    const account = await newAccount(3, 4);
    expect(await billing.ledger.check({ account, product: 'MSG', amount: 8 })).toMatchObject({
      allowed: false,
      remaining: '3',
    });
    const denied = await use(account, 12);
    expect(denied).toMatchObject({ allowed: false, consumed: '0', remaining: '3' });
    expect(denied).not.toHaveProperty('overage');
    expect(denied.suggestedOffers.map((offer) => offer.sku)).toEqual(['pack-5']);
    expect((await use(account, 13)).suggestedOffers).toEqual([]);
    expect(await billing.ledger.check({ account, product: 'MSG', amount: 7 })).toMatchObject({
      allowed: true,
      remaining: '3',
    });
    expect(await use(account, 7)).toMatchObject({ allowed: true, overage: '4', remaining: '0' });
    expect(await use(account, 1)).toMatchObject({
      allowed: false,
      reason: 'usage_limit',
      remaining: '0',
    });
    expect(await used(account)).toBe('4');
  });

  test('an account that was granted nothing may use overage alone; null is without limit', async () => {
    const account = await newAccount(0, null);
    expect(await use(account, 1_000_000)).toMatchObject({
      allowed: true,
      consumed: '1000000',
      overage: '1000000',
      remaining: '0',
    });
    const [entry] = (await billing.ledger.entries({ account })).items;
    expect(entry).toMatchObject({ amount: '-1000000', overage: '1000000', grants: [] });
    expect(await billing.ledger.overage({ account })).toEqual([
      { product: 'MSG', limit: null, used: '1000000' },
    ]);
  });

  test('a new grant is used before more overage, and pays nothing back', async () => {
    const account = await newAccount(0, 10);
    await use(account, 6);
    await billing.ledger.grant({ account, product: 'MSG', quantity: 3 });
    const second = await use(account, 2);
    expect(second).toMatchObject({ remaining: '1' });
    expect(second).not.toHaveProperty('overage');
    expect(await use(account, 3)).toMatchObject({ overage: '2', remaining: '0' });
    expect(await used(account)).toBe('8');
  });

  test('forbidden by default, again after 0; a limit below what was used allows no more', async () => {
    const account = await newAccount(1);
    expect(await billing.ledger.overage({ account, product: 'MSG' })).toEqual({
      product: 'MSG',
      limit: '0',
      used: '0',
    });
    expect(await billing.ledger.overage({ account })).toEqual([]);
    expect(await use(account, 2)).toMatchObject({ allowed: false });
    const set = (limit: string | number | null): Promise<object> =>
      billing.ledger.setOverage({ account, product: 'MSG', limit });
    expect(await set('5')).toEqual({ product: 'MSG', limit: '5', used: '0', replayed: false });
    expect(await use(account, 5)).toMatchObject({ overage: '4' });
    expect(await set(2)).toMatchObject({ limit: '2', used: '4' });
    expect(await use(account, 1)).toMatchObject({ allowed: false, remaining: '0' });
    expect(await set(5)).toMatchObject({ limit: '5', used: '4' });
    expect(await use(account, 2)).toMatchObject({ allowed: false });
    expect(await use(account, 1)).toMatchObject({ overage: '1' });
    expect(await set(0)).toMatchObject({ limit: '0', used: '5' });
    expect(await use(account, 1)).toMatchObject({ allowed: false });
  });

  test('consumeMany the same, each item after the one before', async () => {
    const account = await newAccount(3, 4);
    const request = { account, product: 'MSG' };
    const answers = await billing.ledger.consumeMany([
      { ...request, amount: 2 },
      { ...request, amount: 3, idempotencyKey: 'k' },
      { ...request, amount: 3 },
      { ...request, amount: 3, idempotencyKey: 'k' },
      { ...request, amount: 2 },
    ]);
    expect(
      answers.map((one) =>
        isFailed(one) ? one : [one.allowed, one.overage ?? null, one.remaining, one.replayed],
      ),
    ).toEqual([
      [true, null, '1', false],
      [true, '2', '0', false],
      [false, null, '0', false],
      [true, '2', '0', true],
      [true, '2', '0', false],
    ]);
  });

  test('of 50 at once from 10 and 20 beyond, exactly 30 are allowed', async () => {
    const account = await newAccount(10, 20);
    const answers = await Promise.all(Array.from({ length: 50 }, () => use(account, 1)));
    expect(answers.filter((answer) => answer.allowed)).toHaveLength(30);
    expect(answers.filter((answer) => answer.overage === '1')).toHaveLength(20);
    expect(await used(account)).toBe('20');
  });

  test('the terms are the payer’s, and a child uses them', async () => {
    const parent = await newAccount(1);
    const child = await newAccount(0);
    await billing.accounts.attachChild({ child, parent });
    await billing.ledger.setOverage({ account: child, product: 'MSG', limit: 3 });
    expect(await use(child, 3)).toMatchObject({ overage: '2' });
    for (const account of [parent, child]) {
      expect(await billing.ledger.overage({ account, product: 'MSG' })).toMatchObject({
        limit: '3',
        used: '2',
      });
    }
    expect(await use(parent, 1)).toMatchObject({ overage: '1' });
    await billing.accounts.update({ account: parent, status: 'suspended' });
    expect(await use(child, 1)).toMatchObject({ allowed: false, reason: 'account_suspended' });
  });

  test('units that a hold gives back by the clock are used before overage', async () => {
    const account = await newAccount(10, 5);
    const expiresIn = { unit: 'minute', count: 1 } as const;
    await billing.ledger.hold({ account, product: 'MSG', amount: 8, expiresIn });
    expect(await use(account, 3)).toMatchObject({ overage: '1', remaining: '0' });
    clock.advance(60_000);
    const answer = await use(account, 8);
    expect(answer).toMatchObject({ remaining: '0' });
    expect(answer).not.toHaveProperty('overage');
    expect(await used(account)).toBe('1');
  });

  test('a product that was only ever overage keeps its kind', async () => {
    await billing.catalog.saveProduct({ key: 'LATE', name: 'Late' });
    const account = await newAccount(0);
    await billing.ledger.setOverage({ account, product: 'LATE', limit: 1 });
    await expect(
      billing.catalog.saveProduct({ key: 'LATE', name: 'Late', kind: 'unlimited' }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'kind' });
  });

  test("a child's units go to its parent, and its terms stay with itself", async () => {
    const [parent, child] = [await newAccount(0), await newAccount(3, null)];
    await billing.accounts.attachChild({ parent, child, moveUnits: true });
    expect(await billing.ledger.overage({ account: parent })).toEqual([]);
    expect(await use(child, 4)).toMatchObject({ allowed: false, remaining: '3' });
    await billing.accounts.detachChild({ child });
    expect(await use(child, 4)).toMatchObject({ allowed: true, overage: '4' });
  });

  test('what is no request is refused; a key replays; in an undone transaction nothing is set', async () => {
    const account = await newAccount(0);
    const request = { account, product: 'MSG', limit: 5 as string | number | null };
    const refused = (parameter: string, wrong: object): Promise<void> =>
      expect(billing.ledger.setOverage({ ...request, ...wrong })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter,
      });
    await refused('limit', { limit: -1 });
    await refused('limit', { limit: '0.5' });
    await refused('limit', { limit: undefined });
    await refused('limit', { limit: 'much' });
    await refused('product', { product: 'PRO' });
    await expect(billing.ledger.setOverage({ ...request, product: 'NONE' })).rejects.toMatchObject({
      code: 'unknown_product',
    });
    await expect(billing.ledger.overage({ account, product: 'NONE' })).rejects.toMatchObject({
      code: 'unknown_product',
    });
    const keyed = { ...request, idempotencyKey: 'k' };
    const first = await billing.ledger.setOverage(keyed);
    await use(account, 2);
    expect(await billing.ledger.setOverage(keyed)).toEqual({ ...first, replayed: true });
    await expect(billing.ledger.setOverage({ ...keyed, limit: 6 })).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    await expect(
      billing.transaction(async (tx) => {
        await billing.ledger.setOverage({ ...request, limit: null, tx });
        expect(
          await billing.ledger.consume({ account, product: 'MSG', amount: 100, tx }),
        ).toMatchObject({ allowed: true, overage: '100' });
        throw new Error('undone');
      }),
    ).rejects.toThrow('undone');
    expect(await billing.ledger.overage({ account })).toEqual([
      { product: 'MSG', limit: '5', used: '2' },
    ]);
  });
});
