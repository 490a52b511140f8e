import type { Offer } from '../catalog';
import { column, table, type RowOf, type Session } from '../database';
import { isoTime, newId, type Instant } from '../kernel';
import { isSameInterval } from './proration';
import type { StoredSubscription, SubscriptionName } from './stored-subscription';

/** Changes that take force at the end of the period: at most one waits for each subscription. */

const QUEUED_CHANGES = table('queued_changes', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  changeId: column.uuid(),
  sku: column.text(),
  /** The offer's, when the change was asked for. */
  version: column.integer(),
  quantity: column.integer(),
  queuedAt: column.instant(),
  /** When it took force, with the period of that number. */
  appliedAt: column.instant(),
  periodNumber: column.integer(),
});

const QUEUED = QUEUED_CHANGES.omit('appliedAt', 'periodNumber');
const WAITING = QUEUED.omit('queuedAt');
const APPLIED = QUEUED_CHANGES.omit('sku', 'version', 'quantity', 'queuedAt');

/** A change that waits. */
export type QueuedChange = RowOf<typeof WAITING>;

const FIND = `
select ${WAITING.select('q')} from {schema}.queued_changes q
where q.payer_id = any($1::uuid[]) and q.subscription_id = any($2::uuid[])
  and q.applied_at is null and q.dropped_at is null`;

const DROP = `
update {schema}.queued_changes set dropped_at = $3::timestamptz
where payer_id = any($1::uuid[]) and subscription_id = any($2::uuid[])
  and applied_at is null and dropped_at is null`;

const APPLY = APPLIED.update('payerId', 'subscriptionId', 'changeId');

/** What waits for some subscriptions, by their ids; those for which nothing waits are left out. */
export async function queuedChanges(
  session: Session,
  subscriptions: readonly SubscriptionName[],
): Promise<Map<string, QueuedChange>> {
  if (subscriptions.length === 0) return new Map();
  const found = await WAITING.rows(session, FIND, keysOf(subscriptions));
  return new Map(found.map((change) => [change.subscriptionId, change]));
}

const keysOf = (subscriptions: readonly SubscriptionName[]): string[][] => [
  [...new Set(subscriptions.map(({ payerId }) => payerId))],
  subscriptions.map(({ subscriptionId }) => subscriptionId),
];

/** Takes back what waits for some subscriptions. The payers are locked. */
export async function dropQueuedChanges(
  session: Session,
  subscriptions: readonly SubscriptionName[],
  now: Instant,
): Promise<void> {
  if (subscriptions.length === 0) return;
  await session.query(DROP, [...keysOf(subscriptions), isoTime(now)]);
}

/** Lets a change wait, in the place of one that waited. The payer is locked. */
export async function queueChange(
  session: Session,
  subscription: SubscriptionName,
  { fresh: { sku, version }, quantity }: { fresh: Offer; quantity: number },
  now: Instant,
): Promise<void> {
  await dropQueuedChanges(session, [subscription], now);
  const { payerId, subscriptionId } = subscription;
  const queued = { payerId, subscriptionId, changeId: newId(), sku, version, quantity };
  await QUEUED.write(session, [{ ...queued, queuedAt: now }]);
}

/** Changes took force with the periods of these numbers. The payers are locked. */
export async function queuedChangesApplied(
  session: Session,
  applied: ReadonlyArray<{ change: QueuedChange; periodNumber: number; at: Instant }>,
): Promise<void> {
  if (applied.length === 0) return;
  const rows = applied.map(({ change, at, ...to }) => ({ ...change, ...to, appliedAt: at }));
  await session.query(APPLY, APPLIED.values(rows));
}

/**
 * A subscription as its next period finds it once a change has taken force: trial phases that were
 * still to come are over.
 *
 * @returns `anew`: own periods are anchored where the next one begins, since they are of another
 *   length; `isOther`: it is another offer, which brings what comes with its first period
 */
export function changedTo(
  subscription: StoredSubscription,
  fresh: Offer,
  quantity: number,
  old: Offer,
): { subscription: StoredSubscription; anew: boolean; isOther: boolean } {
  return {
    subscription: {
      ...subscription,
      sku: fresh.sku,
      version: fresh.version,
      quantity,
      trialPhases: Math.min(subscription.trialPhases, subscription.periodNumber),
    },
    anew: subscription.phase !== null || !isSameInterval(fresh.interval!, old.interval!),
    isOther: fresh.sku !== old.sku,
  };
}
