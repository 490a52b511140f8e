import { ConnectionSession, Reserved } from '../../engine/database/session';

/** How many statements some work sends, over whatever connection; BEGIN and COMMIT are none. */
export async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  let sent = 0;
  const senders = [ConnectionSession.prototype, Reserved.prototype] as Array<{
    query(statement: string, values: readonly unknown[]): Promise<unknown[]>;
  }>;
  const queries = senders.map(({ query }) => query);
  senders.forEach((sender, index) => {
    sender.query = function counted(statement, values) {
      sent += 1;
      return queries[index]!.call(this, statement, values);
    };
  });
  try {
    await work();
  } finally {
    senders.forEach((sender, index) => {
      sender.query = queries[index]!;
    });
  }
  return sent;
}
