import {
  areAlternatives,
  couponCovers,
  discountOf,
  offerPrice,
  totals,
  unitPriceOf,
  type Coupon,
  type Offer,
  type TaxRate,
  type Totals,
} from '../catalog';
import type { Session } from '../database';
import { BillingError, Decimal, currencyDecimals, refused, type DenialReason } from '../kernel';
import { bringsUnits } from './offer-content';

/** What somebody wants to order, with the offers it names. */
export interface WantedLine {
  offer: Offer;
  quantity: number;
}

/** A line with its price before discount and tax. */
export interface PricedLine extends WantedLine {
  /** 1: at the price of the offer's first trial phase. */
  phase: number | null;
  amount: Decimal;
  unitPrice: Decimal;
}

/**
 * The one currency of an order.
 *
 * @throws currency_mismatch naming the line that does not fit
 */
export function currencyOf(lines: readonly WantedLine[]): { currency: string; decimals: number } {
  const { currency } = lines[0]!.offer;
  const other = lines.findIndex(({ offer }) => offer.currency !== currency);
  if (other !== -1) {
    const { sku, currency: found } = lines[other]!.offer;
    throw new BillingError(
      'currency_mismatch',
      `Offer ${sku} costs ${found}, but the order is in ${currency}.`,
      { parameter: `items[${other}].sku`, advice: 'Order them apart, one order a currency.' },
    );
  }
  const decimals = currencyDecimals(currency);
  if (decimals === null) {
    throw new BillingError(
      'currency_mismatch',
      `Offer ${lines[0]!.offer.sku} costs ${currency}, which is a product and no money.`,
      { parameter: 'items[0].sku', advice: 'Buy it with ledger.exchange.' },
    );
  }
  return { currency, decimals };
}

/** @throws invalid_input when an offer that is sold once is wanted more than once */
export function requireOnce(lines: readonly WantedLine[]): void {
  const seen = new Set<string>();
  lines.forEach(({ offer, quantity }, index) => {
    if (!offer.oncePerAccount) return;
    if (quantity > 1 || seen.has(offer.sku)) {
      const parameter = quantity > 1 ? `items[${index}].quantity` : `items[${index}].sku`;
      throw new BillingError(
        'invalid_input',
        `Offer ${offer.sku} is sold once per account: "${parameter}" asks for more.`,
        { parameter },
      );
    }
    seen.add(offer.sku);
  });
}

/**
 * What an order was paid for lies in the units that it brings until they are used.
 *
 * @throws invalid_input when all items of an offer are of 0 units
 */
export function requireContent(lines: readonly WantedLine[]): void {
  lines.forEach(({ offer }, index) => {
    if (offer.items.some(bringsUnits)) return;
    throw refused(
      `items[${index}].sku`,
      `is ${offer.sku}, which brings no units`,
      'Subscribe to it with subscriptions.start: its fee, steps and use are invoiced.',
    );
  });
}

/** @throws invalid_input when nothing of an order recurs, and it is said whether it renews */
export function requireRenewable(lines: readonly WantedLine[], renew: boolean | undefined): void {
  if (renew === undefined || lines.some(({ offer }) => offer.billing === 'recurring')) return;
  throw new BillingError('invalid_input', '"renew" is only for orders of recurring offers.', {
    parameter: 'renew',
    advice: 'Leave it out, or order an offer whose billing is "recurring".',
  });
}

/** @throws invalid_input when an order has two plans of which an account has one at a time */
export async function requireOnePlan(
  session: Session,
  lines: readonly WantedLine[],
): Promise<void> {
  for (const [index, { offer }] of lines.entries()) {
    for (const { offer: other } of lines.slice(0, index)) {
      if (!(await areAlternatives(session, other, offer))) continue;
      throw refused(
        `items[${index}].sku`,
        `is ${offer.sku}, a plan of the same product as ${other.sku}`,
        'Order one of them, or save one with collect: { whenInForce: "beside" }.',
      );
    }
  }
}

/** The first of some offers that is not sold to who has another plan; or null. */
export const refusedBeside = (offers: readonly Offer[], met: readonly string[]): string | null =>
  offers.find(({ sku, collect }) => collect?.whenInForce === 'refuse' && met.includes(sku))?.sku ??
  null;

/**
 * Why an offer cannot be ordered by an account, or null.
 *
 * @param buyers who orders and who pays
 * @param owner of a custom plan the account that it is for, under its present name; else null
 */
export function refusalOf(
  { offer }: WantedLine,
  buyers: readonly string[],
  owner: string | null,
): DenialReason | null {
  const isOwn = owner !== null && buyers.includes(owner);
  const isOffered = offer.active && (offer.accountId === null ? offer.public : isOwn);
  return isOffered ? null : 'offer_unavailable';
}

/** The line that is had at the price of a trial phase: one alone, of a single offer. */
export function trialLine(lines: readonly WantedLine[]): number {
  return lines.findIndex(({ offer, quantity }) => offer.trialPhases.length > 0 && quantity === 1);
}

/** @param trial the line at the price of its first trial phase; -1: none */
export function pricedLines(lines: readonly WantedLine[], trial: number): PricedLine[] {
  return lines.map((line, index): PricedLine => {
    const phase = index === trial ? line.offer.trialPhases[0]! : null;
    const quantity = new Decimal(line.quantity);
    const amount = phase === null ? offerPrice(line.offer, quantity) : new Decimal(phase.price);
    return {
      ...line,
      phase: phase === null ? null : 1,
      amount,
      unitPrice: unitPriceOf(line.offer, quantity, amount),
    };
  });
}

export function totalsOf(
  lines: readonly PricedLine[],
  coupon: Coupon | null,
  rate: TaxRate | null,
  decimals: number,
): Totals {
  return totals({
    lines: lines.map(({ offer, amount }) => ({
      amount,
      discountable: coupon === null || couponCovers(coupon, offer.sku),
    })),
    discount: coupon === null ? null : discountOf(coupon),
    rate: rate === null ? null : { percent: new Decimal(rate.percent), inclusive: rate.inclusive },
    decimals,
  });
}
