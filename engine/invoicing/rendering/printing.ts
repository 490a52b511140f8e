import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import type { ContentColumns, TDocumentDefinitions } from 'pdfmake/interfaces';

/**
 * PDFs are drawn in a thread of their own: whatever a picture does there, throw where nobody can catch
 * it, take all memory or never end, ends that thread and not this process. It draws one at a time, is
 * begun with the first and ends when nothing was printed for a while.
 */

/** Nothing but data: it goes to another thread. */
export interface PrintJob {
  definition: TDocumentDefinitions;
  /** On each page; `{page}` and `{pages}` in its last column are filled in. */
  footer?: ContentColumns;
  /** Asked for: whether the font has them all. */
  characters?: string;
  /** How long a paper it is. */
  lines?: number;
}

export interface Printed {
  content: Buffer;
  /** False: the font lacks some of the characters. */
  complete: boolean;
}

/** A paper of 20,000 lines takes 350 MB and 15 s. */
const MEMORY = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 64 };
const timeFor = ({ lines = 0 }: PrintJob): number => 60_000 + 50 * lines;

const IDLE_AFTER = 60_000;

let thread: Worker | undefined;
let idle: NodeJS.Timeout | undefined;
let last: Promise<unknown> = Promise.resolve();

/** Draws a PDF. Fails when it cannot be drawn, or not within the limits of memory and time. */
export function print(job: PrintJob, milliseconds = timeFor(job)): Promise<Printed> {
  const printed = last.then(() => printNow(job, milliseconds));
  last = printed.catch(() => undefined);
  return printed;
}

function begin(): Worker {
  const worker = new Worker(join(__dirname, 'printing-thread.js'), {
    name: 'billing-printing',
    resourceLimits: MEMORY,
    // It needs no secret, no option, and says nothing.
    env: {},
    execArgv: [],
    stdout: true,
    stderr: true,
  });
  // Also where it fails while nobody waits for it.
  worker.on('error', () => end(worker));
  worker.on('exit', () => end(worker));
  return worker;
}

function end(worker: Worker): void {
  if (thread === worker) thread = undefined;
  void worker.terminate();
}

type Answer = { content: Uint8Array; complete: boolean } | { failure: string };

async function printNow(job: PrintJob, milliseconds: number): Promise<Printed> {
  clearTimeout(idle);
  const worker = (thread ??= begin());
  const answered = new AbortController();
  const { signal } = answered;
  worker.ref();
  try {
    const answer = once(worker, 'message', { signal });
    worker.postMessage(job);
    await Promise.race([
      answer,
      once(worker, 'exit', { signal }).then(() => fail('The thread that prints has ended.')),
      after(milliseconds, null, { signal }).then(() =>
        fail(`Not printed within ${milliseconds / 1_000} s.`),
      ),
    ]);
    const [printed] = (await answer) as [Answer];
    if ('failure' in printed) return fail(printed.failure);
    return { content: Buffer.from(printed.content.buffer), complete: printed.complete };
  } catch (error) {
    // Who knows what it is still doing.
    end(worker);
    throw error;
  } finally {
    answered.abort();
    worker.unref();
    idle = setTimeout(() => end(worker), IDLE_AFTER).unref();
  }
}

const fail = (what: string): never => {
  throw new Error(what);
};
