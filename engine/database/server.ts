import knexFactory, { type Knex } from 'knex';
import { QUIET, type OpenedKnex } from './embedded';

/**
 * How to reach a Postgres server: what `pg` takes, and how many connections to keep. Spelt out here,
 * so that users of the library need no types of `pg`.
 */
export interface ServerConfig {
  connectionString?: string;
  host?: string;
  port?: number;
  database?: string;
  user?: string;
  password?: string | (() => string | Promise<string>);
  /** true verifies the server's certificate against the system's authorities. */
  ssl?: boolean | { rejectUnauthorized?: boolean; ca?: string; cert?: string; key?: string };
  /** Anything else that `pg`'s Client takes. */
  [setting: string]: unknown;
  /** The most connections this engine opens; the default is 4. */
  poolSize?: number;
}

const DEFAULT_POOL_SIZE = 4;

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
