import fc from 'fast-check';

import { TestClock, type Billing, type RestoreAnswer } from '../../../engine';
import { Decimal } from '../../../engine/kernel';
import { givenBack } from '../../../engine/ledger/restore';
import { onEachDatabase } from '../each-database';

const DAY = 86_400_000;
const START = Date.parse('2027-01-10T12:00:00Z');

test('L7: whatever was restored before, what goes back is the next from the end of the trace', () => {
  const trace = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 });
  fc.assert(
    fc.property(trace, fc.nat(5), fc.nat(25), fc.nat(25), (amounts, overage, before, more) => {
      const whole = amounts.reduce((sum, amount) => sum + amount, overage);
      const restored = Math.min(before, whole);
      const amount = Math.min(more, whole - restored);
      // One unit after the other as it was used, the grants in their order and overage last.
      const units = [
        ...amounts.flatMap((count, index) => Array<number>(count).fill(index)),
        ...Array<number>(overage).fill(-1),
      ];
      const back = units.slice(whole - restored - amount, whole - restored).reverse();
      const given = givenBack(
        {
          overage: new Decimal(overage),
          parts: amounts.map((count, index) => ({
            sequence: BigInt(index),
            amount: new Decimal(count),
          })),
          restored: new Decimal(restored),
        },
        new Decimal(amount),
      );
      expect([
        ...Array<number>(given.overage.toNumber()).fill(-1),
        ...given.parts.flatMap((part) =>
          Array<number>(part.amount.toNumber()).fill(Number(part.sequence)),
        ),
      ]).toEqual(back);
    }),
  );
});

onEachDatabase('restore', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
    await billing.catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `person-${counter}` });
    return accountId;
  };
  const give = async (account: string, quantity: number, terms: object = {}): Promise<string> => {
    const [grant] = await billing.ledger.grant({ account, product: 'MSG', quantity, ...terms });
    return grant!.grantId;
  };
  const use = async (account: string, amount: number, product = 'MSG'): Promise<string> => {
    const { entryId } = await billing.ledger.consume({ account, product, amount });
    return entryId!;
  };
  const left = async (account: string): Promise<Record<string, string>> =>
    Object.fromEntries(
      (await billing.ledger.grants({ account })).map((grant) => [grant.grantId, grant.remaining]),
    );
  const code = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => 'done',
      (error: { code: unknown }) => error.code,
    );

  describe('after its account got a parent', () => {
    const balance = async (account: string) =>
      (await billing.ledger.balance({ account, product: 'MSG' })).available;
    const deferred = async (account: string): Promise<string | undefined> =>
      (await billing.books.balances({ account })).find((one) => one.account === 'deferred')
        ?.balance;

    test.each([
      ['its other units moved', 20, '25'],
      ['all of them were used', 10, '15'],
    ])('a use of before goes to the parent, with its worth: %s', async (_what, units, after) => {
      const [parent, child] = [await newAccount(), await newAccount()];
      await give(parent, 10);
      const expiresAt = new Date(START + DAY);
      const paid = { amount: '10.00', currency: 'USD' };
      await give(child, units, { expiresAt, priority: 7, paid });
      const entryId = await use(child, 10);
      await billing.accounts.attachChild({ parent, child, moveUnits: true });
      const before = await balance(parent);
      expect(await billing.ledger.restore({ entryId, amount: 4 })).toMatchObject({
        restored: '4',
        expired: '0',
        remaining: String(Number(before) + 4),
      });
      const keyed = { account: child, product: 'MSG', amount: 1, idempotencyKey: `k${units}` };
      const byProduct = await billing.ledger.restore(keyed);
      expect(byProduct).toMatchObject({ restored: '1', entries: [{ useId: entryId }] });
      expect(await billing.ledger.restore(keyed)).toEqual({ ...byProduct, replayed: true });
      expect(await balance(parent)).toBe(after);
      const grants = await billing.ledger.grants({ account: parent });
      expect(grants.filter(({ priority }) => priority === 7).at(0)).toMatchObject({
        initial: '1',
        expiresAt: expiresAt.toISOString(),
        value: units === 10 ? '1.00000000' : '0.50000000',
      });
      expect(await deferred(parent)).toBe(units === 10 ? '-5.00000000' : '-7.50000000');
      expect(await code(billing.ledger.restore({ entryId, amount: 6 }))).toBe(
        'restore_exceeds_use',
      );
      expect(await use(child, Number(after))).not.toBeNull();
    });

    test('what expired meanwhile is lost all the same', async () => {
      const [parent, child] = [await newAccount(), await newAccount()];
      await give(child, 10, { expiresAt: new Date(START + DAY / 2) });
      const entryId = await use(child, 10);
      await billing.accounts.attachChild({ parent, child });
      clock.set(START + DAY);
      expect(await billing.ledger.restore({ entryId })).toMatchObject({
        restored: '0',
        expired: '10',
        remaining: '0',
      });
    });

    test('its latest uses first, those under the parent before its own', async () => {
      const [parent, child] = [await newAccount(), await newAccount()];
      await give(child, 10);
      await use(child, 10);
      await billing.accounts.attachChild({ parent, child });
      await give(parent, 10);
      await use(child, 3);
      await use(parent, 2);
      const back = { account: child, product: 'MSG' };
      expect(await billing.ledger.restore({ ...back, amount: 5 })).toMatchObject({
        restored: '5',
        remaining: '10',
        entries: [{ amount: '3' }, { amount: '2' }],
      });
      expect(await code(billing.ledger.restore({ ...back, amount: 9 }))).toBe(
        'restore_exceeds_use',
      );
    });

    test('and left it again, it is its own', async () => {
      const [parent, child] = [await newAccount(), await newAccount()];
      await give(child, 15);
      const entryId = await use(child, 10);
      await billing.accounts.attachChild({ parent, child, moveUnits: true });
      await billing.accounts.detachChild({ child });
      expect(await billing.ledger.restore({ entryId })).toMatchObject({ restored: '10' });
      expect([await balance(child), await balance(parent)]).toEqual(['10', '5']);
    });
  });

  test('L7: 3 of a use of 10 go back into the grants they came from, in reverse order', async () => {
    const account = await newAccount();
    const first = await give(account, 8, { priority: 1 });
    const second = await give(account, 20);
    const useId = await use(account, 10);
    const restored = await billing.ledger.restore({ entryId: useId, amount: 3 });
    expect(restored).toEqual({
      restored: '3',
      expired: '0',
      remaining: '21',
      entries: [{ entryId: expect.any(String) as string, useId, amount: '3' }],
      replayed: false,
    });
    expect(await left(account)).toEqual({ [first]: '1', [second]: '20' });
    const [entry] = (await billing.ledger.entries({ account, limit: 1 })).items;
    expect(entry).toMatchObject({
      entryId: restored.entries[0]!.entryId,
      kind: 'restore',
      amount: '3',
      causeId: useId,
      overage: null,
      grants: [
        { grantId: second, amount: '2' },
        { grantId: first, amount: '1' },
      ],
    });
  });

  test('L7: more than was used in sum is refused and changes nothing', async () => {
    const account = await newAccount();
    await give(account, 20);
    const entryId = await use(account, 10);
    expect(await code(billing.ledger.restore({ entryId, amount: 11 }))).toBe('restore_exceeds_use');
    await billing.ledger.restore({ entryId, amount: 3 });
    await expect(billing.ledger.restore({ entryId, amount: 8 })).rejects.toMatchObject({
      code: 'restore_exceeds_use',
      parameter: 'amount',
      message: expect.stringContaining('7') as string,
    });
    expect(await billing.ledger.restore({ entryId })).toMatchObject({
      restored: '7',
      remaining: '20',
    });
    expect(await code(billing.ledger.restore({ entryId }))).toBe('restore_exceeds_use');
    expect(await code(billing.ledger.restore({ entryId, amount: 1 }))).toBe('restore_exceeds_use');
    expect((await billing.ledger.entries({ account, kind: 'restore' })).items).toHaveLength(2);
  });

  test('L7: units of a grant that expired meanwhile are answered as expired and are not usable', async () => {
    const account = await newAccount();
    const ending = await give(account, 6, {
      expiresAt: new Date(START + DAY),
      paid: { amount: '12', currency: 'USD' },
    });
    const staying = await give(account, 10);
    const entryId = await use(account, 9);
    clock.set(START + 2 * DAY);
    expect(await billing.ledger.restore({ entryId, amount: 7 })).toMatchObject({
      restored: '3',
      expired: '4',
      remaining: '10',
    });
    expect(await left(account)).toEqual({ [ending]: '0', [staying]: '10' });
    const { items } = await billing.ledger.entries({ account, limit: 2 });
    expect(items).toMatchObject([
      {
        kind: 'expiry',
        amount: '-4',
        causeId: items[1]!.entryId,
        effectiveAt: new Date(START + 2 * DAY).toISOString(),
        value: '-8.00000000',
      },
      { kind: 'restore', amount: '7', causeId: entryId, value: '8.00000000' },
    ]);
    expect(await billing.ledger.restore({ entryId })).toMatchObject({
      restored: '0',
      expired: '2',
      remaining: '10',
    });
  });

  test('L7: by product and amount the latest uses go first', async () => {
    const account = await newAccount();
    await give(account, 100);
    await billing.ledger.grant({ account, product: 'GB', quantity: 10 });
    const uses = [await use(account, 5), await use(account, 6)];
    await use(account, 4, 'GB');
    uses.push(await use(account, 7));
    await billing.ledger.restore({ entryId: uses[2]!, amount: 2 });
    const restored = await billing.ledger.restore({ account, product: 'MSG', amount: 12 });
    expect(restored).toMatchObject({ restored: '12', expired: '0', remaining: '96' });
    expect(restored.entries.map(({ useId, amount }) => [useId, amount])).toEqual([
      [uses[2], '5'],
      [uses[1], '6'],
      [uses[0], '1'],
    ]);
    expect(await code(billing.ledger.restore({ account, product: 'MSG', amount: 5 }))).toBe(
      'restore_exceeds_use',
    );
    expect(await billing.ledger.restore({ account, product: 'MSG', amount: 4 })).toMatchObject({
      remaining: '100',
    });
  });

  test('by product and amount through more uses than are read at once', async () => {
    const account = await newAccount();
    await give(account, 500);
    await billing.ledger.consumeMany(
      Array.from({ length: 450 }, () => ({ account, product: 'MSG' })),
    );
    const restored = await billing.ledger.restore({ account, product: 'MSG', amount: 425 });
    expect(restored.entries).toHaveLength(425);
    expect(restored.remaining).toBe('475');
    expect(await code(billing.ledger.restore({ account, product: 'MSG', amount: 26 }))).toBe(
      'restore_exceeds_use',
    );
  });

  test('of a payer all uses of its ledger are taken back, of a child its own', async () => {
    const parent = await newAccount();
    const [child, sibling] = [await newAccount(), await newAccount()];
    for (const one of [child, sibling]) await billing.accounts.attachChild({ child: one, parent });
    await give(parent, 100);
    const ofChild = await use(child, 5);
    const ofSibling = await use(sibling, 6);
    const ofParent = await use(parent, 7);
    const byProduct = (account: string, amount: number): Promise<RestoreAnswer> =>
      billing.ledger.restore({ account, product: 'MSG', amount });
    expect(await code(byProduct(child, 6))).toBe('restore_exceeds_use');
    expect((await byProduct(child, 2)).entries).toMatchObject([{ useId: ofChild }]);
    expect((await byProduct(parent, 8)).entries).toMatchObject([
      { useId: ofParent, amount: '7' },
      { useId: ofSibling, amount: '1' },
    ]);
    // Across accounts: a sibling's use is not the child's business, a stranger's nobody's here.
    const stranger = await newAccount();
    for (const account of [child, stranger]) {
      expect(await code(billing.ledger.restore({ entryId: ofSibling, account }))).toBe(
        'unknown_entry',
      );
    }
    expect(await billing.ledger.restore({ entryId: ofSibling, account: sibling })).toMatchObject({
      restored: '5',
    });
    expect(await billing.ledger.restore({ entryId: ofChild, account: parent })).toMatchObject({
      restored: '3',
      remaining: '100',
    });
    // The restore stands in the statement of the one who had used.
    const { items } = await billing.ledger.entries({ account: child, kind: 'restore' });
    expect(items.map((entry) => entry.amount)).toEqual(['3', '2']);
  });

  test('what is no use cannot be restored', async () => {
    const account = await newAccount();
    const grantId = await give(account, 10);
    const expiresIn = { unit: 'hour', count: 1 } as const;
    const { holdId } = await billing.ledger.hold({ account, product: 'MSG', amount: 5, expiresIn });
    const { entryId } = await billing.ledger.settle({ holdId: holdId!, amount: 20 });
    const { items } = await billing.ledger.entries({ account });
    const others = items.filter((entry) => entry.kind !== 'use');
    expect(others.map((entry) => entry.kind).sort()).toEqual([
      'grant',
      'hold',
      'release',
      'uncovered',
    ]);
    for (const id of [...others.map((entry) => entry.entryId), grantId, `${account}.77`, 'none']) {
      expect([id, await code(billing.ledger.restore({ entryId: id }))]).toEqual([
        id,
        'unknown_entry',
      ]);
    }
    // Of a settled hold the use is restored, never what was not covered.
    expect(await code(billing.ledger.restore({ entryId: entryId!, amount: 11 }))).toBe(
      'restore_exceeds_use',
    );
    expect(await billing.ledger.restore({ entryId: entryId! })).toMatchObject({
      restored: '10',
      remaining: '10',
    });
  });

  test('overage was used last and is given back first', async () => {
    const account = await newAccount();
    await give(account, 6);
    await billing.ledger.setOverage({ account, product: 'MSG', limit: 10 });
    const entryId = await use(account, 10);
    expect(await billing.ledger.restore({ entryId, amount: 3 })).toEqual({
      restored: '0',
      expired: '0',
      overage: '3',
      remaining: '0',
      entries: [expect.objectContaining({ useId: entryId, amount: '3' })],
      replayed: false,
    });
    expect(await billing.ledger.overage({ account, product: 'MSG' })).toMatchObject({ used: '1' });
    expect(await billing.ledger.restore({ entryId, amount: 4 })).toMatchObject({
      restored: '3',
      overage: '1',
      remaining: '3',
    });
    const { items } = await billing.ledger.entries({ account, kind: 'restore' });
    expect(items.map((entry) => [entry.amount, entry.overage])).toEqual([
      ['4', '-1'],
      ['3', '-3'],
    ]);
    expect(await billing.ledger.overage({ account, product: 'MSG' })).toMatchObject({ used: '0' });
    expect(await billing.ledger.restore({ entryId })).toMatchObject({ restored: '3' });
  });

  test('value comes back with the units, and ends at exactly the value all the same', async () => {
    const account = await newAccount();
    await give(account, 7, { paid: { amount: '1.00', currency: 'USD' } });
    const entryId = await use(account, 5);
    await billing.ledger.restore({ entryId, amount: 2 });
    await use(account, 3);
    await billing.ledger.restore({ account, product: 'MSG', amount: 1 });
    await use(account, 2);
    const { items } = await billing.ledger.entries({ account });
    const moved = items
      .filter(({ kind }) => kind !== 'grant')
      .map(({ value }) => BigInt(value!.replace('.', '')));
    expect(moved.reduce((sum, part) => sum + part, 0n)).toBe(-100_000_000n);
    expect((await billing.ledger.grants({ account }))[0]).toMatchObject({
      remaining: '0',
      valueLeft: '0.00000000',
    });
  });

  test('a use of time or of an unlimited product is taken back on record, and moves no units', async () => {
    const account = await newAccount();
    await billing.ledger.grant({ account, product: 'PRO', quantity: 2 });
    await billing.ledger.grant({ account, product: 'ALL', quantity: 1 });
    const period = await use(account, 2, 'PRO');
    await use(account, 500, 'ALL');
    expect(await billing.ledger.restore({ entryId: period, amount: 1 })).toMatchObject({
      restored: '1',
      expired: '0',
      remaining: '2',
    });
    expect(await code(billing.ledger.restore({ entryId: period, amount: 2 }))).toBe(
      'restore_exceeds_use',
    );
    expect(await billing.ledger.restore({ account, product: 'ALL', amount: 500 })).toMatchObject({
      restored: '500',
      remaining: null,
    });
    const { items } = await billing.ledger.entries({ account, kind: 'restore' });
    expect(items.map((entry) => [entry.product, entry.amount, entry.grants])).toEqual([
      ['ALL', '500', []],
      ['PRO', '1', []],
    ]);
  });

  test('restoring with a key twice is once; the key is one for both forms', async () => {
    const account = await newAccount();
    await give(account, 10);
    const entryId = await use(account, 10);
    const request = { entryId, amount: 4, idempotencyKey: 'k' };
    const first = await billing.ledger.restore(request);
    expect(await billing.ledger.restore(request)).toEqual({ ...first, replayed: true });
    expect(await code(billing.ledger.restore({ ...request, amount: 5 }))).toBe(
      'idempotency_conflict',
    );
    expect(
      await code(
        billing.ledger.restore({ account, product: 'MSG', amount: 4, idempotencyKey: 'k' }),
      ),
    ).toBe('idempotency_conflict');
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, () => billing.ledger.restore({ entryId, amount: 1 })),
    );
    expect(answers.filter((answer) => answer.status === 'fulfilled')).toHaveLength(6);
    expect((await billing.ledger.balance({ account, product: 'MSG' })).available).toBe('10');
  });

  test('what is no request is refused', async () => {
    const account = await newAccount();
    await give(account, 10);
    const entryId = await use(account, 1);
    const refused = (parameter: string, request: object): Promise<void> =>
      expect(billing.ledger.restore(request)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter,
      });
    await refused('entryId', {});
    await refused('entryId', { product: 'MSG', amount: 1 });
    await refused('product', { account, amount: 1 });
    await refused('amount', { account, product: 'MSG' });
    await refused('product', { entryId, product: 'MSG' });
    await refused('amount', { entryId, amount: 0 });
    await refused('amount', { entryId, amount: '0.5' });
    await refused('amount', { account, product: 'MSG', amount: '0.5' });
    expect(await code(billing.ledger.restore({ account, product: 'NONE', amount: 1 }))).toBe(
      'unknown_product',
    );
  });
});
