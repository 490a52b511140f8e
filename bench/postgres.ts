import { Pool } from 'pg';

import type { PostgresServer } from '../test/postgres/server.mjs' with {
  'resolution-mode': 'import',
};

/** All else is Postgres's default: fsync and synchronous_commit are on. */
export const SERVER_SETTINGS = { shared_buffers: '512MB', max_wal_size: '4GB' };

const running = new Set<PostgresServer>();
let version: string | null = null;

/** Of the server that was measured; null: none was. */
export const serverVersion = (): string | null => version;

/**
 * Runs a part on a Postgres of its own, so that no part measures what another left behind.
 *
 * @param work gets the server's URL and a pool of 20 connections for baselines
 */
export async function withPostgres<T>(work: (url: string, pool: Pool) => Promise<T>): Promise<T> {
  const { PostgresServer } = await import('../test/postgres/server.mjs');
  const server = await PostgresServer.create({ settings: SERVER_SETTINGS });
  running.add(server);
  const pool = new Pool({ connectionString: server.url, max: 20 });
  try {
    await requireSafeCommits(pool);
    return await work(server.url, pool);
  } finally {
    await pool.end();
    await server.destroy();
    running.delete(server);
  }
}

/** Leaves no server and no gigabytes behind when the run is interrupted. */
export function stopServersOn(signal: NodeJS.Signals, exitCode: number): void {
  process.once(signal, () => {
    void Promise.allSettled([...running].map((server) => server.destroy())).then(() =>
      process.exit(exitCode),
    );
  });
}

/** Figures of a server that may lose what it answered would say nothing. */
async function requireSafeCommits(pool: Pool): Promise<void> {
  const { rows } = await pool.query<Record<'version' | 'fsync' | 'commit', string>>(
    `select current_setting('server_version') as version, current_setting('fsync') as fsync,
            current_setting('synchronous_commit') as commit`,
  );
  const [settings] = rows;
  if (settings!.fsync !== 'on' || settings!.commit !== 'on') {
    throw new Error('fsync and synchronous_commit must be on.');
  }
  version = settings!.version;
}
