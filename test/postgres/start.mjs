import { PostgresServer } from './server.mjs';

/**
 * Before all tests: a real Postgres. BILLING_TEST_DATABASE_URL names one of yours instead;
 * BILLING_TEST_POSTGRES=14 starts the oldest supported one.
 */
export default async function start() {
  if (process.env.BILLING_TEST_DATABASE_URL) return;
  const major = Number(process.env.BILLING_TEST_POSTGRES ?? 18);
  process.stdout.write(`\nStarting Postgres ${major} for the tests (from npm) ...`);
  const server = await PostgresServer.create({ major });
  process.stdout.write(` ready on port ${server.port}\n`);
  globalThis.billingTestPostgres = server;
  process.env.BILLING_TEST_DATABASE_URL = server.url;
}
