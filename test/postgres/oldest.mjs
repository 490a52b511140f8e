import { spawnSync } from 'node:child_process';

/**
 * Runs the engine's suites once more, on the oldest Postgres that is supported. Its binaries come
 * from npm too, at test time, since not every platform has them.
 */
const result = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    'node_modules/jest/bin/jest.js',
    'test/engine',
    // Two years of a shop say nothing new about the server's version, and take minutes.
    '--testPathIgnorePatterns=test/engine/simulation',
    ...process.argv.slice(2),
  ],
  {
    stdio: 'inherit',
    env: { ...process.env, BILLING_TEST_POSTGRES: '14', BILLING_TEST_ONLY: 'server' },
  },
);
process.exit(result.status ?? 1);
