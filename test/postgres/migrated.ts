import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';

import type { PGlite } from '@electric-sql/pglite';

import { openBilling } from '../../engine';
import { openEmbedded, type OpenedKnex } from '../../engine/database/embedded';
import { MIGRATIONS } from '../../engine/database/migrations';

/** The schema in the dump: the one that an engine opens when none is named. */
const SCHEMA = 'billing';
const DAY = 86_400_000;

/**
 * What makes a copy quicker: it begins with reading all files, of which nearly half are of databases
 * that nobody opens. A plan for whatever values come is
 * enough, as in the engine's own functions; one for each is planned anew each time.
 */
const LIGHTENING = [
  `alter system set plan_cache_mode = 'force_generic_plan'`,
  `alter database template0 is_template false`,
  `drop database template0`,
  `alter database template1 is_template false`,
  `drop database template1`,
];

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
  const made = createHash('sha256')
    .update(pglite)
    .update(JSON.stringify(MIGRATIONS))
    .update(fs.readFileSync(__filename));
  const file = path.join(folder, `migrated-${made.digest('hex').slice(0, 16)}.tar`);
  if (fs.existsSync(file)) return file;

  fs.mkdirSync(folder, { recursive: true });
  removeOld();
  const { knex, close } = await openEmbedded('memory', 10_000);
  try {
    await openBilling({ connection: knex, schema: SCHEMA });
    for (const statement of LIGHTENING) await knex.raw(statement);
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

/** Not at once: another run may be about to read it. */
function removeOld(): void {
  for (const name of fs.readdirSync(folder).filter((file) => file.endsWith('.tar'))) {
    const file = path.join(folder, name);
    const made = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (Date.now() - made > DAY) fs.rmSync(file, { force: true });
  }
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

/**
 * For suites that test how a database begins: theirs are empty, as everybody's are.
 *
 * @returns what makes them copies again
 */
export function beginEmpty(): () => void {
  const file = process.env.BILLING_TEST_DUMP;
  delete process.env.BILLING_TEST_DUMP;
  return () => (process.env.BILLING_TEST_DUMP = file);
}
