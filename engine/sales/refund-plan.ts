import type { LinePart } from '../books';
import {
  BillingError,
  Decimal,
  VALUE_DECIMALS,
  ZERO,
  formatMoney,
  round,
  split,
  sumOf,
} from '../kernel';

/**
 * How much of which line a refund is for, and how many units of which grant. Pure. Rule:
 * billing-rules.md, Collecting.
 */

export const USED_RULES = ['forgive', 'charge', 'negative'] as const;
/** What becomes of units that were used: forgiven, kept and charged, or owed. */
export type UsedRule = (typeof USED_RULES)[number];

/** A grant that a line made, with what earlier refunds gave up of it. */
export interface LineGrant {
  ledgerId: string;
  sequence: bigint;
  product: string;
  /** Decimals of its units; null for access by time and unlimited use, which no amount divides. */
  decimals: number | null;
  bonus: boolean;
  initial: Decimal;
  value: Decimal;
  /** Net money that came back for it. */
  refundedNet: Decimal;
  /** Units given up for that, used ones among them, and what they had been bought for. */
  givenUp: Decimal;
  givenUpValue: Decimal;
  /** Units given up that were not there any more, so that they were not taken. */
  unmet: Decimal;
}

export interface RefundLine {
  position: number;
  sku: string;
  net: Decimal;
  tax: Decimal;
  total: Decimal;
  /** What has not come back, by refunds or by credits for a period that ended early. */
  left: LinePart;
  /** Net money that came back by such credits. */
  credited: Decimal;
  grants: LineGrant[];
}

/** What a refund wants of a grant. */
export interface WantedUnits {
  grant: LineGrant;
  /** Its share of the refund's net amount. */
  net: Decimal;
  /** Units to give up, those that are left first. */
  units: Decimal;
  /** Whether nothing of it is left then: it is over, whatever comes back to it. */
  ends: boolean;
}

/** What a refund is to take of a line. */
export interface PlannedLine {
  line: RefundLine;
  net: Decimal;
  tax: Decimal;
  amount: Decimal;
  /** Of a line whose units are all given up: for some of them credits gave the money back. */
  credited: Decimal;
  wanted: WantedUnits[];
}

export const grantKey = (grant: { ledgerId: string; sequence: bigint }): string =>
  `${grant.ledgerId}.${grant.sequence}`;

/** What has not come back yet of a line's money. */
export const leftOf = (line: RefundLine): { net: Decimal; tax: Decimal; amount: Decimal } => {
  const { net, tax } = line.left;
  return { net, tax, amount: net.plus(tax) };
};

/** Whether neither money nor units of a line are left to give back. */
export const isDone = (line: RefundLine): boolean =>
  leftOf(line).amount.isZero() && line.grants.every((grant) => grant.givenUp.equals(grant.initial));

/** What units given up had been bought for, so that all of them come to exactly the value. */
export function valueOfUnits({ value, initial, givenUp }: LineGrant, units: Decimal): Decimal {
  const at = (gone: Decimal): Decimal =>
    round(value.times(initial.minus(gone)).dividedBy(initial), VALUE_DECIMALS);
  return at(givenUp).minus(at(givenUp.plus(units)));
}

/**
 * Splits an amount into net and tax by what is left of them, so that neither ever comes back more
 * often than it was paid.
 */
export function netAndTax(
  amount: Decimal,
  left: { net: Decimal; tax: Decimal },
  decimals: number,
): { net: Decimal; tax: Decimal; amount: Decimal } {
  if (amount.isZero()) return { net: ZERO, tax: ZERO, amount };
  const [net, tax] = split(amount, [left.net, left.tax], decimals);
  return { net: net!, tax: tax!, amount };
}

/** Everything that is left of a line: all its money, all its units. */
export function restOf(line: RefundLine, decimals: number): PlannedLine {
  const left = leftOf(line);
  const nets = shareOfGrants(left.net, line.grants, decimals);
  const wanted = line.grants.map((grant, index) => ({
    grant,
    net: nets[index]!,
    units: grant.initial.minus(grant.givenUp),
    ends: true,
  }));
  return { line, ...left, credited: line.credited, wanted };
}

/**
 * An amount of a line: of each grant the units nearest to its share, half up, at most what was not
 * given up yet; of bonuses the part that has been refunded by then, rounded down.
 */
export function partOf(line: RefundLine, amount: Decimal, decimals: number): PlannedLine {
  const money = netAndTax(amount, leftOf(line), decimals);
  const nets = shareOfGrants(money.net, line.grants, decimals);
  const back = line.total.minus(leftOf(line).amount).plus(amount);
  const wanted = line.grants.map((grant, index): WantedUnits => {
    const net = nets[index]!;
    const part = grant.bonus ? bonusUnits(grant, back, line.total) : nearestUnits(grant, net);
    return { grant, net, units: part, ends: part.equals(grant.initial.minus(grant.givenUp)) };
  });
  return { line, ...money, credited: ZERO, wanted };
}

/** Net money by what each grant's units that are not given up were bought for; bonuses bear none. */
function shareOfGrants(
  net: Decimal,
  grants: readonly LineGrant[],
  decimals: number,
): readonly Decimal[] {
  const weights = grants.map((grant) => Decimal.max(ZERO, grant.value.minus(grant.refundedNet)));
  const isWorth = weights.some((weight) => !weight.isZero());
  return isWorth ? split(net, weights, decimals) : grants.map(() => ZERO);
}

function nearestUnits(grant: LineGrant, net: Decimal): Decimal {
  // No part of access by time, or of unlimited use, can be taken back.
  if (grant.decimals === null || grant.value.isZero()) return ZERO;
  const units = round(net.times(grant.initial).dividedBy(grant.value), grant.decimals);
  return Decimal.min(units, grant.initial.minus(grant.givenUp));
}

function bonusUnits(grant: LineGrant, back: Decimal, total: Decimal): Decimal {
  if (grant.decimals === null || total.isZero()) return ZERO;
  const gone = round(grant.initial.times(back).dividedBy(total), grant.decimals, 'down');
  return Decimal.max(ZERO, gone.minus(grant.givenUp));
}

/**
 * An amount over all lines, by what is left of each: money that a gateway took back without saying what
 * for.
 *
 * @param amount less than is left of all of them
 */
function spreadOver(
  lines: readonly RefundLine[],
  amount: Decimal,
  decimals: number,
): PlannedLine[] {
  const left = lines.map((line) => leftOf(line).amount);
  const shares = split(amount, left, decimals);
  return lines.flatMap((line, place) => {
    const share = shares[place]!;
    if (share.isZero()) return [];
    return share.equals(left[place]!) ? restOf(line, decimals) : partOf(line, share, decimals);
  });
}

/** What a caller asked for. */
export interface RefundWish {
  amount: Decimal | null;
  /** A line's position, or its sku; as a text, the sku comes first. */
  item: string | number | null;
  /** An amount that does not say what it is for is for all lines. */
  isSpread?: boolean;
}

/** The lines that a refund is for: some of them whole, or a part of one, or of all. */
export type RefundScope = { whole: RefundLine[] } | { parts: RefundLine[]; amount: Decimal };

/** What a refund is to take of the lines that it is for. */
export function planOf(scope: RefundScope, decimals: number): PlannedLine[] {
  if ('whole' in scope) return scope.whole.map((line) => restOf(line, decimals));
  const { parts, amount } = scope;
  const [only] = parts;
  return parts.length === 1
    ? [partOf(only!, amount, decimals)]
    : spreadOver(parts, amount, decimals);
}

/**
 * Finds what a refund is for.
 *
 * @throws refund_ambiguous, refund_exceeds_paid, invalid_input (an item that the order has not)
 */
export function scopeOf(
  lines: readonly RefundLine[],
  wish: RefundWish,
  decimals: number,
): RefundScope {
  const open = lines.filter((line) => !isDone(line));
  const candidates = wish.item === null ? open : [namedLine(lines, wish.item)];
  const left = sumOf(candidates.map((line) => leftOf(line).amount));
  const { amount } = wish;
  if (amount === null || amount.equals(left)) {
    if (candidates.every(isDone)) throw exceeds(ZERO, decimals, wish.item === null);
    return { whole: candidates };
  }
  if (amount.greaterThan(left)) throw exceeds(left, decimals, wish.item === null);
  const withMoney = candidates.filter((line) => !leftOf(line).amount.isZero());
  if (withMoney.length === 1) return { parts: withMoney, amount };
  const exact = withMoney.filter((line) => line.total.equals(amount) && isUntouched(line));
  if (exact.length === 1) return { whole: exact };
  if (wish.isSpread === true) return { parts: withMoney, amount };
  throw new BillingError(
    'refund_ambiguous',
    exact.length > 1
      ? `Each of the items ${exact.map(describe).join(', ')} comes to ${formatMoney(amount, decimals)}.`
      : `${formatMoney(amount, decimals)} is not the amount of one of the items ${withMoney.map(describe).join(', ')}.`,
    { parameter: 'item', advice: 'Name the item: its position, or its sku.' },
  );
}

/**
 * The lines of which the whole is wished for, whatever is on its way back by now: also what looks done
 * since a credit took the rest of it, and an amount that is left only without that.
 *
 * @throws refund_ambiguous, invalid_input (an item that the order has not)
 */
export function wishedWhole(
  lines: readonly RefundLine[],
  { amount, item }: RefundWish,
): RefundLine[] {
  const open = lines.filter((line) => !isDone(line) || !line.credited.isZero());
  const candidates = item === null ? open : [namedLine(lines, item)];
  const left = sumOf(candidates.map((line) => leftOf(line).amount));
  const all = sumOf(candidates.map(({ total }) => total));
  if (amount === null || amount.greaterThan(left) || amount.equals(all)) return candidates;
  return candidates.filter(({ total }) => total.equals(amount));
}

const isUntouched = (line: RefundLine): boolean => leftOf(line).amount.equals(line.total);

const describe = ({ position, sku }: RefundLine): string => `${position} (${sku})`;

function namedLine(lines: readonly RefundLine[], item: string | number): RefundLine {
  const bySku = lines.filter((line) => line.sku === item);
  if (bySku.length > 1) {
    throw new BillingError(
      'refund_ambiguous',
      `The order has ${item} on the items ${bySku.map(describe).join(', ')}.`,
      { parameter: 'item', advice: 'Name its position.' },
    );
  }
  const found = bySku[0] ?? lines.find((line) => String(line.position) === String(item));
  if (found !== undefined) return found;
  throw new BillingError('invalid_input', `The order has no item "${item}".`, {
    parameter: 'item',
    advice: `It has ${lines.map(describe).join(', ')}.`,
  });
}

function exceeds(left: Decimal, decimals: number, isWhole: boolean): BillingError {
  const of = isWhole ? 'the order' : 'this item';
  return new BillingError(
    'refund_exceeds_paid',
    left.isZero()
      ? `Nothing is left to refund of ${of}.`
      : `Only ${formatMoney(left, decimals)} is left to refund of ${of}.`,
    { parameter: 'amount' },
  );
}
