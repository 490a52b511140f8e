import { spawn, type ChildProcess } from 'node:child_process';
import * as path from 'node:path';
import { createInterface } from 'node:readline';

/** A started child.ts: the lines it says, and its end. */
export class BillingProcess {
  readonly lines: Array<Record<string, unknown>> = [];
  private readonly child: ChildProcess;
  private readonly waiting: Array<() => void> = [];
  private readonly ended: Promise<void>;
  private errors = '';

  constructor(task: object) {
    this.child = spawn(
      process.execPath,
      ['--import', 'tsx', path.join(__dirname, 'child.ts'), JSON.stringify(task)],
      { cwd: path.join(__dirname, '../../..'), stdio: ['ignore', 'pipe', 'pipe'] },
    );
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      this.lines.push(JSON.parse(line) as Record<string, unknown>);
      this.wake();
    });
    this.child.stderr!.on('data', (chunk: Buffer) => (this.errors += chunk.toString()));
    this.ended = new Promise((resolve) => this.child.once('close', () => resolve()));
    void this.ended.then(() => this.wake());
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** Waits until it has said so many lines; fails when it ends before. */
  async said(count: number): Promise<void> {
    while (this.lines.length < count) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`The process ended early: ${this.errors}`);
      }
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  /** SIGKILL: it cannot clean up. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  async end(): Promise<number | null> {
    await this.ended;
    return this.child.exitCode;
  }
}
