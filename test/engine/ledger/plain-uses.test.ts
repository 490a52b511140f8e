import fc from 'fast-check';
import knexFactory from 'knex';

import { TestClock, openBilling, type Billing, type ConsumeAnswer } from '../../../engine';
import { KnownPayers } from '../../../engine/ledger/known-payers';
import { recogniseCheck, recogniseUse } from '../../../engine/ledger/recognise';
import { Decimal, isId } from '../../../engine/kernel';
import { Wire } from '../../accidents/wire';
import { newSchema, onEachDatabase, onServer, serverUrl } from '../each-database';

/**
 * Plain uses are decided on what the process remembers of an account (engine/ledger/plain-uses.ts).
 * Whatever others do meanwhile, the answers must be those of a process that remembers nothing.
 * Uses that join a transaction remember nothing: they stand for the others.
 */
onEachDatabase('plain uses', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let billing: Billing;
  let people = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 2 });
  });

  const newAccount = async (units = 100): Promise<string> => {
    people += 1;
    const externalId = `plain ${people}`;
    const { accountId: account } = await billing.accounts.identify({ externalId });
    if (units > 0) await billing.ledger.grant({ account, product: 'MSG', quantity: units });
    return account;
  };
  const use = (account: string, amount = 1, idempotencyKey?: string): Promise<ConsumeAnswer> =>
    billing.ledger.consume({ account, product: 'MSG', amount, idempotencyKey });
  /** As another process would: by a way that remembers nothing. */
  const useElsewhere = (account: string, amount = 1, idempotencyKey?: string) =>
    billing.transaction((tx) =>
      billing.ledger.consume({ account, product: 'MSG', amount, idempotencyKey, tx }),
    );
  /** Used twice, so that it is remembered. */
  const remembered = async (units = 100): Promise<string> => {
    const account = await newAccount(units + 2);
    await use(account);
    await use(account);
    return account;
  };

  test('what others took is not given again', async () => {
    const account = await remembered(10);
    expect(await useElsewhere(account, 8)).toMatchObject({ allowed: true, remaining: '2' });
    expect(await use(account, 3)).toMatchObject({ allowed: false, remaining: '2' });
    expect(await use(account, 2)).toMatchObject({ allowed: true, remaining: '0' });
  });

  test('what others gave can be used', async () => {
    const account = await remembered(1);
    expect(await use(account, 1)).toMatchObject({ allowed: true, remaining: '0' });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 5 });
    expect(await use(account, 5)).toMatchObject({ allowed: true, remaining: '0' });
    expect(await use(account, 1)).toMatchObject({ allowed: false, remaining: '0' });
  });

  test('a better grant, given meanwhile, goes first', async () => {
    const account = await remembered(10);
    const [first] = await billing.ledger.grant({
      account,
      product: 'MSG',
      quantity: 1,
      priority: 1,
    });
    const { entryId } = await use(account, 2);
    const { items } = await billing.ledger.entries({ account, limit: 1 });
    expect(items[0]).toMatchObject({ entryId });
    expect(items[0]!.grants[0]).toEqual({ grantId: first!.grantId, amount: '1' });
  });

  test('L3: a key that was used elsewhere gives its first answer, another request a conflict', async () => {
    const account = await remembered();
    const first = await useElsewhere(account, 3, 'elsewhere');
    expect(await use(account, 3, 'elsewhere')).toEqual({ ...first, replayed: true });
    await expect(use(account, 4, 'elsewhere')).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    expect(await use(account, 1)).toMatchObject({ allowed: true, remaining: '96' });
  });

  test('L3: repeats among many new uses are found, and harm none of them', async () => {
    const accounts = await Promise.all(Array.from({ length: 20 }, () => remembered()));
    const first = await Promise.all(accounts.map((account, n) => use(account, 1, `round ${n}`)));
    for (let round = 0; round < 3; round += 1) {
      const answers = await Promise.all(
        accounts.flatMap((account, n) => [
          use(account, 1, `new ${round} ${n}`),
          ...(n % 5 === round ? [use(account, 1, `round ${n}`)] : []),
        ]),
      );
      const repeats = answers.filter((answer) => answer.replayed);
      expect(repeats).toEqual(
        first.filter((_, n) => n % 5 === round).map((answer) => ({ ...answer, replayed: true })),
      );
      expect(answers).toHaveLength(24);
    }
    for (const account of accounts) {
      expect(await use(account)).toMatchObject({ remaining: '95' });
    }
  });

  test('many uses of one account at once build on one another, and end exactly at zero', async () => {
    const account = await remembered(1_000);
    const answers = await Promise.all(Array.from({ length: 1_010 }, () => use(account)));
    expect(answers.filter((answer) => answer.allowed)).toHaveLength(1_000);
    expect(new Set(answers.filter((one) => one.allowed).map((one) => one.remaining)).size).toBe(
      1_000,
    );
    expect(await use(account)).toMatchObject({ allowed: false, remaining: '0' });
  });

  test('uses of one list keep their order, whichever way each of them goes', async () => {
    const account = await remembered(20_000);
    await billing.ledger.grant({ account, product: 'GB', quantity: 1_000 });
    const guest = await newAccount(0);
    await billing.accounts.attachChild({ parent: account, child: guest });
    const message = (amount: number) => ({ account, product: 'MSG', amount });
    for (let round = 0; round < 60; round += 1) {
      const answers = await billing.ledger.consumeMany([
        { account, product: 'GB', amount: 1 },
        message(1),
        // Not covered, with metadata, by a child: none of them is plain.
        message(99_999),
        message(2),
        { ...message(3), metadata: { round } },
        message(4),
        { account: guest, product: 'MSG', amount: 5 },
        message(6),
      ]);
      const lines = answers.flatMap((answer) =>
        'entryId' in answer && answer.entryId !== null
          ? [Number(answer.entryId.split('.')[1])]
          : [],
      );
      const [first] = lines;
      expect(lines).toEqual(Array.from({ length: 7 }, (_, index) => first! + index));
    }
  });

  test('a child that got a parent here goes behind what its parent used before in the list', async () => {
    const parent = await remembered(100);
    const child = await remembered(0);
    await billing.accounts.attachChild({ parent, child });
    const answers = await billing.ledger.consumeMany(
      [parent, child, parent].map((account) => ({ account, product: 'MSG', amount: 10 })),
    );
    expect(answers).toMatchObject(['90', '80', '70'].map((remaining) => ({ remaining })));
  });

  test('uses that build on one that others overtook are decided anew', async () => {
    const account = await remembered(500);
    const mixed = await Promise.all(
      Array.from({ length: 300 }, (_, n) => (n % 50 === 7 ? useElsewhere(account) : use(account))),
    );
    expect(mixed.every((answer) => answer.allowed)).toBe(true);
    expect(new Set(mixed.map((answer) => answer.entryId)).size).toBe(300);
    expect(await use(account)).toMatchObject({ remaining: '199' });
  });

  test('an account that was suspended meanwhile is denied, and used again when it is active', async () => {
    const account = await remembered();
    await billing.accounts.update({ account, status: 'suspended' });
    expect(await use(account)).toMatchObject({ allowed: false, reason: 'account_suspended' });
    expect(await billing.ledger.check({ account, product: 'MSG' })).toMatchObject({
      allowed: false,
      reason: 'account_suspended',
    });
    await billing.accounts.update({ account, status: 'active' });
    expect(await use(account)).toMatchObject({ allowed: true, remaining: '99' });
  });

  test('a child whose parent was suspended, and one that got another parent, are seen', async () => {
    const [parent, other] = [await remembered(), await remembered()];
    const child = await newAccount(0);
    await billing.accounts.attachChild({ child, parent });
    expect(await use(child)).toMatchObject({ allowed: true, remaining: '99' });
    expect(await use(child)).toMatchObject({ allowed: true, remaining: '98' });
    await billing.accounts.update({ account: parent, status: 'suspended' });
    expect(await use(child)).toMatchObject({ allowed: false, reason: 'account_suspended' });
    await billing.accounts.update({ account: parent, status: 'active' });
    await billing.accounts.detachChild({ child });
    await billing.accounts.attachChild({ child, parent: other });
    const { entryId } = await use(child);
    expect(entryId).toContain(other);
  });

  test('time that passes ends what is remembered', async () => {
    const account = await remembered(0);
    const expiresAt = new Date(clock.now().getTime() + 60_000);
    await billing.ledger.grant({ account, product: 'MSG', quantity: 10, expiresAt });
    await use(account);
    expect(await use(account)).toMatchObject({ allowed: true, remaining: '8' });
    clock.advance(60_000);
    expect(await use(account)).toMatchObject({ allowed: false, remaining: '0' });
    expect(await billing.ledger.check({ account, product: 'MSG' })).toMatchObject({
      allowed: false,
      remaining: '0',
    });
  });

  test('a clock that goes backwards changes nothing: an entry is never before the last one', async () => {
    const account = await remembered();
    const before = clock.now();
    clock.advance(1_000);
    await use(account);
    clock.set(before);
    expect(await use(account)).toMatchObject({ allowed: true, remaining: '98' });
    const { items } = await billing.ledger.entries({ account, limit: 2 });
    expect(items[0]!.effectiveAt).toBe(items[1]!.effectiveAt);
    clock.advance(2_000);
  });

  test('check answers what is, whoever changed it', async () => {
    const account = await remembered(10);
    const check = (amount = 1) => billing.ledger.check({ account, product: 'MSG', amount });
    expect(await check(10)).toMatchObject({ allowed: true, remaining: '10', unit: 'message' });
    await useElsewhere(account, 4);
    expect(await check(7)).toMatchObject({ allowed: false, remaining: '6' });
    await billing.ledger.hold({
      account,
      product: 'MSG',
      amount: 5,
      expiresIn: { unit: 'hour', count: 1 },
    });
    expect(await check(1)).toMatchObject({ allowed: true, remaining: '1' });
    const answers = await Promise.all(Array.from({ length: 50 }, () => check(1)));
    expect(new Set(answers.map((answer) => answer.remaining))).toEqual(new Set(['1']));
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'text' });
    expect(await check(1)).toMatchObject({ allowed: true, unit: 'text' });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
  });

  test('units of a product with decimals', async () => {
    const account = await newAccount(0);
    await billing.ledger.grant({ account, product: 'GB', quantity: '1.5' });
    const take = (amount: string | number) =>
      billing.ledger.consume({ account, product: 'GB', amount });
    expect(await take('0.25')).toMatchObject({ remaining: '1.25' });
    expect(await take('0.25')).toMatchObject({ consumed: '0.25', remaining: '1' });
    await expect(take('0.125')).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await take(1)).toMatchObject({ allowed: true, remaining: '0' });
  });

  test('R1: the values of uses from several grants, taken one by one or at once, are the same', async () => {
    const [one, many] = [await newAccount(0), await newAccount(0)];
    for (const account of [one, many]) {
      for (const [quantity, amount] of [
        [3, '10.00'],
        [7, '9.99'],
      ] as const) {
        const paid = { amount, currency: 'USD' };
        await billing.ledger.grant({ account, product: 'MSG', quantity, paid });
      }
    }
    for (let n = 0; n < 5; n += 1) {
      await use(one, 2);
      await billing.transaction((tx) =>
        billing.ledger.consume({ account: many, product: 'MSG', amount: 2, tx }),
      );
    }
    const earned = async (account: string) => {
      const { items } = await billing.ledger.entries({ account, kind: 'use' });
      return items.map(({ value, amount, grants }) => [
        value,
        amount,
        grants.map((part) => part.amount),
      ]);
    };
    expect(await earned(one)).toEqual(await earned(many));
    const sum = (await earned(one)).reduce(
      (all, [value]) => all.plus(value as string),
      new Decimal(0),
    );
    expect(sum.toFixed(2)).toBe('-19.99');
  });
});

describe('plain uses on a server', () => {
  test('two engines that rush for one account take turns, and neither takes a unit twice', async () => {
    const schema = newSchema();
    const connection = { connectionString: serverUrl(), poolSize: 4 };
    const engines = await Promise.all([1, 2].map(() => openBilling({ connection, schema })));
    const [one] = engines as [Billing, Billing];
    try {
      await one.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      const { accountId: account } = await one.accounts.identify({ externalId: 'rush' });
      await one.ledger.grant({ account, product: 'MSG', quantity: 3_000 });
      const answers: ConsumeAnswer[] = [];
      const callers = engines.flatMap((billing, engine) =>
        Array.from({ length: 40 }, async (_, caller) => {
          for (let n = 0; n < 40; n += 1) {
            const idempotencyKey = `${engine} ${caller} ${n}`;
            answers.push(await billing.ledger.consume({ account, product: 'MSG', idempotencyKey }));
          }
        }),
      );
      await Promise.all(callers);
      const taken = answers.filter((answer) => answer.allowed);
      expect(answers).toHaveLength(3_200);
      expect(taken).toHaveLength(3_000);
      expect(new Set(taken.map((answer) => answer.remaining)).size).toBe(3_000);
      // Repeats, by the other engine, give the first answers.
      const again = await engines[1]!.ledger.consume({
        account,
        product: 'MSG',
        idempotencyKey: '0 0 0',
      });
      expect(again).toMatchObject({ allowed: true, replayed: true });
      expect(await one.verify()).toMatchObject({ ok: true, problems: [] });
    } finally {
      for (const billing of engines) await billing.close();
    }
  });

  test('a connection that forgot our statements, as behind a pooler, is no reason to fail', async () => {
    process.env.BILLING_TEST_PREPARED = '0';
    const knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 1 } });
    const billing = await openBilling({ connection: knex, schema: newSchema() });
    try {
      await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      const { accountId: account } = await billing.accounts.identify({ externalId: 'pooled' });
      await billing.ledger.grant({ account, product: 'MSG', quantity: 10 });
      const use = () => billing.ledger.consume({ account, product: 'MSG' });
      await use();
      expect(await use()).toMatchObject({ remaining: '8' });
      const { rows } = await knex.raw<{ rows: Array<{ name: string }> }>(
        'select name from pg_prepared_statements',
      );
      // The use, the look before the first one, and the limits of that.
      const ours = expect.stringMatching(/^billing_/) as unknown;
      expect(rows.map(({ name }) => name)).toEqual([ours, ours, ours]);
      await knex.raw('deallocate all');
      expect(await use()).toMatchObject({ allowed: true, remaining: '7' });
      expect(await use()).toMatchObject({ allowed: true, remaining: '6' });
      expect(await billing.verify()).toMatchObject({ ok: true });
    } finally {
      delete process.env.BILLING_TEST_PREPARED;
      await billing.close();
      await knex.destroy();
    }
  });
});

describe('recognising a request', () => {
  const accountId = '01a1fd39-f5a9-72be-978b-4efd5734cea0';
  const known = new KnownPayers();
  const product = { key: 'MSG', kind: 'quantity' as const, unit: 'message', decimals: 0 };
  const account = {
    accountId,
    payerId: accountId,
    earlierPayers: [],
    status: 'active' as const,
    payerStatus: 'active' as const,
    timeZone: 'UTC',
  };
  for (const reference of [
    { accountId },
    { provider: 'default', externalId: 'ann' },
    { provider: 'email', externalId: 'ann@example.com' },
  ]) {
    const pocket = { grants: [], holds: [], terms: null, gate: null, thresholds: null, due: null };
    known.learn({
      reference,
      account,
      isGated: false,
      product,
      seen: { last: 1n, recordedAt: 0, pocket, at: 0 },
    });
  }

  /** Mostly right, since one wrong field is enough. */
  const mostly = (right: fc.Arbitrary<unknown>, ...wrong: unknown[]): fc.Arbitrary<unknown> =>
    fc.oneof({ weight: 6, arbitrary: right }, { weight: 1, arbitrary: fc.constantFrom(...wrong) });
  const usual = {
    account: mostly(
      fc.constantFrom(
        accountId,
        { externalId: 'ann' },
        { provider: 'default', externalId: 'ann' },
        { provider: 'email', externalId: 'ann@example.com' },
      ),
      accountId.toUpperCase(),
      ` ${accountId}`,
      'ann',
      { externalId: ' ann' },
      { provider: 'Email', externalId: 'Ann@example.com' },
      { provider: 'email ann@example.com', externalId: '' },
      { provider: 'email', externalId: 'ann@example.com', more: 1 },
      null,
      undefined,
      7,
    ),
    product: mostly(fc.constant('MSG'), 'msg', ' MSG', 'OTHER', 1, null),
    amount: mostly(
      fc.integer({ min: 1, max: 1_000 }),
      ...[0, -1, 1.5, NaN, 1e15, 2 ** 53, '1', null, undefined],
    ),
    idempotencyKey: mostly(
      fc.string({ minLength: 1, maxLength: 9 }),
      ...[' k', 'k ', '', 'é', 'a b', 'x'.repeat(256), 5, null, undefined],
    ),
  };
  const request = fc.oneof(
    { weight: 3, arbitrary: fc.record(usual, { requiredKeys: ['account', 'product'] }) },
    {
      weight: 1,
      arbitrary: fc.record(
        {
          ...usual,
          tx: fc.constantFrom<unknown>(undefined, undefined, null, {}),
          metadata: fc.constantFrom<unknown>(undefined, undefined, {}, { a: 1 }),
          other: fc.constantFrom<unknown>(undefined, 1),
        },
        { requiredKeys: ['account', 'product'] },
      ),
    },
  );

  test('gives what parsing it would give, or nothing', async () => {
    const billing = await openBilling({ connection: serverUrl(), schema: newSchema() });
    let recognised = 0;
    try {
      await fc.assert(
        fc.asyncProperty(request, async (given) => {
          const found = recogniseUse(given, known);
          if (recogniseCheck(given, known) !== null) {
            expect(found).not.toBeNull();
            await expect(billing.ledger.check(given as never)).rejects.toMatchObject({
              code: 'unknown_account',
            });
          }
          if (found === null) return;
          recognised += 1;
          // What is recognised is no bad input: nothing is wrong with it but that nobody is there.
          await expect(billing.ledger.consume(given as never)).rejects.toMatchObject({
            code: 'unknown_account',
          });
          expect(isId(found.account.accountId)).toBe(true);
          const { amount = 1, idempotencyKey } = given as {
            amount?: number;
            idempotencyKey?: string;
          };
          expect(found.amount.toFixed()).toBe(String(amount));
          expect(found.key).toBe(idempotencyKey);
          expect(found.pocket.product.key).toBe('MSG');
        }),
        { numRuns: 2_000 },
      );
      expect(recognised).toBeGreaterThan(300);
    } finally {
      await billing.close();
    }
  });
});

onServer(() => {
  test('a check, a use and a balance of somebody known are one round trip each', async () => {
    const wire = await Wire.to(serverUrl());
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const billing = await openBilling({ connection: wire.url, schema: newSchema(), clock });
    const { ledger } = billing;
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.accounts.identify({ externalId: 'ann' });
    const asked = { account: { externalId: 'ann' }, product: 'MSG' };
    await ledger.grant({ ...asked, quantity: 10 });
    const rounds = async (ask: () => Promise<unknown>): Promise<number> => {
      await ask();
      const before = wire.asked;
      await ask();
      return wire.asked - before;
    };
    try {
      expect(await rounds(() => ledger.check(asked))).toBe(1);
      expect(await rounds(() => ledger.consume(asked))).toBe(1);
      expect(await rounds(() => ledger.balance(asked))).toBe(1);
    } finally {
      await billing.close();
      await wire.close();
    }
  });
});
