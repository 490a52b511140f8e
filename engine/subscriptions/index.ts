import type { Room } from '../accounts';
import type { Context } from '../database';
import type { LedgerPorts } from '../ledger';
import type { Trying } from '../sales';
import { advanceSubscriptions, refreshPayers, type AdvanceDone } from './advancing';
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
export { CHANGE_MODES, CHANGE_TIMES } from './changing';
export { NO_INVOICES, type SubscriptionPorts } from './giving-back';
export { couponsInForce, couponsUsed, type CouponInForce } from './coupons';
export { orderSubscriptions } from './from-orders';
export {
  dunningEnded,
  paymentFailed,
  paymentOverdue,
  paymentInGrace,
  paymentRecovered,
  periodsPaid,
} from './payment-effects';
export {
  addPendingItems,
  dropPendingItems,
  type ItemKind,
  type NewPendingItem,
} from './pending-items';
export type { PeriodName } from './periods';
export { findById } from './records';
export { END_REASONS, type StoredSubscription } from './stored-subscription';
export { resetProducts, restoreProducts } from './resetting';

/** `billing.subscriptions`: recurring offers in force. */
export interface Subscriptions {
  start: Starts['start'];
  get: SubscriptionReads['get'];
  list: SubscriptionReads['list'];
  addSteps: Steps['addSteps'];
  change: Changes['change'];
  pause: Pauses['pause'];
  resume: Pauses['resume'];
  cancel: Cancellations['cancel'];
  undo: Cancellations['undo'];
  reactivate: Cancellations['reactivate'];
}

/** The room, and what it fills of the ports of earlier ones. */
export interface OpenedSubscriptions extends Room<Subscriptions, Omit<AdvanceDone, 'left'>> {
  refresh: LedgerPorts['refresh'];
}

/**
 * Opens the room.
 *
 * @param trials who has had a trial
 * @param ports what the room of invoices knows of periods
 */
export function openSubscriptions(
  context: Context,
  trials: Trying,
  ports: SubscriptionPorts,
): OpenedSubscriptions {
  const starts = new Starts(context, trials);
  const reads = new SubscriptionReads(context);
  const steps = new Steps(context);
  const changes = new Changes(context, ports);
  const pauses = new Pauses(context);
  const cancellations = new Cancellations(context, ports);
  const calls: Subscriptions = {
    start: starts.start.bind(starts),
    get: reads.get.bind(reads),
    list: reads.list.bind(reads),
    addSteps: steps.addSteps.bind(steps),
    change: changes.change.bind(changes),
    pause: pauses.pause.bind(pauses),
    resume: pauses.resume.bind(pauses),
    cancel: cancellations.cancel.bind(cancellations),
    undo: cancellations.undo.bind(cancellations),
    reactivate: cancellations.reactivate.bind(cancellations),
  };
  return {
    calls,
    refresh: (session, payerIds, now) => refreshPayers(context, session, payerIds, now),
    verify: [verifySubscriptions],
    merge: [mergeSubscriptions],
    export: [exportSubscriptions],
    erase: [eraseSubscriptions],
    obstacles: [openSubscriptionsObstacle],
    due: [
      {
        part: 'subscriptions',
        run: async (limit) => {
          const { subscriptions, periods } = await advanceSubscriptions(context, { limit });
          return { subscriptions, periods };
        },
      },
    ],
  };
}
