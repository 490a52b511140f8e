import type { Room } from '../accounts';
import { bound } from '../kernel';
import type { LedgerPorts } from '../ledger';
import type { PaymentContext } from '../payments';
import type { Trying } from '../sales';
import { advanceSubscriptions, refreshPayers, type AdvanceDone } from './advancing';
import { problemOfMissed } from './brake';
import { Cancellations } from './cancelling';
import { Changes } from './changing';
import type { SubscriptionPorts } from './giving-back';
import { Pauses } from './pausing';
import { Starts } from './starting';
import { Steps } from './steps';
import {
  eraseSubscriptions,
  exportSubscriptions,
  mergeSubscriptions,
  openSubscriptionsObstacle,
} from './subscription-parts';
import { SubscriptionReads } from './subscriptions';
import { verifySubscriptions } from './verify-subscriptions';

export * from './public';
export { advanceSubscriptions, type AdvanceRequest } from './advancing';
export { problemOfMissed, requireClock } from './brake';
export { awaitsPayment, changesGivenUp, changesPaid, type NamedChange } from './awaiting-changes';
export { cycleOfChange, lapsedChanges } from './awaiting-records';
export { CHANGE_TIMES } from './changing';
export { CHANGE_CREDITS, CHANGE_MODES } from './quoting';
export {
  NO_INVOICES,
  type InvoicedStanding,
  type PeriodPorts,
  type SubscriptionPorts,
} from './giving-back';
export {
  couponPeriods,
  couponsFreed,
  couponsInForce,
  couponsUsed,
  type CouponInForce,
  type CouponPeriod,
  type CouponTaken,
} from './coupons';
export {
  NEVER_BROUGHT,
  askFirstPayments,
  endedUnpaid,
  periodKey,
  tooLateFor,
  type AskedPayment,
  type TooLate,
} from './first-payments';
export { orderSubscriptions } from './from-orders';
export { useRestored } from './restored-use';
export {
  dunningEnded,
  paymentFailed,
  paymentOverdue,
  paymentMissing,
  paymentRecovered,
  periodsPaid,
  type BegunPeriod,
} from './payment-effects';
export {
  OF_PERIOD,
  PENDING_ITEMS,
  addCredits,
  addPendingItems,
  dropItemsOfChanges,
  dropPendingItems,
  type ItemKind,
  type NewCredit,
  type NewPendingItem,
} from './pending-items';
export type { PeriodName } from './stored-period';
export { findById, findSubscription, nowCharged } from './records';
export { lapseBeforeRefund, periodsRefunded } from './refunded-periods';
export { END_REASONS, presentPayer, type StoredSubscription } from './stored-subscription';
export { productsOf } from './period-units';
export { resetProducts, restoreProducts } from './resetting';
export { sizesOfSteps } from './steps';

/** `billing.subscriptions`: recurring offers in force. */
export interface Subscriptions
  extends
    Pick<Starts, 'start'>,
    Pick<SubscriptionReads, 'get' | 'list'>,
    Pick<Steps, 'addSteps'>,
    Pick<Changes, 'change'>,
    Pick<Pauses, 'pause' | 'resume'>,
    Pick<Cancellations, 'cancel' | 'undo' | 'reactivate'> {}

/** The room, and what it fills of the ports of earlier ones. */
export interface OpenedSubscriptions extends Room<
  Subscriptions,
  Omit<AdvanceDone, 'left' | 'behind'>
> {
  refresh: LedgerPorts['refresh'];
}

/**
 * Opens the room.
 *
 * @param trials who has had a trial
 * @param ports what the room of invoices knows of periods
 */
export function openSubscriptions(
  context: PaymentContext,
  trials: Trying,
  ports: SubscriptionPorts,
): OpenedSubscriptions {
  const changes = new Changes(context, ports);
  const calls: Subscriptions = {
    ...bound(new Starts(context, ports, trials, changes), 'start'),
    ...bound(new SubscriptionReads(context, ports), 'get', 'list'),
    ...bound(new Steps(context, ports), 'addSteps'),
    ...bound(changes, 'change'),
    ...bound(new Pauses(context, ports), 'pause', 'resume'),
    ...bound(new Cancellations(context, ports, trials), 'cancel', 'undo', 'reactivate'),
  };
  return {
    calls,
    refresh: (session, payerIds, now) => refreshPayers(context, ports, session, payerIds, now),
    verify: [verifySubscriptions],
    merge: [mergeSubscriptions],
    export: [exportSubscriptions],
    erase: [eraseSubscriptions],
    obstacles: [openSubscriptionsObstacle],
    due: [
      {
        part: 'subscriptions',
        run: async (limit, { catchUp } = {}) => {
          const done = await advanceSubscriptions(context, ports, { limit, catchUp });
          const { subscriptions, periods, behind } = done;
          return { subscriptions, periods, problems: behind.map(problemOfMissed) };
        },
      },
    ],
  };
}
