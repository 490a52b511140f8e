import { spawnSync } from 'node:child_process';

/** Queue mode needs a Redis, which does not come from npm. */
if (spawnSync('redis-server', ['--version']).status !== 0) {
  process.stderr.write(
    'npm run test:queue needs redis-server: apt-get install redis-server (Debian, Ubuntu) or brew install redis (macOS).\n',
  );
  process.exit(1);
}
const { status } = spawnSync(
  process.execPath,
  [
    ...['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js'],
    ...['--config', 'test/n8n/queue/jest.config.js', '--runInBand', ...process.argv.slice(2)],
  ],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);
