import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { BillingError } from '../kernel';

/**
 * One process at a time may open an embedded database: PGlite does not guard its folder, and two
 * processes in it corrupt it. The lock is a file in the folder that says who holds it.
 *
 * - In the same process namespace the holder's pid and start time tell for certain whether it
 *   still lives, so a lock left by a killed process is taken over at once.
 * - From elsewhere (another container, another host on a shared volume) a pid says nothing. The
 *   holder touches the file every second, from a thread of its own so that a long query does not
 *   delay it; a file that nobody touched for FOREIGN_STALE_MS belonged to something that is gone.
 */
const LOCK_FILE = 'billing.lock';
const HEARTBEAT_MS = 1_000;
const FOREIGN_STALE_MS = 6_000;
/** More than who holds it takes, in bytes. */
const LONGEST = 16_384;
const MOST_ROUNDS = 100;

interface Holder {
  token: string;
  pid: number;
  /** Tells a process from a later one with the same pid; null where the system does not say. */
  started: string | null;
  host: string;
  /** Which pid namespace (on Linux) the pid is counted in. */
  namespace: string;
  since: string;
}

export interface FolderLock {
  release(): Promise<void>;
}

function readProc(file: string): string | null {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return null; // Not Linux, or that process is gone.
  }
}

function startOf(pid: number): string | null {
  // The 22nd field; the second, the program's name in brackets, may hold blanks itself.
  const stat = readProc(`/proc/${pid}/stat`);
  return stat === null ? null : (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null);
}

function namespaceOfThisProcess(): string {
  const boot = readProc('/proc/sys/kernel/random/boot_id')?.trim() ?? os.hostname();
  try {
    return `${boot} ${fs.readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return boot;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function notOurs(file: string, why: string): BillingError {
  return new BillingError('database_unavailable', `The lock ${file} ${why}.`, {
    parameter: 'connection.embedded',
    advice: 'Make sure that no process has the folder open, then remove the lock.',
  });
}

const isHolder = (read: unknown): read is Holder => {
  if (typeof read !== 'object' || read === null) return false;
  const { token, pid, started, host, namespace, since } = read as Record<string, unknown>;
  return (
    [token, host, namespace, since].every((text) => typeof text === 'string') &&
    (started === null || typeof started === 'string') &&
    Number.isSafeInteger(pid) &&
    (pid as number) > 0
  );
};

/** @throws database_unavailable (what is there was not written by us) */
function readHolder(file: string): Holder | null {
  const found = fs.lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined) return null;
  // Reading a pipe would never end, and a link that leads nowhere is there and is not.
  if (!found.isFile() || found.size > LONGEST) throw notOurs(file, 'is no file of ours');
  let content: string;
  try {
    content = fs.readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw notOurs(file, `cannot be read: ${message}`);
  }
  let read: unknown;
  try {
    read = JSON.parse(content);
  } catch {
    // Half-written by a process that was killed while it wrote: nobody can hold such a lock.
    return { token: content, pid: 0, started: null, host: '', namespace: '', since: '' };
  }
  if (!isHolder(read)) throw notOurs(file, 'does not say who holds it');
  return read;
}

/** Whether the holder is known to live, known to be gone, or out of sight. */
function stateOf(holder: Holder): 'alive' | 'gone' | 'unknown' {
  if (holder.pid === 0) return 'gone';
  if (holder.namespace !== namespaceOfThisProcess()) return 'unknown';
  if (!isRunning(holder.pid)) return 'gone';
  // Not to be seen everywhere: a process whose start is not known may be the one.
  const started = startOf(holder.pid);
  const isAnother = started !== null && holder.started !== null && started !== holder.started;
  return isAnother ? 'gone' : 'alive';
}

const lastTouched = (file: string): number =>
  fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Watches a lock from elsewhere: true when nobody has touched it for the whole time. */
async function isAbandoned(file: string): Promise<boolean> {
  const touched = lastTouched(file);
  const end = Date.now() + FOREIGN_STALE_MS;
  while (Date.now() < end) {
    await sleep(250);
    if (lastTouched(file) !== touched) return false;
  }
  return true;
}

/** Puts our claim in the place of a dead one. Only one process wins the right to bury a holder. */
function takeOver(file: string, dead: Holder, claim: string): boolean {
  const burial = `${file}.${Buffer.from(dead.token).toString('hex').slice(0, 64)}`;
  try {
    fs.writeFileSync(burial, String(process.pid), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (Date.now() - lastTouched(burial) < FOREIGN_STALE_MS) return false;
    fs.rmSync(burial, { force: true }); // The one who buried was killed meanwhile; next round.
    return false;
  }
  try {
    if (readHolder(file)?.token !== dead.token) return false;
    const draft = `${burial}.new`;
    fs.writeFileSync(draft, claim, { mode: 0o600 });
    fs.renameSync(draft, file);
    return true;
  } finally {
    fs.rmSync(burial, { force: true });
  }
}

function inUse(folder: string, holder: Holder): BillingError {
  const here = holder.pid === process.pid && stateOf(holder) === 'alive';
  const who = here ? 'this process' : `process ${holder.pid} on ${holder.host}`;
  return new BillingError(
    'database_in_use',
    `The embedded database in ${folder} is open in ${who} since ${holder.since}.`,
    {
      parameter: 'connection.embedded',
      advice: here
        ? 'Share the one that is open, or close it first.'
        : 'Stop that process, use another folder, or move to a Postgres server, which many processes may share.',
    },
  );
}

/** What is there now may be anybody's. */
function isHeldBy(file: string, { token }: Holder): boolean {
  try {
    return readHolder(file)?.token === token;
  } catch {
    return false;
  }
}

/** Touches the file from a thread, so that work in the main one cannot delay it. */
function startHeartbeat(file: string): Worker {
  const worker = new Worker(
    `const { workerData } = require('node:worker_threads');
     const fs = require('node:fs');
     setInterval(() => {
       const now = new Date();
       fs.utimes(workerData.file, now, now, () => undefined);
     }, workerData.every);`,
    { eval: true, workerData: { file, every: HEARTBEAT_MS }, stdout: false },
  );
  worker.unref();
  return worker;
}

/** What removes the locks that this process holds. */
const held = new Set<() => void>();

/** Nothing runs after it: the next container need not watch whether somebody still touches a lock. */
const removeHeld = (): void => held.forEach((remove) => remove());

/**
 * Takes the lock of a folder. Waits up to FOREIGN_STALE_MS, and only when the holder is out of sight.
 *
 * @throws database_in_use naming the holder; database_unavailable (there is a lock that nobody can
 *   have written, or none can be written)
 */
export async function lockFolder(folder: string): Promise<FolderLock> {
  try {
    return await takeLock(folder);
  } catch (error) {
    if (error instanceof BillingError) throw error;
    const { message } = error as NodeJS.ErrnoException;
    throw new BillingError(
      'database_unavailable',
      `The folder ${folder} cannot be locked: ${message}.`,
      {
        parameter: 'connection.embedded',
        advice: 'It must be on a disk that has room, takes hard links and may be written to.',
        cause: error,
      },
    );
  }
}

async function takeLock(folder: string): Promise<FolderLock> {
  const file = path.join(folder, LOCK_FILE);
  const claim: Holder = {
    token: randomUUID(),
    pid: process.pid,
    started: startOf(process.pid),
    host: os.hostname(),
    namespace: namespaceOfThisProcess(),
    since: new Date().toISOString(),
  };
  const content = JSON.stringify(claim);

  for (let round = 0; ; round += 1) {
    try {
      // Written whole before it gets its name, so that no reader sees half a claim.
      const draft = `${file}.${claim.token}`;
      fs.writeFileSync(draft, content, { flag: 'wx', mode: 0o600 });
      try {
        fs.linkSync(draft, file);
      } finally {
        fs.rmSync(draft, { force: true });
      }
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = readHolder(file);
    // Given up just now, unless it is for ever.
    if (holder === null && round < MOST_ROUNDS) continue;
    if (holder === null) throw notOurs(file, 'is there and cannot be looked at');
    const state = stateOf(holder);
    const gone = state === 'gone' || (state === 'unknown' && (await isAbandoned(file)));
    if (!gone) throw inUse(folder, holder);
    if (takeOver(file, holder, content)) break;
    if (round > MOST_ROUNDS) throw inUse(folder, holder);
    await sleep(20);
  }

  const heartbeat = startHeartbeat(file);
  const remove = (): void => {
    if (isHeldBy(file, claim)) fs.rmSync(file, { force: true });
  };
  if (!process.listeners('exit').includes(removeHeld)) process.on('exit', removeHeld);
  held.add(remove);
  return {
    async release() {
      held.delete(remove);
      await heartbeat.terminate();
      remove();
    },
  };
}
