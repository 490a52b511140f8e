import { spawnSync } from 'node:child_process';

/**
 * All that was ever tried against the engine, at length, with counts at the end: every public call with
 * all kinds of input on both databases, kills, dead networks, poolers, odd settings, several engines, accidents.
 * BILLING_FAULT_SEED repeats a run's programs, BILLING_FAULT_KILLS says how many kills.
 */
const SUITES = [
  'test/hostile',
  'test/accidents',
  'test/faults',
  'test/engine/bad-input',
  'test/engine/database/concurrency',
  'test/engine/database/embedded',
  'test/engine/database/hanging',
  'test/engine/database/isolation',
  'test/engine/database/read-limits',
  'test/engine/database/server',
  'test/engine/database/several-engines',
];

const { status } = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    'node_modules/jest/bin/jest.js',
    ...SUITES,
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit', env: { ...process.env, BILLING_TEST_LONG: '1' } },
);
process.exit(status ?? 1);
