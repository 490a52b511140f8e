/** One n8n process, with what it starts itself, which ends with the tests in whatever way these end. */
import { spawn, type ChildProcess } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const STOP_TIMEOUT_MS = 20_000;

/**
 * Runs n8n, and ends it and its task runner when whoever started them is gone. At once, since
 * nobody needs them any more, and since an n8n whose log nobody reads spins on complaints about
 * that. (Not by `node --require`, which would do the same in n8n's worker threads.)
 */
const GUARD_SCRIPT = `
process.stdin.on('close', () => process.kill(-process.pid, 'SIGKILL')).resume().unref();
process.argv.splice(1, 1);
require(process.argv[1]);
`;

export interface Started {
  node: string;
  /** n8n's own script. */
  n8n: string;
  /** `start`, `webhook` or `worker`. */
  command: string;
  folder: string;
  env: Record<string, string>;
  /** What it prints, and what is noted of it. */
  log(text: string): void;
}

export class N8nProcess {
  private child: ChildProcess | undefined;
  /** How it ended. */
  readonly ended: Promise<string>;

  constructor(private readonly started: Started) {
    const { node, n8n, command, folder, env, log } = started;
    const guard = path.join(folder, 'guard.cjs');
    fs.writeFileSync(guard, GUARD_SCRIPT);
    // A group of its own, so that a kill takes the task runner along; and a pipe that closes when
    // this process ends in whatever way, which the guard takes as the order to end n8n too.
    const child = spawn(node, [guard, n8n, command], {
      cwd: folder,
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', log);
    this.child = child;
    this.ended = new Promise((resolve) => {
      const over = (how: string) => {
        this.child = undefined;
        this.note(`ended: ${how}`);
        resolve(how);
      };
      child.once('error', (error) => over(error.message));
      child.once('close', (code, signal) => over(signal ?? `exit code ${code}`));
    });
  }

  get isOver(): boolean {
    return this.child === undefined;
  }

  /** Asks n8n to end (SIGTERM) and waits for it; what does not end in time is killed. */
  async stop(): Promise<void> {
    this.child?.kill('SIGTERM');
    const stopped = await Promise.race([
      this.ended,
      sleep(STOP_TIMEOUT_MS, undefined, { ref: false }),
    ]);
    if (stopped !== undefined) return;
    this.note(`did not stop within ${STOP_TIMEOUT_MS / 1000} s and is killed`);
    await this.kill();
  }

  /** Ends n8n at once and with no chance to tidy up, as a crash or a power cut would. */
  async kill(): Promise<void> {
    if (this.child !== undefined) killGroup(this.child);
    await this.ended;
  }

  private note(what: string): void {
    this.started.log(`[test] n8n ${this.started.command} ${what}\n`);
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    // Nothing left to kill.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
