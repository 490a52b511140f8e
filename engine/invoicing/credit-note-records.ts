import { column, table, type RowOf, type Session } from '../database';
import { BillingError, Decimal, currencyDecimals, formatMoney, isId, isoTime } from '../kernel';
import { taxRecords, taxesOf, type Invoice, type StoredInvoice } from './invoice-records';
import type { PaperSnapshot } from './rendering/snapshot';

export const CREDIT_REASONS = ['correction', 'refund', 'void', 'dispute'] as const;
/** Why a credit note was issued. */
export type CreditReasonCode = (typeof CREDIT_REASONS)[number];

/** A credit note as it goes out; amounts are money of its currency. */
export interface CreditNote {
  creditNoteId: string;
  number: string;
  series: string;
  invoiceId: string;
  invoiceNumber: string;
  account: string;
  payer: string;
  currency: string;
  net: string;
  tax: string;
  total: string;
  /** Where its money goes. */
  to: { due: string; credit: string; refund: string };
  reason: CreditReasonCode;
  /** In your words. */
  note: string | null;
  issuedAt: string;
  /** By the positions of the invoice's lines. */
  lines: Array<{ position: number; net: string; tax: string; total: string }>;
  taxes: Invoice['taxes'];
  metadata: Record<string, unknown>;
}

const CREDIT_NOTES = table('credit_notes', {
  payerId: column.uuid(),
  creditNoteId: column.uuid(),
  invoiceId: column.uuid(),
  series: column.text(),
  /** In the series. */
  place: column.bigint().named('number'),
  /** As it stands on the paper. */
  number: column.text().named('number_text'),
  currency: column.text(),
  net: column.decimal(),
  tax: column.decimal(),
  total: column.decimal(),
  toDue: column.decimal(),
  toCredit: column.decimal(),
  toRefund: column.decimal(),
  reason: column.text<CreditReasonCode>(),
  issuedAt: column.instant(),
});

const LINES = table('credit_note_lines', {
  payerId: column.uuid(),
  creditNoteId: column.uuid(),
  position: column.integer(),
  net: column.decimal(),
  tax: column.decimal(),
  total: column.decimal(),
});
const CREDITED = LINES.omit('payerId', 'creditNoteId');

const DETAILS = table('credit_note_details', {
  payerId: column.uuid(),
  creditNoteId: column.uuid(),
  snapshot: column.json<PaperSnapshot>(),
  note: column.text().orNull.named('reason'),
  metadata: column.json<Record<string, unknown>>(),
});
const WRITTEN = DETAILS.pick('note', 'metadata');

/** A credit note as rules work on it. */
export interface StoredCreditNote extends RowOf<typeof CREDIT_NOTES>, RowOf<typeof WRITTEN> {
  decimals: number;
  lines: Array<RowOf<typeof CREDITED>>;
}

const COLUMNS = `${CREDIT_NOTES.select('c')},
  (select json_agg(${CREDITED.selectArray('l')} order by l.position)::text
   from {schema}.credit_note_lines l
   where l.payer_id = c.payer_id and l.credit_note_id = c.credit_note_id) as lines,
  (select ${WRITTEN.selectArray('d')}::text from {schema}.credit_note_details d
   where d.payer_id = c.payer_id and d.credit_note_id = c.credit_note_id) as details`;

const FIND = `select ${COLUMNS} from {schema}.credit_notes c where c.credit_note_id = $1::uuid`;

const OF_INVOICES = `
cross join lateral (
  select * from {schema}.credit_notes c
  where c.payer_id = i.payer_id and c.invoice_id = i.invoice_id offset 0) as c`;

/** Of the accounts $1 (null: of all), by indexes alone. */
const LISTED = {
  all: `select * from {schema}.credit_notes c where $1::uuid[] is null and $2::uuid is null`,
  ofInvoice: `
select c.*
from (select * from {schema}.invoices i where i.invoice_id = $2::uuid offset 0) as i
${OF_INVOICES}
where $1::uuid[] is null or i.account_id = any($1::uuid[]) or i.payer_id = any($1::uuid[])`,
  // What an account pays, and what is for it and paid by another.
  ofAccounts: `
select c.*
from unnest($1::uuid[]) as w (payer_id)
cross join lateral (
  select * from {schema}.credit_notes c where c.payer_id = w.payer_id offset 0) as c
where $2::uuid is null
union all
select c.*
from unnest($1::uuid[]) as w (account_id)
cross join lateral (
  select * from {schema}.invoices i
  where i.account_id = w.account_id and i.payer_id <> all($1::uuid[]) offset 0) as i
${OF_INVOICES}`,
} as const;

/** Newest first; ids are made in the order of time. */
const listStatement = (listed: string): string => `
select ${COLUMNS} from (${listed}) as c
where c.credit_note_id < coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by c.credit_note_id desc
limit $4::integer`;

const LIST_ALL = listStatement(LISTED.all);
const LIST_OF_INVOICE = listStatement(LISTED.ofInvoice);
const LIST_OF_ACCOUNTS = listStatement(LISTED.ofAccounts);

const READ_SNAPSHOT = `
select snapshot::text as snapshot from {schema}.credit_note_details
where payer_id = $1::uuid and credit_note_id = $2::uuid`;

type CreditNoteRow = object & { lines: string; details: string | null };

function storedOf(row: CreditNoteRow): StoredCreditNote {
  const note = CREDIT_NOTES.read(row);
  const written = JSON.parse(row.details ?? '[null, "{}"]') as unknown[];
  return {
    ...note,
    ...WRITTEN.readArray(written),
    decimals: currencyDecimals(note.currency)!,
    lines: (JSON.parse(row.lines) as unknown[][]).map(CREDITED.readArray),
  };
}

/** What was taken back at which rate. */
export const creditedTaxes = (
  { lines }: Pick<StoredCreditNote, 'lines'>,
  invoice: StoredInvoice,
): ReturnType<typeof taxesOf> => {
  const rates = new Map(invoice.lines.map((line) => [line.position, line]));
  return taxesOf(
    lines.map(({ position, net, tax }) => {
      const { taxKey, taxName, taxPercent } = rates.get(position)!;
      return { taxKey, taxName, taxPercent, net, tax };
    }),
  );
};

export function creditNoteRecord(note: StoredCreditNote, invoice: StoredInvoice): CreditNote {
  const money = (value: Decimal): string => formatMoney(value, note.decimals);
  return {
    creditNoteId: note.creditNoteId,
    number: note.number,
    series: note.series,
    invoiceId: note.invoiceId,
    invoiceNumber: invoice.number!,
    account: invoice.accountId,
    payer: note.payerId,
    currency: note.currency,
    net: money(note.net),
    tax: money(note.tax),
    total: money(note.total),
    to: { due: money(note.toDue), credit: money(note.toCredit), refund: money(note.toRefund) },
    reason: note.reason,
    note: note.note,
    issuedAt: isoTime(note.issuedAt),
    lines: note.lines.map((line) => ({
      position: line.position,
      net: money(line.net),
      tax: money(line.tax),
      total: money(line.total),
    })),
    taxes: taxRecords(creditedTaxes(note, invoice), note.decimals),
    metadata: note.metadata,
  };
}

/** @throws unknown_invoice */
export async function requireCreditNote(
  session: Session,
  creditNoteId: string,
): Promise<StoredCreditNote> {
  const [row] = isId(creditNoteId) ? await session.query<CreditNoteRow>(FIND, [creditNoteId]) : [];
  if (row !== undefined) return storedOf(row);
  throw new BillingError('unknown_invoice', `There is no credit note "${creditNoteId}".`, {
    parameter: 'creditNoteId',
    advice: 'Pass the creditNoteId that invoicing.listCreditNotes gave, not the number on it.',
  });
}

/** Credit notes, newest first. */
export async function listCreditNotes(
  session: Session,
  wanted: {
    accounts: readonly string[] | null;
    invoiceId: string | null;
    after: string | null;
    limit: number;
  },
): Promise<StoredCreditNote[]> {
  const ofAccounts = wanted.accounts === null ? LIST_ALL : LIST_OF_ACCOUNTS;
  const list = wanted.invoiceId === null ? ofAccounts : LIST_OF_INVOICE;
  const rows = await session.query<CreditNoteRow>(list, [
    wanted.accounts,
    wanted.invoiceId,
    wanted.after,
    wanted.limit,
  ]);
  return rows.map(storedOf);
}

/** What stands on a credit note; null once it need not be kept any longer. */
export async function readNoteSnapshot(
  session: Session,
  { payerId, creditNoteId }: StoredCreditNote,
): Promise<PaperSnapshot | null> {
  const [row] = await session.query<{ snapshot: string }>(READ_SNAPSHOT, [payerId, creditNoteId]);
  return row === undefined ? null : (JSON.parse(row.snapshot) as PaperSnapshot);
}

type Unnumbered = Pick<
  StoredCreditNote,
  'payerId' | 'creditNoteId' | 'note' | 'metadata' | 'lines'
>;

/** Writes what of a credit note needs no number. The payer is locked. */
export async function writeNoteParts(
  session: Session,
  note: Unnumbered,
  snapshot: PaperSnapshot,
): Promise<void> {
  await LINES.write(
    session,
    note.lines.map((line) => ({ ...line, payerId: note.payerId, creditNoteId: note.creditNoteId })),
  );
  await DETAILS.write(session, [{ ...note, snapshot }]);
}

/** Writes a credit note whose parts are there. The payer is locked. */
export async function writeNote(session: Session, note: StoredCreditNote): Promise<void> {
  await CREDIT_NOTES.write(session, [note]);
}
