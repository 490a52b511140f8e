import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

import type { BillingOptions } from '../../engine';
import { count } from '../counted';
import type { Engine } from '../engine/database/calls';
import { RemoteEngine } from '../engine/database/processes';
import { isLong } from '../engine/each-database';
import type { PostgresServer } from '../postgres/server.mjs' with { 'resolution-mode': 'import' };
import { Books } from './books';
import { Load, begin, setUp } from './load';
import { Program, type Family } from './program';
import { Random, seedOfRun } from './random';

/**
 * Backends, the whole server and client processes are killed at random moments under load. Whatever
 * had been answered must be there, nothing twice, and every call can be made again with its key.
 * `npm run test:faults` does it at length; BILLING_FAULT_SEED repeats a run's programs.
 */

const KILLS = Number(process.env.BILLING_FAULT_KILLS ?? (isLong ? 200 : 10));
/** Where there is one process and one connection, only the process can be killed. */
const EMBEDDED_KILLS = Math.ceil(KILLS / 5);
/** How many kills go by between two looks at the whole of the books. */
const WHOLE = 50;
const HOURS = 3_600_000;

const seed = seedOfRun();
const only = process.env.BILLING_TEST_ONLY?.split(',');

const say = (text: string): void => void process.stderr.write(`faults: ${text}\n`);

/** Processes that were started ahead, since that takes longer than a kill. */
class Spares {
  private readonly ready: RemoteEngine[];
  private readonly taken = new Set<RemoteEngine>();

  constructor(count: number) {
    this.ready = Array.from({ length: count }, () => new RemoteEngine());
  }

  async open(options: BillingOptions): Promise<RemoteEngine> {
    const engine = this.ready.shift()!;
    this.ready.push(new RemoteEngine());
    this.taken.add(engine);
    await engine.open(options);
    return engine;
  }

  async kill(engine: RemoteEngine): Promise<void> {
    this.taken.delete(engine);
    await engine.kill();
  }

  async end(): Promise<void> {
    await Promise.all([
      ...this.ready.map((one) => one.kill()),
      ...[...this.taken].map((one) => one.end()),
    ]);
  }
}

const told = (books: Books): void => {
  count('calls under load', books.counts.calls);
  count('calls whose answer a kill took, made again', books.counts.unknown);
};

const progress = (done: number, of: number, kinds: string, books: Books): void => {
  const { calls, answered, denied, replayed, unknown } = books.counts;
  say(
    `${done} of ${of} kills (${kinds}); ${calls} calls, ${answered} first answers ` +
      `(${denied} denials), ${replayed} replays, ${unknown} without an answer; ` +
      `lines: ${JSON.stringify(books.lines)}`,
  );
};

/** Those that are there, whatever they are called; none of them outlives a pulled plug. */
async function backendsOf(url: string, name?: string): Promise<number[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ pid: number }>(
      `select pid from pg_stat_activity where $1::text is null or application_name = $1`,
      [name ?? null],
    );
    return rows.map(({ pid }) => pid);
  } finally {
    await client.end();
  }
}

if (only?.includes('server') ?? true) {
  describe('faults under load (server)', () => {
    const kills = KILLS - EMBEDDED_KILLS;
    const random = new Random(seed);
    const spares = new Spares(1);
    const places: Array<{ name: string; engine: Promise<RemoteEngine> }> = [];
    let server: PostgresServer;
    let families: Family[];

    const open = (name: string): Promise<RemoteEngine> =>
      spares.open({
        connection: { connectionString: server.url, application_name: name, poolSize: 4 },
      });

    beforeAll(async () => {
      say(`seed ${seed} (BILLING_FAULT_SEED=${seed} for the same programs)`);
      const postgres = await import('../postgres/server.mjs');
      const major = Number(process.env.BILLING_TEST_POSTGRES ?? 18);
      server = await postgres.PostgresServer.create({ major });
      for (const name of ['victim one', 'victim two', 'victim three']) {
        places.push({ name, engine: open(name) });
        await places.at(-1)!.engine;
      }
      families = await setUp(await places[0]!.engine, 5);
    });

    afterAll(async () => {
      await spares.end();
      await server.destroy();
    });

    /** One connection of one process, or all of it. */
    async function killBackends(): Promise<void> {
      const { name } = random.pick(places);
      const all = random.chance(0.5);
      for (let attempt = 0; attempt < 100; attempt += 1) {
        const pids = await backendsOf(server.url, name);
        const chosen = all ? pids : pids.slice(0, 1);
        const client = new pg.Client({ connectionString: server.url });
        await client.connect();
        const { rows } = await client.query<{ killed: boolean }>(
          'select pg_terminate_backend(pid) as killed from unnest($1::integer[]) as pid',
          [chosen],
        );
        await client.end();
        if (rows.some(({ killed }) => killed)) return;
        await sleep(10);
      }
      throw new Error(`${name} has no connection`);
    }

    /** As a pulled plug: no process of it has time for anything. */
    async function killServer(): Promise<void> {
      const pids = await backendsOf(server.url);
      const gone = server.stop('SIGKILL');
      for (const pid of pids) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
        }
      }
      await gone;
      await sleep(random.between(0, 50));
      // The system may need a moment to take its memory back.
      for (let attempt = 1; ; attempt += 1) {
        try {
          await server.start();
          return;
        } catch (error) {
          if (attempt === 10) throw error;
          await sleep(100);
        }
      }
    }

    async function killClient(): Promise<void> {
      const place = random.pick(places);
      await spares.kill(await place.engine);
      place.engine = open(place.name);
      await place.engine;
    }

    test(
      `${kills} kills of backends, server and clients lose nothing and do nothing twice`,
      async () => {
        const ways = [killBackends, killServer, killClient];
        const done = ways.map(() => 0);
        const books = new Books(families, ['lost', 'database_unavailable']);
        await begin(books, families, await places[0]!.engine, random);
        for (let kill = 1; kill <= kills; kill += 1) {
          const load = new Load(books, new Program(families, `kill ${kill}`));
          for (let caller = 0; caller < 12; caller += 1) {
            const place = places[caller % places.length]!;
            load.start(() => place.engine, random.fork());
          }
          await sleep(random.between(20, 250));
          const way = kill % ways.length;
          await ways[way]!();
          done[way]! += 1;
          count(`kills of ${['backends', 'the server', 'client processes'][way]}`);
          await sleep(random.between(20, 150));
          await load.stop();
          await books.check(await random.pick(places).engine, kill % WHOLE === 0 || kill === kills);
          expect(books.problems).toEqual([]);
          if (kill % 10 === 0 || kill === kills) {
            progress(
              kill,
              kills,
              `backends ${done[0]}, server ${done[1]}, clients ${done[2]}`,
              books,
            );
          }
        }
        told(books);
        // The kills met calls, else nothing was tried.
        expect(books.counts.unknown).toBeGreaterThan(kills / 2);
        expect(books.counts.denied).toBeGreaterThan(0);
      },
      HOURS,
    );
  });
}

if (only?.includes('embedded') ?? true) {
  describe('faults under load (embedded)', () => {
    const random = new Random(seed ^ 0x5eed);
    const spares = new Spares(1);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-faults-'));

    afterAll(async () => {
      await spares.end();
      fs.rmSync(folder, { recursive: true, force: true });
    });

    test(
      `${EMBEDDED_KILLS} kills of the process lose nothing and do nothing twice`,
      async () => {
        const options = { connection: { embedded: path.join(folder, 'billing') } };
        let engine = await spares.open(options);
        const families = await setUp(engine, 3);
        const books = new Books(families, ['lost']);
        await begin(books, families, engine, random);
        for (let kill = 1; kill <= EMBEDDED_KILLS; kill += 1) {
          const load = new Load(books, new Program(families, `kill ${kill}`));
          const victim: Promise<Engine> = Promise.resolve(engine);
          for (let caller = 0; caller < 6; caller += 1) load.start(() => victim, random.fork());
          await sleep(random.between(50, 400));
          await spares.kill(engine);
          count('kills of an embedded database');
          await load.stop();
          engine = await spares.open(options);
          await books.check(engine, kill % WHOLE === 0 || kill === EMBEDDED_KILLS);
          expect(books.problems).toEqual([]);
          if (kill % 10 === 0 || kill === EMBEDDED_KILLS) {
            progress(kill, EMBEDDED_KILLS, 'embedded', books);
          }
        }
        told(books);
        expect(books.counts.unknown).toBeGreaterThan(0);
      },
      HOURS,
    );
  });
}
