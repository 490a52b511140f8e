import { Decimal, split } from '../kernel';

/**
 * Splits units by weights so that each part gets at least the smallest unit there is, since value
 * needs units to lie in. Pure.
 *
 * @returns null when there are more parts than smallest units
 */
export function splitAmong(
  total: Decimal,
  weights: readonly Decimal[],
  decimals: number,
): Decimal[] | null {
  const smallest = new Decimal(10).pow(-decimals);
  if (total.lessThan(smallest.times(weights.length))) return null;
  const parts = split(total, weights, decimals);
  for (let empty = indexOfZero(parts); empty >= 0; empty = indexOfZero(parts)) {
    const most = Decimal.max(...parts);
    const giver = parts.findIndex((part) => part.equals(most));
    parts[giver] = most.minus(smallest);
    parts[empty] = smallest;
  }
  return parts;
}

const indexOfZero = (parts: readonly Decimal[]): number => parts.findIndex((part) => part.isZero());
