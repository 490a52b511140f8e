import { randomBytes } from 'node:crypto';

import knexFactory, { type Knex } from 'knex';

import { openBilling, type Billing } from '../../engine';
import { openEmbedded } from '../../engine/database/embedded';
import { installRelease, readRelease } from '../engine/database/releases/release';
import { newSchema, onEachDatabase, serverUrl, type TestDatabase } from '../engine/each-database';
import { tablesOf } from '../engine/tables';

/**
 * The accident: `$$` and `$&` in a schema's name were taken for patterns of a replacement, so that two
 * credentials wrote into one schema; and a schema in which others had tables was written into.
 */

const random = randomBytes(3).toString('hex');

/** Each beside one that it was, or could be, taken for. */
const NAMES = [
  `a$b ${random}`,
  `a$$b ${random}`,
  `a$$$body1$b ${random}`,
  `a$&b ${random}`,
  "a$'b" + random,
  `a{schema}b ${random}`,
  `a"b'\\'c ${random}`,
];

/** A database in which nobody has been yet. */
async function newDatabase(name: TestDatabase['name']): Promise<[Knex, () => Promise<void>]> {
  if (name === 'embedded') {
    const { knex, close } = await openEmbedded('memory', 10_000);
    return [knex, close];
  }
  const own = newSchema();
  const admin = knexFactory({ client: 'pg', connection: serverUrl() });
  await admin.raw('create database ??', [own]);
  const url = new URL(serverUrl());
  url.pathname = `/${own}`;
  const knex = knexFactory({ client: 'pg', connection: url.toString() });
  return [
    knex,
    async () => {
      await knex.destroy();
      await admin.raw('drop database ??', [own]);
      await admin.destroy();
    },
  ];
}

onEachDatabase('schema names', (database) => {
  let plain: Billing;

  beforeAll(async () => {
    plain = await database.open();
  });

  const refused = (message: RegExp) => ({
    code: 'invalid_input',
    parameter: 'schema',
    message: expect.stringMatching(message) as string,
  });

  test('every name is a schema of its own', async () => {
    const opened: Billing[] = [];
    for (const [index, name] of NAMES.entries()) {
      const billing = await database.open(undefined, name);
      opened.push(billing);
      await billing.catalog.importCatalog({
        format: 'rows',
        products: [{ key: 'MSG', name: `Messages ${index}` }],
      });
      const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
      await billing.ledger.grant({ account, product: 'MSG', quantity: index + 1 });
      await billing.ledger.consume({ account, product: 'MSG' });
    }
    for (const [index, billing] of opened.entries()) {
      const account = { externalId: 'ann' };
      expect(await billing.catalog.listProducts()).toMatchObject([{ name: `Messages ${index}` }]);
      const { available } = await billing.ledger.balance({ account, product: 'MSG' });
      expect(available).toBe(String(index));
    }
    const { rows } = await plain.transaction((tx) =>
      tx.raw<{ rows: Array<{ name: string }> }>(
        `select nspname as name from pg_namespace where nspname like ?`,
        [`%${random}`],
      ),
    );
    expect(rows.map(({ name }) => name).sort()).toEqual([...NAMES].sort());
  });

  test.each(['information_schema', 'Information_Schema', 'pg_catalog', 'pg_billing'])(
    '%s is refused',
    async (name) => {
      await expect(database.open(undefined, name)).rejects.toMatchObject(refused(/Postgres's own/));
    },
  );

  test.each([
    ['table "migrations" such as that of n8n', 'migrations (id int, name text)'],
    ['table of a name that is ours, too', 'orders (id int, name text)'],
  ])('a schema with a %s is refused and left alone', async (_, table) => {
    const schema = newSchema();
    await plain.transaction(async (tx) => {
      await tx.raw(`create schema ${schema}`);
      await tx.raw(`create table ${schema}.${table}`);
    });
    await expect(database.open(undefined, schema)).rejects.toMatchObject(refused(/of others/));
    expect(await tablesOf(plain, schema)).toEqual([table.split(' ')[0]]);
    await plain.transaction((tx) => tx.raw(`drop schema ${schema} cascade`));
  });

  test('a schema with a function of others is refused, an empty one taken', async () => {
    const schema = newSchema();
    const make = (statement: string) =>
      plain.transaction((tx) => tx.raw(statement.replace('SCHEMA', schema)));
    await make('create schema SCHEMA');
    await make('create function SCHEMA.refuse_change() returns int language sql as $$ select 1 $$');
    await expect(database.open(undefined, schema)).rejects.toMatchObject(refused(/of others/));
    await make('drop function SCHEMA.refuse_change');
    expect(await (await database.open(undefined, schema)).catalog.listProducts()).toEqual([]);
  });

  test('public is refused, unless tables of ours are there from before', async () => {
    const [knex, close] = await newDatabase(database.name);
    try {
      const open = () => openBilling({ connection: knex, schema: 'public' });
      await expect(open()).rejects.toMatchObject(refused(/all programs/));
      await knex.raw('drop schema public');
      await installRelease(knex, 'public', readRelease('0.1.0'));
      const billing = await open();
      expect(await billing.verify()).toMatchObject({ ok: true });
      await billing.close();
    } finally {
      await close();
    }
  });
});
