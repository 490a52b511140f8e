import { decimalsOfPrice, offerPrice, type Offer } from '../catalog';
import { Decimal, ZERO, type Instant } from '../kernel';
import { creditedShares, type PresentCycle, type Segment } from './allowance';
import { boundary, feeOf, nextPeriod } from './periods';
import { openNext, type Opening } from './planning';
import { daysLeft, isDearer, isSameInterval, partLeft, shareOf } from './proration';
import { changedTo } from './queued-changes';
import type { OpenPeriod } from './stored-period';
import type { StoredSubscription } from './stored-subscription';

/** What a change comes to: the period that it opens, and what goes back of those it ends. Pure. */

export const CHANGE_MODES = ['prorate', 'add', 'full'] as const;
export const CHANGE_CREDITS = ['left', 'time'] as const;
export type ChangeMode = (typeof CHANGE_MODES)[number];

/** What a subscription is to become, and how. */
export interface Target {
  old: Offer;
  fresh: Offer;
  quantity: number;
  mode: ChangeMode;
  /** Whether time alone says what goes back, whatever was used. */
  byTime: boolean;
  /** The customer is trusted: what is to be paid first comes at once. */
  atOnce: boolean;
  /** What is prorated is invoiced with the next period. */
  later: boolean;
  /** The order that has paid the whole period which begins. */
  orderId?: string;
}

/** A subscription as a change leaves it, with the period that begins by that. */
export interface Next {
  subscription: StoredSubscription;
  opening: Opening;
}

/** How a change is reckoned. */
export interface Terms {
  /** The subscription never had the offer: what comes only once comes. */
  isNew: boolean;
  zone: string;
  /** From when on it counts. */
  at: Instant;
}

const priceOf = (offer: Offer, quantity: number): Decimal =>
  offerPrice(offer, new Decimal(quantity));

/** Whether a change makes it dearer by the price of a day. */
export const becomesDearer = (
  { old, fresh, quantity }: Pick<Target, 'old' | 'fresh' | 'quantity'>,
  subscription: StoredSubscription,
  { zone, at }: Pick<Terms, 'zone' | 'at'>,
): boolean =>
  isDearer(
    { price: priceOf(fresh, quantity), interval: fresh.interval! },
    { price: priceOf(old, subscription.quantity), interval: old.interval! },
    at,
    zone,
  );

/** Whether the new offer can take over what is left of the present interval, for what was paid. */
const isPartOfCycle = (present: OpenPeriod, { old, fresh, mode }: Target): boolean =>
  mode === 'prorate' &&
  present.phase === null &&
  !present.fee.isZero() &&
  isSameInterval(old.interval!, fresh.interval!);

/**
 * The period that a change opens: the rest of the interval, or a whole one where the old was free, is a
 * trial phase, has another interval, or is not prorated.
 *
 * @param periods those it ends: the present one, and what was bought ahead
 */
export const nextBy = (
  target: Target,
  one: StoredSubscription,
  periods: readonly OpenPeriod[],
  terms: Terms,
): Next =>
  isPartOfCycle(periods[0]!, target)
    ? withinCycle(one, target, periods, terms)
    : fromNowOn(one, target, periods, terms);

/** The rest of the interval is the new offer's; boundaries stay as they are. */
function withinCycle(
  one: StoredSubscription,
  { old, fresh, quantity, later }: Target,
  periods: readonly OpenPeriod[],
  { isNew, zone, at }: Terms,
): Next {
  const present = periods[0]!;
  const { endsAt } = present;
  const cycle = { startsAt: boundary(one, fresh.interval!, present.number, zone), endsAt };
  const days = daysLeft(cycle, at, zone);
  const fee = shareOf(feeOf(fresh, null, quantity), days, decimalsOfPrice(fresh));
  const changed = changedTo(one, fresh, quantity, old).subscription;
  const next = nextPeriod({ ...changed, periodEnd: at }, fresh, zone, { isFirstOwn: isNew });
  return {
    subscription: {
      ...next.subscription,
      status: one.status === 'past_due' ? 'past_due' : 'active',
      anchorNumber: one.anchorNumber + next.period.number - present.number,
      periodEnd: endsAt,
      awaitingPayment: false,
    },
    opening: {
      offer: fresh,
      gives: true,
      isRest: true,
      ...(later ? { dueAt: endsAt } : {}),
      period: {
        ...next.period,
        fee,
        endsAt,
        // Those bought ahead lie between on record, though they last no time.
        resumed: periods.length > 1,
        share: days.left === days.of ? null : days,
        cycle: present.cycle ?? present.number,
      },
    },
  };
}

/** A whole period of the new offer begins now; one that follows what was free waits for its payment. */
function fromNowOn(
  one: StoredSubscription,
  { old, fresh, quantity, mode, atOnce, orderId }: Target,
  periods: readonly OpenPeriod[],
  { isNew, zone, at }: Terms,
): Next {
  const { subscription } = changedTo(one, fresh, quantity, old);
  const present = periods[0]!;
  const isFirst = present.fee.isZero() && !atOnce;
  const isTrusted = atOnce || one.access === 'at_once';
  const terms = { at, isFirstOwn: isNew, isFirst, isTrusted, orderId };
  const { subscription: after, opening } = openNext(
    { ...subscription, periodEnd: at },
    fresh,
    zone,
    terms,
    at,
  );
  const period = {
    ...opening.period,
    resumed: periods.length > 1,
    carriedFrom: mode === 'prorate' ? present.number : null,
  };
  if (isFirst) return { subscription: after, opening: { ...opening, period } };
  return {
    subscription: { ...after, awaitingPayment: false },
    opening: { ...opening, period, gives: orderId === undefined && period.endsAt > at },
  };
}

/**
 * The part of each open period that goes back. Dearer: the time left, as far as that leaves room for
 * what was used. Else no more than the units left.
 *
 * @param fresh the new period in its cycle; null: the subscription ends
 */
export function creditedOf(
  periods: readonly OpenPeriod[],
  cycle: PresentCycle,
  { fresh, rule }: { fresh: Segment | null; rule: Parameters<typeof creditedShares>[0] },
  { zone, at }: Pick<Terms, 'zone' | 'at'>,
): Map<number, Decimal> {
  const segments = new Map(cycle.segments.map((segment) => [segment.number, segment]));
  const open = periods.map((period) => ({
    segment: segments.get(period.number)!,
    time: partLeft(daysLeft(period, Math.max(at, period.startsAt), zone)),
  }));
  const shares = creditedShares(rule, open, cycle, fresh);
  return new Map(periods.map(({ number }, place) => [number, shares[place]!]));
}

/**
 * What goes back when a change takes force that waited: what was asked for, as far as that and the new
 * offer leave room for what was used since.
 */
export function creditedStill(
  asked: ReadonlyMap<number, Decimal>,
  periods: readonly OpenPeriod[],
  cycle: PresentCycle,
  fresh: Segment,
  terms: Pick<Terms, 'zone' | 'at'>,
): Map<number, Decimal> {
  const covered = creditedOf(periods, cycle, { fresh, rule: 'covered' }, terms);
  return new Map(
    [...asked].map(([number, part]) => [number, Decimal.min(part, covered.get(number)!)]),
  );
}

/** Whether a period is not paid before it is over. */
const isInArrears = ({ old }: Target, { orderId }: OpenPeriod): boolean =>
  old.collect?.bill === 'arrears' && orderId === null;

/** Whether a change ends a period that is billed in arrears: what it cost until then is asked for. */
export const leavesArrears = (target: Target, [present]: readonly OpenPeriod[], next: Next) =>
  isInArrears(target, present!) && next.opening.isRest !== true;

/**
 * The same of a change. One that is not prorated gives nothing back, but of a period in arrears only the
 * days had are owed. What comes in arrears is not paid for yet: it covers nothing that was.
 */
export function creditedBy(
  target: Target,
  one: StoredSubscription,
  periods: readonly OpenPeriod[],
  cycle: PresentCycle,
  fresh: Segment,
  terms: Terms,
): Map<number, Decimal> {
  if (target.mode !== 'prorate') {
    const days = creditedOf(periods, cycle, { fresh, rule: 'time' }, terms);
    return new Map(
      periods.map((period) => {
        const { number } = period;
        return [number, isInArrears(target, period) ? days.get(number)! : ZERO];
      }),
    );
  }
  const rule = becomesDearer(target, one, terms) ? 'covered' : 'units';
  const covers = target.fresh.collect?.bill !== 'arrears' || isInArrears(target, periods[0]!);
  const after = { fresh: covers ? fresh : null, rule: target.byTime ? 'time' : rule } as const;
  return creditedOf(periods, cycle, after, terms);
}
