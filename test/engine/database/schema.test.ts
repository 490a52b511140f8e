import * as fs from 'node:fs';
import * as path from 'node:path';

import knexFactory, { type Knex } from 'knex';

import { openBilling } from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { databaseKinds, newSchema, serverUrl } from '../each-database';

/**
 * The whole schema as it stands after the last migration, in schema.txt: whatever changes in it
 * shows in a review. After a change that was meant, BILLING_UPDATE_SCHEMA=1 writes it anew.
 */

const FILE = path.join(__dirname, 'schema.txt');

/** One line each, in a form that does not depend on the version of Postgres. */
const PARTS: Record<string, string> = {
  migrations: `
    select format('%s %s (major %s)', lpad(id::text, 4, '0'), name, major) as line
    from "SCHEMA".migrations order by id`,
  tables: `
    select format('%s%s%s', c.relname,
      coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''),
      coalesce(': ' || obj_description(c.oid, 'pg_class'), '')) as line
    from pg_class c where c.relnamespace = 'SCHEMA'::regnamespace and c.relkind in ('r', 'v', 'm', 'p', 'S')
    order by c.relname`,
  columns: `
    select format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
      case when a.attnotnull then ' not null' else '' end,
      coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')) as line
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'SCHEMA'::regnamespace and c.relkind = 'r'
    order by c.relname, a.attnum`,
  // Postgres 18 has NOT NULL among the constraints; it is with the columns.
  constraints: `
    select format('%s.%s %s', c.relname, n.conname, pg_get_constraintdef(n.oid)) as line
    from pg_constraint n join pg_class c on c.oid = n.conrelid
    where n.connamespace = 'SCHEMA'::regnamespace and n.contype <> 'n'
    order by c.relname, n.conname`,
  indexes: `
    select replace(pg_get_indexdef(i.indexrelid), 'SCHEMA.', '') as line
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'SCHEMA'::regnamespace order by c.relname`,
  triggers: `
    select format('%s %s', pg_get_triggerdef(t.oid), case t.tgenabled when 'O' then '' else t.tgenabled::text end) as line
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = 'SCHEMA'::regnamespace and not t.tgisinternal
    order by c.relname, t.tgname`,
  functions: `
    select format('%s(%s) returns %s language %s %s%s body %s', p.proname,
      pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
      case p.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end,
      coalesce(' set ' || array_to_string(p.proconfig, ', '), ''),
      md5(replace(p.prosrc, '"SCHEMA"', '{schema}'))) as line
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'SCHEMA'::regnamespace order by p.proname, 1`,
  types: `
    select format('%s %s', t.typname, t.typtype) as line
    from pg_type t left join pg_class c on c.oid = t.typrelid
    where t.typnamespace = 'SCHEMA'::regnamespace and t.typelem = 0
      and (c.oid is null or c.relkind = 'c') order by t.typname`,
};

async function describeSchema(knex: Knex, schema: string): Promise<string> {
  const sections: string[] = [];
  for (const [part, query] of Object.entries(PARTS)) {
    const { rows } = await knex.raw<{ rows: Array<{ line: string }> }>(
      query.replaceAll('SCHEMA', schema),
    );
    const lines = rows.map(({ line }) => line.replaceAll(`${schema}.`, '').trimEnd());
    sections.push([`# ${part}`, ...lines].join('\n'));
  }
  return `${sections.join('\n\n')}\n`;
}

describe.each(databaseKinds)('schema (%s)', (name) => {
  test('is the one that schema.txt describes', async () => {
    const schema = newSchema();
    const { knex, close } =
      name === 'server'
        ? await (async () => {
            const opened = knexFactory({ client: 'pg', connection: serverUrl() });
            return { knex: opened, close: () => opened.destroy() };
          })()
        : await openEmbedded('memory', 10_000);
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
