import { lockAccounts, serializationFailure, type Session } from '../database';
import { readClock, type Instant } from '../kernel';
import type { PaymentContext, PurposeHandlers } from './ports';
import type { Purpose } from './transfers';

const handlersOf = ({ purposes }: PaymentContext, purpose: Purpose): PurposeHandlers => {
  const handlers = purposes.get(purpose);
  if (handlers === undefined) throw new Error(`Nobody takes payments of purpose ${purpose}.`);
  return handlers;
};

/** Runs work under the locks of all whose rows a payment for something may write. */
export async function underLocks<T>(
  context: PaymentContext,
  purpose: Purpose,
  purposeId: string,
  work: (
    session: Session,
    handlers: PurposeHandlers,
    now: Instant,
    payers: readonly string[],
  ) => Promise<T>,
): Promise<T> {
  const handlers = handlersOf(context, purpose);
  return context.database.transaction(undefined, async (session) => {
    const locks = await handlers.payersToLock(session, purposeId);
    await lockAccounts(session, locks);
    const now = readClock(context.clock);
    const after = await handlers.payersToLock(session, purposeId);
    if (!after.every((payerId) => locks.includes(payerId))) {
      throw serializationFailure('the payment came to concern another account meanwhile');
    }
    return work(session, handlers, now, after);
  });
}
