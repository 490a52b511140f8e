import { TestClock, isFailed, type Billing } from '../../../engine';
import { newSchema, openOnServer } from '../each-database';

/**
 * Engines of several processes on one schema. Whatever one of them keeps in memory between calls:
 * what another has changed, and said so, counts from then on. The clock is shared, so that nothing
 * is forgotten by the passing of time.
 */
describe('what one engine changes counts in the others', () => {
  const clock = new TestClock('2027-03-01T00:00:00Z');
  const opened: Billing[] = [];
  let here: Billing;
  let there: Billing;
  let accounts = 0;
  let account: string;

  beforeAll(async () => {
    const schema = newSchema();
    for (let count = 0; count < 2; count += 1) opened.push(await openOnServer({ schema, clock }));
    [here, there] = opened as [Billing, Billing];
    await here.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
  });

  afterAll(async () => {
    try {
      expect(await here.verify()).toMatchObject({ ok: true, problems: [] });
    } finally {
      for (const one of opened) await one.close();
    }
  });

  const newAccount = async (quantity = 100): Promise<string> => {
    accounts += 1;
    const { accountId } = await there.accounts.identify({ externalId: `person ${accounts}` });
    if (quantity > 0) {
      await there.ledger.grant({ account: accountId, product: 'MSG', quantity });
    }
    return accountId;
  };

  /** What `here` says, which has used this account before and may remember it. */
  const use = (who: string, amount: string | number = 1) =>
    here.ledger.consume({ account: who, product: 'MSG', amount });

  beforeEach(async () => {
    account = await newAccount();
    for (let count = 0; count < 3; count += 1) await use(account);
  });

  test('uses and grants', async () => {
    await there.ledger.consume({ account, product: 'MSG', amount: 90 });
    expect(await use(account, 8)).toMatchObject({ allowed: false, remaining: '7' });
    await there.ledger.grant({ account, product: 'MSG', quantity: 5, priority: 1 });
    expect(await use(account, 8)).toMatchObject({ allowed: true, remaining: '4' });
    expect(await there.ledger.consume({ account, product: 'MSG' })).toMatchObject({
      remaining: '3',
    });
    // The new grant went first.
    expect(
      (await here.ledger.grants({ account })).map(({ initial, remaining }) => [initial, remaining]),
    ).toEqual([
      ['5', '0'],
      ['100', '3'],
    ]);
  });

  test('turn by turn, in lists and alone', async () => {
    for (let round = 0; round < 20; round += 1) {
      const left = 97 - round * 4;
      expect(await use(account)).toMatchObject({ remaining: String(left - 1) });
      const list = [1, 2].map(() => ({ account, product: 'MSG' }));
      expect(await there.ledger.consumeMany(list)).toMatchObject([
        { remaining: String(left - 2) },
        { remaining: String(left - 3) },
      ]);
      expect(await here.ledger.consumeMany([list[0]!])).toMatchObject([
        { remaining: String(left - 4) },
      ]);
    }
  });

  test('the first answer to a key', async () => {
    const request = { account, product: 'MSG', amount: 2, idempotencyKey: 'one' };
    const first = await there.ledger.consume(request);
    expect(await here.ledger.consume(request)).toEqual({ ...first, replayed: true });
    const other = { ...request, idempotencyKey: 'two' };
    const second = await here.ledger.consume(other);
    expect(await there.ledger.consume(other)).toEqual({ ...second, replayed: true });
    await expect(here.ledger.consume({ ...request, amount: 3 })).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    // Denials, too.
    const denied = { account, product: 'MSG', amount: 1_000, idempotencyKey: 'three' };
    const no = await there.ledger.consume(denied);
    await there.ledger.grant({ account, product: 'MSG', quantity: 10_000 });
    expect(await here.ledger.consume(denied)).toEqual({ ...no, replayed: true });
  });

  test('holds, their ends, and restores', async () => {
    const expiresIn = { unit: 'minute', count: 1 } as const;
    const set = (amount: number) =>
      there.ledger.hold({ account, product: 'MSG', amount, expiresIn });
    const { holdId } = await set(90);
    expect(await use(account, 8)).toMatchObject({ allowed: false, remaining: '7' });
    await there.ledger.settle({ holdId: holdId!, amount: 80 });
    expect(await use(account, 7)).toMatchObject({ allowed: true, remaining: '10' });
    const { entryId } = await use(account, 10);
    expect(await use(account)).toMatchObject({ allowed: false, remaining: '0' });
    await there.ledger.restore({ entryId: entryId!, amount: 6 });
    expect(await use(account)).toMatchObject({ allowed: true, remaining: '5' });
    await set(5);
    expect(await use(account)).toMatchObject({ allowed: false, remaining: '0' });
    // By the clock alone.
    clock.advance(60_000);
    expect(await use(account)).toMatchObject({ allowed: true, remaining: '4' });
  });

  test('the end of a grant', async () => {
    await there.ledger.grant({
      ...{ account, product: 'MSG', quantity: 50, priority: 1 },
      expiresAfter: { unit: 'minute', count: 1 },
    });
    expect(await use(account, 10)).toMatchObject({ remaining: '137' });
    clock.advance(59_999);
    expect(await use(account)).toMatchObject({ remaining: '136' });
    clock.advance(1);
    expect(await use(account)).toMatchObject({ remaining: '96' });
    expect(await there.ledger.consume({ account, product: 'MSG' })).toMatchObject({
      remaining: '95',
    });
  });

  test('terms of overage', async () => {
    await there.ledger.setOverage({ account, product: 'MSG', limit: '10' });
    expect(await use(account, 100)).toMatchObject({ allowed: true, overage: '3', remaining: '0' });
    expect(await use(account, 8)).toMatchObject({ allowed: false });
    await there.ledger.setOverage({ account, product: 'MSG', limit: null });
    expect(await use(account, 8)).toMatchObject({ allowed: true, overage: '8' });
    await there.ledger.setOverage({ account, product: 'MSG', limit: '0' });
    expect(await use(account)).toMatchObject({ allowed: false, reason: 'insufficient_balance' });
  });

  test('suspending, closing, and making active again', async () => {
    const set = (status: 'active' | 'suspended' | 'closed') =>
      there.accounts.update({ account, status });
    await set('suspended');
    expect(await use(account)).toMatchObject({ allowed: false, reason: 'account_suspended' });
    await set('active');
    expect(await use(account)).toMatchObject({ allowed: true });
    await set('closed');
    expect(await use(account)).toMatchObject({ allowed: false, reason: 'account_closed' });
    await set('active');
    expect(await use(account)).toMatchObject({ allowed: true });
  });

  test('another payer, there and back', async () => {
    const child = await newAccount(0);
    const own = async (): Promise<unknown> => ({ ...(await use(child)), entryId: undefined });
    expect(await own()).toMatchObject({ allowed: false, remaining: '0' });
    await there.accounts.attachChild({ child, parent: account });
    expect(await own()).toMatchObject({ allowed: true, remaining: '96' });
    // A parent that is suspended suspends its children.
    await there.accounts.update({ account, status: 'suspended' });
    expect(await own()).toMatchObject({ allowed: false, reason: 'account_suspended' });
    await there.accounts.update({ account, status: 'active' });
    expect(await own()).toMatchObject({ allowed: true, remaining: '95' });
    await there.accounts.detachChild({ child });
    expect(await own()).toMatchObject({ allowed: false, remaining: '0' });
    await there.ledger.grant({ account: child, product: 'MSG', quantity: 3 });
    expect(await own()).toMatchObject({ allowed: true, remaining: '2' });
    expect(await use(account)).toMatchObject({ remaining: '94' });
  });

  test('a key of before a change of payer is still known', async () => {
    const child = await newAccount(0);
    await there.accounts.attachChild({ child, parent: account });
    const request = { account: child, product: 'MSG', idempotencyKey: 'under the parent' };
    const first = await here.ledger.consume(request);
    expect(first).toMatchObject({ allowed: true, remaining: '96' });
    await there.accounts.detachChild({ child });
    expect(await here.ledger.consume(request)).toEqual({ ...first, replayed: true });
  });

  test('finer units of a product', async () => {
    const key = `FINE-${accounts}`;
    await there.catalog.saveProduct({ key, name: 'Fine' });
    await there.ledger.grant({ account, product: key, quantity: 10 });
    const some = (amount: string) => here.ledger.consume({ account, product: key, amount });
    expect(await some('1')).toMatchObject({ remaining: '9' });
    await expect(some('0.5')).rejects.toMatchObject({ code: 'invalid_input', parameter: 'amount' });
    await there.catalog.saveProduct({ key, name: 'Fine', decimals: 1 });
    expect(await some('0.5')).toMatchObject({ allowed: true, remaining: '8.5' });
  });

  test('a transaction that was rolled back has changed nothing', async () => {
    for (const engine of [here, there]) {
      await expect(
        engine.transaction(async (tx) => {
          await engine.ledger.consume({ account, product: 'MSG', amount: 50, tx });
          await engine.ledger.grant({ account, product: 'MSG', quantity: 500, priority: 1, tx });
          throw new Error('never mind');
        }),
      ).rejects.toThrow('never mind');
    }
    expect(await use(account)).toMatchObject({ remaining: '96' });
  });

  test('a transaction that was committed, here or there, has', async () => {
    for (const [index, engine] of [here, there].entries()) {
      await engine.transaction(async (tx) => {
        await engine.ledger.consume({ account, product: 'MSG', amount: 10, tx });
        await engine.ledger.grant({ account, product: 'MSG', quantity: 5, tx });
      });
      expect(await use(account)).toMatchObject({ remaining: String(91 - 6 * index) });
    }
  });

  test('an account and a product that did not exist a moment ago', async () => {
    const externalId = `newcomer ${accounts}`;
    const request = { account: { externalId }, product: `NEW-${accounts}` };
    await expect(here.ledger.consume(request)).rejects.toMatchObject({ code: 'unknown_account' });
    const { accountId } = await there.accounts.identify({ externalId });
    await expect(here.ledger.consume(request)).rejects.toMatchObject({ code: 'unknown_product' });
    await there.catalog.saveProduct({ key: request.product, name: 'New' });
    expect(await here.ledger.consume(request)).toMatchObject({ allowed: false, remaining: '0' });
    await there.ledger.grant({ account: accountId, product: request.product, quantity: 2 });
    expect(await here.ledger.consume(request)).toMatchObject({ allowed: true, remaining: '1' });
    const [bad, good] = await here.ledger.consumeMany([{ ...request, product: 'NONE' }, request]);
    expect(isFailed(bad!)).toBe(true);
    expect(good).toMatchObject({ allowed: true, remaining: '0' });
  });
});
