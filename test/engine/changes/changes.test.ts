import fc from 'fast-check';
import knexFactory, { type Knex } from 'knex';

import { TestClock, openBilling, type Billing } from '../../../engine';
import { openMigrated } from '../../postgres/migrated';
import { Random, seedOfRun } from '../../faults/random';
import { databaseKinds, isLong, newSchema, serverUrl } from '../each-database';
import { knexDyingAt, mortalKnex } from '../mortal-knex';
import { QUIET } from '../watched-knex';
import { Customer } from './customer';
import { breachesIn } from './invariants';
import { standingsOf } from './standings';
import { STARTS, TICKS, fillCatalog, program, textOf, type Program } from './programs';

/**
 * No sequence of starts, changes, cancellations, refunds, coupons and repeats gives more than was paid
 * for. Random programs, each with accounts of its own, run side by side in one ledger on one clock;
 * what the engine says of units and money is compared with an oracle that was written from the rules.
 *
 * A program that fails is run alone again, made smaller, and printed. `BILLING_FAULT_SEED` repeats a
 * run of `test:long`, and makes another one of `npm test`, which has always the same; with
 * `BILLING_CHANGES_ONE`, the number of a program in it, that one alone is run; `BILLING_CHANGES_RUNS`
 * are how many there are; `BILLING_CHANGES_SHRINK=0` shows all that fail as they are (of several numbers,
 * with commas between, those).
 */

/** How many run side by side. */
const TOGETHER = 400;
/** One costs 0.12 s of CPU on the server, and twice as much on the embedded database. */
const PROGRAMS = isLong ? { server: 16_000, embedded: 4_000 } : { server: 1_600, embedded: 400 };
const WEBHOOK_SECRET = 'whsec_random_programs';
const TEST_GATEWAY = { webhookSecret: WEBHOOK_SECRET };
/** How many of the billing cycles are killed once before they are done. */
const KILLED = 0.25;
/** Longer than a process keeps for itself what it asked a gateway. */
const IN_HAND = 20 * 60_000;
/** Of a machine that does much else, too. */
const TIMEOUT = (isLong ? 600 : 180) * 60_000;

const connectedBy = (max: number): Knex =>
  knexFactory({
    ...{ client: 'pg', connection: serverUrl(), log: QUIET },
    pool: { min: 0, max },
  });

interface Failure {
  index: number;
  /** What was done last. */
  at: string;
  error: unknown;
}

/** Each of a list, so many at a time. */
async function each<T>(list: readonly T[], width: number, work: (one: T) => Promise<void>) {
  const left = [...list].reverse();
  const worker = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) await work(next);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

describe.each(databaseKinds)('random programs against the rules (%s)', (name) => {
  const seed = isLong ? seedOfRun() : Number(process.env.BILLING_FAULT_SEED ?? 11);
  const width = name === 'server' ? 8 : 1;
  let knex: Knex;
  /** Of one line, so that what is done by it has an order that the seed repeats. */
  let single: Knex;
  let close = (): Promise<unknown> => Promise.resolve();

  /** Lines of their own for each ledger: one keeps only so many statements prepared. */
  async function connect(): Promise<void> {
    await close();
    if (name === 'server') {
      [knex, single] = [12, 1].map(connectedBy) as [Knex, Knex];
      close = () => Promise.all([knex.destroy(), single.destroy()]);
    } else {
      const opened = await openMigrated(newSchema());
      knex = single = opened.knex;
      close = opened.close;
    }
  }
  afterAll(() => close());

  /** The billing cycle; now and then by a process that is killed at a statement, then by another. */
  async function bill(billing: Billing, schema: string, clock: TestClock, random: Random) {
    if (random.chance(KILLED)) {
      const statements = random.between(1, 400);
      const doomed =
        name === 'server'
          ? knexDyingAt(single, statements)
          : mortalKnex(single, Math.ceil(statements / 10)).knex;
      await openBilling({ connection: doomed, schema, clock, testGateway: TEST_GATEWAY })
        .then((dying) => dying.invoicing.runBillingCycle().then(() => dying.runDue()))
        .catch(() => undefined);
      // What it had in hand at the gateway is left to it for a while.
      clock.advance(IN_HAND);
    }
    await billing.invoicing.runBillingCycle();
    expect(await billing.runDue()).toMatchObject({ failed: [] });
    // What payments and the clock brought about, the next one invoices.
    await billing.invoicing.runBillingCycle();
  }

  /** Runs programs side by side; what is wrong with which. */
  async function runTogether(programs: ReadonlyArray<[number, Program]>, start: number) {
    await connect();
    const clock = new TestClock(start);
    const schema = newSchema();
    const random = new Random(seed);
    const billing: Billing = await openBilling({
      ...{ connection: knex, schema, clock, testGateway: TEST_GATEWAY },
    });
    const setting = { billing, webhookSecret: WEBHOOK_SECRET };
    const failures: Failure[] = [];
    let running: Running[] = [];
    const indexOf = new Map<string, number>();
    await fillCatalog(billing);
    // Cycles go by accounts in their order: it is that of the programs.
    for (const [index] of programs) {
      await billing.accounts.identify({ externalId: `customer ${index}` });
    }
    await each(programs, width, async ([index, one]) => {
      const customer = await Customer.open(setting, `customer ${index}`, one, start);
      indexOf.set(customer.account, index);
      running.push({ index, customer, next: 0, due: one.steps[0]?.wait ?? 0, at: '' });
    });
    const attempt = async (one: Running, work: () => Promise<void> | void): Promise<void> => {
      try {
        await work();
      } catch (error) {
        const at = `on ${clock.now().toISOString()}, after ${one.at}`;
        failures.push({ index: one.index, at, error });
        running = running.filter((other) => other !== one);
      }
    };
    for (const [tick, after] of TICKS.entries()) {
      clock.set(start + after);
      const active = new Set<Running>();
      await each(running, width, (one) =>
        attempt(one, async () => {
          one.customer.oracle.advance(clock.now().getTime());
          const { steps } = one.customer.program;
          for (; one.next < steps.length && one.due <= tick;) {
            const step = steps[one.next]!;
            one.at = `step ${one.next} (${JSON.stringify(step.act)})`;
            active.add(one);
            await one.customer.step(step);
            one.next += 1;
            one.due += steps[one.next]?.wait ?? 0;
          }
        }),
      );
      await bill(billing, schema, clock, random);
      for (const { customer } of running) customer.oracle.settle();
      const isLast = tick === TICKS.length - 1;
      const looked = running.filter((one) => isLast || tick % 6 === 5 || active.has(one));
      const accounts = looked.map(({ customer }) => customer.account);
      const standings = await standingsOf(billing, knex, schema, accounts);
      for (const one of looked) {
        await attempt(one, () => one.customer.compare(standings.get(one.customer.account)!));
      }
    }
    for (const { account, what } of await breachesIn(knex, schema)) {
      failures.push({ index: indexOf.get(account)!, at: 'at the end', error: new Error(what) });
    }
    const { problems } = await billing.verify();
    await billing.close();
    return { failures: failures.sort((one, other) => one.index - other.index), problems };
  }

  interface Running {
    index: number;
    customer: Customer;
    next: number;
    due: number;
    at: string;
  }

  const startOf = (index: number): number => STARTS[Math.floor(index / TOGETHER) % STARTS.length]!;

  /** Runs one program alone, and all that is smaller, until it fails no more. */
  async function shrink({ index }: Failure): Promise<void> {
    const start = startOf(index);
    await fc.assert(
      fc.asyncProperty(program, async (one) => {
        const { failures, problems } = await runTogether([[index, one]], start);
        if (failures.length > 0) throw said(failures[0]!, one, start);
        expect(problems).toEqual([]);
      }),
      { seed, path: String(index), numRuns: 1, unbiased: true, endOnFailure: false },
    );
  }

  const said = ({ at, error }: Failure, one: Program, start: number): Error =>
    new Error(`${String(error)}\n${at}\n${textOf(one, start)}`, { cause: error });

  test(
    `what the engine gives is what was paid for (seed ${seed})`,
    async () => {
      const wanted = process.env.BILLING_CHANGES_ONE;
      const shrinks = process.env.BILLING_CHANGES_SHRINK !== '0';
      if (wanted !== undefined && shrinks) {
        return shrink({ index: Number(wanted), at: '', error: null });
      }
      const all = Number(process.env.BILLING_CHANGES_RUNS ?? PROGRAMS[name]);
      const programs = fc.sample(program, { seed, numRuns: all, unbiased: true });
      const wrong: Failure[] = [];
      for (let from = 0; from < all; from += TOGETHER) {
        const some = programs
          .slice(from, from + TOGETHER)
          .map((one, at): [number, Program] => [from + at, one])
          .filter(([index]) => wanted?.split(',').includes(String(index)) ?? true);
        if (some.length === 0) continue;
        const { failures, problems } = await runTogether(some, startOf(from));
        wrong.push(...failures);
        // What a failure leaves behind in the ledger is no second one.
        if (failures.length === 0) expect(problems).toEqual([]);
      }
      const [first] = wrong;
      if (first === undefined) return;
      const texts = wrong
        .slice(0, 20)
        .map(
          (one) => `#${one.index}: ${said(one, programs[one.index]!, startOf(one.index)).message}`,
        );
      console.error(`${wrong.length} of ${all} fail (seed ${seed})\n${texts.join('\n\n')}`);
      if (shrinks) await shrink(first);
      throw first.error;
    },
    TIMEOUT,
  );
});
