import { createInterface } from 'node:readline';

import { openBilling, type Billing, type BillingOptions, type Connection } from '../../../engine';
import { MIGRATIONS, type Migration } from '../../../engine/database/migrations';
import { perform, type Call } from './calls';

/**
 * A process of its own, for tests of what several processes do. Reads what to do as JSON from its
 * argument, prints one JSON line for each step, and lives until it is told otherwise.
 */
interface Task {
  connection: Connection;
  schema?: string;
  /** Steps of the schema that it knows beside the engine's. */
  steps?: Migration[];
  /** Go on taking one unit at a time, a line for each answer, until killed. */
  consume?: { account: string; product: string; prefix: string };
  /** Stay open until killed. */
  hold?: boolean;
  /** End without closing. */
  leave?: boolean;
}

/** Instead: opens what a first line on stdin says, then does the calls that the next lines hold. */
interface Service {
  serve: true;
}

const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

async function run(task: Task): Promise<void> {
  (MIGRATIONS as Migration[]).push(...(task.steps ?? []));
  const billing = await openBilling({ connection: task.connection, schema: task.schema });
  say({ opened: true });
  if (task.consume !== undefined) {
    const { account, product, prefix } = task.consume;
    for (let number = 0; ; number += 1) {
      const idempotencyKey = `${prefix}${number}`;
      const answer = await billing.ledger.consume({ account, product, idempotencyKey });
      say({ idempotencyKey, answer });
    }
  }
  if (task.hold === true) {
    await new Promise((resolve) => setTimeout(resolve, 600_000));
  }
  if (task.leave === true) process.exit(0);
  await billing.close();
}

/** Calls come many at a time and are begun at once; each is answered with its number. */
async function serve(): Promise<void> {
  let billing: Billing | null = null;
  for await (const line of createInterface({ input: process.stdin })) {
    if (billing === null) {
      billing = await openBilling(JSON.parse(line) as BillingOptions);
      say({ opened: true });
    } else {
      const { number, ...call } = JSON.parse(line) as Call & { number: number };
      void perform(billing, call).then((outcome) => say({ number, outcome }));
    }
  }
  await billing?.close();
}

const task = JSON.parse(process.argv[2]!) as Task | Service;
const work = 'serve' in task ? serve() : run(task);
work.catch((error: { code?: string; message: string }) => {
  say({ code: error.code, message: error.message });
  process.exitCode = 1;
  // Nobody is listening any more.
  process.stdin.destroy();
});
