import { findOffer, findOfferVersion, offerPrice, type Offer } from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  changeFields,
  input,
  integer,
  invalidInput,
  key,
  oneOf,
  parse,
  recordId,
  type DenialReason,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { statusReason } from '../sales';
import { deniableChange, wrongState, type ChangedAnswer } from './change-of-subscription';
import { giveBackRest, type SubscriptionPorts } from './giving-back';
import { lapseRest, prolongRest } from './left-over-units';
import { cutPeriods, openPeriods } from './period-records';
import { boundary, decimalsOfPrice, feeOf, nextPeriod } from './periods';
import { eventOf, openNext, outcomeOf, type Opening, type Standing } from './planning';
import { daysLeft, isDearer, isSameInterval, shareOf } from './proration';
import { changedTo, joined, narrowQueued, queueChange, queuedChanges } from './queued-changes';
import { subscriberOf } from './records';
import type { OpenPeriod } from './stored-period';
import { isInForce, type StoredSubscription } from './stored-subscription';
import { MAX_QUANTITY, refusalToSubscribe, requireRecurring, takePlaceOf } from './starting';
import { writeOutcomes } from './writing';

export const CHANGE_TIMES = ['now', 'period_end'] as const;
export const CHANGE_MODES = ['prorate', 'add'] as const;

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
   * are charged, and units change in proportion. `add`: the new offer at its full price from now on,
   * and the units that are left stay beside its own.
   */
  mode: oneOf(CHANGE_MODES).default('prorate'),
  ...changeFields,
});
export type ChangeSubscriptionRequest = RequestOf<typeof changeInput>;

type Wanted = z.output<typeof changeInput>;

/** What a subscription is to become. */
interface Target {
  old: Offer;
  fresh: Offer;
  quantity: number;
}

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
   * the new offer are charged there, and units that are left over lapse in the same proportion as the
   * new ones come. Where the old one was free, is a trial phase, or has another interval, a whole
   * period begins instead.
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
    return deniableChange(this.context, 'changeSubscription', wanted, (session, standing, now) =>
      this.decide(session, standing, wanted, now),
    );
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
    const reason = await takeOffer(session, subscription, target, now);
    if (reason !== null) return reason;
    const when =
      wanted.when ??
      (becomesDearer(target, subscription, now, receiver.timeZone) ? 'now' : 'period_end');
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
      await this.changeNow(session, standing, target, wanted.mode, now);
      await narrowQueued(session, subscription, wanted, now);
    }
    return null;
  }

  private async changeNow(
    session: Session,
    { subscription, receiver }: Standing,
    target: Target,
    mode: (typeof CHANGE_MODES)[number],
    now: Instant,
  ): Promise<void> {
    if (subscription.status === 'past_due') {
      throw wrongState(
        subscription,
        'it is changed when it is paid',
        'Let the open invoice be paid first, or change it with when: "period_end".',
      );
    }
    const periods = await openPeriods(session, subscription, now);
    const zone = receiver.timeZone;
    const decimals = decimalsOfPrice(target.old);
    const keepsCycle = mode === 'prorate' && isPartOfCycle(periods[0]!, target);
    const isNew = !(await hadOffer(session, subscription, target.fresh.sku));
    const next = keepsCycle
      ? withinCycle(subscription, target, periods, isNew, zone, now)
      : fromNowOn(subscription, target, periods, isNew, zone, now);
    if (mode === 'add') {
      const until = next.subscription.periodEnd;
      await prolongRest(session, subscription, periods, receiver, until, now);
    } else {
      await giveBackRest(session, this.ports, subscription, periods, { zone, decimals }, now);
      await lapseRest(session, subscription, periods, receiver, now);
    }
    await cutPeriods(session, subscription, periods, now);
    const outcome = outcomeOf(
      { receiver, subscription: next.subscription },
      {
        openings: [next.opening],
        events: [eventOf('subscription.changed', next.subscription, now, now)],
        changesAccess: true,
      },
    );
    await writeOutcomes(session, [outcome], now);
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
  return { old, fresh, quantity };
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

/** Why the offer cannot be had; null: it can, and its place is taken where it is sold once. */
async function takeOffer(
  session: Session,
  subscription: StoredSubscription,
  { old, fresh, quantity }: Target,
  now: Instant,
): Promise<DenialReason | null> {
  const account = await subscriberOf(session, subscription);
  const refused =
    statusReason(account) ??
    // What somebody has goes on, also when it is off sale.
    (fresh === old ? null : await refusalToSubscribe(session, account, fresh, quantity));
  if (refused !== null || fresh.sku === old.sku) return refused;
  return (await takePlaceOf(session, account, fresh, now)) ? null : 'already_purchased';
}

const priceOf = (offer: Offer, quantity: number): Decimal =>
  offerPrice(offer, new Decimal(quantity));

const becomesDearer = (
  { old, fresh, quantity }: Target,
  subscription: StoredSubscription,
  now: Instant,
  zone: string,
): boolean =>
  isDearer(
    { price: priceOf(fresh, quantity), interval: fresh.interval! },
    { price: priceOf(old, subscription.quantity), interval: old.interval! },
    now,
    zone,
  );

/** Whether the new offer can take over what is left of the present interval, for what was paid. */
const isPartOfCycle = (present: OpenPeriod, { old, fresh }: Target): boolean =>
  present.phase === null && !present.fee.isZero() && isSameInterval(old.interval!, fresh.interval!);

const HAD_OFFER = `
select 1 as found from {schema}.subscription_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and sku = $3 and phase is null limit 1`;

/** Whether a subscription was in force with an offer before: what comes only once is not given again. */
async function hadOffer(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  sku: string,
): Promise<boolean> {
  return (await session.query(HAD_OFFER, [payerId, subscriptionId, sku])).length > 0;
}

interface Next {
  subscription: StoredSubscription;
  opening: Opening;
}

/** The rest of the interval is the new offer's; boundaries stay as they are. */
function withinCycle(
  one: StoredSubscription,
  { old, fresh, quantity }: Target,
  periods: readonly OpenPeriod[],
  isNew: boolean,
  zone: string,
  now: Instant,
): Next {
  const present = periods[0]!;
  const cycle = {
    startsAt: boundary(one, fresh.interval!, present.number, zone),
    endsAt: present.endsAt,
  };
  const days = daysLeft(cycle, now, zone);
  const fee = shareOf(feeOf(fresh, null, quantity), days, decimalsOfPrice(fresh));
  const { endsAt } = present;
  const changed = changedTo(one, fresh, quantity, old).subscription;
  const terms = { isFirstOwn: isNew };
  const next = nextPeriod({ ...changed, periodEnd: now }, fresh, zone, terms);
  const { bill, renewalGrants } = fresh.collect!;
  const waits = bill === 'advance' && renewalGrants === 'payment' && fee.greaterThan(0);
  return {
    subscription: {
      ...next.subscription,
      status: 'active',
      anchorNumber: one.anchorNumber + next.period.number - present.number,
      periodEnd: endsAt,
      awaitingPayment: waits,
    },
    opening: {
      offer: fresh,
      gives: !waits,
      isRest: true,
      period: {
        ...next.period,
        fee,
        endsAt,
        // Those bought ahead lie between on record, though they last no time.
        resumed: periods.length > 1,
        share: days.left === days.of ? null : days,
      },
    },
  };
}

/** A whole period of the new offer begins now; one that follows what was free waits for its payment. */
function fromNowOn(
  one: StoredSubscription,
  { old, fresh, quantity }: Target,
  periods: readonly OpenPeriod[],
  isNew: boolean,
  zone: string,
  now: Instant,
): Next {
  const { subscription } = changedTo(one, fresh, quantity, old);
  const next = openNext(
    { ...subscription, periodEnd: now },
    fresh,
    zone,
    { at: now, isFirstOwn: isNew, isFirst: periods[0]!.fee.isZero() },
    now,
  );
  const period = { ...next.opening.period, resumed: periods.length > 1 };
  return { ...next, opening: { ...next.opening, period } };
}
