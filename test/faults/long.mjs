import { spawnSync } from 'node:child_process';

/** The fault suite at length. BILLING_FAULT_KILLS and BILLING_FAULT_SEED change or repeat a run. */
const result = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    'node_modules/jest/bin/jest.js',
    'test/faults',
    '--runInBand',
    ...process.argv.slice(2),
  ],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      BILLING_FAULT_KILLS: process.env.BILLING_FAULT_KILLS ?? '200',
      // Its servers are its own; no other needs to be started.
      BILLING_TEST_DATABASE_URL: process.env.BILLING_TEST_DATABASE_URL ?? 'none',
    },
  },
);
process.exit(result.status ?? 1);
