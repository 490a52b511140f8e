import { payersOf, resolveAccount, type ResolvedAccount } from '../accounts';
import { lockAccounts, once, serializationFailure, type Context, type Session } from '../database';
import { BillingError, readClock, text, type Instant } from '../kernel';
import { advancePayers, readStandings } from './advancing';
import type { Standing } from './planning';
import { accountOf, findSubscription, type SubscriptionStatus } from './records';

/** A subscription is named by its id; what is none is nobody's. */
export const subscriptionIdInput = () => text(100).transform((id) => id.toLowerCase());

interface SubscriptionChange {
  kind: string;
  subscriptionId: string;
  /** All inputs but the id, metadata and tx. */
  request: Record<string, unknown>;
  idempotencyKey: string | undefined;
  tx: unknown;
}

/**
 * Runs a change that names a subscription: found, its payer locked, brought up to date, once for its
 * key, which belongs to who subscribed.
 *
 * @param work gets the subscription under the lock, as it stands now
 * @throws unknown_subscription, idempotency_conflict
 */
export async function changeOfSubscription<T extends object>(
  context: Context,
  change: SubscriptionChange,
  work: (session: Session, standing: Standing, now: Instant) => Promise<T>,
): Promise<{ answer: T; replayed: boolean }> {
  const { subscriptionId } = change;
  return context.database.transaction(change.tx, async (session) => {
    const named = await findSubscription(session, subscriptionId);
    const before = await accountOf(session, named);
    const locks = locksOf(before, await ownerOf(session, named));
    await lockAccounts(session, locks);
    const now = readClock(context.clock);
    const account = await accountOf(session, named);
    const owner = await ownerOf(session, named);
    if (locksOf(account, owner).some((id) => !locks.includes(id))) {
      throw serializationFailure('the account got another payer meanwhile');
    }
    return once(
      session,
      {
        kind: change.kind,
        payers: payersOf(owner),
        account: owner.accountId,
        key: change.idempotencyKey,
        request: { ...change.request, subscriptionId },
        now,
        keep: context.keep,
      },
      async () => {
        await advancePayers(session, [account.payerId], now);
        const [standing] = await readStandings(session, [named]);
        return work(session, standing!, now);
      },
    );
  });
}

const ownerOf = (session: Session, { accountId }: { accountId: string }) =>
  resolveAccount(session, { accountId });

const locksOf = (account: ResolvedAccount, owner: ResolvedAccount): string[] => [
  ...new Set([account.payerId, owner.payerId]),
];

/** The error for what a subscription does not allow as it stands. */
export function wrongState(
  subscriptionId: string,
  status: SubscriptionStatus,
  because: string,
  advice?: string,
): BillingError {
  return new BillingError(
    'subscription_state',
    `Subscription ${subscriptionId} is ${status.replace('_', ' ')}: ${because}.`,
    { parameter: 'subscriptionId', advice },
  );
}
