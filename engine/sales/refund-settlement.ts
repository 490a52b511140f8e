import { BillingError, Decimal, ZERO, round, split, sumOf } from '../kernel';
import type { WithdrawnUnits } from '../ledger';
import {
  grantKey,
  netAndTax,
  valueOfUnits,
  type PlannedLine,
  type RefundLine,
  type UsedRule,
  type WantedUnits,
} from './refund-plan';

/** What a refund comes to, once it is known which units were there. Pure. */

/** What a refund took of a grant. */
export interface TakenUnits extends WantedUnits {
  position: number;
  /** What the units given up had been bought for. */
  value: Decimal;
  taken: Decimal;
  takenValue: Decimal;
}

export interface TakenLine {
  line: RefundLine;
  net: Decimal;
  tax: Decimal;
  amount: Decimal;
  credited: Decimal;
  units: TakenUnits[];
}

/** Money went back for units that no part can be taken of: nobody can say that they were not used. */
const isTooCoarse = ({ units, net, grant }: WantedUnits): boolean =>
  units.isZero() && !net.isZero() && !grant.bonus;

/** A line with what was taken of it. */
export function takenLine(
  { wanted, ...planned }: PlannedLine,
  withdrawn: ReadonlyMap<string, Pick<WithdrawnUnits, 'taken' | 'value'>>,
): TakenLine {
  const units = wanted.map((one): TakenUnits => {
    const { grant } = one;
    const { taken, value: takenValue } = withdrawn.get(grantKey(grant)) ?? {
      taken: ZERO,
      value: ZERO,
    };
    // All that was wanted was there: it is worth what the ledger says that it took along. There may be
    // more when used units came back for which money had been given back before.
    const value = taken.equals(one.units) ? takenValue : valueOfUnits(grant, one.units);
    return { ...one, position: planned.line.position, value, taken, takenValue };
  });
  return { ...planned, units };
}

/**
 * What goes back when used units are charged: what was paid and not earned, rounded down to the
 * currency. Only units that were still there are given up.
 *
 * @throws refund_exceeds_paid when an amount was asked for that is not there unused
 */
export function charged(taken: TakenLine, asked: Decimal | null, decimals: number): TakenLine {
  const isThere = taken.units.every((one) => one.taken.equals(one.units));
  if (isThere && asked === null) return taken;
  if (asked !== null) {
    // Bonuses cost nothing: that they were used is not charged.
    const paidFor = taken.units.filter(({ grant }) => !grant.bonus);
    if (paidFor.every((one) => one.taken.equals(one.units) && !isTooCoarse(one))) return taken;
    throw new BillingError(
      'refund_exceeds_paid',
      'Part of what this amount paid for has been used, or cannot be taken back in part.',
      {
        parameter: 'amount',
        advice: 'Leave "amount" out to give back all that was not used.',
      },
    );
  }
  const left = sumOf(taken.units.map((one) => one.takenValue));
  const all = sumOf(taken.units.map((one) => one.value));
  const unearned = Decimal.max(ZERO, taken.net.plus(taken.credited).minus(all).plus(left));
  const most = taken.net.isZero()
    ? ZERO
    : round(taken.amount.times(unearned).dividedBy(taken.net), decimals, 'down');
  const money = netAndTax(most, taken, decimals);
  // The money follows the units that went back.
  const values = taken.units.map((one) => one.takenValue);
  const nets = left.isZero() ? values : split(money.net, values, decimals);
  const units = taken.units.map((one, index) => ({
    ...one,
    net: nets[index]!,
    units: one.taken,
    value: one.takenValue,
  }));
  return { line: taken.line, ...money, credited: ZERO, units };
}

/** What a refund is in the money book. */
export interface RefundMoney {
  amount: Decimal;
  net: Decimal;
  tax: Decimal;
  /** What the units given up were worth beyond the net amount. */
  rounding: Decimal;
}

/** @throws refund_exceeds_paid when used units are charged, and nothing is left */
export function moneyOf(lines: readonly TakenLine[], used: UsedRule, total: Decimal): RefundMoney {
  const sum = (pick: (line: TakenLine) => Decimal): Decimal => sumOf(lines.map(pick));
  const money = {
    amount: sum((line) => line.amount),
    net: sum((line) => line.net),
    tax: sum((line) => line.tax),
  };
  if (used === 'charge' && money.amount.isZero() && !total.isZero()) {
    throw new BillingError(
      'refund_exceeds_paid',
      'All that was paid for has been used: with used "charge" nothing goes back.',
      { parameter: 'used', advice: 'Use "forgive", or "negative".' },
    );
  }
  const counted = lines
    .flatMap(({ units }) => units)
    .filter(({ grant }) => grant.decimals !== null);
  const worth = sumOf(counted.map((one) => one.value.minus(one.net)));
  const rounding = counted.length === 0 ? worth : worth.minus(sum((line) => line.credited));
  return { ...money, rounding };
}
