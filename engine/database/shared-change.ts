import { readClock, type Instant } from '../kernel';
import { NO_ACCOUNT, once } from './answers';
import type { Context } from './context';
import type { Session } from './session';

/**
 * Runs a change of what is everybody's (the catalog, settings), once for its key. Whom it may wait for
 * is the work's own to say: no account is locked.
 */
export function sharedChange<T extends object>(
  { database, clock, keep }: Context,
  change: {
    kind: string;
    /** All inputs but metadata, tx and the key. */
    request: Record<string, unknown>;
    idempotencyKey?: string;
    tx?: unknown;
  },
  work: (session: Session, now: Instant) => Promise<T>,
): Promise<T & { replayed: boolean }> {
  const { kind, request, idempotencyKey: key, tx } = change;
  const now = readClock(clock);
  return database.transaction(tx, async (session) => {
    const { answer, replayed } = await once(
      session,
      { kind, payers: [NO_ACCOUNT], account: NO_ACCOUNT, key, request, now, keep },
      () => work(session, now),
    );
    return { ...answer, replayed };
  });
}
