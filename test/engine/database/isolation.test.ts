import type { Knex } from 'knex';
import pg from 'pg';

import {
  isFailed,
  openBilling,
  type Billing,
  type ChangeOptions,
  type ConsumeRequest,
} from '../../../engine';
import { Books } from '../../faults/books';
import { Load, begin, setUp } from '../../faults/load';
import { Program } from '../../faults/program';
import { Random, seedOfRun } from '../../faults/random';
import { databaseKinds, newSchema, serverUrl } from '../each-database';
import { localEngine, type Engine } from './calls';

/** What goes wrong for one is nobody else's business. */
describe.each(databaseKinds)('isolation (%s)', (kind) => {
  const isServer = kind === 'server';
  const schema = newSchema();
  let billing: Billing;
  let accounts = 0;

  beforeAll(async () => {
    billing = await openBilling({
      connection: isServer
        ? { connectionString: serverUrl(), poolSize: 6 }
        : { embedded: 'memory' },
      schema,
    });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'NEW', name: 'Never granted' });
  });

  afterAll(async () => {
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    await billing.close();
  });

  const newAccount = async (quantity = 100): Promise<string> => {
    accounts += 1;
    const { accountId: account } = await billing.accounts.identify({ externalId: `${accounts}` });
    await billing.ledger.grant({ account, product: 'MSG', quantity });
    return account;
  };
  const left = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'MSG' })).available;

  describe('an item that fails in the middle of others', () => {
    /** What it says when it comes alone, by the kind of its failure. */
    const bad: Array<[string, string, () => Promise<ConsumeRequest>]> = [
      [
        'idempotency_conflict',
        'with a key of another request',
        async () => {
          const request = { account: await newAccount(), product: 'MSG', idempotencyKey: 'used' };
          await billing.ledger.consume(request);
          return { ...request, amount: 2 };
        },
      ],
      [
        'unknown_account',
        'by an identity that leads nowhere',
        () =>
          Promise.resolve({ account: { provider: 'app', externalId: 'nobody' }, product: 'MSG' }),
      ],
      [
        'unknown_account',
        'by an id that is none of ours',
        () => Promise.resolve({ account: '01a1fd2c-8973-7398-a0ce-b6db6b84fb54', product: 'MSG' }),
      ],
      [
        'unknown_product',
        'of an unknown product',
        async () => ({ account: await newAccount(), product: 'NOTHING' }),
      ],
      [
        'invalid_input',
        'finer than the product allows',
        async () => ({ account: await newAccount(), product: 'MSG', amount: '0.5' }),
      ],
      [
        'account_suspended',
        'by a suspended account',
        async () => {
          const account = await newAccount();
          await billing.accounts.update({ account, status: 'suspended' });
          return { account, product: 'MSG' };
        },
      ],
      [
        'account_closed',
        'by a closed account',
        async () => {
          const account = await newAccount();
          await billing.accounts.update({ account, status: 'closed' });
          return { account, product: 'MSG' };
        },
      ],
      [
        'insufficient_balance',
        'of more than is there',
        async () => ({ account: await newAccount(3), product: 'MSG', amount: 4 }),
      ],
      [
        'insufficient_balance',
        'of what was never granted',
        async () => ({ account: await newAccount(), product: 'NEW' }),
      ],
    ];

    const codeOf = (answer: object): unknown =>
      isFailed(answer) ? answer.error.code : (answer as { reason?: string | null }).reason;

    test.each(bad)('%s: %s', async (code, _, make) => {
      const request = await make();
      const good = [await newAccount(), await newAccount()];
      const uses = good.map((account) => ({ account, product: 'MSG', amount: 7 }));

      const listed = await billing.ledger.consumeMany([uses[0]!, request, uses[1]!, request]);
      expect(listed.map(codeOf)).toEqual([null, code, null, code]);

      // Calls of several callers that share a transaction.
      const shared = await Promise.all(
        [uses[0]!, request, uses[1]!, request].map((one) =>
          billing.ledger.consume(one).catch((error: { code: string }) => ({ reason: error.code })),
        ),
      );
      expect(shared.map(codeOf)).toEqual([null, code, null, code]);

      await billing.transaction(async (tx) => {
        const joined = await billing.ledger.consumeMany(
          [uses[0]!, request, uses[1]!].map((one) => ({ ...one, tx })),
        );
        expect(joined.map(codeOf)).toEqual([null, code, null]);
      });
      expect(await Promise.all(good.map(left))).toEqual(['79', '79']);
    });

    test('also when the database itself refuses it, so that the whole batch falls', async () => {
      const [spoilt, fine] = [await newAccount(), await newAccount()];
      await billing.transaction(async (tx) => {
        await tx.raw(`
          create function "${schema}".refuse_one() returns trigger language plpgsql as
          $$ begin raise exception 'not this one'; end $$`);
        await tx.raw(`
          create trigger refuse_one before insert on "${schema}".entries for each row
          when (new.account_id = '${spoilt}') execute function "${schema}".refuse_one()`);
      });
      try {
        const outcomes = await Promise.allSettled(
          [fine, spoilt, fine].map((account) =>
            billing.ledger.consume({ account, product: 'MSG' }),
          ),
        );
        expect(outcomes.map(({ status }) => status)).toEqual([
          'fulfilled',
          'rejected',
          'fulfilled',
        ]);
      } finally {
        await billing.transaction((tx) => tx.raw(`drop trigger refuse_one on "${schema}".entries`));
      }
      expect([await left(spoilt), await left(fine)]).toEqual(['100', '98']);
    });
  });

  describe("a caller's transaction that is rolled back", () => {
    /** Every row of every table. */
    const everything = (): Promise<Record<string, unknown>> =>
      billing.transaction(async (tx) => {
        const { rows: tables } = await tx.raw<{ rows: Array<{ name: string }> }>(
          `select table_name as name from information_schema.tables where table_schema = ?`,
          [schema],
        );
        const found: Record<string, unknown> = {};
        for (const { name } of tables) {
          const { rows } = await tx.raw<{ rows: Array<{ line: string }> }>(
            `select t::text as line from ??.?? as t order by 1`,
            [schema, name],
          );
          found[name] = rows.map(({ line }) => line);
        }
        return found;
      });

    /** Answers, denials and errors, one after the other and at once, each under a key. */
    async function muchOf(tx: Knex.Transaction, account: string, child: string): Promise<void> {
      const { ledger } = billing;
      const refused = async (call: Promise<unknown>, code: string): Promise<void> =>
        expect(call).rejects.toMatchObject({ code });
      for (let round = 0; round < 20; round += 1) {
        const key = (name: string): ChangeOptions => ({
          idempotencyKey: `${name} ${round}`,
          metadata: { round },
          tx,
        });
        const used = await ledger.consume({
          ...{ account, product: 'MSG', amount: 3 },
          ...key('use'),
        });
        expect(used).toMatchObject({ allowed: true, replayed: false });
        expect(
          await ledger.consume({ account: child, product: 'MSG', amount: 1_000_000, ...key('no') }),
        ).toMatchObject({ allowed: false, replayed: false });
        await refused(
          ledger.consume({ account, product: 'NOTHING', ...key('what') }),
          'unknown_product',
        );
        await refused(
          ledger.consume({ account, product: 'MSG', amount: 4, ...key('use') }),
          'idempotency_conflict',
        );
        await Promise.all([
          ledger.grant({ account, product: 'MSG', quantity: 50, ...key('give') }),
          ledger.grant({ account: child, product: 'NEW', quantity: 5, ...key('new') }),
          ledger.consumeMany(
            [account, child, account].map((one, index) => ({
              account: one,
              product: 'MSG',
              ...key(`list ${index}`),
            })),
          ),
        ]);
        const expiresIn = { unit: 'hour', count: 1 } as const;
        const aside = { account: child, product: 'MSG', amount: 2, expiresIn };
        const [settled, released] = await Promise.all([
          ledger.hold({ ...aside, ...key('hold one') }),
          ledger.hold({ ...aside, ...key('hold two') }),
        ]);
        await ledger.settle({ holdId: settled.holdId!, amount: 3, ...key('settle') });
        await refused(ledger.settle({ holdId: settled.holdId!, amount: 1, tx }), 'hold_not_open');
        await ledger.release({ holdId: released.holdId!, ...key('release') });
        await ledger.restore({ entryId: used.entryId!, amount: 1, ...key('restore') });
        await refused(
          ledger.restore({ entryId: used.entryId!, amount: 3, tx }),
          'restore_exceeds_use',
        );
        await ledger.hold({ ...aside, amount: 1, ...key('stays') });
        await refused(
          ledger.grant({
            account,
            product: 'MSG',
            quantity: 1,
            expiresAt: new Date(0),
            ...key('late'),
          }),
          'invalid_input',
        );
      }
      await billing.accounts.identify({ externalId: 'somebody new', tx });
    }

    const ways: Array<
      [string, string, (tx: Knex.Transaction, account: string) => Promise<unknown>]
    > = [
      ['by an error of the caller', 'undo', () => Promise.reject(new Error('undo'))],
      [
        'by an error of the engine that the caller lets go on',
        'NOTHING',
        (tx, account) => billing.ledger.consume({ account, product: 'NOTHING', tx }),
      ],
      [
        'by an error of its own in the database',
        'division by zero',
        (tx) => Promise.resolve(tx.raw('select 1 / 0')),
      ],
      ['by itself', 'never mind', (tx) => Promise.resolve(tx.rollback(new Error('never mind')))],
    ];

    test.each(ways)('%s leaves nothing', async (_, message, end) => {
      const account = await newAccount();
      const child = (await billing.accounts.identify({ externalId: `child of ${account}` }))
        .accountId;
      await billing.accounts.attachChild({ child, parent: account });
      const before = await everything();
      let reached = false;
      await expect(
        billing.transaction(async (tx) => {
          await muchOf(tx, account, child);
          reached = true;
          await end(tx, account);
        }),
      ).rejects.toThrow(message);
      expect(reached).toBe(true);
      expect(await everything()).toEqual(before);

      // The keys are as if they had never been used.
      await billing.transaction((tx) => muchOf(tx, account, child));
      expect(await everything()).not.toEqual(before);
      expect(await left(child)).toBe(String(100 + 20 * (50 - 3 - 3 - 3 + 1 - 1)));
    });
  });

  test("an error of a caller's own transaction comes out as it is, whatever its code", async () => {
    const own = Object.assign(new Error('the shop does not answer'), { code: 'ECONNREFUSED' });
    const caught = await billing
      .transaction(() => Promise.reject(own))
      .catch((error: unknown) => error);
    expect(caught).toBe(own);
  });

  if (isServer) {
    test("a caller's transaction that loses its connection says database_unavailable", async () => {
      const account = await newAccount();
      const lost = billing.transaction(async (tx) => {
        await billing.ledger.consume({ account, product: 'MSG', tx });
        const { rows } = await tx.raw<{ rows: Array<{ pid: number }> }>(
          'select pg_backend_pid() as pid',
        );
        await billing.transaction((other) =>
          other.raw('select pg_terminate_backend(?)', [rows[0]!.pid]),
        );
      });
      await expect(lost).rejects.toMatchObject({ code: 'database_unavailable' });
      expect(await left(account)).toBe('100');
    });

    describe('accounts whose locks have one hash', () => {
      test('wait for each other, and for nothing else', async () => {
        const [account, other] = [await newAccount(), await newAccount()];
        // As the transaction of an account with the same hash would hold it.
        const foreign = new pg.Client({ connectionString: serverUrl() });
        await foreign.connect();
        try {
          await foreign.query('begin');
          await foreign.query('select pg_advisory_xact_lock(hashtextextended($1, 8104593))', [
            account,
          ]);
          let ended = 0;
          const waiting = Promise.allSettled(
            [
              billing.ledger.consume({ account, product: 'MSG', amount: 10 }),
              billing.ledger.consume({ account, product: 'MSG', amount: 20 }),
              billing.ledger.grant({ account, product: 'MSG', quantity: 1 }),
            ].map((call) => call.finally(() => (ended += 1))),
          );
          for (let use = 0; use < 5; use += 1) {
            await billing.ledger.consume({ account: other, product: 'MSG' });
          }
          expect(ended).toBe(0);
          await foreign.query('commit');
          expect(await waiting).toMatchObject([
            { value: { allowed: true, consumed: '10' } },
            { value: { allowed: true, consumed: '20' } },
            { value: [{ initial: '1' }] },
          ]);
        } finally {
          await foreign.end();
        }
        expect([await left(account), await left(other)]).toEqual(['71', '95']);
      });

      test('keep their own units, keys and lines, if all accounts were alike', async () => {
        // Found before Postgres's own by the search path of these connections.
        const shadow = newSchema();
        await billing.transaction(async (tx) => {
          await tx.raw(`create schema ${shadow}`);
          await tx.raw(`
            create function ${shadow}.hashtextextended(text, bigint) returns bigint
            language sql immutable as
            $$ select case when $2 = 8104593 then 42 else pg_catalog.hashtextextended($1, $2) end $$`);
        });
        const opened: Billing[] = [];
        const engines: Engine[] = [];
        const own = newSchema();
        for (let count = 0; count < 6; count += 1) {
          const options = `-c search_path=${shadow},pg_catalog`;
          const one = await openBilling({
            connection: { connectionString: serverUrl(), poolSize: 2, options },
            schema: own,
          });
          opened.push(one);
          engines.push(localEngine(one));
        }
        try {
          const { rows } = await opened[0]!.transaction((tx) =>
            tx.raw<{ rows: unknown[] }>(
              `select hashtextextended('one', 8104593) = hashtextextended('other', 8104593) as alike`,
            ),
          );
          expect(rows).toEqual([{ alike: true }]);

          const random = new Random(seedOfRun());
          const families = await setUp(engines[0]!, 6);
          const books = new Books(families, []);
          await begin(books, families, engines[0]!, random);
          const load = new Load(books, new Program(families, 'use', 0.2));
          for (const engine of [...engines, ...engines]) {
            load.start(() => Promise.resolve(engine), random.fork(), 20);
          }
          await load.done();
          await books.check(engines[0]!, true);
          expect(books.problems).toEqual([]);
          expect(books.counts.answered).toBeGreaterThan(200);
        } finally {
          for (const one of opened) await one.close();
          await billing.transaction((tx) => tx.raw(`drop schema ${shadow} cascade`));
        }
      });
    });
  }
});
