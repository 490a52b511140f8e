import { spawnSync } from 'node:child_process';

/**
 * All suites with every random test at length, on both databases; then all of the engine's on 14; then
 * n8n's queue mode.
 */
const env = { ...process.env, BILLING_TEST_LONG: '1' };
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
for (const script of ['test:all', 'test:oldest', 'test:queue']) {
  const { status } = spawnSync(npm, ['run', script], { stdio: 'inherit', env });
  if (status !== 0) process.exit(status ?? 1);
}
