/**
 * `npm run bench`: how fast consume() is, side by side with what people use instead, in one run on
 * one real Postgres (fsync and synchronous_commit on). Ratios of one run mean something; absolute
 * figures belong to the machine. docs/performance.md says how to read them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';

import Table from 'cli-table3';
import { Pool } from 'pg';
import { RateLimiterPostgres } from 'rate-limiter-flexible';

import { openBilling, type Billing } from '../engine';

const REPEATS = Number(process.env.BENCH_REPEATS ?? 5);
const MILLISECONDS = Number(process.env.BENCH_MILLISECONDS ?? 2_000);
const ACCOUNTS = 1_000;
const UNITS = 1_000_000_000;

interface Contender {
  name: string;
  lacks: string;
  /** One call for an account, the number of which is given. */
  call(account: number): Promise<void>;
}

interface Case {
  callers: number;
  accounts: number;
}

const CASES: Case[] = [
  { callers: 1, accounts: ACCOUNTS },
  { callers: 20, accounts: ACCOUNTS },
  { callers: 20, accounts: 1 },
  { callers: 200, accounts: ACCOUNTS },
  { callers: 200, accounts: 1 },
];

/** Calls a second: so many callers, each with its next call as soon as the last is answered. */
async function rate(contender: Contender, { callers, accounts }: Case): Promise<number> {
  const end = performance.now() + MILLISECONDS;
  const begin = performance.now();
  let calls = 0;
  let next = 0;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() < end) {
        next += 1;
        await contender.call(next % accounts);
        calls += 1;
      }
    }),
  );
  return (calls * 1_000) / (performance.now() - begin);
}

const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
};

async function consumeContender(billing: Billing): Promise<Contender> {
  await billing.catalog.saveProduct({ key: 'UNITS', name: 'Units' });
  const ids: string[] = [];
  for (let account = 0; account < ACCOUNTS; account += 1) {
    const { accountId } = await billing.accounts.identify({ externalId: `account-${account}` });
    await billing.ledger.grant({ account: accountId, product: 'UNITS', quantity: UNITS });
    ids.push(accountId);
  }
  let key = 0;
  return {
    name: 'consume()',
    lacks: '',
    async call(account) {
      key += 1;
      const answer = await billing.ledger.consume({
        account: ids[account]!,
        product: 'UNITS',
        idempotencyKey: `key-${process.pid}-${key}`,
      });
      if (!answer.allowed) throw new Error('A use was denied.');
    },
  };
}

async function bareStatement(pool: Pool): Promise<Contender> {
  await pool.query(`create schema if not exists bare`);
  await pool.query(
    `create table bare.balances (account int primary key, remaining bigint not null)`,
  );
  await pool.query(
    `create table bare.entries (id bigserial primary key, account int not null, amount bigint not null,
       key text not null unique, at timestamptz not null default now())`,
  );
  await pool.query(`insert into bare.balances select n, $1 from generate_series(0, $2) n`, [
    UNITS,
    ACCOUNTS - 1,
  ]);
  let key = 0;
  return {
    name: 'bare statement',
    lacks: 'grants, expiry, traces, values, replayed answers',
    async call(account) {
      key += 1;
      const result = await pool.query(
        `with taken as (
           update bare.balances set remaining = remaining - 1
           where account = $1 and remaining >= 1 returning account)
         insert into bare.entries (account, amount, key) select account, 1, $2 from taken`,
        [account, `key-${process.pid}-${key}`],
      );
      if (result.rowCount !== 1) throw new Error('A bare use was denied.');
    },
  };
}

async function rateLimiter(pool: Pool): Promise<Contender> {
  const limiter = await new Promise<RateLimiterPostgres>((resolve, reject) => {
    const made: RateLimiterPostgres = new RateLimiterPostgres(
      { storeClient: pool, points: UNITS, duration: 0, tableName: 'rate_limits' },
      (error?: Error) => (error === undefined ? resolve(made) : reject(error)),
    );
  });
  return {
    name: 'rate-limiter-flexible',
    lacks: 'a ledger, grants, expiry, idempotency',
    async call(account) {
      await limiter.consume(`account-${account}`, 1);
    },
  };
}

async function main(): Promise<void> {
  const { PostgresServer } = await import('../test/postgres/server.mjs');
  process.stdout.write('Starting Postgres 18 (from npm), fsync on ...');
  const server = await PostgresServer.create({
    settings: { shared_buffers: '512MB', max_wal_size: '4GB' },
  });
  console.log(' ready.');
  const pool = new Pool({ connectionString: server.url, max: 20 });
  const billing = await openBilling({ connection: { connectionString: server.url, poolSize: 20 } });
  try {
    console.log(`Giving ${ACCOUNTS} accounts their units ...`);
    const contenders: Contender[] = [
      {
        name: 'select 1',
        lacks: 'everything',
        call: async () => void (await pool.query('select 1')),
      },
      await rateLimiter(pool),
      await bareStatement(pool),
      await consumeContender(billing),
    ];
    const results = [];
    for (const one of CASES) {
      const rates = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
      for (let repeat = 0; repeat < REPEATS; repeat += 1) {
        for (const contender of contenders) {
          process.stdout.write(
            `\r${one.callers} callers, ${one.accounts} accounts: ${repeat + 1}/${REPEATS} ${contender.name}          `,
          );
          rates.get(contender.name)!.push(await rate(contender, one));
        }
      }
      const ours = rates.get('consume()')!;
      const ratio = (name: string): number =>
        median(ours.map((value, repeat) => value / rates.get(name)![repeat]!));
      results.push({
        ...one,
        rates: Object.fromEntries([...rates].map(([name, values]) => [name, median(values)])),
        toRateLimiter: ratio('rate-limiter-flexible'),
        toBare: ratio('bare statement'),
      });
    }
    process.stdout.write('\r\n');
    const table = new Table({
      head: [
        'callers',
        'accounts',
        ...contenders.map(({ name }) => `${name}/s`),
        'to limiter',
        'to bare',
      ],
    });
    for (const { callers, accounts, rates, toRateLimiter, toBare } of results) {
      table.push([
        callers,
        accounts,
        ...contenders.map(({ name }) => Math.round(rates[name]!).toLocaleString('en')),
        toRateLimiter.toFixed(2),
        toBare.toFixed(2),
      ]);
    }
    console.log(table.toString());
    for (const { name, lacks } of contenders) {
      if (lacks !== '') console.log(`${name} has not: ${lacks}.`);
    }
    const { ok } = await billing.verify();
    console.log(`verify: ${ok ? 'ok' : 'PROBLEMS'}`);
    mkdirSync(join(__dirname, '../output'), { recursive: true });
    const file = join(__dirname, '../output/bench.json');
    const machine = { cpus: os.cpus().map((cpu) => cpu.model), node: process.version };
    writeFileSync(file, JSON.stringify({ machine, repeats: REPEATS, results }, null, 2));
    console.log(`Figures in ${file}`);
    if (!ok) process.exitCode = 1;
  } finally {
    await billing.close();
    await pool.end();
    await server.destroy();
  }
}

void main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
