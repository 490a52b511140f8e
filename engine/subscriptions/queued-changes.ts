import type { Offer } from '../catalog';
import { column, table, type RowOf, type Session } from '../database';
import { isoTime, newId, type Instant } from '../kernel';
import { hadOfferSql } from './period-records';
import { isSameInterval } from './proration';
import { keysOf, type StoredSubscription, type SubscriptionName } from './stored-subscription';

/**
 * Changes that take force at the end of the period: at most one waits for each subscription. Of what it
 * does not name it takes what is subscribed to by then.
 */

const QUEUED_CHANGES = table('queued_changes', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  changeId: column.uuid(),
  sku: column.text(),
  /** The offer's, when the change was asked for. */
  version: column.integer(),
  quantity: column.integer(),
  /** Whether it is a change of the offer, and of the quantity. */
  namesOffer: column.flag(),
  namesQuantity: column.flag(),
  queuedAt: column.instant(),
  /** When it took force, with the period of that number. */
  appliedAt: column.instant(),
  periodNumber: column.integer(),
});

const QUEUED = QUEUED_CHANGES.omit('appliedAt', 'periodNumber');
const WAITING = QUEUED.omit('queuedAt');
const APPLIED = QUEUED_CHANGES.pick(
  'payerId',
  'subscriptionId',
  'changeId',
  'appliedAt',
  'periodNumber',
);

/** A change that waits, as it would take force now. */
export type QueuedChange = RowOf<typeof WAITING> & {
  /** The subscription never had its offer: what that brings only once comes. */
  isNew: boolean;
};

/** What a change names. */
export interface Named {
  sku?: string;
  quantity?: number;
}

const FIND = `
select ${WAITING.select('q')},
       not ${hadOfferSql('q.payer_id', 'q.subscription_id', 'q.sku')} as "isNew"
from (
  select q.payer_id, q.subscription_id, q.change_id, q.names_offer, q.names_quantity,
         case when q.names_offer then q.sku else s.sku end as sku,
         case when q.names_offer then q.version else s.version end as version,
         case when q.names_quantity then q.quantity else s.quantity end as quantity
  from {schema}.queued_changes q
  join {schema}.subscriptions s
    on s.payer_id = q.payer_id and s.subscription_id = q.subscription_id
  where q.payer_id = any($1::uuid[]) and q.subscription_id = any($2::uuid[])
    and q.applied_at is null and q.dropped_at is null) as q`;

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
  const found = await session.query<{ isNew: boolean }>(FIND, keysOf(subscriptions));
  const changes = found.map(({ isNew, ...row }) => ({ ...WAITING.read(row), isNew }));
  return new Map(changes.map((change) => [change.subscriptionId, change]));
}

/** Takes back what waits for some subscriptions. The payers are locked. */
export async function dropQueuedChanges(
  session: Session,
  subscriptions: readonly SubscriptionName[],
  now: Instant,
): Promise<void> {
  if (subscriptions.length === 0) return;
  await session.query(DROP, [...keysOf(subscriptions), isoTime(now)]);
}

/**
 * A change that waits together with one that is asked for: what the new one does not name stays.
 *
 * @param target what the new one makes of what is subscribed to
 */
export function joined(
  waiting: QueuedChange | undefined,
  named: Named,
  { fresh, quantity }: { fresh: Offer; quantity: number },
): Pick<QueuedChange, 'sku' | 'version' | 'quantity' | 'namesOffer' | 'namesQuantity'> {
  const keepsOffer = named.sku === undefined && waiting?.namesOffer === true;
  const keepsQuantity = named.quantity === undefined && waiting?.namesQuantity === true;
  const offer = keepsOffer ? waiting : fresh;
  return {
    sku: offer.sku,
    version: offer.version,
    quantity: keepsQuantity ? waiting.quantity : quantity,
    namesOffer: keepsOffer || named.sku !== undefined,
    namesQuantity: keepsQuantity || named.quantity !== undefined,
  };
}

/** Lets a change wait, in the place of what waited of the same kind. The payer is locked. */
export async function queueChange(
  session: Session,
  subscription: SubscriptionName,
  change: ReturnType<typeof joined>,
  now: Instant,
): Promise<void> {
  await dropQueuedChanges(session, [subscription], now);
  const { payerId, subscriptionId } = subscription;
  await QUEUED.write(session, [
    { ...change, payerId, subscriptionId, changeId: newId(), queuedAt: now },
  ]);
}

/** A change took force at once: what waited of the same kind is replaced by it. The payer is locked. */
export async function narrowQueued(
  session: Session,
  subscription: SubscriptionName,
  named: Named,
  now: Instant,
): Promise<void> {
  const waiting = (await queuedChanges(session, [subscription])).get(subscription.subscriptionId);
  if (waiting === undefined) return;
  const namesOffer = waiting.namesOffer && named.sku === undefined;
  const namesQuantity = waiting.namesQuantity && named.quantity === undefined;
  if (namesOffer === waiting.namesOffer && namesQuantity === waiting.namesQuantity) return;
  if (namesOffer || namesQuantity) {
    await queueChange(session, subscription, { ...waiting, namesOffer, namesQuantity }, now);
  } else {
    await dropQueuedChanges(session, [subscription], now);
  }
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
 *   length; `isOther`: it is another offer
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
