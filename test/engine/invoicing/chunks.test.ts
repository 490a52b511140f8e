import { randomUUID } from 'node:crypto';

import { Database, type Context } from '../../../engine/database';
import { inChunk } from '../../../engine/invoicing/chunks';
import { newSchema, onServer, openOnServer, serverUrl } from '../each-database';

onServer(() => {
  describe('chunks of payers (server)', () => {
    test('lock no more accounts than promised, those merged into the payers among them', async () => {
      const schema = newSchema();
      const billing = await openOnServer({ schema });
      const database = await Database.open({ connection: serverUrl(), schema });
      try {
        const payers: string[] = [];
        for (let index = 0; index < 6; index += 1) {
          const account = { provider: 'app', externalId: `p-${index}` };
          payers.push((await billing.accounts.identify(account)).accountId);
        }
        // Only the names are looked at.
        await database.query(
          `insert into {schema}.accounts (account_id, payer_id, created_at, merged_into, merged_at)
           select i.id, p.id, now(), p.id, now()
           from unnest($1::uuid[], $2::uuid[]) as i (id, payer)
           cross join lateral (select i.payer as id) as p`,
          [
            payers.flatMap(() => Array.from({ length: 150 }, () => randomUUID())),
            payers.flatMap((payer) => Array.from({ length: 150 }, () => payer)),
          ],
        );
        const context = { database } as unknown as Context;
        for (const wait of [true, false]) {
          const { done } = await inChunk(
            context,
            payers,
            wait,
            async (session, some) => {
              const [row] = await session.query<{ locks: number }>(
                `select count(*)::int as locks from pg_locks
                 where locktype = 'advisory' and pid = pg_backend_pid()`,
              );
              return { locks: [row!.locks], payers: some.length };
            },
            (one, other) => ({
              locks: [...one.locks, ...other.locks],
              payers: one.payers + other.payers,
            }),
          );
          expect(done!.payers).toBe(payers.length);
          expect(done!.locks.length).toBeGreaterThan(1);
          expect(Math.max(...done!.locks)).toBeLessThanOrEqual(500);
        }
      } finally {
        await database.close();
        await billing.close();
      }
    });
  });
});
