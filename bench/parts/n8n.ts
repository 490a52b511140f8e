import type { Pool } from 'pg';

import { DEFAULT_KEY } from '../../nodes/shared/idempotency';
import type { RealN8n, Workflow, WorkflowNode } from '../../test/n8n/real-n8n';
import { withN8n, workflowBehindWebhook } from '../host';
import { PRODUCT, UNITS, isSound, onServer, openBenchLedger } from '../ledgers';
import { endProgress } from '../progress';
import { withPostgres } from '../postgres';
import { inTurns, median } from '../rates';
import { count, shown, type Figure, type Part } from '../report';
import { ACCOUNTS } from '../settings';

const ITEMS = 1_000;
const NAME = 'n8n';
const CONSUME = 'Consume';
/** No database: what n8n takes to work out the two expressions that Consume needs of each item. */
const EXPRESSIONS = 'Edit Fields';
const AIM = 5;

/** How n8n's Postgres node sends the statements of its items: its option "Query Batching". */
const BATCHING = ['independently', 'single', 'transaction'] as const;
type Batching = (typeof BATCHING)[number];
const postgresName = (batching: Batching): string => `Postgres (${batching})`;

const WHAT_IT_IS: Record<Batching, string> = {
  independently:
    'a statement and a commit for each item, one after the other; an item that fails fails alone',
  single:
    "the node's default: all statements in one string and one transaction; one bad item undoes all",
  transaction:
    'a statement for each item in one transaction; rows stay locked until the last; one bad item undoes all',
};

/** One statement for an item, as people write it. */
const UPDATE =
  'UPDATE bare_balances SET remaining = remaining - 1 WHERE account = $1 AND remaining >= 1';

const EXTERNAL_ID = '=account-{{ $json.account }}';

interface Times {
  /** The node's own time, in milliseconds. */
  node: number;
  /** From the start of the execution to its end. */
  execution: number;
  /** What the next node gets to see. */
  itemsOut: number;
}

export const n8n: Part = {
  name: NAME,
  title: `${count(ITEMS)} items in a real n8n: Consume beside n8n's own Postgres node`,
  run: () =>
    withN8n(NAME, (real) =>
      withPostgres(async (url, pool) => {
        await makeBalances(pool);
        const ledger = await openBenchLedger(onServer(url), { accounts: ACCOUNTS, granted: true });
        try {
          const workflows = await publishWorkflows(real, url);
          const names = [...workflows.keys()];
          const times = new Map<string, Times[]>(names.map((name) => [name, []]));
          let rounds = 0;
          const nodeTimes = await inTurns('n8n', names, async (name, warmUp) => {
            const taken = await runOnce(real, workflows.get(name)!);
            if (!warmUp) times.get(name)!.push(taken);
            if (name === CONSUME) rounds += 1;
            return taken.node;
          });
          await expectWorkDone(pool, rounds);
          endProgress();
          const executions = (name: string): number[] =>
            times.get(name)!.map(({ execution }) => execution);
          /** How many times as long the Postgres node took. */
          const ratio = (name: string, of: (name: string) => number[]): number[] =>
            of(name).map((value, repeat) => value / of(CONSUME)[repeat]!);
          const nodes = (name: string): number[] => nodeTimes.get(name)!;
          return {
            head: [
              'node',
              'ms in the node',
              'ms in all',
              'items/s',
              'items out',
              'Consume is faster by',
            ],
            rows: names.map((name) => [
              name,
              shown(median(nodes(name)), 'ms'),
              shown(median(executions(name)), 'ms'),
              count((ITEMS * 1_000) / median(nodes(name))),
              count(times.get(name)!.at(-1)!.itemsOut),
              name === CONSUME || name === EXPRESSIONS
                ? ''
                : shown(median(ratio(name, nodes)), 'times'),
            ]),
            figures: [
              ...names.map((name): Figure => ({
                what: `${name}, in the node`,
                unit: 'ms',
                samples: nodes(name),
              })),
              ...BATCHING.flatMap((batching): Figure[] => {
                const name = postgresName(batching);
                return [
                  {
                    what: `Consume faster than ${name}, the node's own time`,
                    unit: 'times',
                    samples: ratio(name, nodes),
                    aim: { atLeast: AIM },
                  },
                  {
                    what: `Consume faster than ${name}, the whole execution`,
                    unit: 'times',
                    samples: ratio(name, executions),
                  },
                ];
              }),
            ],
            remarks: [
              ...BATCHING.map((batching) => `${postgresName(batching)}: ${WHAT_IT_IS[batching]}.`),
              `${EXPRESSIONS}: no database; what n8n takes to work out the account and the key of each item, as Consume has it do.`,
              'The Postgres node has not: a ledger, grants, expiry, values, idempotency (Retry On Fail takes twice), a denied output: without RETURNING no item hears whether it took a unit.',
              `Published workflows (Webhook, Split Out, the node), ${count(ITEMS)} items over ${count(ACCOUNTS)} accounts; times as n8n recorded them.`,
            ],
            ok: await isSound(ledger.billing),
          };
        } finally {
          await ledger.billing.close();
        }
      }),
    ),
};

async function makeBalances(pool: Pool): Promise<void> {
  await pool.query(
    'create table bare_balances (account int primary key, remaining bigint not null)',
  );
  await pool.query('insert into bare_balances select n, $1 from generate_series(0, $2::int) n', [
    UNITS,
    ACCOUNTS - 1,
  ]);
}

/** One for each node, all alike but for it. */
async function publishWorkflows(real: RealN8n, url: string): Promise<Map<string, Workflow>> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const postgres = await real.createCredential({
    name: 'Postgres',
    type: 'postgres',
    data: {
      host: hostname,
      port: Number(port),
      database: pathname.slice(1),
      user: username,
      password,
      ssl: 'disable',
    },
  });
  const billing = await real.createCredential({
    name: 'Billing',
    type: 'billingDatabaseApi',
    data: { database: 'postgres', connectBy: 'url', url },
  });
  const nodes: WorkflowNode[] = [
    {
      name: CONSUME,
      type: 'n8n-nodes-billing.consume',
      typeVersion: 1,
      position: [400, 0],
      parameters: {
        accountBy: 'externalId',
        externalId: EXTERNAL_ID,
        product: { __rl: true, mode: 'key', value: PRODUCT },
      },
      credentials: { billingDatabaseApi: { id: billing, name: 'Billing' } },
    },
    {
      name: EXPRESSIONS,
      type: 'n8n-nodes-base.set',
      typeVersion: 3.4,
      position: [400, 0],
      parameters: {
        assignments: {
          assignments: [
            { id: 'account', name: 'externalId', value: EXTERNAL_ID, type: 'string' },
            { id: 'key', name: 'idempotencyKey', value: DEFAULT_KEY, type: 'string' },
          ],
        },
        options: {},
      },
    },
    ...BATCHING.map((batching): WorkflowNode => ({
      name: postgresName(batching),
      type: 'n8n-nodes-base.postgres',
      typeVersion: 2.7,
      position: [400, 0],
      parameters: {
        operation: 'executeQuery',
        query: UPDATE,
        options: { queryBatching: batching, queryReplacement: '={{ $json.account }}' },
      },
      credentials: { postgres: { id: postgres, name: 'Postgres' } },
    })),
  ];
  const workflows = new Map<string, Workflow>();
  for (const [index, node] of nodes.entries()) {
    const draft = await real.createWorkflow(workflowAround(node, pathOf(index)));
    workflows.set(node.name, await real.publish(draft));
  }
  return workflows;
}

const pathOf = (index: number): string => `bench-${index}`;

function workflowAround(node: WorkflowNode, path: string) {
  const split: WorkflowNode = {
    name: 'Split Out',
    type: 'n8n-nodes-base.splitOut',
    typeVersion: 1,
    position: [200, 0],
    parameters: { fieldToSplitOut: 'body.items' },
  };
  return workflowBehindWebhook(node.name, path, [split, node], { responseData: 'noData' });
}

const BODY = { items: Array.from({ length: ITEMS }, (_, item) => ({ account: item % ACCOUNTS })) };

async function runOnce(real: RealN8n, workflow: Workflow): Promise<Times> {
  const { parameters } = workflow.nodes.find(({ name }) => name === 'Webhook')!;
  const answer = await real.callWebhook(parameters.path as string, BODY);
  if (answer.status !== 200) throw new Error(`n8n answered ${answer.status}: ${answer.text}`);
  const [latest] = await real.getExecutions({ workflowId: workflow.id });
  const { status, startedAt, stoppedAt, data } = await real.finished(latest!.id);
  const { runData, error } = data.resultData;
  if (status !== 'success') throw new Error(`${workflow.name}: ${error?.message ?? status}`);
  const [nodeRun] = runData[workflow.name]!;
  return {
    node: nodeRun!.executionTime,
    execution: Date.parse(stoppedAt!) - Date.parse(startedAt),
    itemsOut: nodeRun!.data!.main![0]!.length,
  };
}

/** That every item of every round took its unit: nobody is fast by doing less. */
async function expectWorkDone(pool: Pool, rounds: number): Promise<void> {
  const { rows } = await pool.query<{ ours: string; bare: string }>(
    `select (select count(*) from billing.entries where kind = 'use')::text as ours,
            (select sum($1::bigint - remaining) from bare_balances)::text as bare`,
    [UNITS],
  );
  const { ours, bare } = rows[0]!;
  const wanted = [rounds * ITEMS, rounds * ITEMS * BATCHING.length];
  if (Number(ours) !== wanted[0] || Number(bare) !== wanted[1]) {
    throw new Error(`Units were taken ${ours} and ${bare} times, not ${wanted.join(' and ')}.`);
  }
}
