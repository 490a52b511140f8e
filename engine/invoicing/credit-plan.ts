import type { SoldLine } from '../books';
import { BillingError, Decimal, ZERO, formatMoney, split, sumOf } from '../kernel';
import type { StoredInvoiceLine } from './invoice-lines';

/**
 * How much of which line of an invoice is taken back, and where it goes. Pure. Rules: billing-rules.md,
 * Invoices and Collecting.
 */

/** A line of an issued invoice, with what of it has not come back yet. */
export interface CreditableLine
  extends SoldLine, Pick<StoredInvoiceLine, 'lineId' | 'sku' | 'total' | 'kind' | 'itemId'> {
  /** How people know it. */
  name: string;
}

export interface PlannedCredit {
  line: CreditableLine;
  net: Decimal;
  tax: Decimal;
  total: Decimal;
  /** Whether nothing of the line is left then. */
  isWhole: boolean;
}

/** What is left of a line; below 0 of a proration, which lowers its invoice. */
export const leftOf = (line: CreditableLine): Pick<CreditableLine, 'net' | 'tax' | 'total'> => {
  const { net, tax } = line.left;
  return { net, tax, total: net.plus(tax) };
};

/** What is left of lines in sum. */
export const leftOfAll = (lines: readonly CreditableLine[]): Decimal =>
  sumOf(lines.map((line) => leftOf(line).total));

const wholeOf = (line: CreditableLine): PlannedCredit => ({ line, ...leftOf(line), isWhole: true });

/** A part of a line, split into net and tax by what is left of them. */
function partOf(line: CreditableLine, total: Decimal, decimals: number): PlannedCredit {
  const left = leftOf(line);
  if (total.equals(left.total)) return wholeOf(line);
  const [net, tax] = split(total, [left.net.abs(), left.tax.abs()], decimals);
  return { line, net: net!, tax: tax!, total, isWhole: false };
}

const describe = ({ position, name }: CreditableLine): string => `${position} (${name})`;

export const exceeds = (left: Decimal, decimals: number, of: string): BillingError =>
  new BillingError(
    'refund_exceeds_paid',
    // Less than nothing: credits on the invoice come to more than its charges.
    !left.greaterThan(ZERO)
      ? `Nothing is left to take back of ${of}.`
      : `Only ${formatMoney(left, decimals)} is left to take back of ${of}.`,
    { parameter: 'amount' },
  );

/** A line by its position, its id or its sku. */
export function namedLine(
  lines: readonly CreditableLine[],
  wanted: string | number,
): CreditableLine {
  const bySku = lines.filter(({ sku }) => sku !== null && sku === wanted);
  if (bySku.length > 1) {
    throw new BillingError(
      'refund_ambiguous',
      `The invoice has ${wanted} on the lines ${bySku.map(describe).join(', ')}.`,
      { parameter: 'line', advice: 'Name its position.' },
    );
  }
  const found =
    bySku[0] ??
    lines.find(({ position, lineId }) => String(position) === String(wanted) || lineId === wanted);
  if (found !== undefined) return found;
  throw new BillingError('invalid_input', `The invoice has no line "${wanted}".`, {
    parameter: 'line',
    advice: `It has ${lines.map(describe).join(', ')}.`,
  });
}

/** What a caller asked for: lines by name, each with an amount or whole; an amount; or everything. */
export interface CreditWish {
  lines: ReadonlyArray<{ line: string | number; amount: Decimal | null }> | null;
  amount: Decimal | null;
}

/**
 * Finds what is taken back of which line: together never more than is left of the invoice.
 *
 * @throws refund_ambiguous, refund_exceeds_paid, invalid_input (a line that there is not)
 */
export function planCredit(
  lines: readonly CreditableLine[],
  wish: CreditWish,
  decimals: number,
): PlannedCredit[] {
  const left = leftOfAll(lines);
  const open = lines.filter((line) => !leftOf(line).total.isZero());
  if (left.isZero()) throw exceeds(ZERO, decimals, 'the invoice');
  const planned =
    wish.lines === null
      ? byAmount(open, left, wish.amount, decimals)
      : byLines(lines, wish, decimals);
  const total = sumOf(planned.map((one) => one.total));
  if (total.greaterThan(left)) throw exceeds(left, decimals, 'the invoice');
  return planned;
}

function byLines(
  lines: readonly CreditableLine[],
  wish: CreditWish,
  decimals: number,
): PlannedCredit[] {
  const named = wish.lines!.map(({ line, amount }) => ({ line: namedLine(lines, line), amount }));
  if (new Set(named.map(({ line }) => line.position)).size < named.length) {
    throw new BillingError('invalid_input', '"lines" names one line twice.', {
      parameter: 'lines',
    });
  }
  // One line and an amount beside it: the amount is of that line.
  const of = (amount: Decimal | null): Decimal | null =>
    amount ?? (named.length === 1 ? wish.amount : null);
  return named.map(({ line, amount }) => {
    const left = leftOf(line).total;
    const wanted = of(amount) ?? left;
    if (!left.greaterThan(ZERO) || wanted.greaterThan(left)) {
      throw exceeds(Decimal.max(left, ZERO), decimals, `line ${describe(line)}`);
    }
    return partOf(line, wanted, decimals);
  });
}

/** An amount that is not named must say by itself which lines it is for. */
function byAmount(
  open: readonly CreditableLine[],
  left: Decimal,
  amount: Decimal | null,
  decimals: number,
): PlannedCredit[] {
  if (amount === null || amount.equals(left)) return open.map(wholeOf);
  if (amount.greaterThan(left)) throw exceeds(left, decimals, 'the invoice');
  const positive = open.filter((line) => leftOf(line).total.greaterThan(ZERO));
  if (positive.length === 1) return [partOf(positive[0]!, amount, decimals)];
  const exact = positive.filter((line) => leftOf(line).total.equals(amount));
  if (exact.length === 1) return [wholeOf(exact[0]!)];
  throw new BillingError(
    'refund_ambiguous',
    exact.length > 1
      ? `Each of the lines ${exact.map(describe).join(', ')} comes to ${formatMoney(amount, decimals)}.`
      : `${formatMoney(amount, decimals)} is not the amount of one of the lines ${positive.map(describe).join(', ')}.`,
    { parameter: 'line', advice: 'Name the line: its position, or its sku.' },
  );
}

/**
 * An amount over all lines, by what is left of each: for money that a gateway took back without saying
 * what for.
 */
export function spreadCredit(
  lines: readonly CreditableLine[],
  amount: Decimal,
  decimals: number,
): PlannedCredit[] {
  const left = leftOfAll(lines);
  const open = lines.filter((line) => !leftOf(line).total.isZero());
  if (amount.greaterThanOrEqualTo(left)) return open.map(wholeOf);
  const positive = open.filter((line) => leftOf(line).total.greaterThan(ZERO));
  const shares = split(
    amount,
    positive.map((line) => leftOf(line).total),
    decimals,
  );
  return positive
    .map((line, index) => partOf(line, shares[index]!, decimals))
    .filter(({ total }) => !total.isZero());
}

/**
 * Lines that are taken back for what is not to be had. What credits on the same invoice paid of them is
 * taken back with them.
 *
 * @param most what of the invoice is due, or was settled and has not gone back
 */
export function planUndoing(
  all: readonly CreditableLine[],
  positions: ReadonlySet<number>,
  most: Decimal,
  decimals: number,
): { taken: PlannedCredit[]; lowering: PlannedCredit[] } {
  const lines = all.filter(
    (line) => positions.has(line.position) && leftOf(line).total.greaterThan(ZERO),
  );
  let rest = leftOfAll(lines).minus(most);
  const lowering: PlannedCredit[] = [];
  for (const line of all) {
    // Use that was restored is looked at anew by itself.
    const part = Decimal.min(rest, line.itemId === null ? ZERO : leftOf(line).total.negated());
    if (!part.greaterThan(ZERO)) continue;
    rest = rest.minus(part);
    lowering.push(partOf(line, part.negated(), decimals));
  }
  const amount = most.minus(sumOf(lowering.map(({ total }) => total)));
  return { taken: amount.isZero() ? [] : spreadCredit(lines, amount, decimals), lowering };
}

export const CREDIT_TARGETS = ['due', 'credit', 'refund'] as const;
/** Where a credit note's money goes: off what is due, to the account's credit, back as money. */
export type CreditTarget = (typeof CREDIT_TARGETS)[number];
/** Off what is due, then the way that it came: as money as far as it can, else as credit. */
export type Target = CreditTarget | 'as it came';

/** What of an invoice was settled, and how much of that was given back. */
export interface SettledAmounts {
  /** Still to be paid. */
  due: Decimal;
  /** Paid in money, and from account credit. */
  paid: Decimal;
  credited: Decimal;
  /** What earlier credit notes gave back as credit and as money. */
  toCredit: Decimal;
  toRefund: Decimal;
}

/** What of a payment can still go back as credit; as money never more than came as such. */
export const settledLeft = ({ paid, credited, toCredit, toRefund }: SettledAmounts): Decimal =>
  paid.plus(credited).minus(toCredit).minus(toRefund);

export const givableOf = (settled: SettledAmounts): Decimal =>
  Decimal.min(settledLeft(settled), settled.paid.minus(settled.toRefund));

/**
 * Where the money of a credit note goes. What is due becomes less as far as there is something due; the
 * rest, or what was asked to go back, comes out of what was paid.
 *
 * @throws refund_exceeds_paid
 */
export function allocate(
  total: Decimal,
  to: Target,
  settled: SettledAmounts,
  decimals: number,
): { due: Decimal; credit: Decimal; refund: Decimal } {
  if (to === 'due') {
    const due = Decimal.min(total, settled.due);
    return { due, credit: total.minus(due), refund: ZERO };
  }
  const due = to === 'as it came' ? Decimal.min(total, settled.due) : ZERO;
  const money = givableOf(settled);
  const most = due.plus(to === 'refund' ? money : settledLeft(settled));
  if (total.greaterThan(most)) {
    throw new BillingError(
      'refund_exceeds_paid',
      most.isZero()
        ? 'Nothing that was paid is left to give back.'
        : `Only ${formatMoney(most, decimals)} of what was paid is left to give back.`,
      {
        parameter: 'amount',
        advice: 'What is not paid is taken off by a credit note to "due".',
      },
    );
  }
  const rest = total.minus(due);
  const refund = to === 'credit' ? ZERO : Decimal.min(rest, money);
  return { due, credit: rest.minus(refund), refund };
}
