import pg from 'pg';

import { TestClock, openBilling, type Billing } from '../../engine';
import { WITH_SECRETS, outcome, publicCalls } from '../accidents/public-calls';
import { count } from '../counted';
import { newSchema, onServer, serverUrl } from '../engine/each-database';
import { seen } from '../engine/seen-schemas';
import { TransactionPooler } from './transaction-pooler';

/**
 * Behind a pooler in transaction mode nothing that is said in one transaction holds in the next: settings,
 * prepared statements and locks of a session stay with a backend that somebody else has by then.
 */

jest.mock('../../engine/kernel/validation', () =>
  jest.requireActual<typeof import('../engine/seen-schemas')>('../engine/seen-schemas').watched(),
);

const BACKENDS = 3;
const UNITS = 120;
const CALLERS = 20;
/** What a session would keep. */
const LEFT = `
  select pg_backend_pid() as pid,
         (select count(*)::int from pg_locks
           where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
         (select count(*)::int from pg_listening_channels()) as channels,
         (select string_agg(name || '=' || setting, ' ' order by name) from pg_settings
           where source = 'session') as settings`;

onServer(() => {
  describe('behind a pooler in transaction mode', () => {
    const clock = new TestClock('2027-01-10T12:00:00Z');
    let pooler: TransactionPooler;

    beforeAll(async () => {
      // What the engine itself keeps prepared, not what tests do for speed.
      process.env.BILLING_TEST_PREPARED = '0';
      pooler = await TransactionPooler.to(serverUrl(), BACKENDS);
    });
    afterAll(async () => {
      await pooler.close();
      delete process.env.BILLING_TEST_PREPARED;
    });

    const open = (schema: string): Promise<Billing> =>
      openBilling({
        ...{ ...WITH_SECRETS, schema, clock },
        connection: { connectionString: pooler.url, poolSize: 4 },
      });

    /** Whatever was done, no backend keeps anything of it for whoever gets it next. */
    afterEach(async () => {
      const client = new pg.Client({ connectionString: pooler.url });
      await client.connect();
      try {
        const left = new Map<number, object>();
        while (left.size < BACKENDS) {
          const { rows } = await client.query<{ pid: number }>(LEFT);
          const { pid, ...rest } = rows[0]!;
          left.set(pid, rest);
        }
        const nothing = { locks: 0, channels: 0, settings: null };
        expect([...left.values()]).toEqual(Array.from({ length: BACKENDS }, () => nothing));
      } finally {
        await client.end();
      }
    });

    async function verified(billing: Billing): Promise<void> {
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    }

    async function outcomesBy(url: string): Promise<Array<[string, unknown]>> {
      const schema = newSchema();
      const connection = { connectionString: url, poolSize: 4 };
      const calls = await publicCalls({ connection, schema, clock }, seen);
      const billing = await openBilling({ ...WITH_SECRETS, connection, schema, clock });
      try {
        const outcomes: Array<[string, unknown]> = [];
        for (const { name, ask } of calls) outcomes.push([name, await outcome(ask(billing))]);
        await verified(billing);
        return outcomes;
      } finally {
        await billing.close();
      }
    }

    test('every public call comes to the same as without', async () => {
      const before = pooler.handedOut;
      const behind = await outcomesBy(pooler.url);
      expect(behind).toEqual(await outcomesBy(serverUrl()));
      expect(behind.filter(([, came]) => came === 'an answer').length).toBeGreaterThan(80);
      expect(pooler.handedOut - before).toBeGreaterThan(behind.length);
      count('public calls behind a pooler', behind.length);
    });

    test('of what two engines take at once nothing is given twice', async () => {
      const schema = newSchema();
      const engines = [await open(schema), await open(schema)];
      try {
        const [one] = engines as [Billing, Billing];
        const account = { externalId: 'ann' };
        await one.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
        await one.accounts.identify(account);
        await one.ledger.grant({ account, product: 'MSG', quantity: UNITS });
        const taken = new Set<string>();
        let denied = 0;
        const callers = Array.from({ length: CALLERS }, async (_, caller) => {
          const { ledger } = engines[caller % 2]!;
          for (let use = 0; use < UNITS / 10; use += 1) {
            // Each of two callers sends the same ones.
            const idempotencyKey = `${Math.floor(caller / 2)} ${use}`;
            const answer = await ledger.consume({ account, product: 'MSG', idempotencyKey });
            if (answer.allowed) taken.add(idempotencyKey);
            else denied += 1;
          }
        });
        await Promise.all(callers);
        expect([taken.size, denied]).toEqual([UNITS, 0]);
        expect(await one.ledger.consume({ account, product: 'MSG' })).toMatchObject({
          allowed: false,
        });
        await verified(one);
        count('uses behind a pooler', (CALLERS * UNITS) / 10);
      } finally {
        for (const engine of engines) await engine.close();
      }
    });
  });
});
