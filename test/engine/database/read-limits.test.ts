import knexFactory, { type Knex } from 'knex';
import pg from 'pg';

import { openBilling, type Billing } from '../../../engine';
import { Database } from '../../../engine/database';
import { newSchema, serverUrl } from '../each-database';

/**
 * The time limits of statements that are no transaction of ours: reads, and plain uses. Whatever waits
 * without end runs into the time limit of its test.
 */

// A statement waits for tables when it is parsed, too.
process.env.BILLING_TEST_PREPARED = '0';

const SHORT = 300;
const LONG = 60_000;

const SHOW = `
select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
       current_setting('jit') as jit`;

const codeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'an answer',
    (error: { code?: string }) => error.code,
  );

describe('the limits of reads on a server', () => {
  const schema = newSchema();
  const ended: Array<() => Promise<void>> = [];
  let other: pg.Client;
  let account: string;

  const open = async (options: object): Promise<Billing> => {
    const billing = await openBilling({
      connection: { connectionString: serverUrl(), poolSize: 4 },
      schema,
      ...options,
    });
    ended.push(() => billing.close());
    return billing;
  };

  const ownPool = (): Knex => {
    const knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 1 } });
    ended.push(() => knex.destroy());
    return knex;
  };

  beforeAll(async () => {
    other = new pg.Client({ connectionString: serverUrl() });
    await other.connect();
    const billing = await open({});
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    ({ accountId: account } = await billing.accounts.identify({ externalId: 'reader' }));
    await billing.ledger.grant({ account, product: 'MSG', quantity: 1_000 });
  });

  afterAll(async () => {
    await other.end();
    for (const end of ended.reverse()) await end();
  });

  /** While another connection has a table to itself. */
  async function locked<T>(table: string, work: () => Promise<T>): Promise<T> {
    await other.query(`begin; lock table "${schema}".${table} in access exclusive mode`);
    try {
      return await work();
    } finally {
      await other.query('rollback');
    }
  }

  const reads: Array<[string, string, (billing: Billing) => Promise<unknown>]> = [
    ['check', 'entries', ({ ledger }) => ledger.check({ account, product: 'MSG' })],
    ['check', 'accounts', ({ ledger }) => ledger.check({ account, product: 'MSG' })],
    ['balance', 'grants', ({ ledger }) => ledger.balance({ account })],
    ['grants', 'grants', ({ ledger }) => ledger.grants({ account })],
    ['entries', 'entries', ({ ledger }) => ledger.entries({ account })],
    ['listProducts', 'products', ({ catalog }) => catalog.listProducts()],
    ['listInvoices', 'invoices', ({ invoicing }) => invoicing.listInvoices()],
  ];

  test.each(reads)(
    '%s waits for the table %s no longer than for a lock',
    async (_, table, read) => {
      const billing = await open({ lockTimeout: SHORT, statementTimeout: LONG });
      await read(billing);
      const codes = await locked(table, () =>
        Promise.all(Array.from({ length: 8 }, () => codeOf(read(billing)))),
      );
      expect(codes).toEqual(codes.map(() => 'lock_timeout'));
      expect(await codeOf(read(billing))).toBe('an answer');
    },
  );

  test.each(reads)(
    '%s of the table %s takes no longer than a statement',
    async (_, table, read) => {
      const billing = await open({ lockTimeout: LONG, statementTimeout: SHORT });
      await read(billing);
      const codes = await locked(table, () =>
        Promise.all(Array.from({ length: 8 }, () => codeOf(read(billing)))),
      );
      expect(codes).toEqual(codes.map(() => 'database_unavailable'));
      expect(await codeOf(read(billing))).toBe('an answer');
    },
  );

  test.each(['accounts', 'entries', 'grants'])(
    'a plain use waits for the table %s no longer than for a lock',
    async (table) => {
      const billing = await open({ lockTimeout: SHORT, statementTimeout: LONG });
      const use = (): Promise<unknown> => billing.ledger.consume({ account, product: 'MSG' });
      await use();
      const codes = await locked(table, () => Promise.all([codeOf(use()), codeOf(use())]));
      expect(codes).toEqual(['lock_timeout', 'lock_timeout']);
      expect(await codeOf(use())).toBe('an answer');
    },
  );

  test('while a table is locked, reads of others go on', async () => {
    const billing = await open({ lockTimeout: SHORT });
    await locked('grants', async () => {
      const waiting = Array.from({ length: 4 }, () => codeOf(billing.ledger.balance({ account })));
      await Promise.all(waiting);
      expect(await billing.catalog.listProducts()).toHaveLength(1);
    });
  });

  describe.each(['a pool of the engine', "a pool of the caller's"])('on %s', (whose) => {
    let database: Database;

    beforeAll(async () => {
      database = await Database.open({
        connection:
          whose === 'a pool of the engine'
            ? { connectionString: serverUrl(), poolSize: 1 }
            : ownPool(),
        schema,
        statementTimeout: 7_000,
        scanTimeout: 8_000,
        lockTimeout: 6_000,
      });
      ended.push(() => database.close());
    });

    /** What the one connection of the pool has set for itself. */
    const standing = async (): Promise<unknown> => {
      const { rows } = await database.knex.raw<{ rows: unknown[] }>(SHOW);
      return rows;
    };

    test('a read has the limits and no JIT, and leaves nothing behind', async () => {
      const before = await standing();
      expect(await database.query(SHOW)).toEqual([{ statement: '7s', lock: '6s', jit: 'off' }]);
      expect(await database.query(`${SHOW}, $1::int as value`, [5])).toEqual([
        { statement: '7s', lock: '6s', jit: 'off', value: 5 },
      ]);
      expect(await standing()).toEqual(before);
    });

    test('what reads whole tables has more time, and waits no longer', async () => {
      expect(await database.scans.query(SHOW)).toEqual([
        { statement: '8s', lock: '6s', jit: 'off' },
      ]);
    });

    test('a read is one round trip', async () => {
      const client = database.knex.client as {
        acquireConnection(): Promise<{ connection: NodeJS.EventEmitter }>;
        releaseConnection(connection: unknown): Promise<void>;
      };
      const connection = await client.acquireConnection();
      await client.releaseConnection(connection);
      const messages: string[] = [];
      const note = ({ name }: { name: string }): void => void messages.push(name);
      connection.connection.on('message', note);
      await database.query('select $1::int as value', [1]);
      connection.connection.off('message', note);
      expect(messages.filter((name) => name === 'readyForQuery')).toHaveLength(1);
      expect(messages.filter((name) => name === 'rowDescription')).toHaveLength(1);
    });

    test.each([
      ['cannot be parsed', 'selec 1', undefined, '42601'],
      ['does not take its values', 'select $1::int', ['none'], '22P02'],
      ['fails as it runs', 'select 1 / $1::int', [0], '22012'],
    ])(
      'a statement that %s rejects, and the next one has its answer',
      async (_, text, given, code) => {
        const before = await standing();
        await expect(database.query(text, given)).rejects.toMatchObject({
          code: 'internal_error',
          cause: { code },
        });
        expect(await standing()).toEqual(before);
        expect(await database.query('select 1 as one')).toEqual([{ one: 1 }]);
      },
    );

    test('what is prepared may be gone: then it goes on without', async () => {
      const answered = [{ statement: '7s', lock: '6s', jit: 'off' }];
      for (const text of ['select 1', 'deallocate all', 'deallocate all']) {
        await database.knex.raw(text);
        expect(await database.prepared.query(SHOW)).toEqual(answered);
        expect(await database.prepared.query(SHOW)).toEqual(answered);
        expect(await database.query(SHOW)).toEqual(answered);
      }
    });

    test('rows, many and none, are those of the statement', async () => {
      const numbers = 'select n from generate_series(1, $1::int) as n';
      expect(await database.query(numbers, [3])).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
      expect(await database.query(numbers, [0])).toEqual([]);
    });
  });

  test("a call inside a caller's transaction has our limits, which then are the caller's", async () => {
    const database = await Database.open({
      connection: serverUrl(),
      schema,
      statementTimeout: 7_000,
      lockTimeout: 6_000,
    });
    ended.push(() => database.close());
    await database.begin(async (tx) => {
      await tx.raw(`set local statement_timeout = '3s'; set local lock_timeout = '2s'`);
      const shown = { rows: (await tx.raw<{ rows: unknown[] }>(SHOW)).rows };
      expect(await database.transaction(tx, (session) => session.query(SHOW))).toEqual([
        { statement: '7s', lock: '6s', jit: 'off' },
      ]);
      expect((await tx.raw<{ rows: unknown[] }>(SHOW)).rows).toEqual(shown.rows);
    });
  });

  test("a caller's pool without a free connection is waited for no longer than for a lock", async () => {
    const knex = ownPool();
    const billing = await open({ connection: knex, lockTimeout: SHORT });
    await knex.transaction(async () => {
      expect(await codeOf(billing.catalog.listProducts())).toBe('lock_timeout');
      expect(await codeOf(billing.ledger.consume({ account, product: 'MSG' }))).toBe(
        'lock_timeout',
      );
    });
    // What came too late has gone back.
    expect(await billing.catalog.listProducts()).toHaveLength(1);
    expect(await codeOf(billing.ledger.consume({ account, product: 'MSG' }))).toBe('an answer');
  });
});
