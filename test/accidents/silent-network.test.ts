import { TestClock, isBillingError, openBilling, type Billing } from '../../engine';
import type { z } from '../../engine/kernel';
import { newSchema, onServer, serverUrl } from '../engine/each-database';
import { publicCalls, WITH_SECRETS, type PublicCall } from './public-calls';
import { Wire } from './wire';

/**
 * The accident: with the network gone silent after connecting, or tables locked by somebody, calls waited
 * for ever, four of them held the pool, and a trigger that read events was deaf without a word.
 *
 * The limits are short, and nothing depends on which of them is met first: on a slow machine what is
 * still carried may be given up, too. What is asked of the engine afterwards is asked until it answers.
 */

const mockSeen: z.ZodType[] = [];
jest.mock('../../engine/kernel/validation', () => {
  const actual = jest.requireActual<typeof import('../../engine/kernel/validation')>(
    '../../engine/kernel/validation',
  );
  return {
    ...actual,
    parse: (schema: z.ZodType, given: unknown): unknown => {
      mockSeen.push(schema);
      return actual.parse(schema, given);
    },
  };
});

const LIMITS = { statementTimeout: 150, scanTimeout: 150, lockTimeout: 400, connectTimeout: 400 };
const POOL = 2;
/** Engines, each on a wire of its own, that are asked at a time. */
const WIRES = 8;

const outcome = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'an answer',
    (error: unknown) => (isBillingError(error) ? error.code : error),
  );

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
      calls = await publicCalls({ connection: serverUrl(), schema, clock }, mockSeen);
      expect(calls.length).toBeGreaterThan(100);
    });

    afterAll(async () => {
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
  });
});
