import { setTimeout as sleep } from 'node:timers/promises';

import { TestClock, openBilling } from '../engine';
import { answerLines } from './children';
import { DUE_AT } from './due-invoices';

/** Issues what is due in a process of its own, and says what that took. */

export interface InvoicingQuestion {
  url: string;
  schema: string;
}

export interface InvoicingAnswer {
  /** Subscriptions brought up to date before, and how long that took. */
  advanced: number;
  advanceSeconds: number;
  issued: number;
  /** From what is due to drafts, and from drafts to issued invoices and their events. */
  createSeconds: number;
  dispatchSeconds: number;
  /** Memory above that of the process with the engine open and nothing to do, at most; in bytes. */
  overIdle: number;
}

const SAMPLE_MS = 5;
const ALL = 10_000_000;

function memory(): { resident: number; used: number } {
  const { rss, heapUsed, external } = process.memoryUsage();
  return { resident: rss, used: heapUsed + external };
}

async function idleMemory(): Promise<ReturnType<typeof memory>> {
  if (global.gc === undefined) throw new Error('Start this with --expose-gc.');
  for (let round = 0; round < 3; round += 1) {
    global.gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    await sleep(200);
  }
  return memory();
}

const secondsOf = async (work: () => Promise<unknown>): Promise<number> => {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1_000;
};

void answerLines<InvoicingQuestion>(async ({ url, schema }): Promise<InvoicingAnswer> => {
  const billing = await openBilling({ connection: url, schema, clock: new TestClock(DUE_AT) });
  const idle = await idleMemory();
  const most = { ...idle };
  const sample = (): void => {
    const now = memory();
    most.resident = Math.max(most.resident, now.resident);
    most.used = Math.max(most.used, now.used);
  };
  const timer = setInterval(sample, SAMPLE_MS);
  let advanced = 0;
  let issued = 0;
  const advanceSeconds = await secondsOf(async () => {
    advanced = (await billing.runDue({ limit: 1_000_000 })).periods;
  });
  const createSeconds = await secondsOf(() => billing.invoicing.createInvoices());
  const dispatchSeconds = await secondsOf(async () => {
    issued = (await billing.invoicing.dispatchInvoices({ limit: ALL })).issued;
  });
  clearInterval(timer);
  sample();
  await billing.close();
  return {
    advanced,
    advanceSeconds,
    issued,
    createSeconds,
    dispatchSeconds,
    overIdle: Math.max(most.resident - idle.resident, most.used - idle.used),
  };
}).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
