import type { Pool } from 'pg';
import { RateLimiterPostgres } from 'rate-limiter-flexible';

import { UNITS, externalId } from './ledgers';
import type { Contender } from './rates';

/** What people use instead, all through pg and one pool of 20 connections. */

/** What a round trip costs here. */
export function selectOne(pool: Pool): Contender {
  return {
    name: 'select 1',
    lacks: 'everything: it is the price of asking Postgres at all',
    async call() {
      await pool.query('select 1');
    },
  };
}

/** The counter that one writes by hand, with a log of uses beside it. */
export async function bareStatement(pool: Pool, accounts: number): Promise<Contender> {
  await pool.query('create schema bare');
  await pool.query(
    'create table bare.balances (account int primary key, remaining bigint not null)',
  );
  await pool.query(
    `create table bare.entries (id bigserial primary key, account int not null, amount bigint not null,
       key text not null unique, at timestamptz not null default now())`,
  );
  await pool.query('insert into bare.balances select n, $1 from generate_series(0, $2::int) n', [
    UNITS,
    accounts - 1,
  ]);
  let key = 0;
  return {
    name: 'bare statement',
    lacks:
      'grants and their order, expiry, holds, traces, values, first answers given again (a key that comes twice is an error)',
    async call(account) {
      key += 1;
      const result = await pool.query(
        `with taken as (
           update bare.balances set remaining = remaining - 1
           where account = $1 and remaining >= 1 returning account)
         insert into bare.entries (account, amount, key) select account, 1, $2 from taken`,
        [account, `${process.pid}-${key}`],
      );
      if (result.rowCount !== 1) throw new Error('A bare use was not taken.');
    },
  };
}

export async function rateLimiter(pool: Pool): Promise<Contender> {
  const limiter = await new Promise<RateLimiterPostgres>((resolve, reject) => {
    const made: RateLimiterPostgres = new RateLimiterPostgres(
      { storeClient: pool, points: UNITS, duration: 0, tableName: 'rate_limits' },
      (error?: Error) => (error === undefined ? resolve(made) : reject(error)),
    );
  });
  return {
    name: 'rate-limiter-flexible',
    lacks:
      'a ledger, grants, expiry of units, holds, values, idempotency; it counts a denied use, too',
    async call(account) {
      await limiter.consume(externalId(account), 1);
    },
  };
}

/** "x has not: ..." for each that lacks something. */
export const lacking = (contenders: readonly Contender[]): string[] =>
  contenders
    .filter(({ lacks }) => lacks !== '')
    .map(({ name, lacks }) => `${name} has not: ${lacks}.`);
