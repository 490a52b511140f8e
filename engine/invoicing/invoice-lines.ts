import type { Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import type { StoredInvoiceLine } from './invoice-records';

/** Lines are written many at a time; those of an issued invoice never again. */

export interface LineOfInvoice {
  payerId: string;
  invoiceId: string;
  line: StoredInvoiceLine;
}

const INSERT = `
insert into {schema}.invoice_lines
  (payer_id, invoice_id, position, line_id, kind, account_id, subscription_id, period_number, item_id,
   sku, version, product, description, quantity, unit_price, subtotal, discount, net, tax, total,
   coupon, taxable, discountable, tax_key, tax_name, tax_percent, tax_inclusive, period_from, period_to)
select * from unnest(
  $1::uuid[], $2::uuid[], $3::integer[], $4::uuid[], $5::text[], $6::uuid[], $7::uuid[], $8::integer[],
  $9::uuid[], $10::text[], $11::integer[], $12::text[], $13::text[], $14::numeric[], $15::numeric[],
  $16::numeric[], $17::numeric[], $18::numeric[], $19::numeric[], $20::numeric[], $21::text[],
  $22::boolean[], $23::boolean[], $24::text[], $25::text[], $26::numeric[], $27::boolean[],
  $28::timestamptz[], $29::timestamptz[])`;

/** What finalizing reckons of lines that were there before. */
const RECKON = `
update {schema}.invoice_lines l
set discount = n.discount, net = n.net, tax = n.tax, total = n.total, coupon = n.coupon,
    tax_key = n.tax_key, tax_name = n.tax_name, tax_percent = n.tax_percent,
    tax_inclusive = n.tax_inclusive
from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::numeric[], $5::numeric[], $6::numeric[],
            $7::numeric[], $8::text[], $9::text[], $10::text[], $11::numeric[], $12::boolean[])
     as n (payer_id, invoice_id, position, discount, net, tax, total, coupon, tax_key, tax_name,
           tax_percent, tax_inclusive)
where l.payer_id = n.payer_id and l.invoice_id = n.invoice_id and l.position = n.position`;

const time = (instant: Instant | null): string | null =>
  instant === null ? null : isoTime(instant);

/** Writes lines of drafts. The payers are locked. */
export async function insertLines(session: Session, all: readonly LineOfInvoice[]): Promise<void> {
  if (all.length === 0) return;
  const column = <T>(of: (line: StoredInvoiceLine) => T): T[] => all.map(({ line }) => of(line));
  await session.query(INSERT, [
    all.map(({ payerId }) => payerId),
    all.map(({ invoiceId }) => invoiceId),
    column((line) => line.position),
    column((line) => line.lineId),
    column((line) => line.kind),
    column((line) => line.accountId),
    column((line) => line.subscriptionId),
    column((line) => line.periodNumber),
    column((line) => line.itemId),
    column((line) => line.sku),
    column((line) => line.version),
    column((line) => line.product),
    column((line) => line.description),
    column((line) => line.quantity.toFixed()),
    column((line) => line.unitPrice?.toFixed() ?? null),
    column((line) => line.subtotal.toFixed()),
    column((line) => line.discount.toFixed()),
    column((line) => line.net.toFixed()),
    column((line) => line.tax.toFixed()),
    column((line) => line.total.toFixed()),
    column((line) => line.coupon),
    column((line) => line.taxable),
    column((line) => line.discountable),
    column((line) => line.taxKey),
    column((line) => line.taxName),
    column((line) => line.taxPercent?.toFixed() ?? null),
    column((line) => line.taxInclusive),
    column((line) => time(line.periodFrom)),
    column((line) => time(line.periodTo)),
  ]);
}

/** Writes the discounts, taxes and sums of lines of drafts. The payers are locked. */
export async function reckonLines(session: Session, all: readonly LineOfInvoice[]): Promise<void> {
  if (all.length === 0) return;
  const column = <T>(of: (line: StoredInvoiceLine) => T): T[] => all.map(({ line }) => of(line));
  await session.query(RECKON, [
    all.map(({ payerId }) => payerId),
    all.map(({ invoiceId }) => invoiceId),
    column((line) => line.position),
    column((line) => line.discount.toFixed()),
    column((line) => line.net.toFixed()),
    column((line) => line.tax.toFixed()),
    column((line) => line.total.toFixed()),
    column((line) => line.coupon),
    column((line) => line.taxKey),
    column((line) => line.taxName),
    column((line) => line.taxPercent?.toFixed() ?? null),
    column((line) => line.taxInclusive),
  ]);
}
