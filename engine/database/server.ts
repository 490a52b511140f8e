import knexFactory, { type Knex } from 'knex';
import type { ClientConfig } from 'pg';

import { QUIET, type OpenedKnex } from './embedded';

/** How to reach a Postgres server: what `pg` takes, and how many connections to keep. */
export interface ServerConfig extends ClientConfig {
  /** The most connections this engine opens; the default is 4. */
  poolSize?: number;
}

export const DEFAULT_POOL_SIZE = 4;

/** A pool of connections to a Postgres server. Connects on first use, keeps none that is unused. */
export function openServer(config: ServerConfig, acquireTimeout: number): OpenedKnex {
  const { poolSize, ...connection } = config;
  const knex = knexFactory({
    client: 'pg',
    connection: {
      application_name: 'n8n-nodes-billing',
      connectionTimeoutMillis: acquireTimeout,
      keepAlive: true,
      ...connection,
    } as Knex.StaticConnectionConfig,
    pool: { min: 0, max: poolSize ?? DEFAULT_POOL_SIZE },
    acquireConnectionTimeout: acquireTimeout,
    log: QUIET,
  });
  return { knex, close: () => knex.destroy() };
}
