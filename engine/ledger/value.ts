import { VALUE_DECIMALS, ZERO, round, split, type Decimal } from '../kernel';

/**
 * The money in units. A grant was bought for a value; what is left of it follows from what is left
 * of its units, and each debit carries the difference. So whatever the order of uses, they end at
 * exactly the value. The unit value is for showing and is never multiplied. Rule: billing-rules.md.
 */

/** Value of the units that are left, those on hold among them, at 8 decimals. */
export function valueLeft(value: Decimal, left: Decimal, initial: Decimal): Decimal {
  if (value.isZero()) return ZERO;
  return round(value.times(left).dividedBy(initial), VALUE_DECIMALS);
}

/**
 * What a change of the units left takes along, signed like the change. Units that are set aside or
 * given back by a hold are left before and after: they take nothing.
 */
export function valueMoved(
  grant: { value: Decimal; initial: Decimal },
  before: Decimal,
  after: Decimal,
): Decimal {
  return valueLeft(grant.value, after, grant.initial).minus(
    valueLeft(grant.value, before, grant.initial),
  );
}

/** For showing: what one unit was bought for, at 8 decimals. */
export function unitValue(value: Decimal, initial: Decimal): Decimal {
  return round(value.dividedBy(initial), VALUE_DECIMALS);
}

/**
 * Shares a bundle's price among its items: by each one's `share`; else by what each would cost alone,
 * if all have such a price; else equally. The parts add up to the value. Bonuses are no items: they
 * are worth nothing.
 *
 * @param items `share`: a weight, null when none was given (it counts as 0 beside others that have
 *   one); `price`: of all units of the item alone, null when there is none
 * @param decimals of each part: those of the currency for money, 8 for values
 */
export function shareValue(
  items: ReadonlyArray<{ share: Decimal | null; price: Decimal | null }>,
  value: Decimal,
  decimals: number,
): Decimal[] {
  if (items.length === 0) return [];
  if (items.some(({ share }) => share?.greaterThan(0))) {
    return split(
      value,
      items.map(({ share }) => share ?? ZERO),
      decimals,
    );
  }
  const prices = items.map(({ price }) => price ?? ZERO);
  const known = items.every(({ price }) => price !== null);
  return split(value, known ? prices : prices.map(() => ZERO), decimals);
}
