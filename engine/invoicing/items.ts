import { findOffers, offerPrice, taxRateFor, unknownOffer } from '../catalog';
import type { Session } from '../database';
import {
  BillingError,
  Decimal,
  MAX_UNIT_DECIMALS,
  ONE,
  ZERO,
  amount,
  flag,
  formatUnits,
  input,
  integer,
  key,
  list,
  requireDecimals,
  round,
  text,
  units,
  z,
  type RequestOf,
} from '../kernel';

import type { StoredInvoiceLine } from './invoice-lines';
import { newLine } from './rating';

/** Items that people put on invoices: something in words, or an offer. */

const MAX_DESCRIPTION = 1_000;
const MAX_ITEMS = 1_000;

const price = () => amount({ decimals: MAX_UNIT_DECIMALS, zero: true });

const freeItem = input({
  description: text(MAX_DESCRIPTION),
  /** Default 1. */
  quantity: units().default(ONE),
  /** Of one; as fine as you like: the line is rounded. */
  unitPrice: price(),
  /** Off the line, before tax. */
  discount: price().default(ZERO),
  /** Key of a tax rate. Default: the account's. */
  taxRate: key().optional(),
  /** Default true. */
  taxable: flag().default(true),
});
/** Something in words, at a price of its own. */
export type FreeItem = RequestOf<typeof freeItem>;

const offeredItem = input({
  sku: key(),
  /** Default 1. */
  quantity: integer(1, 1_000_000).default(1),
  discount: price().default(ZERO),
  taxRate: key().optional(),
});
/** An offer at its present price. It is billed, nothing is granted: orders and subscriptions do that. */
export type OfferedItem = RequestOf<typeof offeredItem>;

export const itemInput = z.union([freeItem, offeredItem]);
export const itemsInput = list(itemInput, MAX_ITEMS);
export type InvoiceItem = RequestOf<typeof itemInput>;

/** What of a line may be changed: what was put there by hand. */
export const itemChangeShape = {
  /** Only of an item in words. */
  description: text(MAX_DESCRIPTION).optional(),
  quantity: units().optional(),
  unitPrice: price().optional(),
  discount: price().optional(),
  /** Null: the account's. */
  taxRate: key().nullish(),
  taxable: flag().optional(),
};

/** Money of an invoice. */
interface Money {
  currency: string;
  decimals: number;
}

/**
 * What a line comes to, before tax.
 *
 * @throws invalid_input: more discount than there is
 */
export function lineAmounts(
  subtotal: Decimal,
  discount: Decimal,
  { currency, decimals }: Money,
  parameter: string,
): Pick<StoredInvoiceLine, 'subtotal' | 'discount' | 'net' | 'tax' | 'total'> {
  requireDecimals(discount, decimals, `${parameter}discount`, currency);
  if (discount.greaterThan(subtotal)) {
    throw new BillingError(
      'invalid_input',
      `"${parameter}discount" is ${formatUnits(discount)}, but the item comes to ${formatUnits(subtotal)}.`,
      { parameter: `${parameter}discount` },
    );
  }
  const net = subtotal.minus(discount);
  return { subtotal, discount, net, tax: ZERO, total: net };
}

/** A rate that was misspelt shows at once. */
export async function requireRate(session: Session, taxRate: string | null): Promise<void> {
  if (taxRate === null) return;
  await taxRateFor(session, { country: null, taxRate, taxStatus: 'normal' });
}

/**
 * Items as lines of a draft, of which nothing is reckoned yet.
 *
 * @param prefix of parameters in messages: `items[0].` ...
 * @throws unknown_offer, currency_mismatch, invalid_input
 */
export async function linesOfItems(
  session: Session,
  items: ReadonlyArray<z.output<typeof itemInput>>,
  { accountId, ...money }: Money & { accountId: string },
  prefix: (index: number) => string,
): Promise<StoredInvoiceLine[]> {
  const skus = [...new Set(items.flatMap((item) => ('sku' in item ? item.sku : [])))];
  const offers = new Map((await findOffers(session, skus)).map((offer) => [offer.sku, offer]));
  const rates = new Set(items.flatMap(({ taxRate }) => taxRate ?? []));
  for (const rate of rates) await requireRate(session, rate);
  return items.map((item, index): StoredInvoiceLine => {
    const quantity = new Decimal(item.quantity);
    const line = newLine({
      kind: 'one_off',
      accountId,
      quantity,
      taxKey: item.taxRate ?? null,
    });
    const { discount } = item;
    if (!('sku' in item)) {
      const subtotal = round(item.unitPrice.times(quantity), money.decimals);
      return {
        ...line,
        description: item.description,
        unitPrice: item.unitPrice,
        taxable: item.taxable,
        ...lineAmounts(subtotal, discount, money, prefix(index)),
      };
    }
    const offer = offers.get(item.sku);
    if (offer === undefined) throw unknownOffer(item.sku, `${prefix(index)}sku`);
    if (offer.currency !== money.currency) {
      throw new BillingError(
        'currency_mismatch',
        `${offer.sku} is sold in ${offer.currency}, the invoice is in ${money.currency}.`,
        { parameter: `${prefix(index)}sku`, advice: 'An invoice has one currency.' },
      );
    }
    const subtotal = offerPrice(offer, quantity);
    const isPerOne =
      offer.pricing.model === 'per_unit' || subtotal.equals(quantity.times(offer.price));
    return {
      ...line,
      sku: offer.sku,
      version: offer.version,
      unitPrice: isPerOne ? new Decimal(offer.price) : null,
      ...lineAmounts(subtotal, discount, money, prefix(index)),
    };
  });
}
