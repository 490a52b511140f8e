import { decimalsOfPrice } from '../catalog';
import type { Session } from '../database';
import { ZERO, type Decimal, type Instant } from '../kernel';
import { unitsAfter, type Segment, type Units } from './allowance';
import { cycleAtHand, endRefilled, segmentOf, type CycleAtHand } from './cycles';
import { giveBackRest, type PeriodPorts } from './giving-back';
import { endAccess, lapseUnits, prolongRest } from './left-over-units';
import { hastenItems } from './pending-items';
import { OfferVersions } from './offer-versions';
import {
  cutPeriods,
  hadOffer,
  openPeriods,
  replacedPeriods,
  writeCredited,
} from './period-records';
import { eventOf, outcomeOf, type Standing } from './planning';
import { creditedBy, leavesArrears, nextBy, type Next, type Target, type Terms } from './quoting';
import { narrowQueued, type Named } from './queued-changes';
import type { OpenPeriod } from './stored-period';
import { writeOutcomes } from './writing';

/** How a change takes force: what was in force ends, the new one begins, and units follow. */

/** A change that is reckoned, with what it works on. */
export interface ReckonedChange {
  /** Those it ends: the present one, and what was bought ahead. */
  periods: readonly OpenPeriod[];
  next: Next;
  /** The part of each that goes back, by its number. */
  credited: ReadonlyMap<number, Decimal>;
  hand: CycleAtHand;
  /** The new period in its cycle. */
  fresh: Segment;
}

/**
 * What a change works on, but for what goes back. The payer is locked.
 *
 * @param at from when on it counts
 */
export async function changeAtHand(
  session: Session,
  standing: Standing,
  target: Target,
  at: Instant,
  now: Instant,
): Promise<Omit<ReckonedChange, 'credited'> & { terms: Terms }> {
  const { subscription, receiver } = standing;
  const isNew = !(await hadOffer(session, subscription, target.fresh.sku));
  const terms = { isNew, zone: receiver.timeZone, at };
  const periods = await openPeriods(session, subscription, at);
  const next = nextBy(target, subscription, periods, terms);
  const offers = new OfferVersions();
  const hand = await cycleAtHand(session, standing, periods[0]!, offers, target.fresh, now);
  const fresh = segmentOf(target.fresh, next.opening.period, hand.counted);
  return { terms, periods, next, hand, fresh };
}

/** A change as it would take force now. The payer is locked. */
export async function reckonChange(
  session: Session,
  standing: Standing,
  target: Target,
  now: Instant,
): Promise<ReckonedChange> {
  const { terms, ...change } = await changeAtHand(session, standing, target, now, now);
  const { subscription } = standing;
  const { periods, hand, fresh } = change;
  return {
    ...change,
    credited: creditedBy(target, subscription, periods, hand.cycle, fresh, terms),
  };
}

/** A change takes force now: what it names of what waited is replaced. The payer is locked. */
export async function takeForceNow(
  session: Session,
  ports: PeriodPorts,
  standing: Standing,
  target: Target,
  change: ReckonedChange,
  named: Named,
  now: Instant,
): Promise<void> {
  const { subscription } = standing;
  const { credited, periods, next } = change;
  const of = { credited, decimals: decimalsOfPrice(target.old), dueAt: next.opening.dueAt };
  await giveBackRest(session, ports, subscription, periods, of, now);
  await applyChange(session, standing, target, change, now);
  await narrowQueued(session, subscription, named, now);
}

/** Writes a change that takes force, but for what goes back. The payer is locked. */
export async function applyChange(
  session: Session,
  standing: Standing,
  target: Target,
  change: ReckonedChange,
  now: Instant,
): Promise<void> {
  const { receiver } = standing;
  const { periods, credited } = change;
  const { subscription, opening } = change.next;
  if (leavesArrears(target, periods, change.next)) {
    await hastenItems(session, subscription, opening.period.startsAt);
  }
  // What is free goes on as it was until the new one is paid (cycles.ts), and no longer than it would have.
  const comes = subscription.firstUnpaid
    ? undefined
    : await moveUnits(session, standing, target, change, now);
  await writeCredited(session, periods, credited);
  await cutPeriods(session, subscription, periods, opening.period.startsAt);
  const outcome = outcomeOf(
    { receiver, subscription },
    {
      openings: [{ ...opening, comes }],
      events: [eventOf('subscription.changed', subscription, now, now)],
      changesAccess: true,
    },
  );
  await writeOutcomes(session, [outcome], now);
}

/** Of a period that ends and is not prorated the units go on beside the new ones, or end. */
async function moveWholePeriods(
  session: Session,
  standing: Standing,
  { mode }: Target,
  { periods, next }: ReckonedChange,
  now: Instant,
): Promise<void> {
  const { subscription, receiver } = standing;
  const all = [...(await replacedPeriods(session, periods[0]!)), ...periods];
  if (mode === 'add') {
    const until = next.subscription.periodEnd;
    await prolongRest(session, subscription, all, receiver, until, now);
  } else {
    await endRefilled(session, standing, all, now);
    await endAccess(session, subscription, periods, receiver, now);
  }
}

/**
 * What becomes of the units that are left; access by time ends, for the new period brings its own.
 *
 * @returns what the new period's refilled items bring; undefined: their share of it
 */
async function moveUnits(
  session: Session,
  standing: Standing,
  target: Target,
  change: ReckonedChange,
  now: Instant,
): Promise<Units | undefined> {
  const { subscription, receiver } = standing;
  const { old, fresh: offer, mode } = target;
  const { periods, credited, hand, fresh } = change;
  const segments = hand.cycle.segments.map((segment) => {
    return { ...segment, credited: credited.get(segment.number) ?? segment.credited };
  });
  const after = unitsAfter({ ...hand.cycle, segments }, fresh, hand.counted);
  // What ends when the offer is paid for again cannot stay: it comes anew.
  const moves = (product: string): boolean =>
    offer === old &&
    offer.items.some((item) => item.product === product && item.expiresAtNextPayment);
  const stays = (product: string): Decimal => (moves(product) ? ZERO : after.get(product)!.stay);
  // Without proration that is so of days in arrears alone, which nobody is asked for.
  if (mode === 'prorate' || [...credited.values()].some((part) => !part.isZero())) {
    await lapseUnits(session, subscription, hand.left, stays, receiver, now);
  }
  if (mode !== 'prorate') {
    await moveWholePeriods(session, standing, target, change, now);
    return undefined;
  }
  await endAccess(session, subscription, periods, receiver, now);
  return new Map(
    [...after].map(([product, { stay, come }]) => [
      product,
      moves(product) ? come.plus(stay) : come,
    ]),
  );
}
