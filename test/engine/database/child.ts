import { openBilling, type Connection } from '../../../engine';

/**
 * A process of its own, for tests of what several processes do. Reads what to do as JSON from its
 * argument, prints one JSON line for each step, and lives until it is told otherwise.
 */
interface Task {
  connection: Connection;
  schema?: string;
  /** Go on taking one unit at a time, a line for each answer, until killed. */
  consume?: { account: string; product: string; prefix: string };
  /** Stay open until killed. */
  hold?: boolean;
}

const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

async function run(task: Task): Promise<void> {
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
  await billing.close();
}

run(JSON.parse(process.argv[2]!) as Task).catch((error: { code?: string; message: string }) => {
  say({ code: error.code, message: error.message });
  process.exitCode = 1;
});
