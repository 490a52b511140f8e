import { NO_ACCOUNT, isUniqueViolation, once, type Context, type Session } from '../database';
import { BillingError, isoTime, readClock, type ChangeOptions } from '../kernel';

/**
 * A change of the catalog, once for its key. The catalog belongs to no account.
 *
 * @param named the parameter that names the record, and its value: of two first saves at once that
 *   differ by upper and lower case alone the unique index refuses one
 */
export async function saveOnce<Change extends ChangeOptions, Saved extends object>(
  context: Context,
  kind: string,
  change: Change,
  named: { parameter: string; value: string },
  save: (session: Session, change: Change, now: string) => Promise<Saved>,
): Promise<Saved & { replayed: boolean }> {
  const { idempotencyKey: key, metadata: _metadata, tx, ...request } = change;
  const now = readClock(context.clock);
  return context.database.transaction(tx, async (session) => {
    const { answer, replayed } = await once(
      session,
      { kind, payers: [NO_ACCOUNT], account: NO_ACCOUNT, key, request, now, keep: context.keep },
      () => save(session, change, isoTime(now)).catch(asCaseConflict(named)),
    );
    return { ...answer, replayed };
  });
}

function asCaseConflict({ parameter, value }: { parameter: string; value: string }) {
  return (error: unknown): never => {
    if (!isUniqueViolation(error)) throw error;
    throw new BillingError(
      'invalid_input',
      `"${parameter}" ${value} differs from one that was just saved by upper and lower case alone.`,
      { parameter },
    );
  };
}
