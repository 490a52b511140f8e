import { ACCESS, PRORATIONS, decimalsOfPrice, findOffer, findOfferVersion } from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  changeFields,
  input,
  integer,
  invalidInput,
  key,
  newId,
  oneOf,
  parse,
  recordId,
  sumOf,
  type DenialReason,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { statusReason } from '../sales';
import {
  changedUnderLock,
  deniableChange,
  isBeingCharged,
  wrongState,
  type ChangedAnswer,
} from './change-of-subscription';
import { reckonChange, takeForceNow, type ReckonedChange } from './applying-changes';
import { awaitingChanges, lapseChanges, letChangeWait } from './awaiting-records';
import { soldCredits, waitingFees, type SubscriptionPorts } from './giving-back';
import { addCredits, addPendingItems } from './pending-items';
import type { Standing } from './planning';
import { CHANGE_CREDITS, CHANGE_MODES, becomesDearer, type Target } from './quoting';
import { joined, queueChange, queuedChanges } from './queued-changes';
import { subscriberOf } from './records';
import { daysOf } from './stored-period';
import { isInForce, type StoredSubscription } from './stored-subscription';
import { MAX_QUANTITY, refusalToSubscribe, requireRecurring, takePlaceOf } from './starting';
import { feeItem } from './writing';

export const CHANGE_TIMES = ['now', 'period_end'] as const;

const changeInput = input({
  subscriptionId: recordId(),
  /** The offer to go on with, in its present version. Left out: the same, as it was bought. */
  sku: key().optional(),
  /** How many of it. Left out: as many as before. */
  quantity: integer(1, MAX_QUANTITY).optional(),
  /** Default: now, if it becomes dearer by the price of a day; else when the period ends. */
  when: oneOf(CHANGE_TIMES).optional(),
  /**
   * Of a change now. `prorate` (default): the days left of the old are given back, those of the new
   * are charged, and what can be used is what these shares of both allow, less what was used. `add`:
   * the new offer at its full price from now on, and the units that are left stay beside its own.
   * `full`: the same, and the units that are left end.
   */
  mode: oneOf(CHANGE_MODES).default('prorate'),
  /**
   * Of a change now, prorated: what goes back. `left` (default): the days left; where it becomes no
   * dearer, no more than the share of units left. `time`: the days left, whatever was used.
   */
  credit: oneOf(CHANGE_CREDITS).default('left'),
  /** `at_once`: what is to be paid first comes before that. Default: as the new offer says. */
  access: oneOf(ACCESS).optional(),
  /** When what a change now credits and charges is invoiced. Default: as the new offer says. */
  prorations: oneOf(PRORATIONS).optional(),
  ...changeFields,
});
export type ChangeSubscriptionRequest = RequestOf<typeof changeInput>;

type Wanted = z.output<typeof changeInput>;

/** Changes of what is subscribed to: the offer, or how many of it. */
export class Changes {
  constructor(
    private readonly context: Context,
    private readonly ports: SubscriptionPorts,
  ) {}

  /**
   * Goes on with another offer, or another quantity. A dearer one takes force now, a cheaper one when
   * the period ends, unless `when` says otherwise. Of a change that waited what this one names is
   * replaced: a change of quantity keeps a change of the offer, and the other way round.
   *
   * Now, with `prorate`: the days that are left of what was paid go back on the next invoice, those of
   * the new offer are charged there, and the allowance follows: of each the share of days that is kept,
   * less what was used. What costs more than it gives back waits for its payment where it is charged:
   * until then nothing changes (`awaitingChange`); `access: 'at_once'` trusts the customer. Where the old
   * one was free, is a trial phase, or has another interval, a whole period begins instead.
   *
   * @returns the subscription; or `allowed: false` with `offer_unavailable`, `already_purchased`,
   *   `account_suspended`, `account_closed`
   * @throws invalid_input (nothing would change, the offer does not recur), unknown_subscription,
   *   unknown_offer, currency_mismatch, subscription_state (not in force, its first payment is awaited,
   *   it is past due, or about to end), idempotency_conflict
   */
  async change(request: ChangeSubscriptionRequest): Promise<ChangedAnswer> {
    const wanted = parse(changeInput, request);
    if (wanted.sku === undefined && wanted.quantity === undefined) {
      throw new BillingError('invalid_input', '"sku" is missing.', {
        parameter: 'sku',
        advice: 'Name the offer to go on with, or a quantity.',
      });
    }
    return deniableChange(
      this.context,
      this.ports,
      'changeSubscription',
      wanted,
      (session, standing, now) => this.decide(session, standing, wanted, now),
    );
  }

  /**
   * The same within another call, which has locked the payer.
   *
   * @throws as `change` does
   */
  async changeWithin(
    session: Session,
    { subscription, receiver }: Standing,
    { sku, quantity, access }: Pick<ChangeSubscriptionRequest, 'sku' | 'quantity' | 'access'>,
    clock: Instant,
  ): Promise<Pick<ChangedAnswer, 'reason' | 'replaced'>> {
    const { subscriptionId } = subscription;
    const wanted = parse(changeInput, { subscriptionId, sku, quantity, access });
    const { done: reason, replaced } = await changedUnderLock(
      session,
      this.ports,
      subscription,
      receiver.payerId,
      clock,
      (_session, standing, now) => this.decide(session, standing, wanted, now),
    );
    return { reason, replaced };
  }

  private async decide(
    session: Session,
    standing: Standing,
    wanted: Wanted,
    now: Instant,
  ): Promise<DenialReason | null> {
    const { subscription, receiver } = standing;
    requireChangeable(subscription);
    const target = await targetOf(session, subscription, wanted);
    const waiting = (await queuedChanges(session, [subscription])).get(subscription.subscriptionId);
    const later = joined(waiting, wanted, target);
    await requireSingle(session, later);
    const awaiting = (await awaitingChanges(session, [subscription])).get(
      subscription.subscriptionId,
    );
    const reason = await takeOffer(session, subscription, target, awaiting?.sku ?? null, now);
    if (reason !== null) return reason;
    if (awaiting !== undefined) await this.giveWay(session, subscription, target.fresh.sku, now);
    const when =
      wanted.when ??
      (becomesDearer(target, subscription, { zone: receiver.timeZone, at: now })
        ? 'now'
        : 'period_end');
    if (when === 'period_end') {
      if (!subscription.renews) {
        throw wrongState(
          subscription,
          'nothing follows its period',
          'Change it now, with when: "now".',
        );
      }
      await queueChange(session, subscription, later, now);
    } else {
      await this.changeNow(session, standing, target, wanted, now);
    }
    return null;
  }

  private async changeNow(
    session: Session,
    standing: Standing,
    target: Target,
    named: Pick<Wanted, 'sku' | 'quantity'>,
    now: Instant,
  ): Promise<void> {
    const { subscription } = standing;
    if (subscription.status === 'past_due') {
      throw wrongState(
        subscription,
        'it is changed when it is paid',
        'Let the open invoice be paid first, or change it with when: "period_end".',
      );
    }
    const change = await reckonChange(session, standing, target, now);
    if (await this.waits(session, subscription, target, named, change, now)) return;
    await takeForceNow(session, this.ports, standing, target, change, named, now);
  }

  /** Lets a change wait for its payment, if it costs more than it gives back and is to be charged. */
  private async waits(
    session: Session,
    subscription: StoredSubscription,
    target: Target,
    named: Pick<Wanted, 'sku' | 'quantity'>,
    { periods, next, credited }: ReckonedChange,
    now: Instant,
  ): Promise<boolean> {
    const charge = feeItem(next.opening, now);
    const isCharged =
      subscription.collection === 'charge' && target.fresh.collect?.bill !== 'arrears';
    // What is invoiced with the next period costs nothing now.
    const isLater = next.opening.dueAt !== undefined;
    if (target.atOnce || !isCharged || isLater || charge === null) return false;
    const decimals = decimalsOfPrice(target.old);
    const of = { credited, decimals };
    const credits = await soldCredits(session, this.ports, subscription, periods, of, now);
    const amount = charge.amount.minus(sumOf(credits.map((one) => one.amount)));
    // What it takes off fees that still wait is no credit, but it costs so much less.
    const { lowered } = await waitingFees(session, this.ports, subscription, periods, of, now);
    const saved = sumOf(lowered.map(({ fee, amount: left }) => fee.amount.minus(left)));
    if (!amount.greaterThan(saved)) return false;
    const { payerId, subscriptionId } = subscription;
    const { period } = next.opening;
    const changeId = newId();
    await letChangeWait(session, {
      payerId,
      subscriptionId,
      changeId,
      sku: target.fresh.sku,
      version: target.fresh.version,
      quantity: target.quantity,
      mode: target.mode,
      namesOffer: named.sku !== undefined,
      namesQuantity: named.quantity !== undefined,
      opens: period.number,
      cycle: period.cycle ?? period.number,
      fee: period.fee,
      ...daysOf(period.share),
      amount,
      credited: Object.fromEntries([...credited].map(([number, part]) => [number, part.toFixed()])),
      byTime: target.byTime,
      effectiveAt: now,
      lapsesAt: Math.min(periods[0]!.endsAt, period.endsAt),
    });
    const own = credits.map((one) => ({ ...one, item: { ...one.item, changeId } }));
    await addCredits(session, own, decimals, now);
    await addPendingItems(session, [{ ...charge, changeId }], now);
    return true;
  }

  /**
   * A change that waits for its payment gives way to another.
   *
   * @param keep the offer whose place is kept
   * @throws subscription_state
   */
  private async giveWay(
    session: Session,
    subscription: StoredSubscription,
    keep: string,
    now: Instant,
  ): Promise<void> {
    await lapseChanges(session, [subscription], now, keep);
    if (await this.ports.withdrawLapsed(session, [subscription.payerId], now)) {
      throw isBeingCharged(subscription);
    }
  }
}

/** @throws subscription_state */
function requireChangeable(one: StoredSubscription): void {
  const refuse = (because: string, advice?: string): never => {
    throw wrongState(one, because, advice);
  };
  if (one.endedAt !== null) {
    refuse('it is over', 'Start another one, or begin it anew with subscriptions.reactivate.');
  }
  if (!isInForce(one)) {
    const isPaused = one.status === 'paused';
    refuse(
      isPaused ? 'it is not in force' : 'it has not begun yet',
      isPaused ? 'Resume it first.' : 'Cancel it, and start another one.',
    );
  }
  if (one.awaitingPayment) {
    refuse(
      'it waits for a payment',
      'Let it be paid first; or cancel it now, and start another one.',
    );
  }
  if (one.cancelAt !== null || one.pauseAt !== null) {
    const what = one.cancelAt === null ? 'paused' : 'cancelled';
    refuse(`it is ${what} when its period ends`, 'Take that back with subscriptions.undo first.');
  }
}

/** @throws invalid_input, unknown_offer, currency_mismatch */
async function targetOf(
  session: Session,
  { sku, version, quantity: before, currency }: StoredSubscription,
  wanted: Wanted,
): Promise<Target> {
  const old = await findOfferVersion(session, sku, version);
  const fresh = wanted.sku === undefined ? old : await findOffer(session, wanted.sku);
  const quantity = wanted.quantity ?? before;
  requireRecurring(fresh);
  if (fresh.currency !== currency) {
    throw new BillingError(
      'currency_mismatch',
      `Offer ${fresh.sku} costs ${fresh.currency}, but the subscription is in ${currency}.`,
      { parameter: 'sku', advice: 'Cancel the subscription, and start another one.' },
    );
  }
  if (fresh.oncePerAccount && quantity > 1) throw soldOnce(fresh.sku);
  if (fresh.sku === sku && fresh.version === version && quantity === before) {
    throw new BillingError('invalid_input', 'Nothing would change: it is like that already.', {
      parameter: wanted.sku === undefined ? 'quantity' : 'sku',
      advice: 'A change that waits for the end of the period is taken back by subscriptions.undo.',
    });
  }
  const { mode, credit, access = fresh.collect?.access } = wanted;
  const later = (wanted.prorations ?? fresh.collect?.prorations) === 'period_end';
  const atOnce = access === 'at_once';
  return { old, fresh, quantity, mode, byTime: credit === 'time', atOnce, later };
}

const soldOnce = (sku: string): BillingError =>
  invalidInput('quantity', `Offer ${sku} is sold once per account: "quantity" asks for more.`);

/** What waits for the end of the period has to fit together, too. @throws invalid_input */
async function requireSingle(
  session: Session,
  { sku, version, quantity }: { sku: string; version: number; quantity: number },
): Promise<void> {
  if (quantity === 1) return;
  if ((await findOfferVersion(session, sku, version)).oncePerAccount) throw soldOnce(sku);
}

/**
 * Why the offer cannot be had; null: it can, and its place is taken where it is sold once.
 *
 * @param taken the offer whose place a change that waits has taken
 */
async function takeOffer(
  session: Session,
  subscription: StoredSubscription,
  { old, fresh, quantity }: Target,
  taken: string | null,
  now: Instant,
): Promise<DenialReason | null> {
  const account = await subscriberOf(session, subscription);
  const refused =
    statusReason(account) ??
    // What somebody has goes on, also when it is off sale.
    (fresh === old ? null : await refusalToSubscribe(session, account, fresh, quantity));
  if (refused !== null || fresh.sku === old.sku || fresh.sku === taken) return refused;
  return (await takePlaceOf(session, account, fresh, now)) ? null : 'already_purchased';
}
