import { TestClock, type Billing, type ConsumeAnswer } from '../../../engine';
import { onEachDatabase } from '../each-database';

const DAY = 86_400_000;

onEachDatabase('ledger', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
    await billing.catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
  });

  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `person-${counter}` });
    return accountId;
  };
  const give = async (account: string, quantity: number, terms: object = {}): Promise<string> => {
    const [grant] = await billing.ledger.grant({ account, product: 'MSG', quantity, ...terms });
    return grant!.grantId;
  };
  const left = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'MSG' })).available;

  test('L1: uses down to zero, where the last one is a success and the next a denial that replays', async () => {
    const account = await newAccount();
    await give(account, 100);
    const use = (amount: number, idempotencyKey?: string): Promise<ConsumeAnswer> =>
      billing.ledger.consume({ account, product: 'MSG', amount, idempotencyKey });

    expect(await use(30)).toMatchObject({ allowed: true, consumed: '30', remaining: '70' });
    expect(await use(70)).toMatchObject({ allowed: true, consumed: '70', remaining: '0' });
    const denied = await use(1, 'L1');
    expect(denied).toEqual({
      accountId: account,
      allowed: false,
      reason: 'insufficient_balance',
      consumed: '0',
      remaining: '0',
      entryId: null,
      suggestedOffers: [],
      replayed: false,
    });
    await give(account, 5);
    expect(await use(1, 'L1')).toEqual({ ...denied, replayed: true });
    expect(await use(1, 'L1, second attempt')).toMatchObject({ allowed: true, remaining: '4' });
  });

  test('L2: a use is all or nothing', async () => {
    const account = await newAccount();
    await give(account, 5);
    await give(account, 5);
    const before = await billing.ledger.entries({ account });
    expect(await billing.ledger.consume({ account, product: 'MSG', amount: 11 })).toMatchObject({
      allowed: false,
      reason: 'insufficient_balance',
      remaining: '10',
    });
    const grants = await billing.ledger.grants({ account });
    expect(grants.map((grant) => grant.remaining)).toEqual(['5', '5']);
    // A denial without a key leaves no trace.
    expect(await billing.ledger.entries({ account })).toEqual(before);
  });

  test('L3: one key, one use; the repeat gives the first answer; another request is a conflict', async () => {
    const account = await newAccount();
    await give(account, 100);
    const request = { account, product: 'MSG', amount: 10, idempotencyKey: 'L3' };
    const first = await billing.ledger.consume(request);
    expect(first).toMatchObject({ allowed: true, remaining: '90', replayed: false });
    expect(await billing.ledger.consume(request)).toEqual({ ...first, replayed: true });
    // The same request written differently is the same request; metadata is not part of it.
    expect(
      await billing.ledger.consume({ ...request, amount: '10.0', metadata: { try: 2 } }),
    ).toEqual({ ...first, replayed: true });
    await expect(billing.ledger.consume({ ...request, amount: 20 })).rejects.toMatchObject({
      code: 'idempotency_conflict',
      parameter: 'idempotencyKey',
    });
    expect(await left(account)).toBe('90');
  });

  test('L3: fifty concurrent calls with one key make one entry', async () => {
    const account = await newAccount();
    await give(account, 100);
    const answers = await Promise.all(
      Array.from({ length: 50 }, () =>
        billing.ledger.consume({ account, product: 'MSG', amount: 10, idempotencyKey: 'fifty' }),
      ),
    );
    expect(answers.filter((answer) => !answer.replayed)).toHaveLength(1);
    expect(new Set(answers.map((answer) => answer.entryId)).size).toBe(1);
    expect(new Set(answers.map((answer) => answer.remaining))).toEqual(new Set(['90']));
    expect(await left(account)).toBe('90');
    expect((await billing.ledger.entries({ account, kind: 'use' })).items).toHaveLength(1);
  });

  test('L3: a key belongs to its account and its kind of call', async () => {
    const [one, other] = [await newAccount(), await newAccount()];
    for (const account of [one, other]) {
      const grant = { account, product: 'MSG', quantity: 10, idempotencyKey: 'same' };
      expect((await billing.ledger.grant(grant))[0]).toMatchObject({ replayed: false });
      expect((await billing.ledger.grant(grant))[0]).toMatchObject({ replayed: true });
      const use = { account, product: 'MSG', amount: 4, idempotencyKey: 'same' };
      expect(await billing.ledger.consume(use)).toMatchObject({ remaining: '6', replayed: false });
      expect(await billing.ledger.consume(use)).toMatchObject({ remaining: '6', replayed: true });
      expect(await left(account)).toBe('6');
    }
  });

  test('L4: priority, then earliest expiry, then oldest; the trace says so', async () => {
    const account = await newAccount();
    const now = clock.now().getTime();
    const a = await give(account, 10);
    const b = await give(account, 10, { expiresAt: new Date(now + 30 * DAY) });
    const c = await give(account, 10, { expiresAt: new Date(now + 5 * DAY) });
    const d = await give(account, 10, { priority: 1 });
    const used = await billing.ledger.consume({ account, product: 'MSG', amount: 25 });
    const grants = await billing.ledger.grants({ account });
    const remaining = Object.fromEntries(grants.map((grant) => [grant.grantId, grant.remaining]));
    expect(remaining).toEqual({ [d]: '0', [c]: '0', [b]: '5', [a]: '10' });
    const [entry] = (await billing.ledger.entries({ account, limit: 1 })).items;
    expect(entry).toMatchObject({
      entryId: used.entryId,
      kind: 'use',
      amount: '-25',
      grants: [
        { grantId: d, amount: '10' },
        { grantId: c, amount: '10' },
        { grantId: b, amount: '5' },
      ],
    });
  });

  test('L4: of grants that are alike the oldest goes first, also within one millisecond', async () => {
    const account = await newAccount();
    const ids = [await give(account, 1), await give(account, 1), await give(account, 1)];
    await billing.ledger.consume({ account, product: 'MSG', amount: 2 });
    const grants = await billing.ledger.grants({ account });
    const used = grants.filter((grant) => grant.remaining === '0').map((grant) => grant.grantId);
    expect(used.sort()).toEqual(ids.slice(0, 2).sort());
  });

  test('L5: a grant counts up to, and without, its last instant; its loss is put on record', async () => {
    const account = await newAccount();
    const end = clock.now().getTime() + 3 * DAY;
    const lost = await give(account, 8, { expiresAt: new Date(end) });
    await give(account, 2);
    await billing.ledger.consume({ account, product: 'MSG', amount: 3 });

    clock.set(end - 1);
    expect(await billing.ledger.check({ account, product: 'MSG' })).toMatchObject({
      remaining: '7',
      expiresAt: new Date(end).toISOString(),
    });
    clock.set(end);
    expect(await billing.ledger.check({ account, product: 'MSG' })).toMatchObject({
      remaining: '2',
      expiresAt: null,
    });
    expect(await billing.ledger.consume({ account, product: 'MSG', amount: 3 })).toMatchObject({
      allowed: false,
      remaining: '2',
    });
    // Reading and being denied wrote nothing; the first writer after does.
    expect((await billing.ledger.entries({ account, kind: 'expiry' })).items).toEqual([]);
    clock.advance(DAY);
    await billing.ledger.consume({ account, product: 'MSG', amount: 1 });
    const { items } = await billing.ledger.entries({ account, kind: 'expiry' });
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({
      amount: '-5',
      effectiveAt: new Date(end).toISOString(),
      recordedAt: clock.now().toISOString(),
      grants: [{ grantId: lost, amount: '5' }],
    });
    expect(await left(account)).toBe('1');
    const before = await billing.ledger.balance({
      account,
      product: 'MSG',
      at: new Date(end - 1),
    });
    expect(before.available).toBe('7');
    const at = await billing.ledger.balance({ account, product: 'MSG', at: new Date(end) });
    expect(at.available).toBe('2');
  });

  test('L8: of 200 concurrent uses of 1 from 100 exactly 100 are allowed', async () => {
    const account = await newAccount();
    await give(account, 60);
    await give(account, 40, { priority: 1 });
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => billing.ledger.consume({ account, product: 'MSG' })),
    );
    expect(answers.filter((answer) => answer.allowed)).toHaveLength(100);
    expect(new Set(answers.filter((answer) => answer.allowed).map((a) => a.remaining)).size).toBe(
      100,
    );
    expect(await left(account)).toBe('0');
    expect(await billing.verify()).toMatchObject({ ok: true });
  });

  test('L11: access by time extends from its end and keeps the first day of the month', async () => {
    const account = await newAccount();
    await billing.accounts.update({ account, timeZone: 'Europe/Berlin' });
    clock.set('2027-01-31T09:30:00+01:00');
    await billing.catalog.saveOffer({
      sku: 'pro-month',
      name: 'Pro, a month',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'PRO', quantity: 1, expiresAfter: { unit: 'month', count: 1 } }],
    });
    const access = (amount?: number) => billing.ledger.check({ account, product: 'PRO', amount });

    expect(await access()).toMatchObject({ allowed: false, reason: 'insufficient_balance' });
    await billing.sales.grantOffer({ account, sku: 'pro-month' });
    const february = '2027-02-28T08:30:00.000Z';
    expect(await access()).toMatchObject({ allowed: true, remaining: '1', expiresAt: february });
    expect(await access(2)).toMatchObject({ allowed: false, remaining: '1' });

    clock.set(Date.parse(february) - 1);
    expect(await access()).toMatchObject({ allowed: true });
    clock.set(february);
    expect(await access()).toMatchObject({ allowed: false });

    clock.set('2027-02-15T12:00:00Z');
    await billing.sales.grantOffer({ account, sku: 'pro-month' });
    // 31 March: summer time has begun in Berlin, the wall clock stays.
    const march = '2027-03-31T07:30:00.000Z';
    expect(await access()).toMatchObject({ allowed: true, expiresAt: march });
    clock.set(february);
    expect(await access()).toMatchObject({ allowed: true, expiresAt: march });
    clock.set(march);
    expect(await access()).toMatchObject({ allowed: false });
  });

  test('L11: a use of access by time is recorded and takes nothing', async () => {
    const account = await newAccount();
    await billing.ledger.grant({
      account,
      product: 'PRO',
      quantity: 2,
      expiresAfter: { unit: 'days', count: 10 },
    });
    expect(await billing.ledger.consume({ account, product: 'PRO', amount: 2 })).toMatchObject({
      allowed: true,
      consumed: '2',
      remaining: '2',
    });
    expect(await billing.ledger.consume({ account, product: 'PRO', amount: 3 })).toMatchObject({
      allowed: false,
      remaining: '2',
    });
    const { items } = await billing.ledger.entries({ account, kind: 'use' });
    expect(items).toMatchObject([{ amount: '-2', grants: [] }]);
  });

  test('L11: unlimited is always allowed once granted, and still recorded', async () => {
    const account = await newAccount();
    expect(await billing.ledger.check({ account, product: 'ALL' })).toMatchObject({
      allowed: false,
      remaining: '0',
    });
    await billing.ledger.grant({ account, product: 'ALL', quantity: 1 });
    expect(await billing.ledger.check({ account, product: 'ALL', amount: 1_000 })).toMatchObject({
      allowed: true,
      remaining: null,
      expiresAt: null,
    });
    expect(
      await billing.ledger.consume({ account, product: 'ALL', amount: 1_000_000 }),
    ).toMatchObject({ allowed: true, consumed: '1000000', remaining: null });
    expect(await billing.ledger.balance({ account, product: 'ALL' })).toMatchObject({
      available: null,
    });
    const { items } = await billing.ledger.entries({ account, product: 'ALL', kind: 'use' });
    expect(items).toMatchObject([{ amount: '-1000000' }]);
  });

  test('fractions of a unit are exact, and no finer than the product allows', async () => {
    const account = await newAccount();
    await billing.ledger.grant({ account, product: 'GB', quantity: '0.3' });
    for (let use = 0; use < 3; use += 1) {
      await billing.ledger.consume({ account, product: 'GB', amount: '0.1' });
    }
    expect(await billing.ledger.balance({ account, product: 'GB' })).toMatchObject({
      available: '0',
    });
    await expect(
      billing.ledger.consume({ account, product: 'GB', amount: '0.0001' }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'amount' });
  });

  test('consumeMany answers in order, one bad item fails alone, one key twice is one use', async () => {
    const account = await newAccount();
    await give(account, 10);
    const answers = await billing.ledger.consumeMany([
      { account, product: 'MSG', amount: 4, idempotencyKey: 'twice' },
      { account, product: 'NOTHING' },
      { account, product: 'MSG', amount: -1 },
      { account, product: 'MSG', amount: 4, idempotencyKey: 'twice' },
      { account, product: 'MSG', amount: 5, idempotencyKey: 'twice' },
      { account, product: 'MSG', amount: 7 },
      { account, product: 'MSG', amount: 6 },
    ]);
    expect(answers).toMatchObject([
      { allowed: true, remaining: '6', replayed: false },
      { error: { code: 'unknown_product', parameter: 'product' } },
      { error: { code: 'invalid_input', parameter: 'amount' } },
      { allowed: true, remaining: '6', replayed: true },
      { error: { code: 'idempotency_conflict' } },
      { allowed: false, remaining: '6' },
      { allowed: true, remaining: '0' },
    ]);
    expect(await billing.ledger.consumeMany([])).toEqual([]);
  });

  test('a list longer than a batch is done in several', async () => {
    const account = await newAccount();
    await give(account, 1_000);
    const answers = await billing.ledger.consumeMany(
      Array.from({ length: 1_200 }, (_, index) => ({
        account,
        product: 'MSG',
        idempotencyKey: `item ${index}`,
      })),
    );
    expect(answers.filter((answer) => 'allowed' in answer && answer.allowed)).toHaveLength(1_000);
    expect(await left(account)).toBe('0');
  });

  test('joined to a transaction of the caller a use stands and falls with it', async () => {
    const account = await newAccount();
    await give(account, 10);
    await expect(
      billing.transaction(async (tx) => {
        await billing.ledger.consume({ account, product: 'MSG', amount: 4, tx });
        throw new Error('the caller changed its mind');
      }),
    ).rejects.toThrow('the caller changed its mind');
    expect(await left(account)).toBe('10');

    await billing.transaction(async (tx) => {
      await billing.ledger.consume({ account, product: 'MSG', amount: 4, tx });
      // An error and a denial leave the transaction usable.
      await expect(
        billing.ledger.consume({ account, product: 'NOTHING', tx }),
      ).rejects.toMatchObject({ code: 'unknown_product' });
      await expect(
        billing.ledger.grant({
          account,
          product: 'MSG',
          quantity: 1,
          expiresAt: '2020-01-01T00:00:00Z',
          tx,
        }),
      ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'expiresAt' });
      expect(
        await billing.ledger.consume({ account, product: 'MSG', amount: 40, tx }),
      ).toMatchObject({ allowed: false, remaining: '6' });
      // Calls at once in one transaction take turns.
      await Promise.all([
        billing.ledger.consume({ account, product: 'MSG', tx }),
        billing.ledger.grant({ account, product: 'MSG', quantity: 5, tx }),
        billing.ledger.consume({ account, product: 'MSG', tx }),
      ]);
    });
    expect(await left(account)).toBe('9');
  });

  test('R1: what a grant was bought for moves with its units and ends at exactly the value', async () => {
    const account = await newAccount();
    const [grant] = await billing.ledger.grant({
      account,
      product: 'MSG',
      quantity: 314,
      paid: { amount: '47.00', currency: 'USD' },
    });
    expect(grant).toMatchObject({ value: '47.00000000', unitValue: '0.14968153', currency: 'USD' });
    await billing.ledger.consume({ account, product: 'MSG', amount: 100 });
    const [use] = (await billing.ledger.entries({ account, limit: 1 })).items;
    expect(use).toMatchObject({ value: '-14.96815287', currency: 'USD' });
    expect(await billing.ledger.grants({ account })).toMatchObject([
      { remaining: '214', value: '47.00000000', valueLeft: '32.03184713' },
    ]);
    await billing.ledger.consume({ account, product: 'MSG', amount: 213 });
    await billing.ledger.consume({ account, product: 'MSG', amount: 1 });
    const { items } = await billing.ledger.entries({ account, kind: 'use' });
    const earned = items.map((entry) => BigInt(entry.value!.replace('.', '')));
    expect(earned.reduce((sum, part) => sum + part, 0n)).toBe(-4_700_000_000n);
  });

  test('S8: three packages of 25 at 99.00 are 75 at 3.96, their bonus 30 at 0', async () => {
    const account = await newAccount();
    const paid = { amount: '297.00', currency: 'USD' };
    const [bought] = await billing.ledger.grant({ account, product: 'MSG', quantity: 75, paid });
    expect(bought).toMatchObject({
      initial: '75',
      value: '297.00000000',
      unitValue: '3.96000000',
      currency: 'USD',
    });
    const [bonus] = await billing.ledger.grant({
      account,
      product: 'MSG',
      quantity: 30,
      bonus: true,
    });
    expect(bonus).toMatchObject({
      value: '0.00000000',
      valueLeft: '0.00000000',
      unitValue: '0.00000000',
      currency: null,
    });
    await billing.ledger.consume({ account, product: 'MSG', amount: 80 });
    const [use] = (await billing.ledger.entries({ account, kind: 'use' })).items;
    expect(use).toMatchObject({
      value: '-297.00000000',
      currency: 'USD',
      grants: [
        { grantId: bought!.grantId, amount: '75' },
        { grantId: bonus!.grantId, amount: '5' },
      ],
    });
    await expect(
      billing.ledger.grant({ account, product: 'MSG', quantity: 1, bonus: true, paid }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'paid' });
  });

  test('10,000 in one call are done in several; one key of two accounts is two uses', async () => {
    const [one, other] = [await newAccount(), await newAccount()];
    await give(one, 4_000);
    await give(other, 10_000);
    const request = (index: number) => ({
      account: index % 2 === 0 ? one : other,
      product: 'MSG',
      idempotencyKey: `item ${index >> 1}`,
    });
    const requests = Array.from({ length: 10_000 }, (_, index) => request(index));
    const answers = await billing.ledger.consumeMany(requests);
    const allowed = answers.map((answer) => 'allowed' in answer && answer.allowed);
    expect(allowed.filter((_, index) => index % 2 === 0).lastIndexOf(true)).toBe(3_999);
    expect(allowed.filter(Boolean)).toHaveLength(9_000);
    expect([await left(one), await left(other)]).toEqual(['0', '5000']);
    // All of it again is nothing but replays.
    const again = await billing.ledger.consumeMany(requests);
    expect(again).toEqual(answers.map((answer) => ({ ...answer, replayed: true })));
    expect([await left(one), await left(other)]).toEqual(['0', '5000']);
  });

  test('a statement comes by pages, newest first, and can be filtered', async () => {
    const account = await newAccount();
    await give(account, 10);
    for (let use = 0; use < 5; use += 1) {
      await billing.ledger.consume({ account, product: 'MSG', metadata: { use } });
    }
    const seen: unknown[] = [];
    let cursor: string | undefined;
    do {
      const page = await billing.ledger.entries({ account, limit: 4, cursor });
      seen.push(...page.items.map((entry) => entry.metadata.use ?? entry.kind));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual([4, 3, 2, 1, 0, 'grant']);
    await expect(billing.ledger.entries({ account, cursor: 'nonsense' })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'cursor',
    });
  });

  test('a clock that goes backwards writes no line before the last one', async () => {
    const account = await newAccount();
    clock.set('2027-06-01T00:00:00Z');
    await give(account, 10);
    clock.set('2027-05-01T00:00:00Z');
    await billing.ledger.consume({ account, product: 'MSG' });
    const [use] = (await billing.ledger.entries({ account, limit: 1 })).items;
    expect(use!.recordedAt).toBe('2027-06-01T00:00:00.000Z');
    clock.set('2027-06-01T00:00:00Z');
  });
});
