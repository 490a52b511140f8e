import type { ErasePart, ExportPart, MergePart } from '../accounts';
import { MAX_LOCKED_ACCOUNTS, column, pages, table, type Context, type Session } from '../database';
import {
  addDuration,
  currencyDecimals,
  formatMoney,
  isoTime,
  readClock,
  type Instant,
} from '../kernel';
import { CREDITS, moveCredits, readCredits } from './account-credit';
import { mergeTopUps } from './collecting/top-up-records';
import { creditNoteRecord, listCreditNotes, type StoredCreditNote } from './credit-note-records';
import {
  findInvoice,
  invoiceRecord,
  listInvoices,
  readSnapshot,
  type StoredInvoice,
} from './invoice-records';
import { readInvoiceRefunds } from './refunding-invoices';
import { readSettings } from './settings';
import { PAYMENTS } from './settling';

/** What invoices have to say when accounts are attached, exported, erased or merged, and get old. */

const HAS_OPEN = `
select 1 as found from {schema}.invoices
where payer_id = $1::uuid and status in ('draft', 'open') limit 1`;

/** Why an account cannot become somebody's child: what it owes, it pays by itself. */
export async function openInvoicesObstacle(
  session: Session,
  accountId: string,
): Promise<string | null> {
  const open = await session.query(HAS_OPEN, [accountId]);
  if (open.length > 0) return 'The child has invoices that are not paid yet.';
  const credits = (await readCredits(session, [accountId])).get(accountId);
  const hasCredit = [...(credits?.values() ?? [])].some((amount) => !amount.isZero());
  return hasCredit ? 'The child has account credit.' : null;
}

const READ_PAYMENTS = `
select ${PAYMENTS.select('p')} from {schema}.invoice_payments p
where p.payer_id = $1::uuid and p.invoice_id = $2::uuid
order by p.recorded_at, p.payment_id`;

const READ_CREDIT_ENTRIES = `
select ${CREDITS.select('c')}, d.reason as note, coalesce(d.metadata, '{}')::text as metadata
from {schema}.account_credits c
left join {schema}.account_credit_details d
  on d.payer_id = c.payer_id and d.credit_id = c.credit_id
where c.payer_id = any($1::uuid[]) or (c.payer_id, c.credit_id) in (
  select own.payer_id, own.credit_id from {schema}.account_credit_details own
  where own.account_id = any($1::uuid[]))
order by c.credit_id`;

const BILLED = table('invoice_lines', {
  invoiceId: column.uuid(),
  position: column.integer(),
  kind: column.text(),
  sku: column.text().orNull,
  product: column.text().orNull,
  description: column.text().orNull,
  quantity: column.amount(),
  net: column.amount(),
  tax: column.amount(),
  periodFrom: column.time().orNull,
  periodTo: column.time().orNull,
});

const BILLED_ON = table('invoices', { number: column.text().orNull, currency: column.text() });

/** What is of the account on invoices that whoever pays for it, or did, got for itself. */
const READ_BILLED = `
select ${BILLED_ON.select('i')}, ${BILLED.select('l')}
from {schema}.invoices i
join {schema}.invoice_lines l on l.payer_id = i.payer_id and l.invoice_id = i.invoice_id
where i.payer_id in (
    select unnest(array_append(a.earlier_payers, a.payer_id))
    from {schema}.accounts a where a.account_id = any($1::uuid[]))
  and i.payer_id <> all($1::uuid[]) and i.account_id <> all($1::uuid[]) and i.status <> 'draft'
  and l.account_id = any($1::uuid[])
order by i.invoice_id, l.position`;

const PAGE = 200;

/** An invoice with what stands on its paper, and what was paid and given back of it. */
async function exportedInvoice(session: Session, invoice: StoredInvoice): Promise<object> {
  const { payerId, invoiceId, decimals } = invoice;
  const payments = await PAYMENTS.rows(session, READ_PAYMENTS, [payerId, invoiceId]);
  return {
    ...invoiceRecord(invoice),
    paper: await readSnapshot(session, invoice),
    payments: payments.map(({ paymentId, gateway, method, reference, ...payment }) => ({
      paymentId,
      gateway,
      method,
      reference,
      amount: formatMoney(payment.amount, decimals),
      excess: formatMoney(payment.excess, decimals),
      paidAt: isoTime(payment.paidAt),
    })),
    refunds: await readInvoiceRefunds(session, invoice),
  };
}

async function exportedCredit(session: Session, names: readonly string[]): Promise<object[]> {
  const rows = await session.query<{ note: string | null; metadata: string }>(READ_CREDIT_ENTRIES, [
    names,
  ]);
  return rows.map((row) => {
    const { payerId: _payer, amount, createdAt, ...credit } = CREDITS.read(row);
    return {
      ...credit,
      amount: formatMoney(amount, currencyDecimals(credit.currency)!),
      createdAt: isoTime(createdAt),
      note: row.note,
      metadata: JSON.parse(row.metadata) as Record<string, unknown>,
    };
  });
}

/**
 * Invoices that the account pays or that are for it, with what stands on them; credit notes; credit; and
 * of a child the lines that are its own on invoices of its payer.
 */
export const exportInvoices: ExportPart = async (session, account) => {
  const { names: accounts } = account;
  const invoices: object[] = [];
  const creditNotes: object[] = [];
  const allInvoices = pages<StoredInvoice>({
    key: { invoiceId: 'latest' },
    size: PAGE,
    find: ([after], limit) =>
      listInvoices(session, { accounts, statuses: null, after: after as string, limit }),
  });
  for await (const page of allInvoices) {
    for (const invoice of page) invoices.push(await exportedInvoice(session, invoice));
  }
  const allNotes = pages<StoredCreditNote>({
    key: { creditNoteId: 'latest' },
    size: PAGE,
    find: ([after], limit) =>
      listCreditNotes(session, { accounts, invoiceId: null, after: after as string, limit }),
  });
  for await (const page of allNotes) {
    for (const note of page) {
      creditNotes.push(creditNoteRecord(note, (await findInvoice(session, note.invoiceId))!));
    }
  }
  const billed = await session.query<object>(READ_BILLED, [accounts]);
  return {
    invoices,
    creditNotes,
    accountCredit: await exportedCredit(session, accounts),
    billedToPayer: billed.map((row) => ({ ...BILLED_ON.read(row), ...BILLED.read(row) })),
  };
};

/** Found by whom they are for; the payer of a row may be the parent of that time. */
const OWN = `(i.account_id = any($1::uuid[]) or i.payer_id = any($1::uuid[]))`;

/** What stands on an issued invoice stays until its retention date; what is beside it goes. */
const ERASE_DETAILS = `
update {schema}.invoice_details d set memo = null, metadata = '{}'
from {schema}.invoices i
where ${OWN} and d.payer_id = i.payer_id and d.invoice_id = i.invoice_id
  and (d.memo is not null or d.metadata <> '{}')`;

const ERASE_DRAFT_LINES = `
update {schema}.invoice_lines l set description = null
from {schema}.invoices i
where (${OWN} or i.payer_id = $2::uuid) and i.status = 'draft'
  and l.payer_id = i.payer_id and l.invoice_id = i.invoice_id
  and (${OWN} or l.account_id = any($1::uuid[])) and l.description is not null`;

const ERASE_NOTES = `
update {schema}.credit_note_details d set reason = null, metadata = '{}'
from {schema}.credit_notes c
join {schema}.invoices i on i.payer_id = c.payer_id and i.invoice_id = c.invoice_id
where ${OWN} and d.payer_id = c.payer_id and d.credit_note_id = c.credit_note_id`;

/** What was written of a child stands under its payer. */
const ERASE_CREDIT = `
delete from {schema}.account_credit_details
where payer_id = any($1::uuid[]) or account_id = any($1::uuid[])`;

/** Memos, reasons and metadata go, and the texts of drafts; papers that were issued must be kept. */
export const eraseInvoices: ErasePart = async (session, account) => {
  const { names } = account;
  for (const statement of [ERASE_DETAILS, ERASE_NOTES, ERASE_CREDIT]) {
    await session.query(statement, [names]);
  }
  // A child's lines may stand on a draft of its payer's.
  await session.query(ERASE_DRAFT_LINES, [names, account.payerId]);
};

const COUNT = `
select count(*)::int as invoices from {schema}.invoices where payer_id = $1::uuid`;

/**
 * Invoices stay as they are, with their buyer's name, and are found through the alias; credit and top-ups
 * move.
 */
export const mergeInvoices: MergePart = async (session, merge) => {
  const { into, from, now, dryRun } = merge;
  const [counted] = await session.query<{ invoices: number }>(COUNT, [from.payerId]);
  const found = (await readCredits(session, [from.payerId])).get(from.payerId);
  const credits = [...(found ?? [])].filter(([, amount]) => !amount.isZero());
  if (!dryRun) {
    const way = { from: from.payerId, into: into.payerId };
    await moveCredits(
      session,
      credits.map(([currency, amount]) => ({ ...way, currency, amount })),
      now,
    );
  }
  const topUps = await mergeTopUps(session, merge);
  return { invoices: counted!.invoices, accountCredits: credits.length, ...topUps };
};

/** Longest issued first, by the index invoices_old. What is not paid yet is kept however old it is. */
const FORGET = `
with old as (
  select i.payer_id, i.invoice_id from {schema}.invoices i
  where i.issued_at < $1::timestamptz and i.status in ('paid', 'void', 'uncollectible')
    and exists (select from {schema}.invoice_details d
                where d.payer_id = i.payer_id and d.invoice_id = i.invoice_id)
  order by i.issued_at limit $2::integer
), texts as (
  update {schema}.invoice_lines l set description = null
  from old where l.payer_id = old.payer_id and l.invoice_id = old.invoice_id
    and l.description is not null
), gone as (
  delete from {schema}.invoice_details d using old
  where d.payer_id = old.payer_id and d.invoice_id = old.invoice_id
  returning 1
)
select count(*)::int as gone from gone`;

const FORGET_NOTES = `
with old as (
  select c.payer_id, c.credit_note_id from {schema}.credit_notes c
  where c.issued_at < $1::timestamptz
    and exists (select from {schema}.credit_note_details d
                where d.payer_id = c.payer_id and d.credit_note_id = c.credit_note_id)
  order by c.issued_at limit $2::integer
), gone as (
  delete from {schema}.credit_note_details d using old
  where d.payer_id = old.payer_id and d.credit_note_id = old.credit_note_id
  returning 1
)
select count(*)::int as gone from gone`;

/** As a calendar counts years back from now. */
const retentionStart = (now: Instant, years: number): Instant =>
  addDuration(now, { unit: 'year', count: -years }, 'UTC');

export interface ForgottenPapers {
  /** Invoices and credit notes of which the texts need not be kept any longer. */
  papersForgotten: number;
}

/**
 * Empties what people wrote on and beside papers that need not be kept any longer; their amounts stay. In
 * small transactions, so that it may be killed between any two.
 *
 * @param request `limit`: at most so many papers of each kind
 * @returns how many were emptied
 */
export async function forgetInvoices(
  context: Context,
  { limit }: { limit: number },
): Promise<ForgottenPapers> {
  const { retentionYears } = await readSettings(context.database);
  const before = isoTime(retentionStart(readClock(context.clock), retentionYears));
  let forgotten = 0;
  for (const statement of [FORGET, FORGET_NOTES]) {
    for (let left = limit; left > 0;) {
      const some = Math.min(left, MAX_LOCKED_ACCOUNTS);
      const gone = await context.database.transaction(undefined, async (session) => {
        const [row] = await session.query<{ gone: number }>(statement, [before, some]);
        return row!.gone;
      });
      forgotten += gone;
      left -= gone;
      if (gone < some) break;
    }
  }
  return { papersForgotten: forgotten };
}
