import { changeOf } from '../accounts';
import { type Context, type Session } from '../database';
import { BillingError, type ChangeOptions, type DenialReason, type Instant } from '../kernel';
import { ledgerTime } from '../ledger';
import { advancePayers } from './advancing';
import { requireUpToDate } from './brake';
import type { PeriodPorts } from './giving-back';
import { readStandings } from './standings';
import type { Standing } from './planning';
import { readSubscription, type Subscription } from './reading';
import { findSubscription, ownerAndPayer, saveDetails } from './records';
import { replacedBy, waitingFor, type Replaced } from './replaced';
import type { StoredSubscription, SubscriptionStatus } from './stored-subscription';

/** What a change is asked with, as it was parsed; the rest of it is what tells it from another one. */
type Asked = ChangeOptions & { subscriptionId: string };

/** Changes a subscription that it gets under the lock, as it stands now. */
type Work<T> = (session: Session, standing: Standing, now: Instant) => Promise<T>;

/** A subscription as a call left it. */
export interface ChangedSubscription extends Subscription {
  /** What waited for the end of its period and does no more, or cannot take force. */
  replaced: Replaced | null;
  replayed: boolean;
}

/** The same of a call that may be denied. */
export interface ChangedAnswer extends ChangedSubscription {
  allowed: boolean;
  reason: DenialReason | null;
}

/**
 * Runs a change that names a subscription: found, its payer locked, brought up to date, once for its
 * key, which belongs to who subscribed. Metadata is kept with the subscription.
 *
 * @throws unknown_subscription, catch_up_needed, idempotency_conflict
 */
export const changeOfSubscription = (
  context: Context,
  ports: PeriodPorts,
  kind: string,
  asked: Asked,
  work: Work<void>,
): Promise<ChangedSubscription> =>
  run(context, ports, kind, asked, async (...given) => {
    await work(...given);
    return {};
  });

/** The same for a change that may be denied. @param work tells why it is; null: it is done */
export const deniableChange = (
  context: Context,
  ports: PeriodPorts,
  kind: string,
  asked: Asked,
  work: Work<DenialReason | null>,
): Promise<ChangedAnswer> =>
  run(context, ports, kind, asked, async (...given) => {
    const reason = await work(...given);
    return { allowed: reason === null, reason };
  });

async function run<T extends { allowed?: boolean }>(
  context: Context,
  ports: PeriodPorts,
  kind: string,
  { subscriptionId, idempotencyKey, metadata, tx, ...request }: Asked,
  work: Work<T>,
): Promise<T & ChangedSubscription> {
  return changeOf(
    context,
    {
      kind,
      parties: async (session) => {
        const named = await findSubscription(session, subscriptionId);
        const [owner, { payerId }] = await ownerAndPayer(session, named);
        return { owner, locks: [payerId], named };
      },
      request: () => ({ ...request, subscriptionId }),
      idempotencyKey,
      tx,
    },
    async (session, { locks, named }, clock) => {
      const changed = await changedUnderLock(
        session,
        ports,
        named,
        locks[0]!,
        clock,
        (own, ...given) => {
          // To end it is the one way to leave out what it has missed.
          if (kind !== 'cancelSubscription') requireUpToDate(given[0].subscription, given[1]);
          return work(own, ...given);
        },
      );
      const { done, after, replaced } = changed;
      if (done.allowed !== false) await saveDetails(session, named, { metadata });
      return { answer: { ...done, ...(await readSubscription(session, after)), replaced } };
    },
  );
}

/**
 * Runs a change of a subscription whose payer is locked, on what is there once it is up to date.
 *
 * @returns what it did, the subscription then, and what waited of it and does no more
 */
export async function changedUnderLock<T>(
  session: Session,
  ports: PeriodPorts,
  named: StoredSubscription,
  payerId: string,
  clock: Instant,
  work: Work<T>,
): Promise<{ done: T; after: StoredSubscription; replaced: Replaced | null }> {
  // What was used before the change is of the old terms, also by a clock that is ahead.
  const now = await ledgerTime(session, payerId, clock);
  await advancePayers(session, ports, [payerId], now);
  const [standing] = await readStandings(session, [named]);
  const before = await waitingFor(session, standing!.subscription);
  const done = await work(session, standing!, now);
  const after = await findSubscription(session, named.subscriptionId);
  return { done, after, replaced: replacedBy(before, await waitingFor(session, after)) };
}

/** The error for what a subscription does not allow as it stands. */
export function wrongState(
  { subscriptionId, status }: { subscriptionId: string; status: SubscriptionStatus },
  because: string,
  advice?: string,
): BillingError {
  return new BillingError(
    'subscription_state',
    `Subscription ${subscriptionId} is ${status.replace('_', ' ')}: ${because}.`,
    { parameter: 'subscriptionId', advice },
  );
}

/** The error for what waits for a payment that may be here in a moment. */
export const isBeingCharged = (one: {
  subscriptionId: string;
  status: SubscriptionStatus;
}): BillingError =>
  wrongState(
    one,
    'its change is being charged',
    'Try again when the last attempt of that invoice is decided.',
  );
