import type { Database } from './database';
import type { Session } from './session';

/** Carries what was found out of a transaction that is to leave nothing behind. */
class Rehearsed extends Error {
  constructor(readonly outcome: unknown) {
    super('This was a dry run.');
  }
}

/** Runs work in a transaction that is undone, and gives what it came to. */
export async function rehearse<T>(
  database: Database,
  tx: unknown,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  try {
    return await database.transaction(tx, async (session): Promise<T> => {
      throw new Rehearsed(await work(session));
    });
  } catch (error) {
    if (error instanceof Rehearsed) return error.outcome as T;
    throw error;
  }
}
