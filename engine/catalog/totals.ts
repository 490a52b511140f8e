import { Decimal, ZERO, round, split, sumOf } from '../kernel';

/**
 * What an order or an invoice comes to. Discount first, then tax on the sum of what is left; each is
 * rounded once, on the sum, and spread back over the lines, so that lines always add up to sums.
 */

export interface TotalsLine {
  /** What the line costs before discount and tax, with the currency's decimals; 0 or more. */
  amount: Decimal;
  /** Default true. */
  taxable?: boolean;
  /** Whether the discount is for this line, too. Default true. */
  discountable?: boolean;
}

export interface TotalsRequest {
  lines: readonly TotalsLine[];
  /** `percent` of 0 to 100, or an amount, of which never more is taken than there is. */
  discount: { percent: Decimal } | { amount: Decimal } | null;
  /** `inclusive`: the amounts of the lines hold the tax already. */
  rate: { percent: Decimal; inclusive: boolean } | null;
  /** Decimals of the currency. */
  decimals: number;
}

export interface TotalsOfLine {
  subtotal: Decimal;
  discount: Decimal;
  /** After discount, without tax. */
  net: Decimal;
  tax: Decimal;
  /** What is to be paid: net and tax. */
  total: Decimal;
}

export interface Totals extends TotalsOfLine {
  /** In the order of the lines given; each column adds up to the sum of the same name. */
  lines: TotalsOfLine[];
}

const HUNDRED = new Decimal(100);

/** Spreads an amount over lines in proportion, never more over a line than the line has. */
function spread(amount: Decimal, over: readonly Decimal[], decimals: number): readonly Decimal[] {
  return amount.isZero() ? over.map(() => ZERO) : split(amount, over, decimals);
}

function discounts({ lines, discount, decimals }: TotalsRequest): readonly Decimal[] {
  const over = lines.map((line) => (line.discountable === false ? ZERO : line.amount));
  if (discount === null) return over.map(() => ZERO);
  const whole = sumOf(over);
  const wanted =
    'percent' in discount
      ? round(whole.times(discount.percent).dividedBy(HUNDRED), decimals)
      : discount.amount;
  return spread(Decimal.min(wanted, whole), over, decimals);
}

/**
 * Subtotal, discount, net, tax and total of lines and of their sum, all with the currency's decimals.
 *
 * An exclusive rate comes on top: total = net + tax. An inclusive one is within: net = total - tax.
 */
export function totals(request: TotalsRequest): Totals {
  const { lines, rate, decimals } = request;
  const discount = discounts(request);
  const left = lines.map((line, index) => line.amount.minus(discount[index]!));
  const taxed = left.map((amount, index) => (lines[index]!.taxable === false ? ZERO : amount));
  const tax = rate === null ? left.map(() => ZERO) : taxes(taxed, rate, decimals);
  const ofLines = lines.map((line, index): TotalsOfLine => {
    const [paid, due] = [left[index]!, tax[index]!];
    const inclusive = rate?.inclusive === true;
    return {
      subtotal: line.amount,
      discount: discount[index]!,
      net: inclusive ? paid.minus(due) : paid,
      tax: due,
      total: inclusive ? paid : paid.plus(due),
    };
  });
  return {
    lines: ofLines,
    subtotal: sumOf(ofLines.map((line) => line.subtotal)),
    discount: sumOf(ofLines.map((line) => line.discount)),
    net: sumOf(ofLines.map((line) => line.net)),
    tax: sumOf(ofLines.map((line) => line.tax)),
    total: sumOf(ofLines.map((line) => line.total)),
  };
}

function taxes(
  taxed: readonly Decimal[],
  rate: { percent: Decimal; inclusive: boolean },
  decimals: number,
): readonly Decimal[] {
  const per = rate.inclusive ? HUNDRED.plus(rate.percent) : HUNDRED;
  const tax = round(sumOf(taxed).times(rate.percent).dividedBy(per), decimals);
  return spread(tax, taxed, decimals);
}
