import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/**
 * A script of this folder in a process of its own. It is told lines of JSON and answers each with
 * one, in order; it ends when it will be told no more.
 */
export class Child {
  private readonly process: ChildProcess;
  private readonly ended: Promise<void>;
  private readonly asked: Array<{
    resolve: (answer: unknown) => void;
    reject: (error: Error) => void;
  }> = [];
  private complaints = '';

  constructor(script: string) {
    this.process = spawn(
      process.execPath,
      ['--expose-gc', '--import', 'tsx', join(__dirname, script)],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    createInterface({ input: this.process.stdout! }).on('line', (line) => {
      this.asked.shift()?.resolve(JSON.parse(line));
    });
    this.process.stderr!.on('data', (chunk: Buffer) => (this.complaints += chunk.toString()));
    // Told by the end of the process, which says why.
    this.process.stdin!.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      this.process.once('close', () => {
        const error = new Error(`${script} ended early:\n${this.complaints}`);
        for (const { reject } of this.asked.splice(0)) reject(error);
        resolve();
      });
    });
  }

  /** @throws when it ends without an answer */
  ask<Answer>(question: object): Promise<Answer> {
    return new Promise<unknown>((resolve, reject) => {
      this.asked.push({ resolve, reject });
      this.process.stdin!.write(`${JSON.stringify(question)}\n`);
    }) as Promise<Answer>;
  }

  async end(): Promise<void> {
    this.process.stdin!.end();
    await this.ended;
  }
}

/** The child's side: answers each line by what `work` makes of it. */
export async function answerLines<Question>(
  work: (question: Question) => Promise<object>,
): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await work(JSON.parse(line) as Question))}\n`);
  }
}
