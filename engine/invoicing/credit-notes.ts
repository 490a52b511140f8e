import { aliasesOf, resolveAccount } from '../accounts';
import { endFees, movePostings, post, postAll, type BookAccount, type Leg } from '../books';
import { atTime, readTime, toInstant, type Context, type Session } from '../database';
import { recordEvents } from '../events';
import {
  BillingError,
  Decimal,
  MAX_UNIT_DECIMALS,
  ZERO,
  accountReference,
  amount,
  changeFields,
  currencyDecimals,
  formatMoney,
  input,
  integer,
  isId,
  isoTime,
  list,
  newId,
  oneOf,
  parse,
  requireDecimals,
  text,
  type AccountReference,
  type ChangeOptions,
  type Instant,
} from '../kernel';
import { moveCredits, writeCredits } from './account-credit';
import { changeOfInvoice, invoiceIdInput, type InvoiceAtHand } from './change-of-invoice';
import {
  CREDIT_TARGETS,
  allocate,
  planCredit,
  type CreditTarget,
  type CreditableLine,
  type PlannedCredit,
  type SettledAmounts,
} from './credit-plan';
import { invoiceEvent } from './invoice-events';
import { findInvoice, readSnapshot, taxesOf, type StoredInvoice } from './invoice-records';
import { numberText, takeNumbers } from './numbering';
import { sellerPart, takeSnapshots, type PaperSnapshot } from './rendering/snapshot';
import { readSettings } from './settings';
import { invoicesPaid } from './when-paid';

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
  taxes: Array<{
    key: string | null;
    name: string | null;
    percent: string | null;
    net: string;
    tax: string;
  }>;
  metadata: Record<string, unknown>;
}

/** A credit note as rules work on it. */
export interface StoredCreditNote {
  creditNoteId: string;
  payerId: string;
  invoiceId: string;
  series: string;
  number: string;
  currency: string;
  decimals: number;
  net: Decimal;
  tax: Decimal;
  total: Decimal;
  toDue: Decimal;
  toCredit: Decimal;
  toRefund: Decimal;
  reason: CreditReasonCode;
  issuedAt: Instant;
  lines: Array<{ position: number; net: Decimal; tax: Decimal; total: Decimal }>;
  note: string | null;
  metadata: Record<string, unknown>;
}

export interface CreateCreditNoteRequest extends ChangeOptions {
  invoiceId: string;
  /** What is taken back of which line: a part, or all that is left of it. */
  lines?: Array<{ position: number; amount?: string | number }>;
  /** Tax included. Without `lines` all that is left, or exactly the amount of one line. */
  amount?: string | number;
  /** Default: `due` while something is to be paid, then `credit`. */
  to?: CreditTarget;
  /** Why, in your words. */
  reason?: string;
}

export interface ListCreditNotesRequest {
  account?: AccountReference;
  invoiceId?: string;
  limit?: number | string;
  cursor?: string;
}

const MAX_LINES = 1_000;

export const moneyInput = () => amount({ decimals: MAX_UNIT_DECIMALS });

const createCreditNoteInput = input({
  invoiceId: invoiceIdInput(),
  lines: list(
    input({ position: integer(1, 1_000_000), amount: moneyInput().optional() }),
    MAX_LINES,
  )
    .min(1, { error: 'must have at least one entry' })
    .optional(),
  amount: moneyInput().optional(),
  to: oneOf(CREDIT_TARGETS).optional(),
  reason: text(1_000).optional(),
  ...changeFields,
});

const getCreditNoteInput = input({ creditNoteId: invoiceIdInput() });

const listCreditNotesInput = input({
  account: accountReference().optional(),
  invoiceId: invoiceIdInput().optional(),
  limit: integer(1, 500).optional(),
  cursor: text(100).optional(),
});

const COLUMNS = `
  c.credit_note_id::text as credit_note_id, c.payer_id::text as payer_id,
  c.invoice_id::text as invoice_id, c.series, c.number_text, c.currency, c.net::text as net,
  c.tax::text as tax, c.total::text as total, c.to_due::text as to_due,
  c.to_credit::text as to_credit, c.to_refund::text as to_refund, c.reason,
  ${atTime('c.issued_at')} as issued_at,
  (select json_agg(json_build_array(l.position, l.net::text, l.tax::text, l.total::text)
                   order by l.position)::text
   from {schema}.credit_note_lines l
   where l.payer_id = c.payer_id and l.credit_note_id = c.credit_note_id) as lines,
  (select json_build_array(d.reason, d.metadata)::text from {schema}.credit_note_details d
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

/** What credit notes took back of the lines of an invoice, and where it went. */
const FIND_CREDITED = `
select l.position, sum(l.net)::text as net, sum(l.tax)::text as tax
from {schema}.credit_notes c
join {schema}.credit_note_lines l
  on l.payer_id = c.payer_id and l.credit_note_id = c.credit_note_id
where c.payer_id = $1::uuid and c.invoice_id = $2::uuid
group by l.position`;

const FIND_GIVEN_BACK = `
select coalesce(sum(to_credit), 0)::text as to_credit, coalesce(sum(to_refund), 0)::text as to_refund
from {schema}.credit_notes where payer_id = $1::uuid and invoice_id = $2::uuid`;

const READ_SNAPSHOT = `
select snapshot::text as snapshot from {schema}.credit_note_details
where payer_id = $1::uuid and credit_note_id = $2::uuid`;

const WRITE = `
insert into {schema}.credit_notes
  (payer_id, credit_note_id, invoice_id, series, number, number_text, currency, net, tax, total,
   to_due, to_credit, to_refund, reason, issued_at)
values ($1::uuid, $2::uuid, $3::uuid, $4, $5::bigint, $6, $7, $8::numeric, $9::numeric, $10::numeric,
        $11::numeric, $12::numeric, $13::numeric, $14, $15::timestamptz)`;

const WRITE_LINES = `
insert into {schema}.credit_note_lines (payer_id, credit_note_id, position, net, tax, total)
select $1::uuid, $2::uuid, n.position, n.net, n.tax, n.total
from unnest($3::integer[], $4::numeric[], $5::numeric[], $6::numeric[])
       as n (position, net, tax, total)`;

const WRITE_DETAILS = `
insert into {schema}.credit_note_details (payer_id, credit_note_id, snapshot, reason, metadata)
values ($1::uuid, $2::uuid, $3::jsonb, $4, $5::jsonb)`;

/** What was issued keeps its amounts; what a credit note takes off stands beside them. */
const TAKE_OFF = `
update {schema}.invoices
set credit_noted = credit_noted + $3::numeric, reduced = reduced + $4::numeric, status = $5,
    paid_at = case when $5 = 'paid' then coalesce(paid_at, $6::timestamptz) end
where payer_id = $1::uuid and invoice_id = $2::uuid`;

interface CreditNoteRow {
  credit_note_id: string;
  payer_id: string;
  invoice_id: string;
  series: string;
  number_text: string;
  currency: string;
  net: string;
  tax: string;
  total: string;
  to_due: string;
  to_credit: string;
  to_refund: string;
  reason: CreditReasonCode;
  issued_at: string;
  lines: string;
  details: string | null;
}

function storedOf(row: CreditNoteRow): StoredCreditNote {
  const [note, metadata] = JSON.parse(row.details ?? '[null, {}]') as [
    string | null,
    Record<string, unknown>,
  ];
  const lines = JSON.parse(row.lines) as Array<[number, string, string, string]>;
  return {
    creditNoteId: row.credit_note_id,
    payerId: row.payer_id,
    invoiceId: row.invoice_id,
    series: row.series,
    number: row.number_text,
    currency: row.currency,
    decimals: currencyDecimals(row.currency)!,
    net: new Decimal(row.net),
    tax: new Decimal(row.tax),
    total: new Decimal(row.total),
    toDue: new Decimal(row.to_due),
    toCredit: new Decimal(row.to_credit),
    toRefund: new Decimal(row.to_refund),
    reason: row.reason,
    issuedAt: toInstant(row.issued_at),
    lines: lines.map(([position, net, tax, total]) => ({
      position,
      net: new Decimal(net),
      tax: new Decimal(tax),
      total: new Decimal(total),
    })),
    note,
    metadata,
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
    issuedAt: readTime(String(note.issuedAt)),
    lines: note.lines.map((line) => ({
      position: line.position,
      net: money(line.net),
      tax: money(line.tax),
      total: money(line.total),
    })),
    taxes: creditedTaxes(note, invoice).map((rate) => ({
      key: rate.key,
      name: rate.name,
      percent: rate.percent === null ? null : rate.percent.toFixed(),
      net: money(rate.net),
      tax: money(rate.tax),
    })),
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

/** The lines of an issued invoice, with what is left of each. */
export async function creditableLines(
  session: Session,
  { payerId, invoiceId, lines }: StoredInvoice,
): Promise<CreditableLine[]> {
  const rows = await session.query<{ position: number; net: string; tax: string }>(FIND_CREDITED, [
    payerId,
    invoiceId,
  ]);
  const credited = new Map(rows.map((row) => [row.position, row]));
  return lines.map((line) => ({
    position: line.position,
    lineId: line.lineId,
    sku: line.sku,
    name: line.sku ?? line.product ?? line.kind,
    net: line.net,
    tax: line.tax,
    total: line.total,
    creditedNet: new Decimal(credited.get(line.position)?.net ?? 0),
    creditedTax: new Decimal(credited.get(line.position)?.tax ?? 0),
  }));
}

/** How far an issued invoice is settled, and what of that went back. */
export async function settledOf(session: Session, invoice: StoredInvoice): Promise<SettledAmounts> {
  const [row] = await session.query<{ to_credit: string; to_refund: string }>(FIND_GIVEN_BACK, [
    invoice.payerId,
    invoice.invoiceId,
  ]);
  return {
    due: invoice.amountDue,
    paid: invoice.paid,
    credited: invoice.credited,
    toCredit: new Decimal(row!.to_credit),
    toRefund: new Decimal(row!.to_refund),
  };
}

/** @throws invoice_state: a draft is edited, and what is void is not corrected any more */
export function requireIssued(invoice: StoredInvoice): void {
  if (invoice.status !== 'draft' && invoice.status !== 'void') return;
  throw new BillingError(
    'invoice_state',
    invoice.status === 'draft'
      ? `Invoice ${invoice.invoiceId} is a draft.`
      : `Invoice ${invoice.number} is void.`,
    {
      parameter: 'invoiceId',
      advice:
        invoice.status === 'draft'
          ? 'Change its items, or finalize it first.'
          : 'There is nothing left to correct.',
    },
  );
}

const sumOf = (amounts: readonly Decimal[]): Decimal =>
  amounts.reduce((all, one) => all.plus(one), ZERO);

const leg = (account: BookAccount, value: Decimal): Leg[] =>
  value.isZero() ? [] : [{ account, amount: value }];

/**
 * Where what is taken back comes from: what a fee has not earned yet from `deferred`, the rest from
 * `revenue`. A fee ends with its line: as long as something of it is left, it goes on earning.
 */
export async function takenBackLegs(
  session: Session,
  { invoice, payer }: InvoiceAtHand,
  planned: readonly PlannedCredit[],
  now: Instant,
): Promise<Leg[]> {
  const { payerId, invoiceId, currency } = invoice;
  const whole = planned.filter(({ isWhole }) => isWhole).map(({ line }) => line.lineId);
  let unearned = sumOf([...(await endFees(session, payerId, whole, now)).values()]);
  if (payer.payerId !== payerId) {
    // What was not earned when the payer was merged into another went along: it comes back first.
    const moved = sumOf([...(await endFees(session, payer.payerId, whole, now)).values()]);
    const way = { from: payer.payerId, into: payerId };
    const reference = { type: 'invoice', id: invoiceId };
    if (!moved.isZero()) {
      await postAll(session, movePostings(way, { currency, amount: moved, at: now, reference }));
    }
    unearned = unearned.plus(moved);
  }
  const net = sumOf(planned.map((one) => one.net));
  return [
    ...leg('deferred', unearned),
    ...leg('revenue', net.minus(unearned)),
    ...leg('tax_payable', sumOf(planned.map((one) => one.tax))),
  ];
}

export interface IssuedNote {
  planned: readonly PlannedCredit[];
  to: { due: Decimal; credit: Decimal; refund: Decimal };
  reason: CreditReasonCode;
  note: string | null;
  metadata: Record<string, unknown>;
}

/** What is issued in a sandbox takes none of the real numbers. */
const SANDBOX_SERIES = 'TEST-CN';

/**
 * Issues a credit note: its posting, its money, its number, its event. The payers are locked. Numbers
 * are taken last.
 *
 * @returns the credit note, and the invoice as it is then
 */
export async function issueCreditNote(
  { isSandbox }: Pick<Context, 'isSandbox'>,
  session: Session,
  { invoice, payer }: InvoiceAtHand,
  wanted: IssuedNote,
  now: Instant,
): Promise<{ note: StoredCreditNote; invoice: StoredInvoice }> {
  const { payerId, invoiceId, currency, decimals } = invoice;
  const { planned, to } = wanted;
  const creditNoteId = newId();
  const total = sumOf(planned.map((one) => one.total));
  const net = sumOf(planned.map((one) => one.net));

  // What was written off is no receivable any more.
  const owed = invoice.status === 'uncollectible' ? 'written_off' : 'receivable';
  await post(session, {
    payerId,
    currency,
    at: now,
    kind: 'credit_note',
    reference: { type: 'credit_note', id: creditNoteId },
    legs: [
      ...(await takenBackLegs(session, { invoice, payer }, planned, now)),
      ...leg(owed, to.due.negated()),
      // Until the money has gone back, we owe it.
      ...leg('receivable', to.refund.negated()),
      ...leg('customer_credit', to.credit.negated()),
    ],
  });
  await writeCredits(
    session,
    [{ payerId, currency, amount: to.credit, reason: 'credit_note', invoiceId, creditNoteId }],
    now,
  );
  await moveCredits(
    session,
    [{ from: payerId, into: payer.payerId, currency, amount: to.credit }],
    now,
  );

  const amountDue = invoice.amountDue.minus(to.due);
  const isSettled =
    amountDue.isZero() && (invoice.status === 'open' || invoice.status === 'uncollectible');
  // A void one becomes so afterwards.
  const status = isSettled && wanted.reason !== 'void' ? 'paid' : invoice.status;
  const after: StoredInvoice = {
    ...invoice,
    status,
    creditNoted: invoice.creditNoted.plus(total),
    reduced: invoice.reduced.plus(to.due),
    amountDue,
    paidAt: status === 'paid' ? (invoice.paidAt ?? now) : null,
  };
  const snapshot = await snapshotFor(session, invoice);
  const settings = await readSettings(session);
  const series = isSandbox ? SANDBOX_SERIES : settings.numbering.creditNotePrefix;
  const { first, issuedAt } = await takeNumbers(session, series, 1, now);
  const note: StoredCreditNote = {
    creditNoteId,
    payerId,
    invoiceId,
    series,
    number: numberText(series, first, settings.numbering.digits),
    currency,
    decimals,
    net,
    tax: total.minus(net),
    total,
    toDue: to.due,
    toCredit: to.credit,
    toRefund: to.refund,
    reason: wanted.reason,
    issuedAt,
    lines: planned.map((one) => ({
      position: one.line.position,
      net: one.net,
      tax: one.tax,
      total: one.total,
    })),
    note: wanted.note,
    metadata: wanted.metadata,
  };
  await write(session, note, first, { ...snapshot, ...sellerPart(settings) });
  if (wanted.reason !== 'void') {
    await session.query(TAKE_OFF, [
      payerId,
      invoiceId,
      total.toFixed(),
      to.due.toFixed(),
      status,
      isoTime(now),
    ]);
  }
  await recordEvents(session, [
    {
      type: 'credit_note.issued',
      payerId,
      accountId: invoice.accountId,
      at: now,
      data: {
        creditNoteId,
        number: note.number,
        invoiceId,
        currency,
        total: formatMoney(total, decimals),
      },
    },
  ]);
  return { note, invoice: after };
}

/** The buyer is the invoice's, as it was; where that is not kept any longer, as it is now. */
async function snapshotFor(session: Session, invoice: StoredInvoice): Promise<PaperSnapshot> {
  const kept = await readSnapshot(session, invoice);
  if (kept !== null) return kept;
  const taken = await takeSnapshots(session, await readSettings(session), [invoice]);
  return taken.get(invoice.invoiceId)!;
}

async function write(
  session: Session,
  note: StoredCreditNote,
  number: bigint,
  snapshot: PaperSnapshot,
): Promise<void> {
  const { payerId, creditNoteId, lines } = note;
  await session.query(WRITE, [
    payerId,
    creditNoteId,
    note.invoiceId,
    note.series,
    String(number),
    note.number,
    note.currency,
    note.net.toFixed(),
    note.tax.toFixed(),
    note.total.toFixed(),
    note.toDue.toFixed(),
    note.toCredit.toFixed(),
    note.toRefund.toFixed(),
    note.reason,
    isoTime(note.issuedAt),
  ]);
  await session.query(WRITE_LINES, [
    payerId,
    creditNoteId,
    lines.map(({ position }) => position),
    lines.map((line) => line.net.toFixed()),
    lines.map((line) => line.tax.toFixed()),
    lines.map((line) => line.total.toFixed()),
  ]);
  await session.query(WRITE_DETAILS, [
    payerId,
    creditNoteId,
    JSON.stringify(snapshot),
    note.note,
    JSON.stringify(note.metadata),
  ]);
}

/** How money goes back. */
export interface CreditNotePorts {
  /** Records that money is to go back; gives the ids of refunds that a gateway is to be asked for. */
  giveBack(
    session: Session,
    invoice: StoredInvoice,
    note: StoredCreditNote,
    now: Instant,
  ): Promise<string[]>;
  /** Asks the gateways, after the commit. */
  executeRefunds(refundIds: readonly string[]): Promise<void>;
}

export class CreditNotes {
  constructor(
    private readonly context: Context,
    private readonly ports: CreditNotePorts,
  ) {}

  /**
   * Corrects an issued invoice: per line, never above it in sum. What is taken back lowers what is due,
   * becomes account credit, or goes back as money.
   *
   * @throws unknown_invoice, invoice_state (a draft, void), refund_ambiguous, refund_exceeds_paid,
   *   invalid_input, idempotency_conflict
   */
  async createCreditNote(
    request: CreateCreditNoteRequest,
  ): Promise<CreditNote & { replayed: boolean }> {
    const wanted = parse(createCreditNoteInput, request);
    const { invoiceId, idempotencyKey, metadata, tx, ...inputs } = wanted;
    if (wanted.lines !== undefined && wanted.lines.length > 1 && wanted.amount !== undefined) {
      throw new BillingError(
        'invalid_input',
        '"amount" of several lines does not say how much is of which.',
        { parameter: 'amount', advice: 'Give each line its own amount.' },
      );
    }
    const refundIds: string[] = [];
    const { answer, replayed } = await changeOfInvoice(
      this.context,
      { kind: 'createCreditNote', invoiceId, request: inputs, idempotencyKey, tx },
      async (session, atHand, now) => {
        refundIds.length = 0;
        const { invoice } = atHand;
        requireIssued(invoice);
        requireMoney(wanted.amount, invoice, 'amount');
        wanted.lines?.forEach(({ amount: value }, index) =>
          requireMoney(value, invoice, `lines[${index}].amount`),
        );
        const planned = planCredit(
          await creditableLines(session, invoice),
          {
            lines:
              wanted.lines?.map(({ position, amount: value }) => ({
                line: position,
                amount: value ?? null,
              })) ?? null,
            amount: wanted.amount ?? null,
          },
          invoice.decimals,
        );
        const to = wanted.to ?? (invoice.amountDue.isZero() ? 'credit' : 'due');
        const done = await this.issue(
          session,
          atHand,
          planned,
          to,
          {
            reason: 'correction',
            note: wanted.reason ?? null,
            metadata: metadata ?? {},
          },
          now,
        );
        refundIds.push(...done.refundIds);
        return { answer: creditNoteRecord(done.note, done.invoice) };
      },
    );
    // In a transaction of the caller's the gateway is asked later, by runDue.
    if (tx === undefined && !replayed) await this.ports.executeRefunds(refundIds);
    return { ...answer, replayed };
  }

  /**
   * Issues a credit note, and lets its money go where it is to go. The payers are locked.
   *
   * @param to `madeAs`: the money has gone back already, and the caller writes that down
   */
  async issue(
    session: Session,
    atHand: InvoiceAtHand,
    planned: readonly PlannedCredit[],
    to: CreditTarget | { madeAs: string },
    why: Pick<IssuedNote, 'reason' | 'note' | 'metadata'>,
    now: Instant,
  ): Promise<{ note: StoredCreditNote; invoice: StoredInvoice; refundIds: string[] }> {
    const { invoice } = atHand;
    const total = sumOf(planned.map((one) => one.total));
    if (!total.greaterThan(ZERO)) {
      throw new BillingError('refund_exceeds_paid', 'Nothing would be taken back.', {
        parameter: 'amount',
      });
    }
    const settled = await settledOf(session, invoice);
    const isMade = typeof to === 'object';
    const target = allocate(total, isMade ? 'refund' : to, settled, invoice.decimals);
    const done = await issueCreditNote(
      this.context,
      session,
      atHand,
      { planned, to: target, ...why },
      now,
    );
    const wasOpen = invoice.status === 'open' || invoice.status === 'uncollectible';
    if (wasOpen && done.invoice.status === 'paid') {
      await recordEvents(session, [invoiceEvent('invoice.paid', done.invoice, now)]);
      await invoicesPaid(session, [done.invoice], now);
    }
    const refundIds =
      isMade || target.refund.isZero()
        ? []
        : await this.ports.giveBack(session, done.invoice, done.note, now);
    return { ...done, refundIds };
  }

  /** @throws unknown_invoice */
  async getCreditNote(request: { creditNoteId: string }): Promise<CreditNote> {
    const { creditNoteId } = parse(getCreditNoteInput, request);
    const note = await requireCreditNote(this.context.database, creditNoteId);
    return creditNoteRecord(note, (await findInvoice(this.context.database, note.invoiceId))!);
  }

  /**
   * Credit notes of an account, of an invoice, or all, newest first.
   *
   * @returns `nextCursor` null: that is all
   * @throws unknown_account, invalid_input
   */
  async listCreditNotes(
    request: ListCreditNotesRequest = {},
  ): Promise<{ items: CreditNote[]; nextCursor: string | null }> {
    const { account, invoiceId, limit = 100, cursor } = parse(listCreditNotesInput, request);
    const { database } = this.context;
    if (cursor !== undefined && !isId(cursor)) {
      throw new BillingError('invalid_input', '"cursor" is not one that listCreditNotes gave.', {
        parameter: 'cursor',
      });
    }
    let accounts: string[] | null = null;
    if (account !== undefined) {
      const { accountId } = await resolveAccount(database, account);
      accounts = [accountId, ...(await aliasesOf(database, accountId))];
    }
    // An id that is none names no invoice: nothing is found.
    if (invoiceId !== undefined && !isId(invoiceId)) return { items: [], nextCursor: null };
    const found = await listCreditNotes(database, {
      accounts,
      invoiceId: invoiceId ?? null,
      after: cursor ?? null,
      limit: limit + 1,
    });
    const items: CreditNote[] = [];
    for (const note of found.slice(0, limit)) {
      items.push(creditNoteRecord(note, (await findInvoice(database, note.invoiceId))!));
    }
    return { items, nextCursor: found.length > limit ? items.at(-1)!.creditNoteId : null };
  }
}

export function requireMoney(
  value: Decimal | undefined,
  { decimals, currency }: Pick<StoredInvoice, 'decimals' | 'currency'>,
  parameter: string,
): void {
  if (value !== undefined) requireDecimals(value, decimals, parameter, currency);
}
