import { once, type Context, type Session } from '../database';
import { BillingError, readClock, type Instant, type ResolvedReference } from '../kernel';
import type { Account } from './account';
import { payersOf, resolveAccount, type ResolvedAccount } from './resolving';

/**
 * Runs a change of one account, once for its key, and tells who keeps accounts in mind.
 *
 * @param change `asked` gives the inputs beside the account
 */
export async function changeAccount(
  context: Context,
  change: {
    kind: string;
    request: { idempotencyKey?: string; tx?: unknown };
    account: ResolvedReference;
    asked: (session: Session) => Promise<Record<string, unknown>>;
  },
  work: (session: Session, account: ResolvedAccount, now: Instant) => Promise<Account>,
): Promise<Account & { replayed: boolean }> {
  const { idempotencyKey, tx } = change.request;
  const now = readClock(context.clock);
  const changed = await context.database.transaction(tx, async (session) => {
    const account = await resolveAccount(session, change.account);
    const { answer, replayed } = await once(
      session,
      {
        kind: change.kind,
        payers: payersOf(account),
        account: account.accountId,
        key: idempotencyKey,
        request: { ...(await change.asked(session)), account: account.accountId },
        now,
        keep: context.keep,
      },
      () => work(session, account, now),
    );
    return { ...answer, replayed };
  });
  tellOf(context, [changed.accountId]);
  return changed;
}

/** Tells who keeps accounts in mind that these have changed. */
export function tellOf(context: Context, accountIds: readonly string[]): void {
  for (const tell of context.onAccountChange) accountIds.forEach(tell);
}

/** Why two accounts cannot be joined. */
export const mergeConflict = (message: string, parameter: string, advice?: string): BillingError =>
  new BillingError('merge_conflict', message, { parameter, advice });

/** Thrown to undo the transaction of what was only to be tried; brings out what it would have given. */
export class Tried<T> extends Error {
  constructor(readonly outcome: T) {
    super('tried');
  }
}
