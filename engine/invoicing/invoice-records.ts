import { column, table, type RowOf, type Session } from '../database';
import {
  BillingError,
  Decimal,
  currencyDecimals,
  decimalsOf,
  formatMoney,
  formatUnits,
  isId,
  isoTime,
  sumOf,
  type Instant,
} from '../kernel';
import { OWN_LINE, type LineKind, type StoredInvoiceLine } from './invoice-lines';
import type { PaperSnapshot } from './rendering/snapshot';

export const INVOICE_STATUSES = ['draft', 'open', 'paid', 'void', 'uncollectible'] as const;
export type InvoiceStatus = (typeof INVOICE_STATUSES)[number];

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
  /** Of a credit: the line, of an invoice or an order, of which it gives a part back. */
  corrects: { invoiceId: string | null; orderId: string | null; position: number } | null;
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

const INVOICES = table('invoices', {
  invoiceId: column.uuid(),
  payerId: column.uuid(),
  accountId: column.uuid(),
  kind: column.text<Invoice['kind']>(),
  status: column.text<InvoiceStatus>(),
  currency: column.text(),
  boundaryAt: column.instant().orNull,
  /** The change that waits for it to be paid. */
  changeId: column.uuid().orNull,
  series: column.text().orNull,
  number: column.text().orNull.named('number_text'),
  createdAt: column.instant(),
  issuedAt: column.instant().orNull,
  dueAt: column.instant().orNull,
  taxStatus: column.text<Invoice['taxStatus']>(),
  subtotal: column.decimal(),
  discount: column.decimal(),
  net: column.decimal(),
  tax: column.decimal(),
  carried: column.decimal(),
  total: column.decimal(),
  credited: column.decimal(),
  paid: column.decimal(),
  creditNoted: column.decimal(),
  /** Credit notes that lowered what is due. */
  reduced: column.decimal(),
  refunded: column.decimal(),
  amountDue: column.decimal(),
  collection: column.text<Invoice['collection']>(),
  collectedBy: column.text<Invoice['collectedBy']>(),
  methodId: column.uuid().orNull,
  sentAt: column.instant().orNull,
  paidAt: column.instant().orNull,
  voidedAt: column.instant().orNull,
  uncollectibleAt: column.instant().orNull,
});

const DETAILS = table('invoice_details', {
  memo: column.text().orNull,
  metadata: column.json<Record<string, unknown>>(),
});

const COLLECTING = table('collections', {
  attempts: column.integer(),
  nextAttemptAt: column.instant().orNull,
});

/** Invoices by their primary key, as statements take them. */
export const NAMES = INVOICES.pick('payerId', 'invoiceId');
export type InvoiceName = RowOf<typeof NAMES>;

/** An invoice as rules work on it. */
export interface StoredInvoice
  extends RowOf<typeof INVOICES>, RowOf<typeof DETAILS>, RowOf<typeof COLLECTING> {
  /** Of the currency. */
  decimals: number;
  lines: StoredInvoiceLine[];
}

const COLUMNS = `
  ${INVOICES.select('i')},
  (select ${DETAILS.selectArray('d')}::text from {schema}.invoice_details d
   where d.payer_id = i.payer_id and d.invoice_id = i.invoice_id) as details,
  (select ${COLLECTING.selectArray('c')}::text from {schema}.collections c
   where c.payer_id = i.payer_id and c.invoice_id = i.invoice_id) as collecting,
  (select json_agg(${OWN_LINE.selectArray('l')} order by l.position)::text
   from {schema}.invoice_lines l
   where l.payer_id = i.payer_id and l.invoice_id = i.invoice_id) as lines`;

const FIND_INVOICE = `select ${COLUMNS} from {schema}.invoices i where i.invoice_id = $1::uuid`;

const FIND_OWNER = `
select payer_id::text as "payerId", account_id::text as "accountId"
from {schema}.invoices where invoice_id = $1::uuid`;

const FIND_INVOICES = `
select ${COLUMNS}
from unnest($1::uuid[], $2::uuid[]) with ordinality as w (payer_id, invoice_id, place)
cross join lateral (
  select * from {schema}.invoices i
  where i.payer_id = w.payer_id and i.invoice_id = w.invoice_id offset 0) as i
order by w.place`;

/** Lines first, in one statement each. */
const DELETE_DRAFT = ['invoice_lines', 'invoice_details', 'invoices'].map(
  (name) => `delete from {schema}.${name} where payer_id = $1::uuid and invoice_id = $2::uuid`,
);

/** Drafts of the billing cycle that are due by $2. $3: only these; null: all. */
const FIND_DUE_DRAFTS = `
select ${COLUMNS}
from unnest($1::uuid[]) as w (payer_id)
cross join lateral (
  select * from {schema}.invoices d
  where d.payer_id = w.payer_id and d.status = 'draft' and d.kind = 'cycle'
    and d.boundary_at <= $2::timestamptz offset 0) as i
where $3::uuid[] is null or i.invoice_id = any($3::uuid[])`;

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

/** What was selected beside the invoice's own columns. */
interface InvoiceRow {
  details: string | null;
  collecting: string | null;
  lines: string | null;
}

const arraysOf = (json: string): unknown[][] => JSON.parse(json) as unknown[][];

function invoiceOf(row: InvoiceRow): StoredInvoice {
  const [details = [null, '{}']] = arraysOf(`[${row.details ?? ''}]`);
  const [collecting = [0, null]] = arraysOf(`[${row.collecting ?? ''}]`);
  const invoice = INVOICES.read(row);
  const { memo, metadata } = DETAILS.readArray(details);
  const { attempts, nextAttemptAt } = COLLECTING.readArray(collecting);
  // Named one by one: thousands are read, and an object that another is spread into is slow to make.
  return {
    ...invoice,
    memo,
    metadata,
    attempts,
    nextAttemptAt,
    // Only money of ISO 4217 is billed in.
    decimals: currencyDecimals(invoice.currency)!,
    lines: arraysOf(row.lines ?? '[]').map(OWN_LINE.readArray),
  };
}

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

export const taxRecords = (rates: ReturnType<typeof taxesOf>, decimals: number): Invoice['taxes'] =>
  rates.map(({ key, name, percent, net, tax }) => ({
    key,
    name,
    percent: percent === null ? null : formatUnits(percent),
    net: formatMoney(net, decimals),
    tax: formatMoney(tax, decimals),
  }));

function lineRecord(line: StoredInvoiceLine, decimals: number): InvoiceLine {
  const money = (amount: Decimal): string => formatMoney(amount, decimals);
  return {
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
    periodStart: isoTime(line.periodFrom),
    periodEnd: isoTime(line.periodTo),
    corrects:
      line.correctsPosition === null
        ? null
        : {
            invoiceId: line.correctsInvoiceId,
            orderId: line.correctsOrderId,
            position: line.correctsPosition,
          },
  };
}

/** An invoice as it goes out. */
export function invoiceRecord(invoice: StoredInvoice): Invoice {
  const { decimals, lines } = invoice;
  const money = (amount: Decimal): string => formatMoney(amount, decimals);
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
    createdAt: isoTime(invoice.createdAt),
    issuedAt: isoTime(invoice.issuedAt),
    dueAt: isoTime(invoice.dueAt),
    sentAt: isoTime(invoice.sentAt),
    paidAt: isoTime(invoice.paidAt),
    voidedAt: isoTime(invoice.voidedAt),
    uncollectibleAt: isoTime(invoice.uncollectibleAt),
    periodStart: isoTime(invoice.boundaryAt),
    collection: invoice.collection,
    collectedBy: invoice.collectedBy,
    methodId: invoice.methodId,
    lines: lines.map((line) => lineRecord(line, decimals)),
    taxes: taxRecords(taxesOf(lines), decimals),
    attempts: invoice.attempts,
    nextAttemptAt: isoTime(invoice.nextAttemptAt),
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

/** The error for what an invoice does not allow as it stands. */
export const wrongState = (
  { number, invoiceId }: StoredInvoice,
  because: string,
  advice: string,
): BillingError =>
  new BillingError('invoice_state', `Invoice ${number ?? invoiceId} ${because}.`, {
    parameter: 'invoiceId',
    advice,
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
  const [found] = isId(invoiceId)
    ? await session.query<{ payerId: string; accountId: string }>(FIND_OWNER, [invoiceId])
    : [];
  if (found === undefined) throw unknownInvoice(invoiceId);
  return found;
}

/** Many invoices, with their lines, in the order asked for; what there is not is left out. */
export async function findInvoices(
  session: Session,
  wanted: readonly InvoiceName[],
): Promise<StoredInvoice[]> {
  if (wanted.length === 0) return [];
  const rows = await session.query<InvoiceRow>(FIND_INVOICES, NAMES.values(wanted));
  return rows.map(invoiceOf);
}

/** Deletes a draft with what stands on it. The payer is locked. */
export async function deleteDraft(
  session: Session,
  { payerId, invoiceId }: InvoiceName,
): Promise<void> {
  for (const statement of DELETE_DRAFT) await session.query(statement, [payerId, invoiceId]);
}

/** Drafts of payers that are due, with their lines; only those named, where some are. */
export async function findDueDrafts(
  session: Session,
  payerIds: readonly string[],
  now: Instant,
  invoiceIds: readonly string[] | null,
): Promise<StoredInvoice[]> {
  if (payerIds.length === 0) return [];
  const rows = await session.query<InvoiceRow>(FIND_DUE_DRAFTS, [
    payerIds,
    isoTime(now),
    invoiceIds,
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
  { payerId, invoiceId }: InvoiceName,
): Promise<PaperSnapshot | null> {
  const values = [payerId, invoiceId];
  const [row] = await session.query<{ snapshot: string | null }>(READ_SNAPSHOT, values);
  return JSON.parse(row?.snapshot ?? 'null') as PaperSnapshot | null;
}
