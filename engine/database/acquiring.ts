import { cannotConnect } from './failures';
import type { Timeouts } from './limits';

/** Of knex's pool what tells whether others hold its connections, or they are only being made. */
interface Pool {
  max?: number;
  numUsed?(): number;
  numPendingCreates?(): number;
  on?(event: 'createSuccess' | 'createFail', listener: () => void): void;
}

export interface KnexClient<RawConnection> {
  pool?: Pool;
  acquireConnection(): Promise<RawConnection>;
  releaseConnection(connection: RawConnection): Promise<void>;
}

/** When a connection of a pool was last made, well or badly. */
const made = new WeakMap<Pool, { at: number }>();

function lastMade(pool: Pool): { at: number } {
  let last = made.get(pool);
  if (last === undefined) {
    const own = { at: -Infinity };
    const note = (): void => void (own.at = performance.now());
    pool.on?.('createSuccess', note);
    pool.on?.('createFail', note);
    made.set(pool, own);
    last = own;
  }
  return last;
}

type Limits = Pick<Timeouts, 'lock' | 'connect'>;

/** A pool that is not knex's own does not tell. */
const areAllHeld = (pool: Pool): boolean => (pool.numUsed?.() ?? Infinity) >= (pool.max ?? 0);

const tooLate = (pool: Pool, { connect }: Limits): Error =>
  areAllHeld(pool)
    ? Object.assign(new Error('no connection became free'), { name: 'TimeoutError' })
    : Object.assign(new Error(`no connection could be made within ${connect} ms`), {
        code: 'ETIMEDOUT',
      });

/**
 * A connection of the pool. While one is being made nobody is waited for: that has its own limit, and
 * the time for which others may hold all of them counts from then on. A pool of the caller's may let its
 * own calls wait longer than ours.
 *
 * @throws lock_timeout when others held them all, database_unavailable
 */
export function acquire<RawConnection>(
  client: KnexClient<RawConnection>,
  { lock, connect }: Limits,
): Promise<RawConnection> {
  const { pool = {} } = client;
  const last = lastMade(pool);
  const begun = performance.now();
  const acquired = client.acquireConnection();
  /** How long it is still waited for, as it stands now. */
  const left = (): number => {
    const now = performance.now();
    const inAll = lock + connect - (now - begun);
    const isMade = (pool.numPendingCreates?.() ?? 0) > 0;
    return Math.min(isMade ? lock : lock - (now - Math.max(begun, last.at)), inAll);
  };
  return new Promise((resolve, reject) => {
    let isLate = false;
    let timer: NodeJS.Timeout;
    const fail = (error: unknown): void => reject(cannotConnect(error));
    const look = (): void => {
      const more = left();
      if (more > 0) {
        timer = setTimeout(look, Math.ceil(more));
        return;
      }
      isLate = true;
      fail(tooLate(pool, { lock, connect }));
    };
    timer = setTimeout(look, lock);
    acquired
      .finally(() => clearTimeout(timer))
      .then((connection) => (isLate ? client.releaseConnection(connection) : resolve(connection)))
      .catch(fail);
  });
}
