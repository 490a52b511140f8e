import currencyCodes from 'currency-codes';
import DecimalJs from 'decimal.js';

import { BillingError } from './errors';

/**
 * All arithmetic on units and money. 80 digits hold twice the widest stored number (15 digits before
 * the point and 12 after) with room to spare, so that nothing is rounded before the one rounding at
 * the end. A clone, so that no other user of decimal.js in the process can change our settings.
 */
export const Decimal = DecimalJs.clone({
  precision: 80,
  rounding: DecimalJs.ROUND_HALF_UP,
  toExpNeg: -1000,
  toExpPos: 1000,
});
export type Decimal = DecimalJs;

export const ZERO: Decimal = new Decimal(0);
export const ONE: Decimal = new Decimal(1);

/** Decimals of a stored value (what a batch of units was bought for, what is left of it). */
export const VALUE_DECIMALS = 8;
/** The most decimals that a product's units may have. */
export const MAX_UNIT_DECIMALS = 12;
/** The most digits before the point of any amount. */
export const MAX_INTEGER_DIGITS = 15;

export type RoundingMode = 'half-up' | 'down';

/**
 * The one rounding function: every amount that is stored or shown was rounded here, once.
 * `half-up` takes the half away from zero; `down` cuts towards zero.
 */
export function round(amount: Decimal, decimals: number, mode: RoundingMode = 'half-up'): Decimal {
  return amount.toDecimalPlaces(
    decimals,
    mode === 'down' ? DecimalJs.ROUND_DOWN : DecimalJs.ROUND_HALF_UP,
  );
}

/** How many decimals an amount really has: `1.50` has one. */
export function decimalsOf(amount: Decimal): number {
  return amount.decimalPlaces();
}

/** Units as they go out: plain digits, no trailing zeros. '70', '0.5'. */
export function formatUnits(amount: Decimal): string {
  return amount.isZero() ? '0' : amount.toFixed();
}

/** A value as it goes out: always 8 decimals. '14.96815287'. */
export function formatValue(amount: Decimal): string {
  return round(amount, VALUE_DECIMALS).toFixed(VALUE_DECIMALS);
}

/** Money as it goes out: always its currency's decimals. '40.00', '500' (JPY), '1.250' (KWD). */
export function formatMoney(amount: Decimal, decimals: number): string {
  return round(amount, decimals).toFixed(decimals);
}

/** Currencies of ISO 4217 amendments that are younger than the library's list. */
const ADDED_CURRENCIES: Readonly<Record<string, number>> = { XCG: 2, ZWG: 2 };

/** Looked up once: the library reads its whole list. */
const KNOWN_DECIMALS = new Map<string, number>();

/**
 * Decimals of an ISO 4217 currency: 0 for JPY, 2 for USD, 3 for KWD.
 * `null` when there is no such currency (it may then be the key of a currency product).
 */
export function currencyDecimals(currency: string): number | null {
  const known = KNOWN_DECIMALS.get(currency);
  if (known !== undefined) return known;
  if (!/^[A-Z]{3}$/.test(currency)) return null;
  const decimals = ADDED_CURRENCIES[currency] ?? currencyCodes.code(currency)?.digits ?? null;
  if (decimals !== null) KNOWN_DECIMALS.set(currency, decimals);
  return decimals;
}

export const sumOf = (amounts: readonly Decimal[]): Decimal =>
  amounts.reduce((sum, amount) => sum.plus(amount), ZERO);

/**
 * Splits an amount by weights so that the parts add up to it exactly: each part is cut to the
 * decimals, and the smallest units left over go to the largest remainders, earlier parts first.
 *
 * @param total the amount to split, of at most `decimals` decimals; may be negative
 * @param weights one non-negative weight a part; all zero means equal parts
 * @param decimals decimals of each part
 */
export function split(total: Decimal, weights: readonly Decimal[], decimals: number): Decimal[] {
  if (weights.length === 0) {
    throw new BillingError('invalid_input', 'A split needs at least one part.');
  }
  if (weights.some((weight) => weight.isNegative() && !weight.isZero())) {
    throw new BillingError('invalid_input', 'A weight of a split must not be negative.');
  }
  if (weights.length === 1) return [total];
  const sum = sumOf(weights);
  const shares = sum.isZero() ? weights.map(() => ONE) : weights;
  const whole = sum.isZero() ? new Decimal(weights.length) : sum;

  const exact = shares.map((share) => total.times(share).dividedBy(whole));
  const parts = exact.map((part) => round(part, decimals, 'down'));
  const unit = new Decimal(10).pow(-decimals).times(total.isNegative() ? -1 : 1);
  let left = total.minus(sumOf(parts));
  const byRemainder = exact
    .map((part, index) => ({ index, remainder: part.minus(parts[index] ?? ZERO).abs() }))
    .sort((a, b) => b.remainder.comparedTo(a.remainder) || a.index - b.index);

  for (let turn = 0; !left.isZero(); turn = (turn + 1) % parts.length) {
    const index = byRemainder[turn]?.index ?? 0;
    const step = left.abs().lessThan(unit.abs()) ? left : unit;
    parts[index] = (parts[index] ?? ZERO).plus(step);
    left = left.minus(step);
  }
  return parts;
}
