import { namesOfPayer } from '../accounts';
import {
  endFees,
  leftToGiveBack,
  movePostings,
  post,
  postAll,
  returnsOfItems,
  writeReturns,
  type BookAccount,
  type Leg,
} from '../books';
import { column, table, type Context, type Session } from '../database';
import { recordEvents, type NewEvent } from '../events';
import { Decimal, formatMoney, isoTime, newId, sumOf, type Instant } from '../kernel';
import { moveCredits, writeCredits } from './account-credit';
import type { InvoiceAtHand } from './change-of-invoice';
import {
  writeNote,
  writeNoteParts,
  type CreditReasonCode,
  type StoredCreditNote,
} from './credit-note-records';
import type { CreditableLine, PlannedCredit, SettledAmounts } from './credit-plan';
import { creditsOf } from './fees-of-credits';
import { readSnapshot, wrongState, type StoredInvoice } from './invoice-records';
import { numberText, takeNumbers } from './numbering';
import type { PaperSnapshot } from './rendering/snapshot';
import { sellerPart, takeSnapshots } from './rendering/taking-snapshots';
import { readSettings, type StoredSettings } from './settings';

/** Credit notes come to be: what they take back, where it goes, and their numbers last of all. */

const GIVEN_BACK = table('credit_notes', {
  toCredit: column.decimal(),
  toRefund: column.decimal(),
});

const FIND_GIVEN_BACK = `
select coalesce(sum(to_credit), 0)::text as to_credit, coalesce(sum(to_refund), 0)::text as to_refund
from {schema}.credit_notes where payer_id = $1::uuid and invoice_id = $2::uuid`;

/** What was issued keeps its amounts; what a credit note takes off stands beside them. */
const TAKE_OFF = `
update {schema}.invoices
set credit_noted = credit_noted + $3::numeric, reduced = reduced + $4::numeric, status = $5,
    paid_at = case when $5 = 'paid' then coalesce(paid_at, $6::timestamptz) end
where payer_id = $1::uuid and invoice_id = $2::uuid`;

/** The lines of an issued invoice, with what is left of each, whatever came back by other ways. */
export async function creditableLines(
  session: Session,
  { payerId, invoiceId, lines }: StoredInvoice,
): Promise<CreditableLine[]> {
  const found = lines.map((line) => ({
    ...line,
    payerId,
    soldBy: 'invoice' as const,
    documentId: invoiceId,
    inclusive: line.taxInclusive ?? false,
    name: line.sku ?? line.product ?? line.kind,
  }));
  return leftToGiveBack(session, found);
}

/**
 * Corrections that are taken back themselves: what a credit gave of another line is left again, and what
 * was asked for again of it has come back. The payer of those is locked, too: it is the same, or was merged
 * into it.
 */
export async function undoCorrections(
  session: Session,
  planned: readonly PlannedCredit[],
  now: Instant,
): Promise<void> {
  // A credit for use is known by its line, one for days by its item.
  const nameOf = ({ line }: PlannedCredit): string =>
    line.kind === 'usage' ? line.lineId : (line.itemId ?? '');
  const named = planned.filter((one) => nameOf(one) !== '');
  const given = await returnsOfItems(session, named.map(nameOf));
  const atMost = (part: Decimal, all: Decimal): Decimal =>
    all.isNegative() ? Decimal.max(part, all) : Decimal.min(part, all);
  await writeReturns(
    session,
    given.map((one) => {
      const { net, tax } = named.find((correction) => nameOf(correction) === one.itemId)!;
      return {
        ...one,
        kind: 'undone' as const,
        net: atMost(net, one.net.negated()),
        tax: atMost(tax, one.tax.negated()),
      };
    }),
    now,
  );
}

/** How far an issued invoice is settled, and what of that went back. */
export async function settledOf(session: Session, invoice: StoredInvoice): Promise<SettledAmounts> {
  const { payerId, invoiceId, amountDue: due, paid, credited } = invoice;
  const [back] = await GIVEN_BACK.rows(session, FIND_GIVEN_BACK, [payerId, invoiceId]);
  return { due, paid, credited, ...back! };
}

/** @throws invoice_state: a draft is edited, and what is void is not corrected any more */
export function requireIssued(invoice: StoredInvoice): void {
  if (invoice.status !== 'draft' && invoice.status !== 'void') return;
  throw invoice.status === 'draft'
    ? wrongState(invoice, 'is a draft', 'Change its items, or finalize it first.')
    : wrongState(invoice, 'is void', 'There is nothing left to correct.');
}

const leg = (account: BookAccount, value: Decimal): Leg[] =>
  value.isZero() ? [] : [{ account, amount: value }];

/**
 * Where what is taken back comes from: what a fee has not earned yet from `deferred`, the rest from
 * `revenue`. A fee ends with its line, and with it what credits of days take off it: as long as something
 * of it is left, it goes on earning.
 */
export async function takenBackLegs(
  session: Session,
  { invoice, payer }: InvoiceAtHand,
  planned: readonly PlannedCredit[],
  now: Instant,
): Promise<Leg[]> {
  const { payerId, invoiceId, currency } = invoice;
  const over = planned.flatMap(({ line, isWhole }) => (isWhole ? line : []));
  const names = await namesOfPayer(session, payerId);
  const whole = [...over.map(({ lineId }) => lineId), ...(await creditsOf(session, names, over))];
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
  /**
   * What else it brings, done before its number is taken.
   *
   * @param after the invoice as it is then
   * @returns events that follow its own
   */
  meanwhile: (after: StoredInvoice, creditNoteId: string) => Promise<NewEvent[]>;
}

/** What is issued in a sandbox takes none of the real numbers. */
const SANDBOX_SERIES = 'TEST-CN';

/**
 * Issues a credit note: its posting, its money, its number, its event. The payers are locked. Others
 * wait for the next number from when it is taken to the commit: that comes last.
 *
 * @returns the credit note, and the invoice as it is then
 */
export async function issueCreditNote(
  { isSandbox }: Pick<Context, 'isSandbox'>,
  session: Session,
  atHand: InvoiceAtHand,
  wanted: IssuedNote,
  now: Instant,
): Promise<{ note: StoredCreditNote; invoice: StoredInvoice }> {
  const { invoice } = atHand;
  const { planned, to } = wanted;
  const total = sumOf(planned.map((one) => one.total));
  const net = sumOf(planned.map((one) => one.net));
  const draft = {
    payerId: invoice.payerId,
    creditNoteId: newId(),
    invoiceId: invoice.invoiceId,
    currency: invoice.currency,
    decimals: invoice.decimals,
    net,
    tax: total.minus(net),
    total,
    toDue: to.due,
    toCredit: to.credit,
    toRefund: to.refund,
    reason: wanted.reason,
    lines: planned.map((one) => ({
      position: one.line.position,
      net: one.net,
      tax: one.tax,
      total: one.total,
    })),
    note: wanted.note,
    metadata: wanted.metadata,
  };
  await moveMoney(session, atHand, draft.creditNoteId, wanted, now);
  const settings = await readSettings(session);
  const snapshot = await snapshotFor(session, invoice, settings);
  await writeNoteParts(session, draft, { ...snapshot, ...sellerPart(settings) });
  await writeReturns(
    session,
    planned.map(({ line, net: netBack, tax }) => ({
      ...line,
      net: netBack,
      tax,
      kind: 'credit_note',
      itemId: null,
      creditNoteId: draft.creditNoteId,
    })),
    now,
  );
  const after = await takeOff(session, invoice, draft, now);
  const events = await wanted.meanwhile(after, draft.creditNoteId);

  const series = isSandbox ? SANDBOX_SERIES : settings.numbering.creditNotePrefix;
  const { first, issuedAt } = await takeNumbers(session, series, 1, now);
  const number = numberText(series, first, settings.numbering.digits);
  const note: StoredCreditNote = { ...draft, series, place: String(first), number, issuedAt };
  await writeNote(session, note);
  await recordEvents(session, [issuedEvent(note, invoice, now), ...events]);
  return { note, invoice: after };
}

/** Its posting, and account credit that it leaves. */
async function moveMoney(
  session: Session,
  atHand: InvoiceAtHand,
  creditNoteId: string,
  { planned, to }: IssuedNote,
  now: Instant,
): Promise<void> {
  const { invoice, payer } = atHand;
  const { payerId, invoiceId, currency } = invoice;
  // What was written off is no receivable any more.
  const owed = invoice.status === 'uncollectible' ? 'written_off' : 'receivable';
  await post(session, {
    payerId,
    currency,
    at: now,
    kind: 'credit_note',
    reference: { type: 'credit_note', id: creditNoteId },
    legs: [
      ...(await takenBackLegs(session, atHand, planned, now)),
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
}

/** What a credit note takes off its invoice. One that is to be void becomes so by whoever voids it. */
async function takeOff(
  session: Session,
  invoice: StoredInvoice,
  { total, toDue, reason }: Pick<StoredCreditNote, 'total' | 'toDue' | 'reason'>,
  now: Instant,
): Promise<StoredInvoice> {
  const { payerId, invoiceId } = invoice;
  const amountDue = invoice.amountDue.minus(toDue);
  const isSettled =
    amountDue.isZero() && (invoice.status === 'open' || invoice.status === 'uncollectible');
  const status = isSettled && reason !== 'void' ? 'paid' : invoice.status;
  if (reason !== 'void') {
    await session.query(TAKE_OFF, [
      payerId,
      invoiceId,
      total.toFixed(),
      toDue.toFixed(),
      status,
      isoTime(now),
    ]);
  }
  return {
    ...invoice,
    status,
    creditNoted: invoice.creditNoted.plus(total),
    reduced: invoice.reduced.plus(toDue),
    amountDue,
    paidAt: status === 'paid' ? (invoice.paidAt ?? now) : null,
  };
}

const issuedEvent = (
  note: StoredCreditNote,
  { accountId }: StoredInvoice,
  at: Instant,
): NewEvent => ({
  type: 'credit_note.issued',
  payerId: note.payerId,
  accountId,
  at,
  data: {
    creditNoteId: note.creditNoteId,
    number: note.number,
    invoiceId: note.invoiceId,
    currency: note.currency,
    total: formatMoney(note.total, note.decimals),
  },
});

/** The buyer is the invoice's, as it was; where that is not kept any longer, as it is now. */
async function snapshotFor(
  session: Session,
  invoice: StoredInvoice,
  settings: StoredSettings,
): Promise<PaperSnapshot> {
  const kept = await readSnapshot(session, invoice);
  if (kept !== null) return kept;
  const taken = await takeSnapshots(session, settings, [invoice]);
  return taken.get(invoice.invoiceId)!;
}
