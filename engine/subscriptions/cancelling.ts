import { decimalsOfPrice, findOffer, findOfferVersion } from '../catalog';
import type { Context, Session } from '../database';
import { recordEvents } from '../events';
import {
  changeFields,
  flag,
  input,
  oneOf,
  parse,
  recordId,
  text,
  z,
  BillingError,
  type Instant,
  type RequestOf,
} from '../kernel';
import { statusReason, type Trying } from '../sales';
import { awaitingChanges, lapseChanges } from './awaiting-records';
import { openingOf } from './beginning';
import {
  changeOfSubscription,
  deniableChange,
  isBeingCharged,
  wrongState,
  type ChangedAnswer,
  type ChangedSubscription,
} from './change-of-subscription';
import { CHANGE_TIMES } from './changing';
import { cycleAtHand, lapseGivenBack } from './cycles';
import { endEarly } from './ending';
import { giveBackRest, type PeriodPorts, type SubscriptionPorts } from './giving-back';
import { paymentMissing } from './payment-effects';
import { hadOffer, writeCredited } from './period-records';
import { eventOf, type Standing } from './planning';
import { planInForce } from './plans-in-force';
import { creditedOf } from './quoting';
import { dropQueuedChanges, queuedChanges } from './queued-changes';
import { forgetCancelReason, saveDetails, saveSubscriptions, subscriberOf } from './records';
import type { EndReason, StoredSubscription } from './stored-subscription';
import { ownSubscriptionTo, requireLast, takePlaceOf } from './starting';
import { OfferVersions } from './offer-versions';
import { endUnpaidUnits, isGraceOver } from './unpaid-units';
import { writeOutcomes } from './writing';

const cancelInput = input({
  subscriptionId: recordId(),
  /** Default `period_end`. */
  when: oneOf(CHANGE_TIMES).default('period_end'),
  /** Why, in the words of people. */
  reason: text(1_000).optional(),
  /**
   * Of a cancellation now: whether what was paid for goes back, as a credit on the next invoice: the
   * share of days that is left, and no more than the share of units left. `time`: the days alone.
   * Default false.
   */
  credit: z.union([flag(), oneOf(['time'])]).default(false),
  ...changeFields,
});
export type CancelRequest = RequestOf<typeof cancelInput>;

const subscriptionInput = input({ subscriptionId: recordId(), ...changeFields });
export type SubscriptionRequest = RequestOf<typeof subscriptionInput>;

/**
 * Ends a subscription before its period does.
 *
 * @param credit whether what was paid for and is left goes back; `time`: the days left, whatever was used
 */
export async function endNow(
  session: Session,
  ports: PeriodPorts,
  standing: Standing,
  reason: EndReason,
  { credit }: { credit: boolean | 'time' },
  now: Instant,
): Promise<void> {
  const { subscription, receiver } = standing;
  const offers = new OfferVersions();
  await offers.load(session, [subscription]);
  const decimals = decimalsOfPrice(offers.of(subscription.sku, subscription.version));
  const outcome = await endEarly(session, standing, reason, offers, now, async (periods, at) => {
    if (credit === false || periods.length === 0) return undefined;
    const hand = await cycleAtHand(session, standing, periods[0]!, offers, null, at);
    const rule = credit === 'time' ? 'time' : 'units';
    const terms = { zone: receiver.timeZone, at };
    const credited = creditedOf(periods, hand.cycle, { fresh: null, rule }, terms);
    const of = { credited, decimals, onlyPaid: true };
    const given = await giveBackRest(session, ports, subscription, periods, of, at);
    await writeCredited(session, periods, credited);
    const parts = new Map([...credited].filter(([number]) => given.has(number)));
    return () => lapseGivenBack(session, standing, hand, parts, at);
  });
  await writeOutcomes(session, [outcome], now);
  if (isGraceOver(subscription, now)) await endUnpaidUnits(session, ports, standing, now);
}

/** How subscriptions end by the customer's will, and begin anew. */
export class Cancellations {
  constructor(
    private readonly context: Context,
    private readonly ports: SubscriptionPorts,
    private readonly trials: Trying,
  ) {}

  /**
   * Ends a subscription: when its period ends, so that what was paid for can be used until then; or
   * now. One that is paused, or has not begun, is over at once; a trial that has not begun was none.
   * Invoices that were issued stay as they are, and are not charged by themselves any more once it is
   * over.
   *
   * @throws invalid_input (a credit without `when: "now"`), unknown_subscription, subscription_state (it
   *   is over, or cancelled for the end of its period already), idempotency_conflict
   */
  async cancel(request: CancelRequest): Promise<ChangedSubscription> {
    const wanted = parse(cancelInput, request);
    const { when, credit, reason } = wanted;
    if (credit && when !== 'now') {
      throw new BillingError(
        'invalid_input',
        '"credit" is only for a cancellation now: until its period ends it can be used.',
        { parameter: 'credit', advice: 'Say when: "now", or leave the credit out.' },
      );
    }
    return changeOfSubscription(
      this.context,
      this.ports,
      'cancelSubscription',
      wanted,
      async (session, standing, now) => {
        const { subscription: one } = standing;
        requireLive(one);
        if (when === 'now' || one.status === 'paused' || one.periodNumber === 0) {
          await lapseChanges(session, [one], now);
          await this.ports.withdrawLapsed(session, [one.payerId], now);
          await endNow(session, this.ports, standing, 'cancelled', { credit }, now);
          if (one.periodNumber === 0 && one.trialPhases > 0) {
            const { sku, createdAt: at, payerId } = one;
            await this.trials.forgetTrial(
              session,
              await subscriberOf(session, one),
              { sku, at, payerId },
              now,
            );
          }
        } else {
          if (one.cancelAt !== null) {
            throw wrongState(
              one,
              'it is cancelled for the end of its period already',
              'Cancel it with when: "now", or take that back with subscriptions.undo.',
            );
          }
          // A pause and a change that wait are there again when it is taken back.
          const cancelled = { ...one, cancelAt: one.periodEnd };
          await saveSubscriptions(session, [cancelled]);
          await recordEvents(session, [
            eventOf('subscription.cancel_scheduled', cancelled, now, now),
          ]);
        }
        await saveDetails(session, one, { cancelReason: reason });
      },
    );
  }

  /**
   * Takes back what waits: a cancellation, else a pause, else a change that waits for its payment, else
   * one that waits for the end of the period. What waited before it waits again.
   *
   * @throws unknown_subscription, subscription_state (nothing waits, the change is being charged, or another
   *   plan is bought to follow it), idempotency_conflict
   */
  async undo(request: SubscriptionRequest): Promise<ChangedSubscription> {
    return changeOfSubscription(
      this.context,
      this.ports,
      'undoSubscription',
      parse(subscriptionInput, request),
      async (session, { subscription: one }, now) => {
        requireLive(one);
        if (one.cancelAt !== null) {
          await requireLast(session, await subscriberOf(session, one), one, now);
          await saveSubscriptions(session, [{ ...one, cancelAt: null, followedBy: null }]);
          await forgetCancelReason(session, one);
        } else if (one.pauseAt !== null) {
          await saveSubscriptions(session, [{ ...one, pauseAt: null, resumeAt: null }]);
        } else if ((await awaitingChanges(session, [one])).size > 0) {
          await lapseChanges(session, [one], now);
          if (await this.ports.withdrawLapsed(session, [one.payerId], now)) {
            throw isBeingCharged(one);
          }
        } else if ((await queuedChanges(session, [one])).size > 0) {
          await dropQueuedChanges(session, [one], now);
        } else {
          throw wrongState(one, 'nothing waits');
        }
        await recordEvents(session, [eventOf('subscription.changed', one, now, now)]);
      },
    );
  }

  /**
   * Begins one that is over anew: the offer as it was subscribed to, at that price and in that
   * quantity, with a period from now on and without trial phases. What is paid in advance brings its
   * units with the payment, and with the first one that ever comes what the offer brings only once. What
   * was not paid in time before it was over still puts it past due.
   *
   * @returns the subscription; or `allowed: false` with `offer_unavailable` (off sale by now),
   *   `account_suspended`, `account_closed`
   * @throws unknown_subscription, subscription_state (it is not over, or another one of the same offer or
   *   product is in its place), idempotency_conflict
   */
  async reactivate(request: SubscriptionRequest): Promise<ChangedAnswer> {
    return deniableChange(
      this.context,
      this.ports,
      'reactivateSubscription',
      parse(subscriptionInput, request),
      async (session, standing, now) => {
        const { subscription: one } = standing;
        if (one.endedAt === null) {
          throw wrongState(one, 'it is not over', 'Nothing is to be done.');
        }
        const account = await subscriberOf(session, one);
        if ((await ownSubscriptionTo(session, account, one.sku)) !== null) {
          throw wrongState(one, 'another one of the same offer goes on');
        }
        const offer = await findOfferVersion(session, one.sku, one.version);
        const other = await planInForce(session, account, offer, now);
        if (other !== null) {
          const { sku } = other.subscription;
          throw wrongState(one, `${sku} is in its place`, 'Change that one to this offer.');
        }
        const isOnSale = (await findOffer(session, one.sku)).active;
        const reason = statusReason(account) ?? (isOnSale ? null : 'offer_unavailable');
        if (reason !== null) return reason;
        const anew: StoredSubscription = {
          ...one,
          status: 'active',
          endedAt: null,
          endReason: null,
          pauseAt: null,
          resumeAt: null,
          renews: true,
          trialPhases: Math.min(one.trialPhases, one.periodNumber),
        };
        const isFirstOwn = !(await hadOffer(session, one, one.sku));
        const outcome = openingOf(
          { ...standing, subscription: anew },
          offer,
          // Not before it ended, should the clock have gone back since.
          { at: Math.max(now, one.endedAt), begunAnew: true, isFirst: true, isFirstOwn },
          'subscription.started',
          now,
        );
        await writeOutcomes(session, [outcome], now);
        await forgetCancelReason(session, one);
        // One that ended before it brought anything had given its place free.
        await takePlaceOf(session, account, offer, now);
        await this.owesStill(session, standing, now);
        return null;
      },
    );
  }

  /** What is owed of before counts, whether or not anybody looked at it before it was begun anew. */
  private async owesStill(
    session: Session,
    { subscription: { subscriptionId }, receiver: { payerId } }: Standing,
    now: Instant,
  ): Promise<void> {
    const failing = await this.ports.stillFailing(session, payerId, [subscriptionId]);
    const graceUntil = failing.get(subscriptionId);
    if (graceUntil === undefined) return;
    await paymentMissing(session, this.ports, payerId, subscriptionId, graceUntil, now);
  }
}

/** @throws subscription_state */
function requireLive(one: StoredSubscription): void {
  if (one.endedAt === null) return;
  throw wrongState(one, 'it is over', 'Begin it anew with subscriptions.reactivate.');
}
