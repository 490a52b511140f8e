import type { ITriggerFunctions } from 'n8n-workflow';
import pg from 'pg';

import { TestClock, isBillingError, openBilling, type Billing } from '../../engine';
import { engines } from '../../nodes/shared/engines';
import { EventListener } from '../../nodes/shared/eventListening';
import { newSchema, onServer, serverUrl } from '../engine/each-database';
import { outcome, publicCalls, WITH_SECRETS, type PublicCall } from './public-calls';
import { Wire } from './wire';
import { seen } from '../engine/seen-schemas';

/**
 * The accident: with the network gone silent after connecting, or tables locked by somebody, calls waited
 * for ever, four of them held the pool, and a trigger that read events was deaf without a word.
 *
 * The limits are short, and nothing depends on which of them is met first: on a slow machine what is
 * still carried may be given up, too. What is asked of the engine afterwards is asked until it answers.
 */

jest.mock('../../engine/kernel/validation', () =>
  jest.requireActual<typeof import('../engine/seen-schemas')>('../engine/seen-schemas').watched(),
);

const LIMITS = { statementTimeout: 150, scanTimeout: 150, lockTimeout: 400, connectTimeout: 400 };
/** Where something has to succeed before it goes silent. */
const SLOWER = { statementTimeout: 1_500, scanTimeout: 1_500, lockTimeout: 1_500 };
const POOL = 2;
/** Engines, each on a wire of its own, that are asked at a time. */
const WIRES = 8;

/** Asked until it has answered; what never does runs into the time limit of its test. */
async function untilAnswered<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!isBillingError(error)) throw error;
    }
  }
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** Whether as many transactions as there may be connections can be open at once. */
async function whole(billing: Billing): Promise<void> {
  await untilAnswered(async () => {
    let arrived = 0;
    let go: () => void = () => undefined;
    const all = new Promise<void>((resolve) => (go = resolve));
    const opening = Array.from({ length: POOL }, () =>
      billing.transaction(() => {
        arrived += 1;
        if (arrived === POOL) go();
        return all;
      }),
    );
    // One that could not be opened keeps none of the others waiting.
    const failed = Promise.all(opening).catch((error: unknown) => {
      go();
      throw error;
    });
    await Promise.allSettled(opening);
    await failed;
  });
}

onServer(() => {
  describe('a network that goes silent', () => {
    const schema = newSchema();
    const clock = new TestClock('2027-01-10T12:00:00Z');
    let calls: PublicCall[];

    beforeAll(async () => {
      calls = await publicCalls({ connection: serverUrl(), schema, clock }, seen);
      expect(calls.length).toBeGreaterThan(100);
    });

    afterAll(async () => {
      await engines.close();
      const billing = await openBilling({ connection: serverUrl(), schema, clock });
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      await billing.close();
    });

    async function onWire<T>(
      work: (billing: Billing, wire: Wire) => Promise<T>,
      limits: object = LIMITS,
    ): Promise<T> {
      const wire = await Wire.to(serverUrl());
      const connection = { connectionString: wire.url, poolSize: POOL };
      const options = { ...WITH_SECRETS, schema, clock, ...limits };
      const billing = await untilAnswered(() => openBilling({ connection, ...options }));
      try {
        return await work(billing, wire);
      } finally {
        await billing.close();
        await wire.close();
      }
    }

    /** Each of the calls on one of several wires. */
    async function eachOnWire(
      work: (call: PublicCall, billing: Billing, wire: Wire) => Promise<void>,
    ): Promise<void> {
      const left = [...calls];
      const lane = () =>
        onWire(async (billing, wire) => {
          for (let call = left.pop(); call !== undefined; call = left.pop()) {
            await work(call, billing, wire);
          }
        });
      await Promise.all(Array.from({ length: WIRES }, lane));
    }

    test('a connection that was cut off leaves no timer that keeps the process', async () => {
      const { setTimeout: begin, clearTimeout: end } = globalThis;
      const running = new Set<unknown>();
      jest.spyOn(globalThis, 'setTimeout').mockImplementation(((
        work: () => void,
        after: number,
      ) => {
        const timer = begin(() => {
          running.delete(timer);
          work();
        }, after);
        running.add(timer);
        return timer;
      }) as typeof setTimeout);
      jest.spyOn(globalThis, 'clearTimeout').mockImplementation((timer) => {
        running.delete(timer);
        end(timer);
      });
      try {
        await onWire(async (billing, wire) => {
          await whole(billing);
          wire.silence();
          expect(await outcome(billing.verify())).toBe('database_unavailable');
          wire.restore();
          // The pool, which drops it when it is asked for the next time, finds it ended.
          await until(() => wire.open.size < POOL);
          await whole(billing);
        });
        expect(running.size).toBe(0);
      } finally {
        jest.restoreAllMocks();
      }
    });

    test('every public call ends in an error of ours, and the pool is whole when it is back', async () => {
      const wrong: unknown[] = [];
      await eachOnWire(async ({ name, ask }, billing, wire) => {
        wire.silence();
        const code = await outcome(ask(billing));
        // A run over several parts says of each what became of it.
        const isTold =
          typeof code === 'string' && /^(database_unavailable|lock_timeout)$/.test(code);
        if (!isTold) wrong.push([name, code]);
        wire.restore();
        await whole(billing);
      });
      expect(wrong).toEqual([]);
    });

    test('a call that meets it on the way, or whose last answer is lost, ends as well', async () => {
      const wrong: unknown[] = [];
      await eachOnWire(async ({ name, ask }, billing, wire) => {
        const before = wire.asked;
        await outcome(ask(billing));
        const questions = wire.asked - before;
        for (const fault of [{ at: 2 }, { at: questions, answerLost: true }]) {
          wire.silence(fault);
          const code = await outcome(ask(billing));
          if (typeof code !== 'string') wrong.push([name, code]);
          wire.restore();
          await whole(billing);
        }
      });
      expect(wrong).toEqual([]);
    });

    test('of a commit whose answer was lost nobody knows; with its key it is done once', async () => {
      await onWire(async (billing, wire) => {
        const account = { externalId: 'ann' };
        const product = 'MSG';
        const of = { account, product };
        const asks: Array<[number, (key: string) => Promise<{ replayed: boolean }>]> = [
          [1, (idempotencyKey) => billing.ledger.consume({ ...of, idempotencyKey }) as never],
          [
            Infinity,
            async (idempotencyKey) =>
              (await billing.ledger.grant({ ...of, quantity: 1, idempotencyKey }))[0]!,
          ],
        ];
        for (const [index, [, ask]] of asks.entries()) {
          // The first one shows how often it asks.
          await untilAnswered(() => ask(`known ${index}`));
          const before = wire.asked;
          await untilAnswered(() => ask(`counted ${index}`));
          const questions = wire.asked - before;
          const key = `lost ${index}`;
          wire.silence({ at: questions, answerLost: true });
          const error: unknown = await ask(key).catch((caught: unknown) => caught);
          wire.restore();
          expect(error).toMatchObject({
            code: 'database_unavailable',
            message: expect.stringContaining('is not known') as string,
            advice: expect.stringContaining('same idempotency key') as string,
          });
          expect(await untilAnswered(() => ask(key))).toMatchObject({ replayed: true });
        }
      }, SLOWER);
    });

    test('connections that did not answer are ended, and closing ends, too', async () => {
      const wire = await Wire.to(serverUrl());
      const connection = { connectionString: wire.url, poolSize: POOL };
      const billing = await untilAnswered(() => openBilling({ connection, schema, ...LIMITS }));
      await whole(billing);
      wire.silence();
      const hung = billing.transaction((tx) => tx.raw('select 1')).catch(() => undefined);
      const others = outcome(billing.verify());
      await billing.close();
      await Promise.all([hung, others]);
      await until(() => wire.open.size === 0);
      await wire.close();
    });

    test('a silent server is not connected to for ever', async () => {
      const wire = await Wire.to(serverUrl());
      wire.silence({ at: 0 });
      for (const connection of [
        { connectionString: wire.url, connectionTimeoutMillis: 200 },
        `${wire.url}?connect_timeout=1`,
      ]) {
        expect(await outcome(openBilling({ connection, schema }))).toBe('database_unavailable');
      }
      await until(() => wire.open.size === 0);
      await wire.close();
    });

    test('while connections are made, a short limit for locks is no limit', async () => {
      const wire = await Wire.to(serverUrl());
      // Each answer of the handshake comes later than that.
      wire.delay = 30;
      const connection = { connectionString: wire.url, poolSize: 1 };
      const billing = await openBilling({ connection, schema, lockTimeout: 20 });
      wire.delay = 0;
      const held = outcome(
        billing.transaction(() => expect(outcome(billing.verify())).resolves.toBe('lock_timeout')),
      );
      expect(await held).toBe('an answer');
      await billing.close();
      await wire.close();
    });

    test('tables that somebody has locked are waited for no longer than for a lock', async () => {
      const other = new pg.Client({ connectionString: serverUrl() });
      await other.connect();
      const connection = { connectionString: serverUrl(), poolSize: POOL };
      const options = { ...WITH_SECRETS, schema, clock, ...SLOWER, lockTimeout: 50 };
      const engine = await openBilling({ connection, ...options });
      const { rows } = await other.query<{ name: string }>(
        'select tablename as name from pg_tables where schemaname = $1',
        [schema],
      );
      const tables = rows.map(({ name }) => `"${schema}"."${name}"`).join(', ');
      await other.query(`begin; lock table ${tables} in access exclusive mode`);
      const wrong: unknown[] = [];
      for (const { name, ask } of calls) {
        const code = await outcome(ask(engine));
        if (code !== 'lock_timeout') wrong.push([name, code]);
      }
      await other.query('rollback');
      expect(wrong).toEqual([]);
      await whole(engine);
      await engine.close();
      await other.end();
    });

    test('a trigger that hangs reads on, and says so in the log and on the list of executions', async () => {
      const wire = await Wire.to(serverUrl());
      const said: string[] = [];
      const note = (text: string): void => void said.push(text);
      const started: unknown[] = [];
      const context = {
        getActivationMode: () => 'activate',
        getNode: () => ({ name: 'Billing Trigger' }),
        logger: { info: note, warn: note },
        saveFailedExecution: ({ message }: Error) => note(`execution: ${message}`),
        emitError: ({ message }: Error) => note(`for good: ${message}`),
        emit: (...given: unknown[]) => void started.push(given),
        helpers: { createDeferredPromise: () => ({ promise: new Promise(() => undefined) }) },
      } as unknown as ITriggerFunctions;
      const listener = new EventListener(
        context,
        { connection: wire.url, schema, ...SLOWER },
        {
          ...{ reader: 'trigger', types: ['quota.low'], accounts: undefined, from: 'now' },
          ...{ batchSize: 1, pollMilliseconds: 20, runsDue: false },
        } as never,
        async (_, event) => event,
      );
      await untilAnswered(() => listener.start());
      wire.silence();
      await until(() => said.length >= 2);
      expect(said[0]).toMatch(/^"Billing Trigger" cannot read events and tries again: /);
      expect(said[1]).toMatch(/^execution: /);
      wire.restore();
      await until(() => said.some((one) => one.endsWith('reads events again.')));
      expect(said.filter((one) => /^(execution|for good)/.test(one))).toHaveLength(1);
      await listener.stop();
      await engines.close();
      await wire.close();
    });

    test('an upgrade does not wait behind a dump, and says who has the tables', async () => {
      const old = newSchema();
      const first = await openBilling({ connection: serverUrl(), schema: old });
      await first.close();
      const dump = new pg.Client({ connectionString: serverUrl(), application_name: 'pg_dump' });
      await dump.connect();
      await dump.query(
        `delete from "${old}".migrations where id = (select max(id) from "${old}".migrations)`,
      );
      await dump.query(
        `begin; lock table "${old}".migrations, "${old}".invoices in access share mode`,
      );
      const steps = jest.requireActual<{ MIGRATIONS: Array<{ statements: string }> }>(
        '../../engine/database/migrations',
      ).MIGRATIONS;
      const last = steps.at(-1)!;
      const { statements } = last;
      last.statements = `alter table {schema}.invoices add column if not exists tried integer;`;
      try {
        await expect(
          openBilling({ connection: serverUrl(), schema: old, lockTimeout: 100 }),
        ).rejects.toMatchObject({
          code: 'lock_timeout',
          message: `The schema "${old}" is not upgraded yet: pg_dump has its tables in use.`,
        });
        await dump.query('rollback');
        await (await openBilling({ connection: serverUrl(), schema: old })).close();
      } finally {
        last.statements = statements;
        await dump.end();
      }
    });
  });
});
