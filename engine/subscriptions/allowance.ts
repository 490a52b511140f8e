import { Decimal, ONE, ZERO, round } from '../kernel';
import { asPart, exactly, type Days } from './proration';

/**
 * Allowance follows use. Pure. In a cycle, from one boundary to the next, each offer that was in force
 * counts for the share of its days that was kept: its own, less what was given back of it. What its
 * refilled items bring by these shares, less what was used of them, is what can be used after a change;
 * and no more is given back than leaves room for what was used. Rule: billing-rules.md, Changes.
 */

/** Units by product. */
export type Units = ReadonlyMap<string, Decimal>;

/** What was in force for a part of a cycle. */
export interface Segment {
  number: number;
  /** The part of the cycle's days that it was sold for; null: all of them. */
  share: Days | null;
  /** The part of it that was given back, from 0 to 1. */
  credited: Decimal;
  /** What its refilled items bring in a whole cycle. */
  brings: Units;
}

/** A cycle, with what was used of what its segments brought; units on hold are used. */
export interface Cycle {
  segments: readonly Segment[];
  used: Units;
}

/** The present cycle. */
export interface PresentCycle extends Cycle {
  /** What of its units can be used still. */
  left: Units;
  /** What was used beyond earlier cycles that changes ended, and counts here. */
  carried: Units;
}

/**
 * How much of a segment is given back. `time`: the share of time left. `covered`: of that as much as
 * leaves room, with the new offer, for what was used. `units`: no more than the share of units left.
 */
export type CreditRule = 'time' | 'covered' | 'units';

const of = (units: Units, product: string): Decimal => units.get(product) ?? ZERO;

const productsOf = (segments: readonly Segment[]): string[] => [
  ...new Set(segments.flatMap(({ brings }) => [...brings.keys()])),
];

/** What a segment brings of a product by its own share of the cycle. */
function soldUnits({ share, brings }: Segment, product: string): Decimal {
  const whole = of(brings, product);
  return share === null ? whole : whole.times(share.left).dividedBy(share.of);
}

/** What segments allow of a product: not rounded yet, dust neither. */
export const allowanceOf = (segments: readonly Segment[], product: string): Decimal =>
  segments.reduce(
    (sum, one) => sum.plus(soldUnits(one, product).times(ONE.minus(one.credited))),
    ZERO,
  );

/**
 * What was used beyond the allowance of cycles that changes ended one after the other, the oldest first:
 * it is carried over, what was left is not.
 */
export function carriedFrom(cycles: readonly Cycle[]): Map<string, Decimal> {
  const carried = new Map<string, Decimal>();
  for (const { segments, used } of cycles) {
    for (const product of new Set([...productsOf(segments), ...carried.keys()])) {
      const beyond = of(carried, product)
        .plus(of(used, product))
        .minus(allowanceOf(segments, product));
      carried.set(product, Decimal.max(beyond, ZERO));
    }
  }
  return carried;
}

/** A segment that is in force, or bought ahead, with the share of its time that is left. */
export interface OpenSegment {
  segment: Segment;
  time: Decimal;
}

/**
 * The part of each open segment that is given back.
 *
 * @param open the present one first
 * @param fresh what takes over; null: nothing does
 */
export function creditedShares(
  rule: CreditRule,
  open: readonly OpenSegment[],
  cycle: PresentCycle,
  fresh: Segment | null,
): Decimal[] {
  const shares = open.map(({ time }) => time);
  if (rule === 'time') return shares;
  const limits = rule === 'units' ? byUnitsLeft : byUse;
  for (const product of productsOf(open.map(({ segment }) => segment))) {
    const limited = limits(product, open, cycle, fresh);
    limited.forEach((share, place) => (shares[place] = Decimal.min(shares[place]!, share)));
  }
  // Dust may be below 0.
  return shares.map((share) => asPart(Decimal.max(share, ZERO)));
}

/** Each at most the share of its units that is left; units left are those of what was bought last. */
function byUnitsLeft(
  product: string,
  open: readonly OpenSegment[],
  { left }: PresentCycle,
): Decimal[] {
  let rest = of(left, product);
  return open
    .toReversed()
    .map(({ segment, time }) => {
      const units = soldUnits(segment, product);
      if (units.isZero()) return time;
      const share = Decimal.min(time, rest.dividedBy(units));
      rest = rest.minus(share.times(units));
      return share;
    })
    .reverse();
}

/** What was used beyond all that would be allowed is kept: of the present one first. */
function byUse(
  product: string,
  open: readonly OpenSegment[],
  { segments, used, carried }: PresentCycle,
  fresh: Segment | null,
): Decimal[] {
  const given = new Map(open.map(({ segment, time }) => [segment.number, time]));
  const after = segments.map((one) => ({
    ...one,
    credited: given.get(one.number) ?? one.credited,
  }));
  const allowed = allowanceOf(fresh === null ? after : [...after, fresh], product);
  let beyond = exactly(of(used, product).plus(of(carried, product)).minus(allowed));
  return open.map(({ segment, time }) => {
    const units = soldUnits(segment, product);
    if (units.isZero() || !beyond.greaterThan(0)) return time;
    const kept = Decimal.min(time.times(units), beyond);
    beyond = beyond.minus(kept);
    return time.minus(kept.dividedBy(units));
  });
}

/** What becomes of the units of a product: so many of those left stay, and so many come. */
export interface UnitsAfter {
  stay: Decimal;
  come: Decimal;
}

/** What segments allow of a product, less what was used: rounded down once, never below 0. */
function usableOf(
  segments: readonly Segment[],
  { used, carried }: PresentCycle,
  product: string,
  decimals: ReadonlyMap<string, number>,
): Decimal {
  const spent = of(used, product).plus(of(carried, product));
  const units = exactly(allowanceOf(segments, product).minus(spent));
  return Decimal.max(round(units, decimals.get(product) ?? 0, 'down'), ZERO);
}

/** The same of each product of a cycle. */
export const unitsKept = (cycle: PresentCycle, decimals: ReadonlyMap<string, number>): Units =>
  new Map(
    productsOf(cycle.segments).map((product) => [
      product,
      usableOf(cycle.segments, cycle, product, decimals),
    ]),
  );

/**
 * Units after a change, rounded down once: what is allowed less what was used, never below 0. What was
 * lost by other ways than use (deducted, over before its time) does not come back.
 *
 * @param cycle its segments with what was given back of them by the change
 * @param decimals of each product's units
 */
export function unitsAfter(
  cycle: PresentCycle,
  fresh: Segment,
  decimals: ReadonlyMap<string, number>,
): Map<string, UnitsAfter> {
  const after = new Map<string, UnitsAfter>();
  for (const product of productsOf([...cycle.segments, fresh])) {
    const kept = usableOf(cycle.segments, cycle, product, decimals);
    const all = usableOf([...cycle.segments, fresh], cycle, product, decimals);
    after.set(product, {
      stay: Decimal.min(kept, of(cycle.left, product)),
      come: all.minus(kept),
    });
  }
  return after;
}
