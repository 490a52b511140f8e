import * as fs from 'node:fs';
import * as path from 'node:path';

import knexFactory, { type Knex } from 'knex';

import { openBilling } from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { beginEmpty } from '../../postgres/migrated';
import { databaseKinds, newSchema, serverUrl } from '../each-database';

/**
 * The whole schema as it stands after the last step, functions and all, in schema.sql: whatever changes
 * in it shows in a review. After a change that was meant, write it anew:
 *
 *     BILLING_UPDATE_SCHEMA=1 NODE_OPTIONS=--experimental-vm-modules npx jest test/engine/database/schema
 */

beginEmpty();

const FILE = path.join(__dirname, 'schema.sql');

/**
 * Statements, in a form that does not depend on the version of Postgres and that makes the schema again.
 * `SCHEMA` stands for the schema's name.
 */
const PARTS: Record<string, string> = {
  Functions: `
    select pg_get_functiondef(p.oid) as line
    from pg_proc p where p.pronamespace = 'SCHEMA'::regnamespace order by p.proname`,
  // Postgres 18 has NOT NULL among the constraints; here it is with the columns.
  Tables: `
    select format(E'create table SCHEMA.%s (\n%s\n)%s%s', c.relname,
      (select string_agg(part.line, E',\n' order by part.place, part.name) from (
        select 0 as place, lpad(a.attnum::text, 4, '0') as name,
               format('  %s %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                 case when a.attnotnull then ' not null' else '' end,
                 case when a.attgenerated = 's'
                      then ' generated always as (' || pg_get_expr(d.adbin, d.adrelid) || ') stored'
                      else ' default ' || pg_get_expr(d.adbin, d.adrelid) end) as line
        from pg_attribute a
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        union all
        select case n.contype when 'p' then 1 when 'u' then 2 else 3 end, n.conname::text,
               format('  constraint %s %s', n.conname, pg_get_constraintdef(n.oid, true))
        from pg_constraint n
        where n.conrelid = c.oid and n.contype not in ('n', 'f')) as part),
      coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''),
      coalesce(E';\ncomment on table SCHEMA.' || c.relname || ' is '
        || quote_literal(obj_description(c.oid, 'pg_class')), '')
      || coalesce((
        select string_agg(E';\n' || pg_get_indexdef(i.indexrelid, 0, true), '' order by k.relname)
        from pg_index i join pg_class k on k.oid = i.indexrelid
        where i.indrelid = c.oid
          and not exists (select from pg_constraint n where n.conindid = i.indexrelid
                          and n.contype <> 'f')), '')
      || coalesce((
        select string_agg(E';\n' || pg_get_triggerdef(t.oid, true)
          || case t.tgenabled when 'O' then '' else ' /* ' || t.tgenabled::text || ' */' end, '' order by t.tgname)
        from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal), '')) as line
    from pg_class c
    where c.relnamespace = 'SCHEMA'::regnamespace and c.relkind in ('r', 'p')
    order by c.relname`,
  'Foreign keys': `
    select format('alter table SCHEMA.%s add constraint %s %s', c.relname, n.conname,
                  pg_get_constraintdef(n.oid, true)) as line
    from pg_constraint n join pg_class c on c.oid = n.conrelid
    where n.connamespace = 'SCHEMA'::regnamespace and n.contype = 'f'
    order by c.relname, n.conname`,
  // None yet.
  'Views, sequences and types': `
    select format('%s %s', c.relkind, c.relname) as line from pg_class c
    where c.relnamespace = 'SCHEMA'::regnamespace and c.relkind in ('v', 'm', 'S')
    union all
    select format('%s %s', t.typtype, t.typname)
    from pg_type t left join pg_class c on c.oid = t.typrelid
    where t.typnamespace = 'SCHEMA'::regnamespace and t.typelem = 0
      and (c.oid is null or c.relkind = 'c')
    order by 1`,
};

async function describeSchema(knex: Knex, schema: string): Promise<string> {
  const sections = ['create schema billing;'];
  for (const [part, query] of Object.entries(PARTS)) {
    const { rows } = await knex.raw<{ rows: Array<{ line: string }> }>(
      query.replaceAll('SCHEMA', schema),
    );
    if (rows.length > 0) sections.push(`-- ${part}`);
    sections.push(...rows.map(({ line }) => `${line.trimEnd()};`));
  }
  return `${sections.join('\n\n').replaceAll(`"${schema}"`, 'billing').replaceAll(schema, 'billing')}\n`;
}

/** What is unique without the paying account in front: why it need not, or cannot, have it there. */
const NOT_BY_PAYER: Record<string, string> = {
  'The seller makes these, not the use': `
    products_pkey products_folded_key_key offers_pkey offers_folded_sku_key offer_versions_pkey
    offer_items_pkey catalog_names_pkey coupons_pkey tax_rates_pkey tax_rates_folded_key_key
    tax_rates_country referral_programs_pkey dunning_settings_pkey invoicing_settings_pkey
    invoice_logos_pkey invoice_series_pkey webhooks_pkey webhooks_url event_readers_pkey`,
  'One row': 'event_positions_pkey sandbox_pkey',
  'A row each step': 'migrations_pkey',
  'A row each account, which is what it is found by': `
    accounts_pkey account_details_pkey account_contacts_pkey account_taxes_pkey`,
  'Finds the account': 'identities_pkey identities_primary',
  'A person has one trial, whoever pays': 'trial_hashes_pkey',
  'One payment is for one order, whoever ordered; a row each payment': 'payment_references_pkey',
  'A notice is dealt with once, before it is known whom it concerns': 'payment_notices_pkey',
  'A number is given once, to whichever payer': 'invoices_number credit_notes_number',
  'What the test gateway remembers': 'test_gateway_charges_pkey test_gateway_refunds_pkey',
};

const openKnex = async (name: string): Promise<{ knex: Knex; close: () => Promise<void> }> => {
  if (name === 'embedded') return openEmbedded('memory', 10_000);
  const knex = knexFactory({ client: 'pg', connection: serverUrl() });
  return { knex, close: () => knex.destroy() };
};

describe.each(databaseKinds)('schema (%s)', (name) => {
  test('is the one that schema.sql describes', async () => {
    const schema = newSchema();
    const { knex, close } = await openKnex(name);
    try {
      await (await openBilling({ connection: knex, schema })).close();
      const found = await describeSchema(knex, schema);
      if (process.env.BILLING_UPDATE_SCHEMA === '1') fs.writeFileSync(FILE, found);
      expect(found).toBe(fs.readFileSync(FILE, 'utf8'));
    } finally {
      await close();
    }
  });
});

test('what grows with use has the paying account first in all that is unique', () => {
  const unique = new Map<string, string>();
  const sql = fs.readFileSync(FILE, 'utf8');
  const keys =
    /constraint (\w+) (?:PRIMARY KEY|UNIQUE) \((\w+)|CREATE UNIQUE INDEX (\w+) .*?\((\w+)/g;
  for (const [, key, first, index, start] of sql.matchAll(keys)) {
    unique.set((key ?? index)!, (first ?? start)!);
  }
  expect(unique.size).toBeGreaterThan(80);
  const others = [...unique].filter(([, first]) => first !== 'payer_id').map(([name]) => name);
  const allowed = Object.values(NOT_BY_PAYER).flatMap((names) => names.trim().split(/\s+/));
  expect(others.sort()).toEqual(allowed.sort());
});

if (databaseKinds.includes('embedded')) {
  test('schema.sql makes the schema, and leaves nothing of it out', async () => {
    const { knex, close } = await openEmbedded('memory', 10_000);
    try {
      const client = knex.client as {
        acquireConnection(): Promise<{ exec(text: string): Promise<unknown> }>;
        releaseConnection(connection: object): Promise<void>;
      };
      const connection = await client.acquireConnection();
      // A database in memory may begin with the tables in it (test/postgres).
      await connection
        .exec(`drop schema if exists billing cascade; ${fs.readFileSync(FILE, 'utf8')}`)
        .finally(() => client.releaseConnection(connection));
      expect(await describeSchema(knex, 'billing')).toBe(fs.readFileSync(FILE, 'utf8'));
    } finally {
      await close();
    }
  });
}
