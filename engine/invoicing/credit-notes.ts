import { idsWithAliases, resolveAccount } from '../accounts';
import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  ZERO,
  accountReference,
  changeFields,
  input,
  integer,
  isId,
  list,
  oneOf,
  pageFields,
  pageOf,
  parse,
  recordId,
  requireDecimals,
  sumOf,
  text,
  units,
  type Instant,
  type RequestOf,
} from '../kernel';
import { changeOfInvoice, type InvoiceAtHand } from './change-of-invoice';
import {
  creditNoteRecord,
  listCreditNotes,
  requireCreditNote,
  type CreditNote,
  type StoredCreditNote,
} from './credit-note-records';
import {
  CREDIT_TARGETS,
  allocate,
  planCredit,
  planUndoing,
  settledLeft,
  type PlannedCredit,
  type Target,
} from './credit-plan';
import { creditsAgain, giveAgain } from './credits-again';
import { invoiceEvent } from './invoice-events';
import {
  findInvoice,
  findInvoices,
  requireInvoice,
  type InvoiceName,
  type StoredInvoice,
} from './invoice-records';
import {
  creditableLines,
  issueCreditNote,
  requireIssued,
  settledOf,
  undoCorrections,
  type IssuedNote,
} from './issuing-credit-notes';
import { invoicesPaid, tooLateLines } from './when-paid';

const MAX_LINES = 1_000;

const createCreditNoteInput = input({
  invoiceId: recordId(),
  /** What is taken back of which line: a part, or all that is left of it. */
  lines: list(
    input({ position: integer(1, 1_000_000), amount: units().optional() }),
    MAX_LINES,
    1,
  ).optional(),
  /** Tax included. Without `lines` all that is left, or exactly the amount of one line. */
  amount: units().optional(),
  /** Default: `due` while something is to be paid, then `credit`. */
  to: oneOf(CREDIT_TARGETS).optional(),
  /** Why, in your words. */
  reason: text(1_000).optional(),
  ...changeFields,
});
export type CreateCreditNoteRequest = RequestOf<typeof createCreditNoteInput>;

const getCreditNoteInput = input({ creditNoteId: recordId() });

const listCreditNotesInput = input({
  account: accountReference().optional(),
  invoiceId: recordId().optional(),
  ...pageFields,
});
export type ListCreditNotesRequest = RequestOf<typeof listCreditNotesInput>;

/** Money that went back before its credit note was issued. */
export interface MadeRefund {
  creditNoteId: string;
  amount: Decimal;
}

/** How money goes back. */
export interface CreditNotePorts {
  /** Records that money is to go back; gives the ids of refunds that a gateway is to be asked for. */
  giveBack(
    session: Session,
    invoice: StoredInvoice,
    note: Pick<StoredCreditNote, 'toRefund'>,
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
    const { metadata = {}, tx } = wanted;
    if (wanted.lines !== undefined && wanted.lines.length > 1 && wanted.amount !== undefined) {
      throw new BillingError(
        'invalid_input',
        '"amount" of several lines does not say how much is of which.',
        { parameter: 'amount', advice: 'Give each line its own amount.' },
      );
    }
    const refundIds: string[] = [];
    const answer = await changeOfInvoice(
      this.context,
      'createCreditNote',
      wanted,
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
          { reason: 'correction', note: wanted.reason ?? null, metadata },
          now,
        );
        refundIds.push(...done.refundIds);
        return { answer: creditNoteRecord(done.note, done.invoice) };
      },
    );
    // In a transaction of the caller's the gateway is asked later, by runDue.
    if (tx === undefined && !answer.replayed) await this.ports.executeRefunds(refundIds);
    return answer;
  }

  /**
   * Issues a credit note, and lets its money go where it is to go. The payers are locked.
   *
   * @param to `made`: the money has gone back already, and this writes that down
   */
  async issue(
    session: Session,
    atHand: InvoiceAtHand,
    planned: readonly PlannedCredit[],
    to: Target | { made: (refund: MadeRefund) => Promise<void> },
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
    const refundIds: string[] = [];
    let isPartLate = false;
    const meanwhile: IssuedNote['meanwhile'] = async (after, creditNoteId) => {
      if (isMade) await to.made({ creditNoteId, amount: target.refund });
      else if (!target.refund.isZero()) {
        const toRefund = target.refund;
        refundIds.push(...(await this.ports.giveBack(session, after, { toRefund }, now)));
      }
      const wasOpen = invoice.status === 'open' || invoice.status === 'uncollectible';
      if (!wasOpen || after.status !== 'paid') return [];
      await invoicesPaid(session, [after], now);
      isPartLate = (await tooLateLines(session, after, now)).size > 0;
      return [invoiceEvent('invoice.paid', after, now)];
    };
    await undoCorrections(session, planned, now);
    const wanted = { planned, to: target, ...why, meanwhile };
    const done = await issueCreditNote(this.context, session, atHand, wanted, now);
    // After it: what is left of the invoice to give back is known then.
    if (isPartLate) refundIds.push(...(await this.giveBackLate(session, done.invoice, now)));
    return { ...done, refundIds };
  }

  /**
   * What of an invoice that was paid came too late to bring anything: its lines are taken back, the way
   * that their money came. The payers are locked.
   *
   * @returns ids of refunds that a gateway is to be asked for
   */
  async giveBackLate(
    session: Session,
    { payerId, invoiceId }: InvoiceName,
    now: Instant,
  ): Promise<string[]> {
    const invoice = await requireInvoice(session, invoiceId);
    if (invoice.status !== 'paid') return [];
    const late = await tooLateLines(session, invoice, now);
    if (late.size === 0) return [];
    const payer = await resolveAccount(session, { accountId: payerId });
    return this.giveBackLines(session, { invoice, payer }, new Set(late.keys()), now);
  }

  /**
   * Takes back lines of an invoice for what is not to be had, off what is due first. What credits on it
   * paid of them goes on the next invoice again. The payers are locked.
   *
   * @returns ids of refunds that a gateway is to be asked for
   */
  async giveBackLines(
    session: Session,
    atHand: InvoiceAtHand,
    positions: ReadonlySet<number>,
    now: Instant,
  ): Promise<string[]> {
    const { invoice } = atHand;
    const lines = await creditableLines(session, invoice);
    const most = invoice.amountDue.plus(settledLeft(await settledOf(session, invoice)));
    const { taken, lowering } = planUndoing(lines, positions, most, invoice.decimals);
    const planned = [...taken, ...lowering];
    if (!sumOf(planned.map(({ total }) => total)).greaterThan(ZERO)) return [];
    const again = await creditsAgain(session, invoice, lowering);
    const refundIds = await this.undo(session, atHand, planned, now);
    await giveAgain(session, invoice, again, now);
    return refundIds;
  }

  /**
   * Takes back all of an invoice that is paid in part and asks for a change that lapsed, with what it
   * credits. The payers are locked.
   */
  async giveBackAll(session: Session, atHand: InvoiceAtHand, now: Instant): Promise<string[]> {
    const lines = await creditableLines(session, atHand.invoice);
    const all = planCredit(lines, { lines: null, amount: null }, atHand.invoice.decimals);
    return this.undo(session, atHand, all, now);
  }

  private async undo(
    session: Session,
    atHand: InvoiceAtHand,
    planned: readonly PlannedCredit[],
    now: Instant,
  ): Promise<string[]> {
    const why = { reason: 'refund' as const, note: null, metadata: {} };
    return (await this.issue(session, atHand, planned, 'as it came', why, now)).refundIds;
  }

  /** @throws unknown_invoice */
  async getCreditNote(request: RequestOf<typeof getCreditNoteInput>): Promise<CreditNote> {
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
    const accounts = account === undefined ? null : await idsWithAliases(database, [account]);
    // An id that is none names no invoice: nothing is found.
    if (invoiceId !== undefined && !isId(invoiceId)) return { items: [], nextCursor: null };
    const found = await listCreditNotes(database, {
      accounts,
      invoiceId: invoiceId ?? null,
      after: cursor ?? null,
      limit: limit + 1,
    });
    const { items: notes, nextCursor } = pageOf(found, limit, (note) => note.creditNoteId);
    const invoices = await findInvoices(database, notes);
    const items = notes.map((note, index) => creditNoteRecord(note, invoices[index]!));
    return { items, nextCursor };
  }
}

export function requireMoney(
  value: Decimal | undefined,
  { decimals, currency }: Pick<StoredInvoice, 'decimals' | 'currency'>,
  parameter: string,
): void {
  if (value !== undefined) requireDecimals(value, decimals, parameter, currency);
}
