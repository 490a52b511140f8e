import { Decimal, ZERO, formatUnits, type Instant } from '../kernel';
import { isInForce, type UsableGrant } from './order-of-use';

/**
 * At which balances of a product something is told: `quota.low` and `usage.threshold`. Nothing is kept
 * of what was told: a change tells of what it crosses, and what it crosses follows from what was there
 * before it, under the payer's lock. So each crossing is told once, whoever writes at the same time.
 */

export interface Thresholds {
  /** Units; told of when there are fewer. Null: never. */
  low: Decimal | null;
  /** Of what was granted and is in force; told of when so much of it is used. Ascending. */
  percents: Decimal[];
  /** Of grants that are used up: what was granted, by the end of their time. Read with `percents` only. */
  spent: Array<{ endsAt: Instant | null; units: Decimal }>;
}

type CountedGrant = UsableGrant & { initial: Decimal; held: Decimal };

/** How full a pocket is. */
export interface Level {
  /** Units there; until an expiry is written its units are. */
  there: Decimal;
  /** Units granted that are in force, and what of them is used or gone in another way. */
  granted: Decimal;
  used: Decimal;
}

export function levelOf(
  grants: readonly CountedGrant[],
  { spent }: Thresholds,
  at: Instant,
): Level {
  let there = ZERO;
  let granted = ZERO;
  let used = ZERO;
  for (const grant of grants) {
    const { initial, remaining, held } = grant;
    there = there.plus(remaining);
    if (!isInForce(grant, at)) continue;
    granted = granted.plus(initial);
    used = used.plus(initial).minus(remaining).minus(held);
  }
  for (const { endsAt, units } of spent) {
    if (endsAt !== null && endsAt <= at) continue;
    granted = granted.plus(units);
    used = used.plus(units);
  }
  return { there, granted, used };
}

/** The units of which a percentage is reached. */
const reachedAt = (percent: Decimal, { granted }: Level): Decimal =>
  percent.times(granted).div(100);

const isReached = (percent: Decimal, level: Level): boolean =>
  level.granted.greaterThan(0) && level.used.greaterThanOrEqualTo(reachedAt(percent, level));

/** What is to be told of a change. */
export type Crossing =
  | { type: 'quota.low'; data: { product: string; remaining: string; threshold: string } }
  | {
      type: 'usage.threshold';
      data: { product: string; percent: string; used: string; granted: string };
    };

export function crossings(
  product: string,
  { low, percents }: Thresholds,
  before: Level,
  after: Level,
): Crossing[] {
  const told: Crossing[] = [];
  for (const percent of percents) {
    if (isReached(percent, before) || !isReached(percent, after)) continue;
    const [used, granted] = [formatUnits(after.used), formatUnits(after.granted)];
    const data = { product, percent: formatUnits(percent), used, granted };
    told.push({ type: 'usage.threshold', data });
  }
  if (low !== null && before.there.greaterThanOrEqualTo(low) && after.there.lessThan(low)) {
    const data = { product, remaining: formatUnits(after.there), threshold: formatUnits(low) };
    told.push({ type: 'quota.low', data });
  }
  return told;
}

/** How far uses may go without crossing anything; null: to the end. */
export interface Floor {
  /** Leaving less than this crosses. */
  least: Decimal;
  /** Leaving just this crosses, too. */
  isCrossed: boolean;
}

/**
 * What uses may leave of the units that can be used without anything to be told.
 *
 * @param available units that can be used
 */
export function floorOf(
  { low, percents }: Thresholds,
  level: Level,
  available: Decimal,
): Floor | null {
  const floors: Floor[] = [];
  if (low !== null && available.greaterThanOrEqualTo(low)) {
    floors.push({ least: low, isCrossed: false });
  }
  const next = percents.find((percent) => !isReached(percent, level));
  if (next !== undefined) {
    const least = available.plus(level.used).minus(reachedAt(next, level));
    floors.push({ least, isCrossed: true });
  }
  const [highest = null] = floors.sort(
    (a, b) => b.least.comparedTo(a.least) || Number(b.isCrossed) - Number(a.isCrossed),
  );
  return highest;
}

/** Whether uses that leave so much cross something. */
export const isCrossed = (floor: Floor, left: Decimal): boolean =>
  floor.isCrossed ? left.lessThanOrEqualTo(floor.least) : left.lessThan(floor.least);
