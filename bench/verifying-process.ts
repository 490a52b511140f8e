import { setTimeout as sleep } from 'node:timers/promises';

import { openBilling } from '../engine';
import { answerLines } from './children';

/** Verifies a ledger in a process of its own and says what that took. */

export interface VerifyQuestion {
  url: string;
  schema: string;
}

export interface VerifyAnswer {
  ok: boolean;
  seconds: number;
  /** Memory above that of the process with the engine open and nothing to do, at most; in bytes. */
  overIdle: number;
  /** Memory of the process at most, as the system counts it; in bytes. */
  peak: number;
}

const SAMPLE_MS = 5;

/**
 * Two counts, in bytes. Loading leaves some 40 MB of heap that is free but not given back to the
 * system: what fits in there shows in what is used alone, garbage included.
 */
interface Memory {
  resident: number;
  used: number;
}

function memory(): Memory {
  const { rss, heapUsed, external } = process.memoryUsage();
  return { resident: rss, used: heapUsed + external };
}

async function idleMemory(): Promise<Memory> {
  if (global.gc === undefined) throw new Error('Start this with --expose-gc.');
  for (let round = 0; round < 3; round += 1) {
    global.gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    await sleep(200);
  }
  return memory();
}

/** The most memory that the process ever had, in bytes, as the system counts it. */
const highestEver = (): number => process.resourceUsage().maxRSS * 1_024;

void answerLines<VerifyQuestion>(async ({ url, schema }): Promise<VerifyAnswer> => {
  const billing = await openBilling({ connection: url, schema });
  const idle = await idleMemory();
  const before = highestEver();
  const most = { ...idle };
  const sample = (): void => {
    const now = memory();
    most.resident = Math.max(most.resident, now.resident);
    most.used = Math.max(most.used, now.used);
  };
  const timer = setInterval(sample, SAMPLE_MS);
  const begin = performance.now();
  const { ok } = await billing.verify();
  const seconds = (performance.now() - begin) / 1_000;
  clearInterval(timer);
  sample();
  // The system misses nothing, but its record may be of the start; samples may miss a peak.
  const after = highestEver();
  const peak = after > before ? after : most.resident;
  await billing.close();
  return {
    ok,
    seconds,
    overIdle: Math.max(peak - idle.resident, most.used - idle.used),
    peak,
  };
}).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
