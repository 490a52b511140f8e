import {
  couponCovers,
  discountOf,
  priceOf,
  totals,
  type Coupon,
  type Pricing,
  type TaxRate,
} from '../catalog';
import {
  BillingError,
  Decimal,
  ONE,
  ZERO,
  formatUnits,
  isoTime,
  newId,
  parse,
  round,
  split,
  sumOf,
  amount,
  input,
  type Instant,
} from '../kernel';

import type { CouponPeriod } from '../subscriptions';
import type { StoredInvoiceLine } from './invoice-lines';

/**
 * What goes on an invoice for how much: pure functions, which read and write nothing. Everything is
 * exact until it is rounded, once, on the sum; what is spread over lines adds up to that sum.
 */

// --- Use beyond what was granted -------------------------------------------------------------------

/** Use of a product in a period of a subscription, as a rating function of your own gets it. */
export interface UsageToRate {
  product: string;
  /** All of the period that is known by now, of everybody the payer pays for; above 0. */
  quantity: string;
  currency: string;
  payer: string;
  subscriptionId: string;
  sku: string;
  periodStart: string;
  periodEnd: string;
}

/**
 * What the use of products costs, by product, instead of what the offer's overage pricing says. Answers
 * at once, without waiting for anything: the payer's account is locked meanwhile. The same use must
 * cost the same whenever it is asked. The amount is 0 or more, in the currency's decimals.
 */
export type OwnRating = Readonly<
  Record<string, (usage: UsageToRate) => { amount: string | number }>
>;

/** Use of one product in one period, some of it perhaps on invoices already. */
export interface PeriodUsage {
  payerId: string;
  subscriptionId: string;
  periodNumber: number;
  sku: string;
  version: number;
  product: string;
  pricing: Pricing;
  startsAt: Instant;
  endsAt: Instant;
  /** What is on invoices of it. */
  billed: { quantity: Decimal; amount: Decimal };
  /** What is on none: by who used, less what was restored. */
  unbilled: ReadonlyArray<{ accountId: string; quantity: Decimal }>;
}

const ratedInput = (decimals: number) => input({ amount: amount({ decimals, zero: true }) });

function ownPrice(rate: OwnRating[string], usage: UsageToRate, decimals: number): Decimal {
  const wrong = (why: string): BillingError =>
    new BillingError('invalid_input', `The rating of "${usage.product}" ${why}.`, {
      parameter: `rating.${usage.product}`,
      advice: `Answer { amount } at once: 0 or more, with at most ${decimals} decimals.`,
    });
  let answer: unknown;
  try {
    answer = rate(usage);
  } catch (error) {
    throw wrong(`failed: ${error instanceof Error ? error.message : 'it threw'}`);
  }
  try {
    return parse(ratedInput(decimals), answer).amount;
  } catch {
    throw wrong('answered no amount');
  }
}

/**
 * Lines for what is on no invoice yet: together they cost what all use of the period costs, less what
 * is billed of it. Each account has its own line, with its share by what it used.
 *
 * @param decimals of the currency
 * @throws invalid_input (a rating function of the user's answered nonsense)
 */
export function usageLines(
  usage: PeriodUsage,
  currency: { code: string; decimals: number },
  own: OwnRating = {},
): StoredInvoiceLine[] {
  const { product, billed, pricing } = usage;
  const unbilled = usage.unbilled.filter(({ quantity }) => !quantity.isZero());
  if (unbilled.length === 0) return [];
  const all = unbilled.reduce((sum, { quantity }) => sum.plus(quantity), billed.quantity);
  const rate = Object.hasOwn(own, product) ? own[product] : undefined;
  const price = (): Decimal => {
    if (!all.greaterThan(ZERO)) return ZERO;
    if (rate === undefined) return priceOf(pricing, all, currency.decimals);
    return ownPrice(
      rate,
      {
        product,
        quantity: formatUnits(all),
        currency: currency.code,
        payer: usage.payerId,
        subscriptionId: usage.subscriptionId,
        sku: usage.sku,
        periodStart: isoTime(usage.startsAt),
        periodEnd: isoTime(usage.endsAt),
      },
      currency.decimals,
    );
  };
  const shares = split(
    price().minus(billed.amount),
    unbilled.map(({ quantity }) => quantity.abs()),
    currency.decimals,
  );
  const unitPrice =
    rate === undefined && pricing.model === 'per_unit' ? new Decimal(pricing.unitPrice) : null;
  return unbilled.map(({ accountId, quantity }, index) =>
    newLine({
      kind: 'usage',
      accountId,
      subscriptionId: usage.subscriptionId,
      periodNumber: usage.periodNumber,
      sku: usage.sku,
      version: usage.version,
      product,
      quantity,
      unitPrice,
      subtotal: shares[index]!,
      periodFrom: usage.startsAt,
      periodTo: usage.endsAt,
    }),
  );
}

/** A line of which nothing is reckoned yet: what is not given of it, is as of a blank one. */
export const newLine = (
  of: Partial<StoredInvoiceLine> & Pick<StoredInvoiceLine, 'kind' | 'accountId'>,
): StoredInvoiceLine => ({
  lineId: of.lineId ?? newId(),
  position: of.position ?? 0,
  kind: of.kind,
  accountId: of.accountId,
  subscriptionId: of.subscriptionId ?? null,
  periodNumber: of.periodNumber ?? null,
  itemId: of.itemId ?? null,
  sku: of.sku ?? null,
  version: of.version ?? null,
  product: of.product ?? null,
  description: of.description ?? null,
  quantity: of.quantity ?? ONE,
  unitPrice: of.unitPrice ?? null,
  subtotal: of.subtotal ?? ZERO,
  discount: of.discount ?? ZERO,
  net: of.net ?? ZERO,
  tax: of.tax ?? ZERO,
  total: of.total ?? ZERO,
  coupon: of.coupon ?? null,
  taxable: of.taxable ?? true,
  discountable: of.discountable ?? true,
  correctsInvoiceId: of.correctsInvoiceId ?? null,
  correctsOrderId: of.correctsOrderId ?? null,
  correctsPosition: of.correctsPosition ?? null,
  taxKey: of.taxKey ?? null,
  taxName: of.taxName ?? null,
  taxPercent: of.taxPercent ?? null,
  taxInclusive: of.taxInclusive ?? null,
  periodFrom: of.periodFrom ?? null,
  periodTo: of.periodTo ?? null,
});

// --- Sums ------------------------------------------------------------------------------------------

export interface ReckoningTerms {
  currency: string;
  /** Of the currency. */
  decimals: number;
  /** What lowers the lines of subscriptions, by subscription. */
  coupons: ReadonlyMap<string, Coupon>;
  /** What of the coupons is left, and which periods lines are of. Default: all are of one, of which nothing was taken. */
  couponTerms?: CouponTerms;
  /** The rate for a line that names one, or for those that name none; null: no tax. */
  rateOf(taxKey: string | null): TaxRate | null;
}

/** What a coupon of a subscription can still lower. */
export interface CouponTerms {
  /** How many periods more, null: all; and what it took off those that count already. */
  left(subscriptionId: string): { left: number | null; taken: ReadonlyMap<number, Decimal> };
  /** The period that a line is of. */
  periodOf(line: StoredInvoiceLine): CouponPeriod | undefined;
}

export interface Reckoned {
  lines: StoredInvoiceLine[];
  subtotal: Decimal;
  discount: Decimal;
  net: Decimal;
  tax: Decimal;
  total: Decimal;
  /** What a sum below 0 leaves as account credit. */
  carried: Decimal;
  /** Subscriptions whose coupon lowered something. */
  lowered: string[];
}

/** Whether a coupon can lower a line at all: credits and lines of other offers stay as they are. */
const isLowered = (line: StoredInvoiceLine, coupon: Coupon, currency: string): boolean =>
  line.discountable &&
  line.subtotal.greaterThan(ZERO) &&
  line.sku !== null &&
  couponCovers(coupon, line.sku) &&
  (coupon.currency === null || coupon.currency === currency);

const NOTHING_TAKEN = { left: null, taken: new Map<number, Decimal>() };

/** Lines of a subscription by the periods that its coupon counts, in their order. */
function byPeriod(
  lines: readonly StoredInvoiceLine[],
  terms: CouponTerms | undefined,
): Array<[number, StoredInvoiceLine[]]> {
  const periods = new Map<number, StoredInvoiceLine[]>();
  for (const line of lines) {
    const cycle = terms?.periodOf(line)?.cycle ?? 0;
    periods.set(cycle, [...(periods.get(cycle) ?? []), line]);
  }
  return [...periods].sort(([one], [other]) => one - other);
}

/**
 * How much of an amount off each period counts for lines of one: of what the period itself costs the
 * share of days that is billed; of steps and use alone what was left by that.
 */
function amountFor(
  amount: Decimal,
  lines: readonly StoredInvoiceLine[],
  taken: Decimal | undefined,
  terms: CouponTerms | undefined,
  decimals: number,
): Decimal {
  if (terms === undefined) return amount;
  const fees = lines.filter(({ kind }) => kind === 'fee' || kind === 'proration_charge');
  if (fees.length === 0) return Decimal.max(amount.minus(taken ?? ZERO), ZERO);
  const share = fees.map((line) => {
    const { fee = line.subtotal, share: days } = terms.periodOf(line) ?? {};
    const { left, of } = days ?? { left: 1, of: 1 };
    return amount.times(line.subtotal).times(left).dividedBy(fee.times(of));
  });
  return round(sumOf(share), decimals);
}

function discountsOf(
  lines: readonly StoredInvoiceLine[],
  { coupons, couponTerms, currency, decimals }: ReckoningTerms,
): Map<StoredInvoiceLine, { discount: Decimal; coupon: string }> {
  const found = new Map<StoredInvoiceLine, { discount: Decimal; coupon: string }>();
  for (const [subscriptionId, coupon] of coupons) {
    const lowered = lines.filter(
      (line) => line.subscriptionId === subscriptionId && isLowered(line, coupon, currency),
    );
    const of = couponTerms?.left(subscriptionId) ?? NOTHING_TAKEN;
    let { left } = of;
    for (const [cycle, own] of byPeriod(lowered, couponTerms)) {
      const taken = of.taken.get(cycle);
      if (taken === undefined && left === 0) continue;
      const off = discountOf(coupon);
      const discount =
        'amount' in off
          ? { amount: amountFor(off.amount, own, taken, couponTerms, decimals) }
          : off;
      const amounts = own.map(({ subtotal }) => ({ amount: subtotal }));
      const sums = totals({ lines: amounts, discount, rate: null, decimals });
      own.forEach((line, index) => {
        const ofLine = sums.lines[index]!.discount;
        if (!ofLine.isZero()) found.set(line, { discount: ofLine, coupon: coupon.code });
      });
      if (taken === undefined && left !== null && sums.discount.greaterThan(ZERO)) left -= 1;
    }
  }
  return found;
}

/**
 * The tax of lines under one rate, of which some may be credits: rounded once, on the sum of all, and
 * spread over charges and credits, each by largest remainder.
 *
 * @param corrected what credits that carry the tax of the lines they correct come to: part of the sum
 */
function taxesOf(
  amounts: readonly Decimal[],
  rate: { percent: Decimal; inclusive: boolean },
  decimals: number,
  corrected: { amount: Decimal; tax: Decimal },
): Decimal[] {
  const per = rate.inclusive ? rate.percent.plus(100) : new Decimal(100);
  const taxOf = (sum: Decimal): Decimal => round(sum.times(rate.percent).dividedBy(per), decimals);
  const charges = amounts.map((one) => Decimal.max(one, ZERO));
  const credits = amounts.map((one) => Decimal.max(one.negated(), ZERO));
  const all = taxOf(sumOf(amounts).plus(corrected.amount)).minus(corrected.tax);
  const hasCredits = credits.some((one) => !one.isZero());
  const ofCharges = hasCredits ? taxOf(sumOf(charges)) : Decimal.max(all, ZERO);
  const ofCredits = hasCredits ? ofCharges.minus(all) : ZERO;
  const spread = (tax: Decimal, over: readonly Decimal[]): readonly Decimal[] =>
    tax.isZero() ? over.map(() => ZERO) : split(tax, over, decimals);
  const plus = spread(ofCharges, charges);
  const minus = spread(ofCredits, credits);
  return amounts.map((_, index) => plus[index]!.minus(minus[index]!));
}

/** Whether a line carries the tax of the line that it corrects. */
export const isCorrection = (line: StoredInvoiceLine): boolean => line.correctsPosition !== null;

/** Corrections at exactly this rate: those at another, an earlier percentage too, are apart. */
function correctedAt(
  lines: readonly StoredInvoiceLine[],
  { key, percent, inclusive }: TaxRate,
): { amount: Decimal; tax: Decimal } {
  const same = lines.filter(
    (line) =>
      isCorrection(line) &&
      line.taxKey === key &&
      line.taxPercent !== null &&
      line.taxPercent.equals(percent) &&
      line.taxInclusive === inclusive,
  );
  return {
    amount: sumOf(same.map((line) => line.subtotal)),
    tax: sumOf(same.map((line) => line.tax)),
  };
}

/**
 * What an invoice comes to. Discounts first, those of each subscription's coupon on its own lines; then
 * tax per rate on the sum of what is left; corrections carry theirs. Each column of the lines adds up to the sum of its name, and
 * total = net + tax + carried, never below 0.
 */
export function reckon(given: readonly StoredInvoiceLine[], terms: ReckoningTerms): Reckoned {
  const discounts = discountsOf(given, terms);
  const left = given.map((line) => {
    const discount = discounts.get(line)?.discount ?? line.discount;
    return discount.isZero() ? line.subtotal : line.subtotal.minus(discount);
  });
  const rates = given.map((line) =>
    line.taxable && !isCorrection(line) ? terms.rateOf(line.taxKey) : null,
  );
  const taxes = given.map(() => ZERO);
  for (const key of new Set(rates.map((rate) => rate?.key))) {
    const places = rates.flatMap((rate, index) =>
      rate !== null && rate.key === key ? [index] : [],
    );
    const [first] = places;
    if (first === undefined) continue;
    const rate = rates[first]!;
    const parts = taxesOf(
      places.map((place) => left[place]!),
      { percent: new Decimal(rate.percent), inclusive: rate.inclusive },
      terms.decimals,
      correctedAt(given, rate),
    );
    places.forEach((place, index) => {
      taxes[place] = parts[index]!;
    });
  }
  const lines = given.map((line, index): StoredInvoiceLine => {
    if (isCorrection(line)) return line;
    const rate = rates[index] ?? null;
    const tax = taxes[index]!;
    const lowered = discounts.get(line);
    const net = rate?.inclusive === true ? left[index]!.minus(tax) : left[index]!;
    const one = { ...line };
    one.discount = lowered?.discount ?? line.discount;
    one.coupon = lowered?.coupon ?? line.coupon;
    one.net = net;
    one.tax = tax;
    one.total = tax.isZero() ? net : net.plus(tax);
    one.taxKey = rate?.key ?? null;
    one.taxName = rate?.name ?? null;
    one.taxPercent = rate === null ? null : new Decimal(rate.percent);
    one.taxInclusive = rate?.inclusive ?? null;
    return one;
  });
  const sum = (column: 'subtotal' | 'discount' | 'net' | 'tax' | 'total'): Decimal =>
    lines.reduce((all, line) => (line[column].isZero() ? all : all.plus(line[column])), ZERO);
  const total = sum('total');
  return {
    lines,
    subtotal: sum('subtotal'),
    discount: sum('discount'),
    net: sum('net'),
    tax: sum('tax'),
    total: total.lessThan(ZERO) ? ZERO : total,
    carried: total.lessThan(ZERO) ? total.negated() : ZERO,
    lowered: [...new Set([...discounts.keys()].map((line) => line.subscriptionId!))],
  };
}

// --- Which period an entry lies in -----------------------------------------------------------------

/** A place in a ledger: an instant, and there the line behind which it is; 0: before all of that instant. */
export interface Moment {
  at: Instant;
  line: bigint;
}

/** A period of a subscription whose offer prices the use of a product. */
export interface PricedPeriod {
  subscriptionId: string;
  number: number;
  startsAt: Instant;
  endsAt: Instant;
  /** Of one that was cut: up to which line of its last instant it goes. */
  lastLine?: bigint;
}

export interface Window<P extends PricedPeriod> {
  period: P;
  from: Moment;
  to: Moment;
}

const isBefore = (one: Moment, other: Moment): boolean =>
  one.at < other.at || (one.at === other.at && one.line < other.line);

/**
 * Spans of a ledger without overlap, and which period each belongs to: where two subscriptions price the
 * same product, the period that began first has the use, so that nothing is billed twice.
 */
export function windowsOf<P extends PricedPeriod>(periods: readonly P[]): Array<Window<P>> {
  const inOrder = periods.toSorted(
    (a, b) =>
      a.startsAt - b.startsAt ||
      a.subscriptionId.localeCompare(b.subscriptionId) ||
      a.number - b.number,
  );
  const windows: Array<Window<P>> = [];
  let covered: Moment = { at: -Infinity, line: 0n };
  for (const period of inOrder) {
    const starts = { at: period.startsAt, line: 0n };
    const from = isBefore(starts, covered) ? covered : starts;
    const to = { at: period.endsAt, line: period.lastLine ?? 0n };
    if (!isBefore(from, to)) continue;
    windows.push({ period, from, to });
    covered = to;
  }
  return windows;
}
