import { column, table, type RowOf, type Session } from '../database';

/** Lines are written many at a time; those of an issued invoice never again. */

export const LINE_KINDS = [
  'fee',
  'step',
  'usage',
  'proration_credit',
  'proration_charge',
  'one_off',
] as const;
export type LineKind = (typeof LINE_KINDS)[number];

const LINES = table('invoice_lines', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  lineId: column.uuid(),
  position: column.integer(),
  kind: column.text<LineKind>(),
  accountId: column.uuid(),
  subscriptionId: column.uuid().orNull,
  periodNumber: column.integer().orNull,
  /** The pending item that it bills. */
  itemId: column.uuid().orNull,
  sku: column.text().orNull,
  version: column.integer().orNull,
  product: column.text().orNull,
  description: column.text().orNull,
  quantity: column.decimal(),
  unitPrice: column.decimal().orNull,
  subtotal: column.decimal(),
  discount: column.decimal(),
  net: column.decimal(),
  tax: column.decimal(),
  total: column.decimal(),
  coupon: column.text().orNull,
  taxable: column.flag(),
  discountable: column.flag(),
  /** Of a credit: the line that it corrects, of an invoice or an order, and taxed as that was. */
  correctsInvoiceId: column.uuid().orNull,
  correctsOrderId: column.uuid().orNull,
  correctsPosition: column.integer().orNull,
  /** Of a draft: the key of the rate to take, if another than the buyer's. */
  taxKey: column.text().orNull,
  taxName: column.text().orNull,
  taxPercent: column.decimal().orNull,
  taxInclusive: column.flag().orNull,
  periodFrom: column.instant().orNull,
  periodTo: column.instant().orNull,
});

/** A line as rules work on it; whose it is, is known beside it. */
export const OWN_LINE = LINES.omit('payerId', 'invoiceId');
const OWNERS = LINES.pick('payerId', 'invoiceId');
export type StoredInvoiceLine = RowOf<typeof OWN_LINE>;

export interface LineOfInvoice {
  payerId: string;
  invoiceId: string;
  line: StoredInvoiceLine;
}

/** What finalizing reckons of lines that were there before. */
const RECKONED = LINES.pick(
  'payerId',
  'invoiceId',
  'position',
  'discount',
  'net',
  'tax',
  'total',
  'coupon',
  'taxKey',
  'taxName',
  'taxPercent',
  'taxInclusive',
);
const RECKON = RECKONED.update('payerId', 'invoiceId', 'position');
const OWN_RECKONED = RECKONED.omit('payerId', 'invoiceId');
const INSERT = LINES.insert();

/** The parameters of lines, of which `own` are the columns behind those that say whose they are. */
const valuesOf = (
  own: { values(lines: StoredInvoiceLine[]): unknown[][] },
  all: readonly LineOfInvoice[],
) => [...OWNERS.values(all), ...own.values(all.map(({ line }) => line))];

/** Writes lines of drafts. The payers are locked. */
export async function insertLines(session: Session, all: readonly LineOfInvoice[]): Promise<void> {
  if (all.length > 0) await session.query(INSERT, valuesOf(OWN_LINE, all));
}

/** Writes the discounts, taxes and sums of lines of drafts. The payers are locked. */
export async function reckonLines(session: Session, all: readonly LineOfInvoice[]): Promise<void> {
  if (all.length > 0) await session.query(RECKON, valuesOf(OWN_RECKONED, all));
}
