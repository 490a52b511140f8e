import { atTime, readTime, toInstant, type Session } from '../database';
import {
  BillingError,
  Decimal,
  ZERO,
  currencyDecimals,
  decimalsOf,
  formatMoney,
  formatUnits,
  isId,
  type Instant,
} from '../kernel';
import type { PaperSnapshot } from './rendering/snapshot';

export const INVOICE_STATUSES = ['draft', 'open', 'paid', 'void', 'uncollectible'] as const;
export type InvoiceStatus = (typeof INVOICE_STATUSES)[number];

export const LINE_KINDS = [
  'fee',
  'step',
  'usage',
  'proration_credit',
  'proration_charge',
  'one_off',
] as const;
export type LineKind = (typeof LINE_KINDS)[number];

/** The tax of a line, as it was when the invoice was issued. */
export interface LineTax {
  key: string;
  name: string;
  percent: string;
  inclusive: boolean;
}

/** A line of an invoice as it goes out; amounts are money of the invoice's currency. */
export interface InvoiceLine {
  lineId: string;
  /** 1, 2, 3 ...; the place of a line that was taken off a draft stays empty. */
  position: number;
  kind: LineKind;
  /** Whose it is: the child that used, on its parent's invoice. */
  account: string;
  subscriptionId: string | null;
  periodNumber: number | null;
  sku: string | null;
  version: number | null;
  product: string | null;
  description: string | null;
  quantity: string;
  /** Null where no single price makes the amount: tiers, packages, a proration. */
  unitPrice: string | null;
  /** Before discount. */
  subtotal: string;
  discount: string;
  /** After discount, without tax. */
  net: string;
  tax: string;
  total: string;
  coupon: string | null;
  /** Null: no tax, or a draft's, which is not reckoned yet. */
  taxRate: LineTax | null;
  periodStart: string | null;
  periodEnd: string | null;
}

/** An invoice as it goes out; amounts are money of its currency. */
export interface Invoice {
  invoiceId: string;
  /** Null: a draft. */
  number: string | null;
  series: string | null;
  kind: 'cycle' | 'manual';
  status: InvoiceStatus;
  account: string;
  payer: string;
  currency: string;
  /** How the buyer was taxed. */
  taxStatus: 'normal' | 'exempt' | 'reverse_charge';
  /** Before discount. Of a draft all amounts are those of its lines by now, without discount and tax. */
  subtotal: string;
  discount: string;
  net: string;
  tax: string;
  total: string;
  /** What lines that sum to less than 0 left as account credit. */
  carried: string;
  /** Account credit used for it. */
  credited: string;
  /** What is still to be paid. */
  amountDue: string;
  paid: string;
  creditNoted: string;
  refunded: string;
  createdAt: string;
  issuedAt: string | null;
  dueAt: string | null;
  sentAt: string | null;
  paidAt: string | null;
  voidedAt: string | null;
  uncollectibleAt: string | null;
  /** The boundary of periods at which it falls due; null: made by hand. */
  periodStart: string | null;
  collection: 'charge' | 'send';
  collectedBy: 'engine' | 'provider';
  methodId: string | null;
  lines: InvoiceLine[];
  /** By rate; lines without tax under a key of null. */
  taxes: Array<{
    key: string | null;
    name: string | null;
    percent: string | null;
    net: string;
    tax: string;
  }>;
  /** How often it was tried to charge it, and when it is tried again. */
  attempts: number;
  nextAttemptAt: string | null;
  memo: string | null;
  metadata: Record<string, unknown>;
}

/** A line of an invoice as rules work on it. */
export interface StoredInvoiceLine {
  lineId: string;
  position: number;
  kind: LineKind;
  accountId: string;
  subscriptionId: string | null;
  periodNumber: number | null;
  /** The pending item that it bills. */
  itemId: string | null;
  sku: string | null;
  version: number | null;
  product: string | null;
  description: string | null;
  quantity: Decimal;
  unitPrice: Decimal | null;
  subtotal: Decimal;
  discount: Decimal;
  net: Decimal;
  tax: Decimal;
  total: Decimal;
  coupon: string | null;
  taxable: boolean;
  discountable: boolean;
  /** Of a draft: the key of the rate to take, if another than the buyer's. */
  taxKey: string | null;
  taxName: string | null;
  taxPercent: Decimal | null;
  taxInclusive: boolean | null;
  periodFrom: Instant | null;
  periodTo: Instant | null;
}

/** An invoice as rules work on it. */
export interface StoredInvoice {
  invoiceId: string;
  payerId: string;
  accountId: string;
  kind: Invoice['kind'];
  status: InvoiceStatus;
  currency: string;
  /** Of the currency. */
  decimals: number;
  boundaryAt: Instant | null;
  series: string | null;
  number: string | null;
  createdAt: Instant;
  issuedAt: Instant | null;
  dueAt: Instant | null;
  taxStatus: Invoice['taxStatus'];
  subtotal: Decimal;
  discount: Decimal;
  net: Decimal;
  tax: Decimal;
  carried: Decimal;
  total: Decimal;
  credited: Decimal;
  paid: Decimal;
  creditNoted: Decimal;
  /** Credit notes that lowered what is due. */
  reduced: Decimal;
  refunded: Decimal;
  amountDue: Decimal;
  collection: Invoice['collection'];
  collectedBy: Invoice['collectedBy'];
  methodId: string | null;
  sentAt: Instant | null;
  paidAt: Instant | null;
  voidedAt: Instant | null;
  uncollectibleAt: Instant | null;
  lines: StoredInvoiceLine[];
  attempts: number;
  nextAttemptAt: Instant | null;
  memo: string | null;
  metadata: Record<string, unknown>;
}

const LINE_COLUMNS = `
  l.line_id, l.position, l.kind, l.account_id, l.subscription_id, l.period_number, l.item_id, l.sku,
  l.version, l.product, l.description, l.quantity::text, l.unit_price::text, l.subtotal::text,
  l.discount::text, l.net::text, l.tax::text, l.total::text, l.coupon, l.taxable, l.discountable,
  l.tax_key, l.tax_name, l.tax_percent::text, l.tax_inclusive, ${atTime('l.period_from')},
  ${atTime('l.period_to')}`;

const COLUMNS = `
  i.invoice_id::text as invoice_id, i.payer_id::text as payer_id, i.account_id::text as account_id,
  i.kind, i.status, i.currency, ${atTime('i.boundary_at')} as boundary_at, i.series, i.number_text,
  ${atTime('i.created_at')} as created_at, ${atTime('i.issued_at')} as issued_at,
  ${atTime('i.due_at')} as due_at, i.tax_status, i.subtotal::text as subtotal,
  i.discount::text as discount, i.net::text as net, i.tax::text as tax, i.carried::text as carried,
  i.total::text as total, i.credited::text as credited, i.paid::text as paid,
  i.credit_noted::text as credit_noted, i.reduced::text as reduced, i.refunded::text as refunded,
  i.amount_due::text as amount_due, i.collection, i.collected_by, i.method_id::text as method_id,
  ${atTime('i.sent_at')} as sent_at, ${atTime('i.paid_at')} as paid_at,
  ${atTime('i.voided_at')} as voided_at, ${atTime('i.uncollectible_at')} as uncollectible_at,
  (select json_build_array(d.memo, d.metadata)::text from {schema}.invoice_details d
   where d.payer_id = i.payer_id and d.invoice_id = i.invoice_id) as details,
  (select json_build_array(c.attempts, ${atTime('c.next_attempt_at')})::text
   from {schema}.collections c
   where c.payer_id = i.payer_id and c.invoice_id = i.invoice_id) as collecting,
  (select json_agg(json_build_array(${LINE_COLUMNS}) order by l.position)::text
   from {schema}.invoice_lines l
   where l.payer_id = i.payer_id and l.invoice_id = i.invoice_id) as lines`;

const FIND_INVOICE = `select ${COLUMNS} from {schema}.invoices i where i.invoice_id = $1::uuid`;

const FIND_OWNER = `
select payer_id::text as payer_id, account_id::text as account_id
from {schema}.invoices where invoice_id = $1::uuid`;

const FIND_INVOICES = `
select ${COLUMNS}
from unnest($1::uuid[], $2::uuid[]) with ordinality as w (payer_id, invoice_id, place)
cross join lateral (
  select * from {schema}.invoices i
  where i.payer_id = w.payer_id and i.invoice_id = w.invoice_id offset 0) as i
order by w.place`;

/**
 * Newest first; ids are made in the order of time. $1 accounts, for whom or who pays (null: anybody),
 * $2 states, $3 the invoice to go on after, $4 a number.
 */
const LISTED = `
($2::text[] is null or i.status = any($2::text[]))
  and i.invoice_id < coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and ($4::text is null or i.number_text = $4)`;

const LIST_ALL = `
select ${COLUMNS} from {schema}.invoices i
where $1::uuid[] is null and ${LISTED}
order by i.invoice_id desc
limit $5::integer`;

const BY_NUMBER = `
select ${COLUMNS} from {schema}.invoices i
where ($1::uuid[] is null or i.account_id = any($1::uuid[]) or i.payer_id = any($1::uuid[]))
  and ${LISTED} and i.number_text = $4
order by i.invoice_id desc
limit $5::integer`;

/** By the indexes invoices_account and invoices_pkey, for each account from its newest on. */
const LIST_OF_ACCOUNTS = `
select ${COLUMNS}
from (
  select own.*
  from unnest($1::uuid[]) as w (account_id)
  cross join lateral (
    select * from {schema}.invoices i
    where i.account_id = w.account_id and ${LISTED}
    order by i.invoice_id desc limit $5::integer) as own
  union all
  select paid.*
  from unnest($1::uuid[]) as w (account_id)
  cross join lateral (
    select * from {schema}.invoices i
    where i.payer_id = w.account_id and i.account_id <> all($1::uuid[]) and ${LISTED}
    order by i.invoice_id desc limit $5::integer) as paid
) as i
order by i.invoice_id desc
limit $5::integer`;

const READ_SNAPSHOT = `
select snapshot::text as snapshot from {schema}.invoice_details
where payer_id = $1::uuid and invoice_id = $2::uuid`;

interface InvoiceRow {
  invoice_id: string;
  payer_id: string;
  account_id: string;
  kind: Invoice['kind'];
  status: InvoiceStatus;
  currency: string;
  boundary_at: string | null;
  series: string | null;
  number_text: string | null;
  created_at: string;
  issued_at: string | null;
  due_at: string | null;
  tax_status: Invoice['taxStatus'];
  subtotal: string;
  discount: string;
  net: string;
  tax: string;
  carried: string;
  total: string;
  credited: string;
  paid: string;
  credit_noted: string;
  reduced: string;
  refunded: string;
  amount_due: string;
  collection: Invoice['collection'];
  collected_by: Invoice['collectedBy'];
  method_id: string | null;
  sent_at: string | null;
  paid_at: string | null;
  voided_at: string | null;
  uncollectible_at: string | null;
  details: string | null;
  collecting: string | null;
  lines: string | null;
}

type LineRow = [
  lineId: string,
  position: number,
  kind: LineKind,
  accountId: string,
  subscriptionId: string | null,
  periodNumber: number | null,
  itemId: string | null,
  sku: string | null,
  version: number | null,
  product: string | null,
  description: string | null,
  quantity: string,
  unitPrice: string | null,
  subtotal: string,
  discount: string,
  net: string,
  tax: string,
  total: string,
  coupon: string | null,
  taxable: boolean,
  discountable: boolean,
  taxKey: string | null,
  taxName: string | null,
  taxPercent: string | null,
  taxInclusive: boolean | null,
  periodFrom: string | null,
  periodTo: string | null,
];

/** Most amounts of a draft are 0. */
const decimalOf = (written: string): Decimal => (written === '0' ? ZERO : new Decimal(written));

const maybeDecimal = (written: string | null): Decimal | null =>
  written === null ? null : decimalOf(written);

const maybeInstant = (milliseconds: string | null): Instant | null =>
  milliseconds === null ? null : toInstant(milliseconds);

const lineOf = (row: LineRow): StoredInvoiceLine => ({
  lineId: row[0],
  position: row[1],
  kind: row[2],
  accountId: row[3],
  subscriptionId: row[4],
  periodNumber: row[5],
  itemId: row[6],
  sku: row[7],
  version: row[8],
  product: row[9],
  description: row[10],
  quantity: decimalOf(row[11]),
  unitPrice: maybeDecimal(row[12]),
  subtotal: decimalOf(row[13]),
  discount: decimalOf(row[14]),
  net: decimalOf(row[15]),
  tax: decimalOf(row[16]),
  total: decimalOf(row[17]),
  coupon: row[18],
  taxable: row[19],
  discountable: row[20],
  taxKey: row[21],
  taxName: row[22],
  taxPercent: maybeDecimal(row[23]),
  taxInclusive: row[24],
  periodFrom: maybeInstant(row[25]),
  periodTo: maybeInstant(row[26]),
});

function invoiceOf(row: InvoiceRow): StoredInvoice {
  const [memo, metadata] = JSON.parse(row.details ?? '[null, {}]') as [
    string | null,
    Record<string, unknown>,
  ];
  const [attempts, nextAttemptAt] = JSON.parse(row.collecting ?? '[0, null]') as [
    number,
    string | null,
  ];
  return {
    invoiceId: row.invoice_id,
    payerId: row.payer_id,
    accountId: row.account_id,
    kind: row.kind,
    status: row.status,
    currency: row.currency,
    // Only money of ISO 4217 is billed in.
    decimals: currencyDecimals(row.currency)!,
    boundaryAt: maybeInstant(row.boundary_at),
    series: row.series,
    number: row.number_text,
    createdAt: toInstant(row.created_at),
    issuedAt: maybeInstant(row.issued_at),
    dueAt: maybeInstant(row.due_at),
    taxStatus: row.tax_status,
    subtotal: decimalOf(row.subtotal),
    discount: decimalOf(row.discount),
    net: decimalOf(row.net),
    tax: decimalOf(row.tax),
    carried: decimalOf(row.carried),
    total: decimalOf(row.total),
    credited: decimalOf(row.credited),
    paid: decimalOf(row.paid),
    creditNoted: decimalOf(row.credit_noted),
    reduced: decimalOf(row.reduced),
    refunded: decimalOf(row.refunded),
    amountDue: decimalOf(row.amount_due),
    collection: row.collection,
    collectedBy: row.collected_by,
    methodId: row.method_id,
    sentAt: maybeInstant(row.sent_at),
    paidAt: maybeInstant(row.paid_at),
    voidedAt: maybeInstant(row.voided_at),
    uncollectibleAt: maybeInstant(row.uncollectible_at),
    lines: (JSON.parse(row.lines ?? '[]') as LineRow[]).map(lineOf),
    attempts,
    nextAttemptAt: maybeInstant(nextAttemptAt),
    memo,
    metadata,
  };
}

const sumOf = (amounts: readonly Decimal[]): Decimal =>
  amounts.reduce((all, amount) => all.plus(amount), ZERO);

/** What was taxed at which rate, in the order of lines. */
export function taxesOf(
  lines: ReadonlyArray<
    Pick<StoredInvoiceLine, 'taxKey' | 'taxName' | 'taxPercent' | 'net' | 'tax'>
  >,
): Array<{
  key: string | null;
  name: string | null;
  percent: Decimal | null;
  net: Decimal;
  tax: Decimal;
}> {
  const byRate = new Map<string, ReturnType<typeof taxesOf>[number]>();
  for (const { taxKey, taxName, taxPercent, net, tax } of lines) {
    // A draft may name a rate that is not looked up yet.
    const key = taxPercent === null ? null : taxKey;
    const name = key === null ? '' : `${key} ${taxPercent!.toFixed()}`;
    const sum = byRate.get(name);
    if (sum === undefined) {
      byRate.set(name, {
        key,
        name: key === null ? null : taxName,
        percent: taxPercent,
        net,
        tax,
      });
    } else {
      sum.net = sum.net.plus(net);
      sum.tax = sum.tax.plus(tax);
    }
  }
  return [...byRate.values()];
}

/** An invoice as it goes out. */
export function invoiceRecord(invoice: StoredInvoice): Invoice {
  const { decimals, lines } = invoice;
  const money = (amount: Decimal): string => formatMoney(amount, decimals);
  const time = (instant: Instant | null): string | null =>
    readTime(instant === null ? null : String(instant));
  const isDraft = invoice.status === 'draft';
  // What is issued has its sums; a draft has lines alone.
  const summed = (column: 'subtotal' | 'discount' | 'net' | 'tax' | 'total'): string =>
    money(isDraft ? sumOf(lines.map((line) => line[column])) : invoice[column]);
  return {
    invoiceId: invoice.invoiceId,
    number: invoice.number,
    series: invoice.series,
    kind: invoice.kind,
    status: invoice.status,
    account: invoice.accountId,
    payer: invoice.payerId,
    currency: invoice.currency,
    taxStatus: invoice.taxStatus,
    subtotal: summed('subtotal'),
    discount: summed('discount'),
    net: summed('net'),
    tax: summed('tax'),
    total: summed('total'),
    carried: money(invoice.carried),
    credited: money(invoice.credited),
    amountDue: money(invoice.amountDue),
    paid: money(invoice.paid),
    creditNoted: money(invoice.creditNoted),
    refunded: money(invoice.refunded),
    createdAt: time(invoice.createdAt)!,
    issuedAt: time(invoice.issuedAt),
    dueAt: time(invoice.dueAt),
    sentAt: time(invoice.sentAt),
    paidAt: time(invoice.paidAt),
    voidedAt: time(invoice.voidedAt),
    uncollectibleAt: time(invoice.uncollectibleAt),
    periodStart: time(invoice.boundaryAt),
    collection: invoice.collection,
    collectedBy: invoice.collectedBy,
    methodId: invoice.methodId,
    lines: lines.map((line) => ({
      lineId: line.lineId,
      position: line.position,
      kind: line.kind,
      account: line.accountId,
      subscriptionId: line.subscriptionId,
      periodNumber: line.periodNumber,
      sku: line.sku,
      version: line.version,
      product: line.product,
      description: line.description,
      quantity: formatUnits(line.quantity),
      unitPrice:
        line.unitPrice === null
          ? null
          : line.unitPrice.toFixed(Math.max(decimals, decimalsOf(line.unitPrice))),
      subtotal: money(line.subtotal),
      discount: money(line.discount),
      net: money(line.net),
      tax: money(line.tax),
      total: money(line.total),
      coupon: line.coupon,
      taxRate:
        line.taxKey === null || line.taxPercent === null
          ? null
          : {
              key: line.taxKey,
              name: line.taxName!,
              percent: formatUnits(line.taxPercent),
              inclusive: line.taxInclusive!,
            },
      periodStart: time(line.periodFrom),
      periodEnd: time(line.periodTo),
    })),
    taxes: taxesOf(lines).map((rate) => ({
      key: rate.key,
      name: rate.name,
      percent: rate.percent === null ? null : formatUnits(rate.percent),
      net: money(rate.net),
      tax: money(rate.tax),
    })),
    attempts: invoice.attempts,
    nextAttemptAt: time(invoice.nextAttemptAt),
    memo: invoice.memo,
    metadata: invoice.metadata,
  };
}

export const unknownInvoice = (invoiceId: string): BillingError =>
  new BillingError('unknown_invoice', `There is no invoice "${invoiceId}".`, {
    parameter: 'invoiceId',
    advice:
      'Pass the invoiceId that invoicing.listInvoices or an event gave, not the number on it.',
  });

/** An invoice by its id, or null. */
export async function findInvoice(
  session: Session,
  invoiceId: string,
): Promise<StoredInvoice | null> {
  const [row] = isId(invoiceId) ? await session.query<InvoiceRow>(FIND_INVOICE, [invoiceId]) : [];
  return row === undefined ? null : invoiceOf(row);
}

/** @throws unknown_invoice */
export async function requireInvoice(session: Session, invoiceId: string): Promise<StoredInvoice> {
  const invoice = await findInvoice(session, invoiceId);
  if (invoice === null) throw unknownInvoice(invoiceId);
  return invoice;
}

/** Whose an invoice is; that never changes. @throws unknown_invoice */
export async function findInvoiceOwner(
  session: Session,
  invoiceId: string,
): Promise<{ payerId: string; accountId: string }> {
  const [row] = isId(invoiceId)
    ? await session.query<{ payer_id: string; account_id: string }>(FIND_OWNER, [invoiceId])
    : [];
  if (row === undefined) throw unknownInvoice(invoiceId);
  return { payerId: row.payer_id, accountId: row.account_id };
}

/** Many invoices, with their lines, in the order asked for; what there is not is left out. */
export async function findInvoices(
  session: Session,
  wanted: ReadonlyArray<{ payerId: string; invoiceId: string }>,
): Promise<StoredInvoice[]> {
  if (wanted.length === 0) return [];
  const rows = await session.query<InvoiceRow>(FIND_INVOICES, [
    wanted.map(({ payerId }) => payerId),
    wanted.map(({ invoiceId }) => invoiceId),
  ]);
  return rows.map(invoiceOf);
}

/** Invoices, newest first. */
export async function listInvoices(
  session: Session,
  wanted: {
    /** For whom, or who pays; those merged into them among them. Null: anybody. */
    accounts: readonly string[] | null;
    statuses: readonly InvoiceStatus[] | null;
    number?: string | null;
    after: string | null;
    limit: number;
  },
): Promise<StoredInvoice[]> {
  const number = wanted.number ?? null;
  const ofAccounts = wanted.accounts === null ? LIST_ALL : LIST_OF_ACCOUNTS;
  const rows = await session.query<InvoiceRow>(number === null ? ofAccounts : BY_NUMBER, [
    wanted.accounts,
    wanted.statuses,
    wanted.after,
    number,
    wanted.limit,
  ]);
  return rows.map(invoiceOf);
}

/** What stood on an issued invoice; null for a draft, and for what need not be kept any longer. */
export async function readSnapshot(
  session: Session,
  { payerId, invoiceId }: { payerId: string; invoiceId: string },
): Promise<PaperSnapshot | null> {
  const [row] = await session.query<{ snapshot: string | null }>(READ_SNAPSHOT, [
    payerId,
    invoiceId,
  ]);
  return row?.snapshot === null || row?.snapshot === undefined
    ? null
    : (JSON.parse(row.snapshot) as PaperSnapshot);
}
