import { resolveAccount, changeOf } from '../accounts';
import { type Context, type Session } from '../database';
import { BillingError, text, type Instant } from '../kernel';
import { advancePayers } from './advancing';
import { readStandings } from './standings';
import type { Standing } from './planning';
import { subscriberOf, findSubscription } from './records';
import type { SubscriptionStatus } from './stored-subscription';

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
  const { kind, subscriptionId, request, idempotencyKey, tx } = change;
  return changeOf(
    context,
    {
      kind,
      parties: async (session) => {
        const named = await findSubscription(session, subscriptionId);
        const { payerId } = await subscriberOf(session, named);
        const owner = await resolveAccount(session, { accountId: named.accountId });
        return { owner, locks: [payerId], named };
      },
      request: () => ({ ...request, subscriptionId }),
      idempotencyKey,
      tx,
    },
    async (session, { locks, named }, now) => {
      await advancePayers(session, locks, now);
      const [standing] = await readStandings(session, [named]);
      return { answer: await work(session, standing!, now) };
    },
  );
}

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
