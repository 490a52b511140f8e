import { dumpMigrated } from './migrated';
import type { PostgresServer } from './server.mjs' with { 'resolution-mode': 'import' };

/**
 * Before all tests: a real Postgres, and a dump of the embedded database with its schema.
 * BILLING_TEST_DATABASE_URL names a server of yours instead; BILLING_TEST_POSTGRES=14 starts the
 * oldest supported one.
 */
export default async function start(): Promise<void> {
  [process.env.BILLING_TEST_DUMP] = await Promise.all([dumpMigrated(), startServer()]);
}

async function startServer(): Promise<void> {
  if (process.env.BILLING_TEST_DATABASE_URL) return;
  const major = Number(process.env.BILLING_TEST_POSTGRES ?? 18);
  process.stdout.write(`\nStarting Postgres ${major} for the tests (from npm) ...`);
  const { PostgresServer } = await import('./server.mjs');
  // It is thrown away after the run. What must survive has a server of its own, and syncs.
  const settings = {
    fsync: 'off',
    full_page_writes: 'off',
    jit: 'off',
    plan_cache_mode: 'force_generic_plan',
  };
  const server = await PostgresServer.create({ major, settings, place: PostgresServer.memory() });
  process.stdout.write(` ready on port ${server.port}\n`);
  (globalThis as { billingTestPostgres?: PostgresServer }).billingTestPostgres = server;
  process.env.BILLING_TEST_DATABASE_URL = server.url;
}
