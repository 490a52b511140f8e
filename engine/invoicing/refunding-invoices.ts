import { post } from '../books';
import { column, table, type RowOf, type Session } from '../database';
import {
  BillingError,
  Decimal,
  ZERO,
  changeFields,
  flag,
  formatMoney,
  input,
  isoTime,
  parse,
  recordId,
  text,
  units,
  z,
  type Instant,
  type RequestOf,
} from '../kernel';
import {
  executeRefunds,
  recordMadeRefund,
  refundsOf,
  type PaymentContext,
  type StoredRefund,
} from '../payments';
import { resolveAccount } from '../accounts';
import { lapseBeforeRefund, periodsRefunded } from '../subscriptions';
import { changeOfInvoice, type InvoiceAtHand } from './change-of-invoice';
import { creditNoteRecord, requireCreditNote, type CreditNote } from './credit-note-records';
import { requireMoney, type CreditNotes, type MadeRefund } from './credit-notes';
import {
  givableOf,
  leftOfAll,
  namedLine,
  planCredit,
  spreadCredit,
  type CreditableLine,
  type CreditWish,
  type PlannedCredit,
} from './credit-plan';
import { requireInvoice, wrongState, type StoredInvoice } from './invoice-records';
import { creditableLines, requireIssued, settledOf } from './issuing-credit-notes';
import { sharesOf } from './refund-shares';
import { moneyTakenBack } from './taken-back';
import { periodsOf } from './when-paid';
import { subscriptionPorts } from './withdrawing-changes';
import { invoicedPeriods } from './invoiced-periods';

/** Money back for invoices: always with the credit note that says so. */

/** A refund as it stands; money of the invoice's currency. */
export interface InvoiceRefund {
  refundId: string;
  gateway: string;
  amount: string;
  /** `due`: to be given back by hand, also where the gateway refused. Others are the gateway's, or done. */
  status: 'open' | 'unknown' | 'pending' | 'due' | 'succeeded' | 'failed';
}

export type RefundInvoiceAnswer = CreditNote & { refunds: InvoiceRefund[]; replayed: boolean };

const refundInvoiceInput = input({
  invoiceId: recordId(),
  /** Money to give back, tax included. Default: all that is left, of the line if one is named. */
  amount: units().optional(),
  /** The line it is for: its position, its id, or its sku; a text of digits may be a sku. */
  line: z.union([z.number().int().positive(), text(100)]).optional(),
  /** The gateway's id of a refund that was made there already: nothing is sent then. */
  refundId: text(255).optional(),
  /** A subscription whose present period it has paid goes on. Default: that ends with the whole of its fee. */
  keepSubscription: flag().default(false),
  /** Why, in your words. */
  reason: text(1_000).optional(),
  ...changeFields,
});
export type RefundInvoiceRequest = RequestOf<typeof refundInvoiceInput>;

const REFUNDS = table('invoice_refunds', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  refundId: column.text(),
  creditNoteId: column.uuid().orNull,
  gateway: column.text(),
  amount: column.decimal(),
  currency: column.text(),
  refundedAt: column.instant(),
});

const SET_REFUNDED = `
update {schema}.invoices set refunded = refunded + $3::numeric
where payer_id = $1::uuid and invoice_id = $2::uuid`;

const FIND_REFUND = `
select ${REFUNDS.select('r')} from {schema}.invoice_refunds r
where r.payer_id = $1::uuid and r.invoice_id = $2::uuid and r.refund_id = $3`;

const CASH = `
select coalesce(sum(amount + excess), 0)::text as amount
from {schema}.invoice_payments where payer_id = $1::uuid and invoice_id = $2::uuid`;

const READ_REFUNDS = `
select ${REFUNDS.select('r')} from {schema}.invoice_refunds r
where r.payer_id = $1::uuid and r.invoice_id = $2::uuid
order by r.refunded_at, r.refund_id`;

/** Refunds of an invoice that have gone back, for its export. */
export async function readInvoiceRefunds(
  session: Session,
  { payerId, invoiceId, decimals }: StoredInvoice,
): Promise<Array<{ refundId: string; gateway: string; amount: string; refundedAt: string }>> {
  const refunds = await REFUNDS.rows(session, READ_REFUNDS, [payerId, invoiceId]);
  return refunds.map(({ refundId, gateway, amount, refundedAt }) => ({
    refundId,
    gateway,
    amount: formatMoney(amount, decimals),
    refundedAt: isoTime(refundedAt),
  }));
}

/** Money has gone back: the book, and the invoice. The payer is locked. */
async function recordRefund(
  session: Session,
  { payerId, invoiceId, currency }: StoredInvoice,
  refund: Pick<RowOf<typeof REFUNDS>, 'refundId' | 'creditNoteId' | 'gateway' | 'amount'>,
  now: Instant,
): Promise<void> {
  const { gateway, amount } = refund;
  await REFUNDS.write(session, [{ ...refund, payerId, invoiceId, currency, refundedAt: now }]);
  await session.query(SET_REFUNDED, [payerId, invoiceId, amount.toFixed()]);
  await post(session, {
    payerId,
    currency,
    at: now,
    kind: 'refund',
    reference: { type: 'invoice', id: invoiceId },
    legs: [
      { account: 'receivable', amount },
      { account: 'cash', gateway, amount: amount.negated() },
    ],
  });
}

/** The gateway's id of a refund, or ours where it gave none. */
const idOf = ({ reference, refundId }: StoredRefund): string => reference ?? refundId;

export class InvoiceRefunds {
  constructor(
    private readonly context: PaymentContext,
    private readonly creditNotes: CreditNotes,
  ) {}

  /**
   * Gives money of a paid invoice back, with a credit note: all that is left, a line, or an amount. The
   * gateway that was charged is asked; what was paid by hand is listed as due (`payments.refundsDue`).
   *
   * An amount without a line must be all that is left, or exactly the amount of one line.
   *
   * @returns the credit note, with its refunds as they stand: of a repeat under its key, too
   * @throws unknown_invoice, invoice_state, refund_ambiguous, refund_exceeds_paid, payment_mismatch (a
   *   `refundId` that was one of another amount), invalid_input, idempotency_conflict
   */
  async refundInvoice(request: RefundInvoiceRequest): Promise<RefundInvoiceAnswer> {
    const wanted = parse(refundInvoiceInput, request);
    const { invoiceId, refundId, metadata = {}, tx } = wanted;
    const refundIds: string[] = [];
    const answer = await changeOfInvoice(
      this.context,
      'refundInvoice',
      wanted,
      async (session, atHand, now) => {
        refundIds.length = 0;
        const { invoice } = atHand;
        requireIssued(invoice);
        requireMoney(wanted.amount, invoice, 'amount');
        if (refundId !== undefined) {
          const first = await this.firstRefund(session, atHand, refundId, wanted.amount);
          if (first !== null) return { answer: first, replayed: true };
        }
        const wish: CreditWish = {
          lines: wanted.line === undefined ? null : [{ line: wanted.line, amount: null }],
          amount: wanted.amount ?? null,
        };
        if (!wanted.keepSubscription) {
          const whole = wishedWhole(await creditableLines(session, invoice), wish);
          if (await this.lapseChanges(session, invoice, whole, now)) throw isBeingCharged(invoice);
        }
        const planned = planCredit(await creditableLines(session, invoice), wish, invoice.decimals);
        const made: InvoiceRefund[] = [];
        // Before the note, whose number is taken last.
        if (!wanted.keepSubscription) await endRefunded(session, invoice, planned, now);
        const done = await this.creditNotes.issue(
          session,
          atHand,
          planned,
          refundId === undefined
            ? 'refund'
            : {
                made: async (refund) => {
                  made.push(await this.recordMade(session, invoice, refund, refundId, now));
                },
              },
          { reason: 'refund', note: wanted.reason ?? null, metadata },
          now,
        );
        refundIds.push(...done.refundIds);
        const refunds =
          refundId === undefined ? await this.refundsNow(session, invoice, done.refundIds) : made;
        return { answer: { ...creditNoteRecord(done.note, done.invoice), refunds } };
      },
    );
    if (refundId !== undefined) return answer;
    if (tx === undefined && !answer.replayed) await this.execute(refundIds);
    // What a gateway was asked for is told as it stands, also to a repeat.
    const ids = answer.refunds.map((refund) => refund.refundId);
    const refunds = await this.context.database.transaction(tx, async (session) =>
      this.refundsNow(session, await requireInvoice(session, invoiceId), ids),
    );
    return { ...answer, refunds };
  }

  /** Asks the gateways, after the commit. What is not answered is asked again by `runDue`. */
  async execute(refundIds: readonly string[]): Promise<void> {
    if (refundIds.length === 0) return;
    await executeRefunds(this.context, { limit: refundIds.length, refundIds });
  }

  /** @returns whether a change that lapses is being charged */
  private lapseChanges(
    session: Session,
    invoice: StoredInvoice,
    whole: ReadonlySet<number>,
    now: Instant,
  ): Promise<boolean> {
    const ports = subscriptionPorts(this.context);
    return lapseBeforeRefund(session, ports, periodsOn(invoice, whole), now);
  }

  private async firstRefund(
    session: Session,
    { invoice }: InvoiceAtHand,
    refundId: string,
    asked: Decimal | undefined,
  ): Promise<(CreditNote & { refunds: InvoiceRefund[] }) | null> {
    const name = [invoice.payerId, invoice.invoiceId, refundId];
    const [made] = await REFUNDS.rows(session, FIND_REFUND, name);
    if (made === undefined || made.creditNoteId === null) return null;
    const amount = formatMoney(made.amount, invoice.decimals);
    if (asked !== undefined && !asked.equals(made.amount)) {
      throw new BillingError('payment_mismatch', `The refund ${refundId} was one of ${amount}.`, {
        parameter: 'refundId',
        advice: 'Each refund has an id of its own.',
      });
    }
    const note = creditNoteRecord(await requireCreditNote(session, made.creditNoteId), invoice);
    const { gateway } = made;
    return { ...note, refunds: [{ refundId, gateway, amount, status: 'succeeded' }] };
  }

  private async refundsNow(
    session: Session,
    invoice: StoredInvoice,
    refundIds: readonly string[],
  ): Promise<InvoiceRefund[]> {
    const { payerId, invoiceId, decimals } = invoice;
    const all = await refundsOf(session, { payerId, purpose: 'invoice', purposeId: invoiceId });
    return all
      .filter(({ refundId }) => refundIds.includes(refundId))
      .map(({ refundId, gateway, amount, status }) => ({
        refundId,
        gateway,
        amount: formatMoney(amount, decimals),
        status,
      }));
  }

  /** A refund that was made already: it only has to be written down. */
  private async recordMade(
    session: Session,
    invoice: StoredInvoice,
    { creditNoteId, amount }: MadeRefund,
    refundId: string,
    now: Instant,
  ): Promise<InvoiceRefund> {
    const { shares } = await sharesOf(session, invoice, amount);
    const gateway = shares[0]?.gateway ?? 'manual';
    await recordRefund(session, invoice, { refundId, creditNoteId, gateway, amount }, now);
    for (const share of shares) {
      await recordMadeRefund(session, { ...share, reference: refundId }, now);
    }
    return {
      refundId,
      gateway,
      amount: formatMoney(amount, invoice.decimals),
      status: 'succeeded',
    };
  }

  /**
   * Money of an invoice went back through its gateway: what we asked for, or what the gateway did by
   * itself, such as a lost dispute, for which a credit note is issued now. The payer is locked.
   */
  async refunded(session: Session, refund: StoredRefund, now: Instant): Promise<void> {
    const isOurs = refund.reason === 'credit_note';
    // Money that was never counted for the invoice: it came twice.
    if (!isOurs && refund.reason !== 'gateway') return;
    const invoice = await requireInvoice(session, refund.purposeId);
    const refundId = idOf(refund);
    const { payerId, invoiceId } = invoice;
    const known = await session.query(FIND_REFUND, [payerId, invoiceId, refundId]);
    if (known.length > 0) return;
    const { gateway } = refund;
    if (isOurs) {
      const { amount } = refund;
      await recordRefund(session, invoice, { refundId, creditNoteId: null, gateway, amount }, now);
      return;
    }
    await this.takenBack(session, invoice, { ...refund, refundId }, now);
  }

  /**
   * What a gateway took back by itself gets a credit note, over all lines, of what is left of them. For
   * what went back as a credit before, that credit is taken.
   */
  private async takenBack(
    session: Session,
    invoice: StoredInvoice,
    { refundId, gateway, currency, amount: all }: Refunded,
    now: Instant,
  ): Promise<void> {
    const { payerId, invoiceId } = invoice;
    const settled = await settledOf(session, invoice);
    const whole = new Set(invoice.lines.map(({ position }) => position));
    await this.lapseChanges(session, invoice, whole, now);
    const lines = await creditableLines(session, invoice);
    const before = Decimal.min(givableOf(settled), leftOfAll(lines));
    const missing = { currency, amount: all.minus(before) };
    await moneyTakenBack.lowerCredits(session, lines, missing, now);
    const left = await creditableLines(session, invoice);
    const amount = Decimal.max(Decimal.min(all, givableOf(settled), leftOfAll(left)), ZERO);
    if (amount.greaterThan(ZERO)) {
      const payer = await resolveAccount(session, { accountId: payerId });
      const made = ({ creditNoteId }: MadeRefund): Promise<void> =>
        recordRefund(session, invoice, { refundId, creditNoteId, gateway, amount }, now);
      const planned = spreadCredit(left, amount, invoice.decimals);
      const why = { reason: 'dispute' as const, note: null, metadata: {} };
      await endRefunded(session, invoice, planned, now);
      await this.creditNotes.issue(session, { invoice, payer }, planned, { made }, why, now);
    }
    // What never came in for the invoice is no money of ours that went.
    const came = await cashOf(session, invoice);
    const beyond = Decimal.min(all, came.minus(settled.toRefund)).minus(amount);
    const rest = { payerId, currency, gateway, refundId: `${invoiceId}.${refundId}` };
    await moneyTakenBack.takeBeyond(session, { ...rest, amount: beyond }, now);
  }
}

const isBeingCharged = (invoice: StoredInvoice): BillingError =>
  wrongState(
    invoice,
    'pays for a subscription of which a change is being charged',
    'Try again when that attempt is decided.',
  );

/** Periods whose fee went back as a whole are over. */
const endRefunded = (
  session: Session,
  invoice: StoredInvoice,
  planned: readonly PlannedCredit[],
  now: Instant,
): Promise<void> => {
  const whole = planned.flatMap(({ line, isWhole }) => (isWhole ? line.position : []));
  return periodsRefunded(session, invoicedPeriods, periodsOn(invoice, new Set(whole)), now);
};

/**
 * The positions of lines of which the whole is wished for, whatever is on its way back by now: also by an
 * amount that is left only without that.
 */
const wishedWhole = (
  lines: readonly CreditableLine[],
  { lines: named, amount }: CreditWish,
): Set<number> => {
  const some = named === null ? lines : named.map(({ line }) => namedLine(lines, line));
  const isAll = amount === null || amount.greaterThan(leftOfAll(some));
  const whole = some.filter(({ total }) => isAll || amount.greaterThanOrEqualTo(total));
  return new Set(whole.map(({ position }) => position));
};

/** The periods whose fees stand at some positions of an invoice. */
const periodsOn = ({ payerId, lines }: StoredInvoice, positions: ReadonlySet<number>) =>
  periodsOf({ payerId, lines: lines.filter(({ position }) => positions.has(position)) });

type Refunded = Pick<StoredRefund, 'refundId' | 'gateway' | 'currency' | 'amount'>;

/** What came in for an invoice, with what was beyond it and became account credit. */
async function cashOf(session: Session, { payerId, invoiceId }: StoredInvoice): Promise<Decimal> {
  const [row] = await session.query<{ amount: string }>(CASH, [payerId, invoiceId]);
  return new Decimal(row!.amount);
}
