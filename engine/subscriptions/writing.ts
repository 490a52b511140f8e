import { unitPriceOf, type Offer } from '../catalog';
import type { Session } from '../database';
import { recordEvents } from '../events';
import { Decimal, type Instant } from '../kernel';
import { setOverageTerms } from '../ledger';
import { overageInAll, refreshAccess } from './access';
import { lapseChanges } from './awaiting-records';
import { giveUpUnpaid } from './never-paid';
import { addPendingItems, type NewPendingItem } from './pending-items';
import { writePeriods } from './period-records';
import { bringUnits, productsFor, unitsOf } from './period-units';
import type { OpenedPeriod } from './stored-period';
import type { Opening, Outcome } from './planning';
import { dropQueuedChanges, queuedChangesApplied } from './queued-changes';
import { saveSubscriptions } from './records';

/**
 * The fee of a period as an item for an invoice: due when it begins, or ends if the offer is billed in
 * arrears. Null: a free trial phase, or one that an order has paid.
 */
export function feeItem(
  {
    period,
    offer,
    isRest,
    isBilled,
    dueAt,
  }: Pick<Opening, 'period' | 'offer' | 'isRest' | 'isBilled' | 'dueAt'>,
  now: Instant,
): NewPendingItem | null {
  const { phase, fee, orderId, startsAt, endsAt } = period;
  const isFree = fee.isZero() && (phase !== null || isRest === true);
  if (orderId !== null || isFree || isBilled === true) return null;
  const quantity = new Decimal(period.quantity);
  return {
    payerId: period.payerId,
    accountId: period.accountId,
    kind: isRest === true ? 'proration_charge' : 'fee',
    subscriptionId: period.subscriptionId,
    periodNumber: period.number,
    sku: period.sku,
    version: period.version,
    quantity,
    unitPrice: unitPriceOf(offer, quantity, fee),
    amount: fee,
    currency: period.currency,
    serviceFrom: startsAt,
    serviceTo: endsAt,
    // One that is bought before it begins is paid at once.
    dueAt: dueAt ?? (offer.collect?.bill === 'arrears' ? endsAt : Math.min(startsAt, now)),
  };
}

/** A change that waits is of the period in which it was asked for. */
const endsWaiting = ({ openings, subscription }: Outcome): boolean =>
  openings.length > 0 || subscription.endedAt !== null || subscription.status === 'paused';

/**
 * Writes what was decided about subscriptions, and all that follows: periods, fees, units, events,
 * what may be used. All payers are locked.
 */
export async function writeOutcomes(
  session: Session,
  outcomes: readonly Outcome[],
  now: Instant,
): Promise<void> {
  const openings = outcomes.flatMap((outcome) =>
    outcome.openings.map((opening) => ({ ...opening, receiver: outcome.receiver })),
  );
  await lapseChanges(
    session,
    outcomes.filter(endsWaiting).map(({ subscription }) => subscription),
    now,
  );
  await saveSubscriptions(
    session,
    outcomes.map(({ subscription }) => subscription),
  );
  await writePeriods(
    session,
    openings.map(({ period, gives }) => ({ ...period, grantedAt: gives ? now : null })),
  );
  const fees = openings.flatMap((opening) => feeItem(opening, now) ?? []);
  await addPendingItems(session, fees, now);
  const giving = openings.filter(({ gives }) => gives);
  const products = await productsFor(session, giving, now);
  await bringUnits(
    session,
    giving.map(({ receiver, period, offer, comes }) => ({
      receiver,
      period,
      offer,
      units: unitsOf(offer, period, receiver.timeZone, products, now, comes),
    })),
    now,
  );
  await allowOverage(session, giving);
  await queuedChangesApplied(
    session,
    outcomes.flatMap(({ applied }) => applied ?? []),
  );
  await dropQueuedChanges(
    session,
    outcomes.filter(({ dropsChange }) => dropsChange).map(({ subscription }) => subscription),
    now,
  );
  await giveUpUnpaid(session, outcomes, now);
  const changed = outcomes.filter(({ changesAccess }) => changesAccess);
  await refreshAccess(
    session,
    changed.map(({ receiver }) => receiver),
    now,
  );
  await recordEvents(
    session,
    outcomes.flatMap(({ events }) => events),
  );
}

/** Each of the offer's own periods allows use beyond its units anew. Few offers do. */
export async function allowOverage(
  session: Session,
  openings: ReadonlyArray<{
    receiver: { payerId: string };
    period: Pick<OpenedPeriod, 'phase'>;
    offer: Offer;
  }>,
): Promise<void> {
  const allowed = openings
    .filter(({ period }) => period.phase === null)
    .flatMap(({ receiver: { payerId }, offer }) =>
      offer.items.flatMap(({ product, overage }) =>
        overage === null ? [] : [{ payerId, product, limit: overage.limit }],
      ),
    );
  if (allowed.length === 0) return;
  const inAll = await overageInAll(
    session,
    allowed.map(({ payerId }) => payerId),
  );
  await setOverageTerms(
    session,
    allowed.map(({ payerId, product, limit }) => ({
      payerId,
      product,
      limit: limit === null ? null : new Decimal(limit),
      inAll: inAll(payerId, product),
    })),
  );
}
