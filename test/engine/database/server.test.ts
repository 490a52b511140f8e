import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import knexFactory, { type Knex } from 'knex';

import { openBilling, type Billing } from '../../../engine';
import { MIGRATIONS, SCHEMA_MAJOR } from '../../../engine/database/migrations';
import { newSchema, openOnServer, serverUrl } from '../each-database';
import { BillingProcess } from './processes';

describe('a Postgres server', () => {
  const opened: Billing[] = [];
  let admin: Knex;

  const open = async (options: Parameters<typeof openOnServer>[0] = {}): Promise<Billing> => {
    const billing = await openOnServer(options);
    opened.push(billing);
    return billing;
  };

  beforeAll(() => {
    admin = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 2 } });
  });

  afterAll(async () => {
    for (const billing of opened) {
      expect(await billing.verify()).toMatchObject({ ok: true });
      await billing.close();
    }
    await admin.destroy();
  });

  const withOther = (change: (url: URL) => void): string => {
    const url = new URL(serverUrl());
    change(url);
    return url.toString();
  };

  test.each([
    ['a wrong password', (url: URL) => (url.password = 'secret-but-wrong'), /refused the log-in/],
    ['an unknown user', (url: URL) => (url.username = 'nobody-here'), /refused the log-in/],
    ['an unknown database', (url: URL) => (url.pathname = '/nowhere'), /"nowhere" does not exist/],
    ['a port without a server', (url: URL) => (url.port = '1'), /No database server answers/],
    [
      'TLS where the server has none',
      (url: URL) => url.searchParams.set('sslmode', 'verify-full'),
      /secure connection/,
    ],
  ])('%s is said in so many words, without the password', async (_, change, message) => {
    const connection = withOther((url) => void change(url));
    const error = await openBilling({ connection }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'database_unavailable' });
    const said = JSON.stringify(error) + (error as Error).message + (error as Error).stack;
    expect((error as Error).message).toMatch(message);
    expect((error as { advice: string }).advice).toBeTruthy();
    expect(said).not.toContain('secret-but-wrong');
    expect(said).not.toContain(new URL(serverUrl()).password);
  });

  test('a host that does not exist is named', async () => {
    const connection = withOther((url) => (url.hostname = 'no-such-host.invalid'));
    await expect(openBilling({ connection })).rejects.toMatchObject({
      code: 'database_unavailable',
      message: expect.stringContaining('no-such-host.invalid') as string,
    });
  });

  test('ten processes install an empty database at once', async () => {
    const schema = newSchema();
    const processes = Array.from(
      { length: 10 },
      () => new BillingProcess({ connection: serverUrl(), schema }),
    );
    const codes = await Promise.all(processes.map((one) => one.end()));
    expect(processes.map((one) => one.lines)).toEqual(processes.map(() => [{ opened: true }]));
    expect(codes).toEqual(processes.map(() => 0));
    const rows = (await admin
      .withSchema(schema)
      .table('migrations')
      .orderBy('id')
      .select('id')) as Array<{ id: number }>;
    expect(rows.map((row) => row.id)).toEqual(MIGRATIONS.map((migration) => migration.id));
  });

  test('connections that were killed are replaced: the call under way fails, the next succeeds', async () => {
    // A name of its own: other suites use the same server at the same time.
    const application_name = `victim-${randomBytes(4).toString('hex')}`;
    const billing = await openBilling({
      connection: { connectionString: serverUrl(), application_name },
      schema: newSchema(),
    });
    opened.push(billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 1_000 });
    const killAll = (): Promise<unknown> =>
      Promise.resolve(
        admin.raw(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where application_name = ?`,
          [application_name],
        ),
      );

    const keys = Array.from({ length: 300 }, (_, index) => `use ${index}`);
    const failures: unknown[] = [];
    const answered: string[] = [];
    let kills = 0;
    await Promise.all([
      (async () => {
        for (const idempotencyKey of keys) {
          try {
            await billing.ledger.consume({ account, product: 'MSG', idempotencyKey });
            answered.push(idempotencyKey);
          } catch (error) {
            failures.push(error);
          }
        }
      })(),
      (async () => {
        for (; kills < 10; kills += 1) {
          await killAll();
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      })(),
    ]);
    expect(kills).toBe(10);
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: 'database_unavailable' });
    }
    // Whoever got an error asks again with the same key: everything is there once.
    for (const idempotencyKey of keys) {
      const again = await billing.ledger.consume({ account, product: 'MSG', idempotencyKey });
      expect(again.allowed).toBe(true);
      if (answered.includes(idempotencyKey)) expect(again.replayed).toBe(true);
    }
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '700',
    });
  });

  test('a schema of a newer major is refused; one with newer steps of the same major is not', async () => {
    const schema = newSchema();
    const billing = await open({ schema });
    const migrations = () => admin.withSchema(schema).table('migrations');
    const step = { name: 'to come', applied_at: new Date() };
    await migrations().insert({ id: 900, major: SCHEMA_MAJOR, ...step });
    const older = await open({ schema });
    await older.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    expect(await billing.catalog.getProduct({ key: 'MSG' })).toMatchObject({ name: 'Messages' });

    await migrations().insert({ id: 901, major: SCHEMA_MAJOR + 1, ...step });
    await expect(openOnServer({ schema })).rejects.toMatchObject({
      code: 'database_newer',
      message: expect.stringContaining(schema) as string,
    });
  });

  test("a caller's knex instance is used and left open", async () => {
    const knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 3 } });
    const schema = newSchema();
    const billing = await openBilling({ connection: knex, schema });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
    await knex.raw('create table ??.shop (note text)', [schema]);

    // Atomic with the caller's own rows, whichever way it ends.
    await knex.transaction(async (tx) => {
      await tx.withSchema(schema).table('shop').insert({ note: 'kept' });
      await billing.ledger.grant({ account, product: 'MSG', quantity: 5, tx });
    });
    await expect(
      knex.transaction(async (tx) => {
        await tx.withSchema(schema).table('shop').insert({ note: 'undone' });
        await billing.ledger.consume({ account, product: 'MSG', amount: 5, tx });
        throw new Error('the shop is closed');
      }),
    ).rejects.toThrow('the shop is closed');
    expect(await knex.withSchema(schema).table('shop').pluck('note')).toEqual(['kept']);
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '5',
    });
    expect(await billing.verify()).toMatchObject({ ok: true });
    await billing.close();
    expect((await knex.raw<{ rows: unknown[] }>('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await knex.destroy();
  });

  test('an odd schema name is quoted', async () => {
    const schema = `we"ird ${randomBytes(3).toString('hex')}`;
    const billing = await open({ schema });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    expect(await billing.catalog.listProducts()).toHaveLength(1);
  });

  test('a call beside a transaction of its own ends in lock_timeout, not in a hang', async () => {
    const billing = await open({ lockTimeout: 2_000 });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
    const { accountId: other } = await billing.accounts.identify({ externalId: 'bob' });
    for (const one of [account, other]) {
      await billing.ledger.grant({ account: one, product: 'MSG', quantity: 10 });
    }
    await billing.transaction(async (tx) => {
      await billing.ledger.consume({ account, product: 'MSG', tx });
      const [held, free] = await Promise.allSettled([
        billing.ledger.consume({ account, product: 'MSG' }),
        billing.ledger.consume({ account: other, product: 'MSG' }),
      ]);
      expect(held).toMatchObject({ status: 'rejected', reason: { code: 'lock_timeout' } });
      // The one who waits for another account is served all the same.
      expect(free).toMatchObject({ status: 'fulfilled', value: { allowed: true } });
    });
  });

  test('deadlocks between transactions of callers come out as retry_transaction', async () => {
    const billing = await open();
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const accounts = await Promise.all(
      ['ann', 'bob'].map(async (externalId) => {
        const { accountId: account } = await billing.accounts.identify({ externalId });
        await billing.ledger.grant({ account, product: 'MSG', quantity: 10 });
        return account;
      }),
    );
    let arrived = 0;
    let go: () => void;
    const both = new Promise<void>((resolve) => (go = resolve));
    const crosswise = (order: string[]): Promise<void> =>
      billing.transaction(async (tx) => {
        await billing.ledger.consume({ account: order[0]!, product: 'MSG', tx });
        arrived += 1;
        if (arrived === 2) go();
        await both;
        await billing.ledger.consume({ account: order[1]!, product: 'MSG', tx });
      });
    const results = await Promise.allSettled([
      crosswise(accounts),
      crosswise([...accounts].reverse()),
    ]);
    expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    const failure = results.find((result) => result.status === 'rejected');
    expect(failure).toMatchObject({ reason: { code: 'retry_transaction' } });
    for (const account of accounts) {
      expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
        available: '9',
      });
    }
  });

  test('twenty workers of three engines on the same accounts neither overspend nor deadlock', async () => {
    const schema = newSchema();
    const engines = [
      await open({ schema, poolSize: 7 }),
      await open({ schema, poolSize: 7 }),
      await open({ schema, poolSize: 6 }),
    ];
    const [first] = engines;
    await first!.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const accounts = await Promise.all(
      Array.from({ length: 5 }, async (_, index) => {
        const { accountId } = await first!.accounts.identify({ externalId: `worker-${index}` });
        await first!.ledger.grant({ account: accountId, product: 'MSG', quantity: 40 });
        return accountId;
      }),
    );
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (_, worker) => {
        const engine = engines[worker % 3]!;
        const got = [];
        for (let round = 0; round < 6; round += 1) {
          // Every worker names the accounts in an order of its own, and keys are shared by four.
          const order = [...accounts.slice(worker % 5), ...accounts.slice(0, worker % 5)];
          got.push(
            ...(await engine.ledger.consumeMany(
              order.map((account) => ({
                account,
                product: 'MSG',
                idempotencyKey: `${Math.floor(worker / 4)} ${round} ${account}`,
              })),
            )),
          );
        }
        return got;
      }),
    );
    const allowed = answers.flat().filter((answer) => 'allowed' in answer && answer.allowed);
    expect(allowed).toHaveLength(answers.flat().length);
    expect(allowed.filter((answer) => 'replayed' in answer && !answer.replayed)).toHaveLength(150);
    for (const account of accounts) {
      expect(await first!.ledger.balance({ account, product: 'MSG' })).toMatchObject({
        available: '10',
      });
    }
  });

  test('a user who may only read and write works on a schema that others installed', async () => {
    const schema = newSchema();
    const owner = await open({ schema });
    await owner.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const user = `billing_${randomBytes(4).toString('hex')}`;
    const password = randomBytes(8).toString('hex');
    await admin.raw(`create role ${user} login password '${password}'`);
    await admin.raw(`grant usage on schema ${schema} to ${user}`);
    // What docs/operations.md says is enough, word for word.
    const page = readFileSync(join(__dirname, '../../../docs/operations.md'), 'utf8');
    const rights = /^grant (?:select|delete)[^;]*;/gm;
    for (const [grant] of page.matchAll(rights)) {
      const own = grant
        .replaceAll('billing.', `${schema}.`)
        .replace('schema billing', `schema ${schema}`);
      await admin.raw(own.replace('n8n_billing', user));
    }

    const connection = withOther((url) => {
      url.username = user;
      url.password = password;
    });
    const billing = await openBilling({ connection, schema });
    opened.push(billing);
    const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 2 });
    expect(await billing.ledger.consume({ account, product: 'MSG' })).toMatchObject({
      remaining: '1',
    });
    await billing.catalog.saveOffer({
      sku: 'plan',
      name: 'Plan',
      price: '5.00',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'MSG', quantity: 10 }],
    });
    const { subscriptionId } = (await billing.subscriptions.start({ account, sku: 'plan' })) as {
      subscriptionId: string;
    };
    expect(await billing.invoicing.runBillingCycle()).toMatchObject({ dispatched: { issued: 1 } });
    await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    await billing.subscriptions.reactivate({ subscriptionId });
    await billing.invoicing.runBillingCycle();
    const draft = { account, currency: 'USD', items: [{ description: 'x', unitPrice: '1.00' }] };
    const { invoiceId } = await billing.invoicing.createInvoice(draft);
    await billing.invoicing.deleteDraft({ invoiceId });
    const { events } = await billing.events.poll({ reader: 'r', from: 'beginning' });
    await billing.events.acknowledge({ reader: 'r', eventIds: events.map((one) => one.eventId) });
    await billing.events.removeReader({ reader: 'r' });
    expect(await billing.runDue()).toMatchObject({ failed: [] });
    await expect(openBilling({ connection, schema: newSchema() })).rejects.toMatchObject({
      code: 'database_unavailable',
      message: expect.stringContaining('lacks a right') as string,
    });
  });
});
