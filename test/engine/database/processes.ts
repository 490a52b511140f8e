import { spawn, type ChildProcess } from 'node:child_process';
import * as path from 'node:path';
import { createInterface } from 'node:readline';

import type { BillingOptions } from '../../../engine';
import type { Call, Engine, Outcome } from './calls';

/** A child.ts that runs: hands on each line it says, and keeps what it complains of. */
class Child {
  private readonly process: ChildProcess;
  /** When it has ended and all it said was read. */
  readonly ended: Promise<void>;
  errors = '';

  constructor(task: object, hear: (line: Record<string, unknown>) => void) {
    this.process = spawn(
      process.execPath,
      ['--import', 'tsx', path.join(__dirname, 'child.ts'), JSON.stringify(task)],
      { cwd: path.join(__dirname, '../../..'), stdio: ['pipe', 'pipe', 'pipe'] },
    );
    const lines = createInterface({ input: this.process.stdout! });
    lines.on('line', (line) => hear(JSON.parse(line) as Record<string, unknown>));
    const read = new Promise<void>((resolve) => lines.once('close', () => resolve()));
    this.process.stderr!.on('data', (chunk: Buffer) => (this.errors += chunk.toString()));
    // What is written to a process that was killed goes nowhere, and that is no failure of the test.
    this.process.stdin!.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => this.process.once('close', () => resolve()));
    this.ended = Promise.all([read, closed]).then(() => undefined);
  }

  get exitCode(): number | null {
    return this.process.exitCode;
  }

  get hasEnded(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  tell(line: object): void {
    this.process.stdin!.write(`${JSON.stringify(line)}\n`);
  }

  finish(): void {
    this.process.stdin!.end();
  }

  /** SIGKILL: it cannot clean up. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }
}

/** A started child.ts: the lines it says, and its end. */
export class BillingProcess {
  readonly lines: Array<Record<string, unknown>> = [];
  private readonly child: Child;
  private readonly waiting: Array<() => void> = [];

  constructor(task: object) {
    this.child = new Child(task, (line) => {
      this.lines.push(line);
      this.wake();
    });
    void this.child.ended.then(() => this.wake());
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** Waits until it has said so many lines; fails when it ends before. */
  async said(count: number): Promise<void> {
    while (this.lines.length < count) {
      if (this.child.hasEnded) throw new Error(`The process ended early: ${this.child.errors}`);
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  /** SIGKILL: it cannot clean up. */
  kill(): Promise<void> {
    return this.child.kill();
  }

  async end(): Promise<number | null> {
    await this.child.ended;
    return this.child.exitCode;
  }
}

/**
 * An engine in a process of its own. Started before it is needed, since that takes a second, and
 * opened when it is. Whatever it had not answered when its end came is `lost`.
 */
export class RemoteEngine implements Engine {
  private readonly child: Child;
  private readonly unanswered = new Map<number, (outcome: Outcome) => void>();
  private opened: ((fine: boolean) => void) | null = null;
  private failure: unknown = null;
  private last = 0;
  private over = false;

  constructor() {
    this.child = new Child({ serve: true }, (line) => {
      if ('number' in line) this.heard(line.number as number, line.outcome as Outcome);
      else if ('opened' in line) this.opened?.(true);
      else {
        this.failure = line;
        this.opened?.(false);
      }
    });
    void this.child.ended.then(() => {
      this.over = true;
      for (const number of [...this.unanswered.keys()]) this.heard(number, { lost: true });
    });
  }

  private heard(number: number, outcome: Outcome): void {
    const resolve = this.unanswered.get(number);
    this.unanswered.delete(number);
    resolve?.(outcome);
  }

  /** @throws when it cannot open, or ends before it has */
  async open(options: BillingOptions): Promise<void> {
    const opened = new Promise<boolean>((resolve) => (this.opened = resolve));
    this.child.tell(options);
    if (!(await Promise.race([opened, this.child.ended.then(() => false)]))) {
      throw new Error(
        `The process did not open: ${JSON.stringify(this.failure)} ${this.child.errors}`,
      );
    }
  }

  perform(call: Call): Promise<Outcome> {
    if (this.over) return Promise.resolve({ lost: true });
    this.last += 1;
    const number = this.last;
    return new Promise((resolve) => {
      this.unanswered.set(number, resolve);
      this.child.tell({ number, ...call });
    });
  }

  /** SIGKILL, in the middle of whatever it does. */
  kill(): Promise<void> {
    return this.child.kill();
  }

  /** Lets it close its engine and end. */
  async end(): Promise<void> {
    this.child.finish();
    await this.child.ended;
  }
}
