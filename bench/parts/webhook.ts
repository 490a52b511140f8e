import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Pool } from 'pg';

import type { RealN8n, WorkflowNode } from '../../test/n8n/real-n8n';
import { withN8n, workflowBehindWebhook } from '../host';
import { PRODUCT, externalId, isSound, onServer, openBenchLedger } from '../ledgers';
import { withPostgres } from '../postgres';
import { endProgress, progress } from '../progress';
import { median } from '../rates';
import { count, shown, type Figure, type Part } from '../report';
import { REPEATS } from '../settings';

const NAME = 'webhook';
const ACCOUNTS = 10;
/** Calls of each workflow in a repeat, in turns with those of the others. */
const CALLS = 60;
/** Calls before anything is counted: n8n and its libraries become quick only with use. */
const WARM_UP = 60;
/** n8n stores an execution after its answer has left: that is not to meet the next call. */
const PAUSE = 15;
const AIM_MS = 20;
/** A connection that does nothing tells the server's statistics after 10 seconds what it did. */
const UNTIL_COUNTED = 12_000;

const BASE = 'Edit Fields';
const OURS = ['ours, Postgres server', 'ours, embedded'] as const;
const POSTGRES = 'Postgres node (select 1)';
const WORKFLOWS = [BASE, ...OURS, POSTGRES];

/** Of a part of the calls the time within which they were answered. */
function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!;
}

/** By workflow, of each repeat the times of its calls, in milliseconds. */
type Times = Map<string, number[][]>;

export const webhook: Part = {
  name: NAME,
  title: "a webhook that is answered after three of our nodes, beside three of n8n's Edit Fields",
  run: () =>
    withN8n(NAME, (real) =>
      withPostgres(async (url, pool) => {
        const folder = join(real.userFolder, 'bench');
        const seed = { accounts: ACCOUNTS, granted: true };
        const embedded = await openBenchLedger({ embedded: folder }, seed);
        await embedded.billing.close();
        const ledger = await openBenchLedger(onServer(url), seed);
        try {
          await publishAll(real, url, folder);
          for (let call = 0; call < WARM_UP; call += 1) await round(real, call);
          const before = await transactions(pool);
          const times: Times = new Map(WORKFLOWS.map((name) => [name, []]));
          for (let repeat = 0; repeat < REPEATS; repeat += 1) {
            progress(`${NAME}: ${repeat + 1}/${REPEATS}`);
            await measure(real, times);
          }
          endProgress();
          const asked = (await transactions(pool)) - before;
          await real.stop();
          const again = await openBenchLedger({ embedded: folder }, { ...seed, granted: false });
          const sound = [await isSound(ledger.billing), await isSound(again.billing)];
          await again.billing.close();
          return reportOf(times, asked, sound.every(Boolean));
        } finally {
          await ledger.billing.close();
        }
      }),
    ),
};

async function measure(real: RealN8n, times: Times): Promise<void> {
  for (const name of WORKFLOWS) times.get(name)!.push([]);
  for (let call = 0; call < CALLS; call += 1) {
    const taken = await round(real, call);
    WORKFLOWS.forEach((name, index) => times.get(name)!.at(-1)!.push(taken[index]!));
  }
}

/** One call of each, beginning with another one each time. */
async function round(real: RealN8n, number: number): Promise<number[]> {
  const taken: number[] = [];
  for (let turn = 0; turn < WORKFLOWS.length; turn += 1) {
    const index = (number + turn) % WORKFLOWS.length;
    taken[index] = await callOf(real, index, number);
    await sleep(PAUSE);
  }
  return taken;
}

async function callOf(real: RealN8n, index: number, number: number): Promise<number> {
  const body = { customer: externalId(number % ACCOUNTS) };
  const begun = performance.now();
  const { status, text } = await real.callWebhook(pathOf(index), body);
  const took = performance.now() - begun;
  if (status !== 200) throw new Error(`${WORKFLOWS[index]}: n8n answered ${status}: ${text}`);
  // The last node's item: nobody is fast by failing or by being denied.
  if (!text.includes(LAST[index]!)) throw new Error(`${WORKFLOWS[index]} answered ${text}`);
  return took;
}

/** How many transactions the server has had: of what we read each is a round trip. */
async function transactions(pool: Pool): Promise<number> {
  await sleep(UNTIL_COUNTED);
  const { rows } = await pool.query<{ number: string }>(
    `select xact_commit as number from pg_stat_database where datname = current_database()`,
  );
  return Number(rows[0]!.number);
}

function reportOf(times: Times, asked: number, ok: boolean) {
  const of = (name: string, part: number): number[] =>
    times.get(name)!.map((calls) => quantile(calls, part));
  const all = (name: string): number[] => times.get(name)!.flat();
  /** Repeat by repeat, since the machine was the same for both. */
  const added = (name: string, part: number): number[] =>
    of(name, part).map((value, repeat) => value - of(BASE, part)[repeat]!);
  const ratio = (name: string, part: number): number[] =>
    of(name, part).map((value, repeat) => value / of(BASE, part)[repeat]!);
  const ms = (value: number): string => shown(value, 'ms');
  const figures = OURS.flatMap((name): Figure[] => [
    {
      what: `${name}: added to p50`,
      unit: 'ms',
      samples: added(name, 0.5),
      aim: { below: AIM_MS },
    },
    { what: `${name}: p50 to that of ${BASE}`, unit: 'times', samples: ratio(name, 0.5) },
    { what: `${name}: added to p95`, unit: 'ms', samples: added(name, 0.95) },
    { what: `${name}: p95 to that of ${BASE}`, unit: 'times', samples: ratio(name, 0.95) },
  ]);
  return {
    head: ['three nodes', 'fastest', 'p50 ms', 'p95 ms', 'added to p50', 'ratio', 'added to p95'],
    rows: WORKFLOWS.map((name) => [
      name,
      ms(Math.min(...all(name))),
      ms(quantile(all(name), 0.5)),
      ms(quantile(all(name), 0.95)),
      ...(name === BASE
        ? ['', '', '']
        : [
            ms(median(added(name, 0.5))),
            shown(median(ratio(name, 0.5)), 'times'),
            ms(median(added(name, 0.95))),
          ]),
    ]),
    figures: [
      ...WORKFLOWS.flatMap((name): Figure[] => [
        { what: `${name}, p50`, unit: 'ms', samples: of(name, 0.5) },
        { what: `${name}, p95`, unit: 'ms', samples: of(name, 0.95) },
      ]),
      ...figures,
    ],
    remarks: [
      `Published workflows: Webhook, then three nodes; ours are Check Quota, Consume and Billing (balance). ${CALLS} calls of each a repeat, in turns, one at a time; times as the caller has them.`,
      `Transactions on the server in one execution of ours: ${count(asked / CALLS / REPEATS, 1)}.`,
    ],
    ok,
  };
}

// ---------------------------------------------------------------------------------------------

const pathOf = (index: number): string => `bench-webhook-${index}`;

/** What the last node's item holds. */
const LAST = ['"third"', '"available"', '"available"', '"answer"'];

const TITLES = ['First', 'Second', 'Third'];

/** As the editor writes them, with what a webhook has to say of the customer. */
const CUSTOMER = {
  accountBy: 'externalId',
  provider: 'default',
  externalId: "={{ $('Webhook').item.json.body.customer }}",
  product: { __rl: true, mode: 'key', value: PRODUCT },
};

async function publishAll(real: RealN8n, url: string, folder: string): Promise<void> {
  const { hostname, port, username, password } = new URL(url);
  const server = await real.createCredential({
    name: 'Server',
    type: 'billingDatabaseApi',
    data: { database: 'postgres', connectBy: 'url', url },
  });
  const embedded = await real.createCredential({
    name: 'Embedded',
    type: 'billingDatabaseApi',
    data: { database: 'embedded', folder },
  });
  const postgres = await real.createCredential({
    name: 'Postgres',
    type: 'postgres',
    data: {
      // Another database, since what is done in ours is counted.
      ...{ host: hostname, port: Number(port), database: 'template1', ssl: 'disable' },
      ...{ user: username, password },
    },
  });
  const all = [editFields(), ours(server), ours(embedded), postgresNodes(postgres)];
  for (const [index, nodes] of all.entries()) {
    const draft = await real.createWorkflow(workflowOf(WORKFLOWS[index]!, pathOf(index), nodes));
    await real.publish(draft);
  }
}

type Three = Array<Pick<WorkflowNode, 'type' | 'typeVersion' | 'parameters' | 'credentials'>>;

const editFields = (): Three =>
  ['first', 'second', 'third'].map((field) => ({
    type: 'n8n-nodes-base.set',
    typeVersion: 3.4,
    parameters: {
      assignments: {
        assignments: [{ id: field, name: field, value: CUSTOMER.externalId, type: 'string' }],
      },
      options: {},
    },
  }));

function ours(credential: string): Three {
  const credentials = { billingDatabaseApi: { id: credential, name: credential } };
  return [
    { type: 'n8n-nodes-billing.checkQuota', parameters: CUSTOMER },
    { type: 'n8n-nodes-billing.consume', parameters: CUSTOMER },
    {
      type: 'n8n-nodes-billing.billing',
      parameters: { resource: 'balance', operation: 'get', ...CUSTOMER },
    },
  ].map((node) => ({ ...node, typeVersion: 1.1, credentials }));
}

const postgresNodes = (credential: string): Three =>
  TITLES.map(() => ({
    type: 'n8n-nodes-base.postgres',
    typeVersion: 2.7,
    parameters: { operation: 'executeQuery', query: 'select 1 as answer', options: {} },
    credentials: { postgres: { id: credential, name: credential } },
  }));

function workflowOf(name: string, path: string, three: Three) {
  const nodes = three.map((node, index): WorkflowNode => ({
    ...node,
    name: TITLES[index]!,
    position: [200 * (index + 1), 0],
  }));
  return workflowBehindWebhook(name, path, nodes);
}
