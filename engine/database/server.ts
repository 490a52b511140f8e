import knexFactory, { type Knex } from 'knex';
import pg from 'pg';

import { refused } from '../kernel';
import { QUIET, type OpenedKnex } from './embedded';
import { answerLimit, cutOff, cutOffAfter, type Cuttable, type Timeouts } from './limits';

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

/** A server that has gone silent does not say goodbye either: so long it is waited for. */
const GOODBYE = 2_000;

/** A connection on which nothing has come for so long asks whether the other end is there. */
const KEEP_ALIVE = 10_000;

/** The oldest that is supported: knex need not ask each server for its own. */
const POSTGRES_VERSION = '14.0';

/** Knex would make a new one, and wait for it, for whoever already has given up. */
const AFTERWARDS = 1_000;

type Settings = ServerConfig & { connectionTimeoutMillis?: unknown };

/** As the connection says: by pg's name, or by that of libpq in a URL, in seconds. */
function connectLimit({ connectionTimeoutMillis, connectionString }: Settings): number | null {
  const [, seconds] = /[?&]connect_timeout=(\d+)(?:&|$)/.exec(connectionString ?? '') ?? [];
  const given = Number(connectionTimeoutMillis ?? Number(seconds) * 1_000);
  return given > 0 ? given : null;
}

/**
 * What pg makes of the settings, before it connects. A password with `/`, `?` or `#` in a URL ends the
 * part where it stands, and what is left of it would be taken for a host or a path.
 */
function requireReadable(config: ServerConfig): void {
  const { connectionString: url } = config;
  const [, authority = '', rest = ''] = /^[a-z]+:\/\/([^/?#]*)(.*)$/is.exec(url ?? '') ?? [];
  const isCut = /[@#]/.test(rest) || authority.split('@').length > 2;
  try {
    if (isCut) throw new Error('it is cut');
    new pg.Client(config as pg.ClientConfig);
  } catch {
    // Not the error's own words, which may hold what was given.
    throw refused(
      'connection',
      'cannot be read',
      'In a URL write what has a meaning there percent-encoded, in user and password above all: %2F for /, %3F for ?, %23 for #, %40 for @, %25 for %. A certificate that it names must be there.',
    );
  }
}

interface PoolOf {
  on(event: 'createSuccess' | 'destroyRequest', heard: (id: number, of: Cuttable) => void): void;
}

/** Ends connections that were told to end and do not, and on demand all that are open. */
function hangUpOn(pool: PoolOf): () => void {
  const open = new Set<Cuttable & NodeJS.EventEmitter>();
  pool.on('createSuccess', (_, connection) => {
    const one = connection as Cuttable & NodeJS.EventEmitter;
    open.add(one);
    one.once('end', () => open.delete(one));
  });
  pool.on('destroyRequest', (_, connection) => {
    const one = connection as Cuttable & NodeJS.EventEmitter;
    // One that was cut off has ended, and a timer for it would only keep the process from ending.
    if (open.has(one)) one.once('end', cutOffAfter(GOODBYE, one));
  });
  return () => {
    for (const one of open) cutOff(one, new Error('Connection ended'));
  };
}

/** A pool of connections to a Postgres server. Connects on first use, keeps none that is unused. */
export function openServer(config: ServerConfig, timeouts: Timeouts): OpenedKnex {
  const { poolSize, ...connection } = config;
  requireReadable(connection);
  const connect = connectLimit(config) ?? timeouts.connect;
  const knex = knexFactory({
    client: 'pg',
    version: POSTGRES_VERSION,
    connection: {
      application_name: 'n8n-nodes-billing',
      keepAlive: true,
      // Whoever is gone from the network is missed after some 20 seconds, and not after two hours.
      keepAliveInitialDelayMillis: KEEP_ALIVE,
      // For what a caller runs in a transaction of ours.
      query_timeout: 2 * answerLimit(timeouts.scan),
      ...connection,
      connectionTimeoutMillis: connect,
    } as Knex.StaticConnectionConfig,
    pool: { min: 0, max: poolSize ?? DEFAULT_POOL_SIZE, createTimeoutMillis: connect + AFTERWARDS },
    acquireConnectionTimeout: timeouts.lock + connect + AFTERWARDS,
    log: QUIET,
  });
  const hangUp = hangUpOn((knex.client as { pool: PoolOf }).pool);
  return {
    knex,
    connect,
    async close() {
      // What is under way has its time; what hangs has not.
      const timer = setTimeout(hangUp, answerLimit(timeouts.statement));
      try {
        await knex.destroy();
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
