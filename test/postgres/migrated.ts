import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';

import type { PGlite } from '@electric-sql/pglite';

import { openBilling } from '../../engine';
import { openEmbedded, type OpenedKnex } from '../../engine/database/embedded';
import { MIGRATIONS } from '../../engine/database/migrations';

/** The schema in the dump: the one that an engine opens when none is named. */
const SCHEMA = 'billing';

const modules = path.resolve(__dirname, '../../node_modules');
const folder = path.join(modules, '.cache/n8n-nodes-billing');

/**
 * The embedded database in memory, begun and migrated once for all tests: doing both costs some
 * five seconds, reading the dump half of one. Made anew when the migrations or PGlite are others.
 *
 * @returns the dump's file
 */
export async function dumpMigrated(): Promise<string> {
  const pglite = fs.readFileSync(path.join(modules, '@electric-sql/pglite/package.json'));
  const made = createHash('sha256').update(pglite).update(JSON.stringify(MIGRATIONS));
  const file = path.join(folder, `migrated-${made.digest('hex').slice(0, 16)}.tar`);
  if (fs.existsSync(file)) return file;

  fs.mkdirSync(folder, { recursive: true });
  for (const old of fs.readdirSync(folder).filter((name) => name.endsWith('.tar'))) {
    fs.rmSync(path.join(folder, old), { force: true });
  }
  const { knex, close } = await openEmbedded('memory', 10_000);
  try {
    await openBilling({ connection: knex, schema: SCHEMA });
    const database = (await knex.client.acquireConnection()) as PGlite;
    const dump = await database.dumpDataDir('none');
    await knex.client.releaseConnection(database);
    // Under its name only when it is whole: another run may be looking for it.
    const draft = `${file}.${process.pid}`;
    fs.writeFileSync(draft, Buffer.from(await dump.arrayBuffer()));
    fs.renameSync(draft, file);
  } finally {
    await close();
  }
  return file;
}

/** The name stands in the bodies of functions, whose text Postgres keeps as it was given. */
const RENAME = `
do $rename$
declare
  body text;
begin
  alter schema ${SCHEMA} rename to {schema};
  for body in
    select replace(pg_catalog.pg_get_functiondef(f.oid), '"${SCHEMA}".', '{schema}.')
    from pg_catalog.pg_proc f where f.pronamespace = '{schema}'::regnamespace
  loop
    execute body;
  end loop;
end $rename$`;

/** The dump's database, whose schema takes a name; the caller closes it. */
export async function openMigrated(schema: string): Promise<OpenedKnex> {
  const opened = await openEmbedded('memory', 10_000);
  if (schema !== SCHEMA) await opened.knex.raw(RENAME.replaceAll('{schema}', `"${schema}"`));
  return opened;
}
