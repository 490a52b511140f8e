import { BillingError } from '../kernel';
import { isLocked } from './failures';
import type { Timeouts } from './limits';
import { MIGRATIONS, SCHEMA_MAJOR, type Migration } from './migrations';
import type { ConnectionSession } from './session';

/** The oldest Postgres that the engine's suites run on. */
const OLDEST_POSTGRES = 140000;

/** Ten processes may open an empty database at once: they queue on this lock, by schema. */
const LOCK = `select pg_advisory_xact_lock(hashtextextended($1, 7204751)) is null as locked`;

/**
 * Reads the catalog by a query. to_regclass() would look into the connection's cache, which after a
 * wait for the lock still holds that there is no such schema. Others have a table of the name
 * `migrations`, too (n8n itself has one): ours is known by its columns.
 */
const FIND_VERSION = `
select current_setting('server_version_num')::int as postgres,
       current_setting('server_version') as postgres_name,
       exists (select 1 from pg_catalog.pg_class c
               join pg_catalog.pg_attribute a on a.attrelid = c.oid
               where c.relnamespace = n.oid and c.relname = 'migrations'
                 and a.attname in ('major', 'applied_at')
               having count(*) = 2) as installed,
       exists (select 1 from pg_catalog.pg_class c where c.relnamespace = n.oid)
         or exists (select 1 from pg_catalog.pg_proc f where f.pronamespace = n.oid) as in_use
from (values (1)) as one
left join pg_catalog.pg_namespace n on n.nspname = $1`;

const READ_APPLIED = `select id, major from {schema}.migrations order by id`;

const CREATE_SCHEMA = `create schema if not exists {schema}`;

const CREATE_MIGRATIONS = `
create table if not exists {schema}.migrations (
  id integer primary key,
  name text not null,
  major integer not null,
  applied_at timestamptz not null
)`;

const RECORD = `
insert into {schema}.migrations (id, name, major, applied_at)
values ($1, $2, $3, clock_timestamp())`;

/** Who has tables of the schema in use, by the names that programs give themselves. */
const FIND_HOLDERS = `
select distinct coalesce(nullif(a.application_name, ''), 'a program without a name') as name
from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_stat_activity a on a.pid = l.pid
where n.nspname = $1 and l.granted and l.pid <> pg_backend_pid()
order by 1 limit 3`;

/** For the lock of all who upgrade, and then for the tables: whoever waits for those lets nobody by. */
const limitsOf = ({ scan, lock }: Timeouts): { queue: string; tables: string } => ({
  queue: `SET LOCAL lock_timeout = ${scan}; SET LOCAL statement_timeout = ${scan}`,
  tables: `SET LOCAL lock_timeout = ${lock}`,
});

interface Applied {
  id: number;
  major: number;
}

/** What of ours is in the schema; `isOthers`: it holds what is not ours. */
interface Found {
  applied: Applied[];
  isOthers: boolean;
}

async function readApplied(session: ConnectionSession, schema: string): Promise<Found> {
  const [found] = await session.query<{
    postgres: number;
    postgres_name: string;
    installed: boolean;
    in_use: boolean;
  }>(FIND_VERSION, [schema]);
  if (found!.postgres < OLDEST_POSTGRES) {
    throw new BillingError(
      'database_version',
      `The server runs Postgres ${found!.postgres_name}; Postgres 14 or newer is needed.`,
      { parameter: 'connection', advice: 'Upgrade the server, or use the embedded database.' },
    );
  }
  if (!found!.installed) return { applied: [], isOthers: found!.in_use };
  return { applied: await session.query<Applied>(READ_APPLIED), isOthers: false };
}

/**
 * Only a schema that nobody else uses is installed in. In `public` everybody's tables are, sooner or
 * later; who has ours there from before goes on.
 */
function refuseOthers({ applied, isOthers }: Found, schema: string): void {
  if (applied.length > 0 || !(isOthers || schema === 'public')) return;
  const why = isOthers ? 'holds tables or functions of others' : 'is where all programs may meet';
  throw new BillingError('invalid_input', `The schema "${schema}" ${why}.`, {
    parameter: 'schema',
    advice: 'Name one that is for billing alone, such as "billing"; it is created when missing.',
  });
}

/** Bodies of functions stand between `$$`; a schema whose name holds that has them between others. */
function statementsFor({ statements }: Migration, schema: string): string {
  let quote = '$$';
  for (let number = 1; schema.includes(quote); number += 1) quote = `$body${number}$`;
  return statements.replaceAll('$$', () => quote);
}

function refuseNewerMajor(applied: readonly Applied[], schema: string): void {
  const major = Math.max(0, ...applied.map((migration) => migration.major));
  if (major <= SCHEMA_MAJOR) return;
  throw new BillingError(
    'database_newer',
    `The schema "${schema}" is of version ${major}, and this n8n-nodes-billing knows versions up to ${SCHEMA_MAJOR}.`,
    { advice: 'Upgrade n8n-nodes-billing on this machine to the version the others run.' },
  );
}

function notInstalled(applied: readonly Applied[], schema: string): BillingError {
  const what = applied.length === 0 ? 'is not there' : 'is older than this n8n-nodes-billing';
  return new BillingError('database_version', `The schema "${schema}" ${what}.`, {
    advice:
      applied.length === 0
        ? 'Check the database and the name of the schema.'
        : 'Run the version of n8n-nodes-billing that the others run, or let them upgrade it first.',
  });
}

const missingFrom = (applied: readonly Applied[]): typeof MIGRATIONS => {
  const known = new Set(applied.map((migration) => migration.id));
  return MIGRATIONS.filter((migration) => !known.has(migration.id));
};

async function upgradeWaits(
  session: ConnectionSession,
  schema: string,
  cause: unknown,
): Promise<BillingError> {
  const holders = await session.query<{ name: string }>(FIND_HOLDERS, [schema]);
  const who = holders.map(({ name }) => name).join(', ') || 'a transaction that has just ended';
  return new BillingError(
    'lock_timeout',
    `The schema "${schema}" is not upgraded yet: ${who} has its tables in use.`,
    {
      advice:
        'Nothing was changed. Open it again once that has ended; a dump such as pg_dump has all tables in use until it is done.',
      cause,
    },
  );
}

/** Those that begin most like it first: a name that was mistyped is looked for. */
const FIND_ELSEWHERE = `
select n.nspname as schema from pg_catalog.pg_namespace n
where n.nspname <> $1::text
  and exists (select 1 from pg_catalog.pg_class c
              join pg_catalog.pg_attribute a on a.attrelid = c.oid
              where c.relnamespace = n.oid and c.relname = 'migrations'
                and a.attname in ('major', 'applied_at')
              having count(*) = 2)
order by (select count(*) from generate_series(1, length($1::text)) as k
          where left(n.nspname, k::int) = left($1::text, k::int)) desc, n.nspname
limit 10`;

const MAY_INSTALL = `
select case when n.oid is null then has_database_privilege(current_database(), 'create')
            else has_schema_privilege(n.oid, 'create') end as may
from (values (1)) as one
left join pg_catalog.pg_namespace n on n.nspname = $1`;

/** What a look at a database found. */
export interface DatabaseStatus {
  /** `missing`: opening it makes them; `older`: opening it upgrades them. */
  tables: 'ready' | 'older' | 'missing';
  /** Where they are or would be. */
  schema: string;
  /** Other schemas of the same database that hold billing tables, when there are none here. */
  elsewhere: string[];
}

/** Whether the schema could be used as it is or made, without writing anything. */
export async function examine(session: ConnectionSession, schema: string): Promise<DatabaseStatus> {
  const found = await readApplied(session, schema);
  refuseNewerMajor(found.applied, schema);
  refuseOthers(found, schema);
  if (found.applied.length > 0) {
    const isReady = missingFrom(found.applied).length === 0;
    return { tables: isReady ? 'ready' : 'older', schema, elsewhere: [] };
  }
  const [rights] = await session.query<{ may: boolean }>(MAY_INSTALL, [schema]);
  if (!rights!.may) throw mayNotInstall(schema);
  const elsewhere = await session.query<{ schema: string }>(FIND_ELSEWHERE, [schema]);
  return { tables: 'missing', schema, elsewhere: elsewhere.map((other) => other.schema) };
}

const mayNotInstall = (schema: string): BillingError =>
  new BillingError(
    'database_unavailable',
    `The database user may not make the schema "${schema}", which is not there.`,
    {
      parameter: 'schema',
      advice:
        'Check its name; or grant the right as docs/operations.md describes, or let an owner of the database open the engine once to install it.',
    },
  );

/**
 * Brings the schema up to date. Within a major version migrations only add, so that code of the
 * same major that is older goes on working beside this one; it finds migrations that it does not
 * know and leaves them alone. A newer major is refused.
 *
 * Everything in one transaction under one advisory lock: behind a transaction pooler too, and
 * killed at any moment it leaves nothing half done. Whoever reads for long, such as a dump, is not
 * waited for longer than others wait for a lock: they wait behind it meanwhile.
 *
 * @param install false: a schema that is missing or older is refused instead
 * @throws database_version, database_newer, invalid_input, lock_timeout
 */
export async function migrate(
  usual: ConnectionSession,
  schema: string,
  { install, timeouts }: { install: boolean; timeouts: Timeouts },
): Promise<void> {
  // The usual case, and the only one for a user who may not create anything: nothing to do.
  const { applied } = await readApplied(usual, schema);
  refuseNewerMajor(applied, schema);
  if (applied.length > 0 && missingFrom(applied).length === 0) return;
  if (!install) throw notInstalled(applied, schema);

  const session = usual.running(timeouts.scan);
  const limits = limitsOf(timeouts);
  try {
    await session.script(`BEGIN ISOLATION LEVEL READ COMMITTED; ${limits.queue}`);
    await session.query(LOCK, [schema]);
    await session.script(limits.tables);
    const now = await readApplied(session, schema);
    refuseNewerMajor(now.applied, schema);
    refuseOthers(now, schema);
    await session.query(CREATE_SCHEMA);
    await session.query(CREATE_MIGRATIONS);
    for (const migration of missingFrom(now.applied)) {
      await session.script(statementsFor(migration, schema));
      await session.query(RECORD, [migration.id, migration.name, migration.major]);
    }
    await session.script('COMMIT');
  } catch (error) {
    if (session.isLost) throw error;
    await session.script('ROLLBACK').catch((failure: unknown) => session.abandon(failure));
    throw isLocked(error) ? await upgradeWaits(usual, schema, error) : error;
  }
}
