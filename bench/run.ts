/**
 * `npm run bench`: what we claim about speed, beside what people use instead, in one run on real
 * databases. Ratios of one run mean something; absolute figures belong to the machine.
 * docs/performance.md says how to read them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';

import { checks } from './parts/checks';
import { embedded } from './parts/embedded';
import { growth } from './parts/growth';
import { invoices } from './parts/invoices';
import { n8n } from './parts/n8n';
import { twoProcesses } from './parts/two-processes';
import { uses } from './parts/uses';
import { verify } from './parts/verify';
import { webhook } from './parts/webhook';
import { SERVER_SETTINGS, serverVersion, stopServersOn } from './postgres';
import { endProgress } from './progress';
import { figureJson, figureLine, printReport, verdictOf, type Figure, type Part } from './report';
import {
  ENTRIES,
  FOLDER,
  INVOICES,
  MANY_INVOICES,
  MILLISECONDS,
  ONLY,
  REPEATS,
  VERIFIED_ENTRIES,
} from './settings';

const PARTS: readonly Part[] = [
  uses,
  checks,
  twoProcesses,
  growth,
  verify,
  invoices,
  embedded,
  n8n,
  webhook,
];

function chosenParts(): readonly Part[] {
  const only = ONLY;
  if (only === null) return PARTS;
  const unknown = only.filter((name) => !PARTS.some((part) => part.name === name));
  if (unknown.length > 0) {
    const names = PARTS.map(({ name }) => name).join(', ');
    throw new Error(`BENCH_ONLY names ${unknown.join(', ')}; there are: ${names}.`);
  }
  return PARTS.filter(({ name }) => only.includes(name));
}

const run = {
  machine: {
    cpus: os.cpus().map(({ model }) => model),
    memoryGigabytes: Math.round(os.totalmem() / 1e9),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    // Others at work on the machine; should be near 0.
    loadBefore: os.loadavg()[0]!,
  },
  settings: {
    repeats: REPEATS,
    milliseconds: MILLISECONDS,
    entries: ENTRIES,
    verifiedEntries: VERIFIED_ENTRIES,
    invoices: INVOICES,
    manyInvoices: MANY_INVOICES,
    postgres: { version: null as string | null, ...SERVER_SETTINGS },
  },
  beganAt: new Date().toISOString(),
  parts: [] as object[],
};

/** Parts that threw, or after which verify() found problems. */
const failed: string[] = [];

async function runPart({ name, title, run: work }: Part): Promise<Figure[]> {
  console.log(`\n${name}: ${title}`);
  try {
    const report = await work();
    endProgress();
    if ('skipped' in report) {
      console.log(`skipped: ${report.skipped}`);
      run.parts.push({ name, title, ...report });
      return [];
    }
    printReport(report);
    run.parts.push({ name, title, ...report, figures: report.figures.map(figureJson) });
    if (!report.ok) {
      failed.push(name);
      process.exitCode = 1;
    }
    return report.figures;
  } catch (error) {
    // The other parts have their say all the same.
    endProgress();
    console.error(`${name} failed:`, error);
    run.parts.push({ name, title, failed: String(error) });
    failed.push(name);
    process.exitCode = 1;
    return [];
  }
}

async function main(): Promise<void> {
  const parts = chosenParts();
  const { cpus, memoryGigabytes, loadBefore } = run.machine;
  console.log(
    `${cpus.length} x ${cpus[0]}, ${memoryGigabytes} GB, load ${loadBefore.toFixed(1)}; ` +
      `medians of ${REPEATS} repeats of ${MILLISECONDS} ms, in turns`,
  );
  if (loadBefore > 0.5) console.log('The machine is busy: figures will be lower, and less sure.');
  stopServersOn('SIGINT', 130);
  stopServersOn('SIGTERM', 143);
  mkdirSync(FOLDER, { recursive: true });
  const file = join(FOLDER, 'bench.json');
  const aimed: Figure[] = [];
  for (const part of parts) {
    const figures = await runPart(part);
    aimed.push(...figures.filter(({ aim }) => aim !== undefined));
    run.settings.postgres.version = serverVersion();
    writeFileSync(file, JSON.stringify(run, null, 2));
  }
  if (aimed.length > 0) {
    console.log('\nAims');
    for (const figure of aimed) console.log(`- ${figureLine(figure)}`);
    const met = aimed.filter((figure) => verdictOf(figure) === 'met').length;
    console.log(`${met} of ${aimed.length} met.`);
  }
  for (const name of failed) console.log(`${name} FAILED, see above: no figure of it counts.`);
  console.log(`All figures: ${file}`);
}

void main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
