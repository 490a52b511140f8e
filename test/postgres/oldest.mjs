import { spawnSync } from 'node:child_process';

/**
 * What depends on the server's version, once more on the oldest Postgres that is supported; all of
 * the engine's suites when the run is long. Its binaries come from npm too, at test time, since not
 * every platform has them.
 */
const suites =
  process.env.BILLING_TEST_LONG === '1'
    ? ['test/engine']
    : [
        'test/engine/database/(schema|upgrade|concurrency)\\.test',
        'test/engine/ledger/',
        'test/engine/invoicing/invoices\\.test',
      ];
const result = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    'node_modules/jest/bin/jest.js',
    ...suites,
    ...process.argv.slice(2),
  ],
  {
    stdio: 'inherit',
    env: { ...process.env, BILLING_TEST_POSTGRES: '14', BILLING_TEST_ONLY: 'server' },
  },
);
process.exit(result.status ?? 1);
