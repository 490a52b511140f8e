import { column, table, type Session } from '../database';
import {
  BillingError,
  LIMITS,
  changeFields,
  formatMoney,
  input,
  instant,
  isoTime,
  oneOf,
  parse,
  recordId,
  text,
  units,
  type Decimal,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { openRefund, type PaymentContext } from '../payments';
import { moveCredits } from './account-credit';
import { changeOfInvoice, type InvoiceAtHand } from './change-of-invoice';
import { requireMoney, type CreditNotes } from './credit-notes';
import {
  invoiceRecord,
  requireInvoice,
  wrongState,
  type Invoice,
  type StoredInvoice,
} from './invoice-records';
import { HAND_METHODS, settleInvoice } from './settling';
import { whyRefused } from './when-paid';
import { withdrawRefused } from './withdrawing-changes';

/** Payments that came in outside any gateway. */

const markPaidInput = input({
  invoiceId: recordId(),
  /** What came in. Default: all that is due. More than that becomes account credit. */
  amount: units().optional(),
  method: oneOf(HAND_METHODS),
  /** What tells this payment from others: the same again is the same payment. Default: made up. */
  reference: text(LIMITS.idempotencyKey).optional(),
  /** When it came in. Default: now. */
  paidAt: instant().optional(),
  ...changeFields,
});
export type MarkPaidRequest = RequestOf<typeof markPaidInput>;

export class HandPayments {
  constructor(
    private readonly context: PaymentContext,
    private readonly creditNotes: Pick<CreditNotes, 'giveBackLate'>,
  ) {}

  /**
   * Counts a payment that came in outside any gateway; a part is fine. What is beyond the invoice
   * becomes account credit. Money that cannot begin anything any more, a first payment whose subscription
   * is given up, or that of a change that lapsed, is not counted: `refund.due` says that it is to be given
   * back, and so is, with a credit note of the whole, what was counted of it before. The same `reference`
   * is the same payment either way.
   *
   * @throws unknown_invoice, invoice_state (a draft, void, paid already; without a reference, when money
   *   for it is to be given back already), payment_mismatch (the reference was one of another amount),
   *   invalid_input, idempotency_conflict
   */
  async markPaid(request: MarkPaidRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(markPaidInput, request);
    return changeOfInvoice(this.context, 'markPaid', wanted, async (session, atHand, now) => {
      const replayed = await this.take(session, atHand, wanted, now);
      return { answer: invoiceRecord(await requireInvoice(session, wanted.invoiceId)), replayed };
    });
  }

  /** @returns whether this payment is on record already */
  private async take(
    session: Session,
    { invoice, payer }: InvoiceAtHand,
    wanted: z.output<typeof markPaidInput>,
    now: Instant,
  ): Promise<boolean> {
    requireMoney(wanted.amount, invoice, 'amount');
    const paidAt = wanted.paidAt ?? now;
    if (paidAt > now) {
      throw new BillingError('invalid_input', '"paidAt" is yet to come.', { parameter: 'paidAt' });
    }
    if (wanted.reference !== undefined && (await isOnRecord(session, invoice, wanted))) return true;
    const { payerId, invoiceId, currency } = invoice;
    const amount = wanted.amount ?? askedOf(invoice);
    const reference =
      wanted.reference ?? `${wanted.method} ${isoTime(now)} ${invoice.paid.toFixed()}`;
    const refused = amount.isZero() ? null : await whyGivenBack(session, invoice, now);
    if (refused !== null) {
      if (wanted.reference === undefined) await requireFirst(session, invoice);
      await this.giveBack(session, invoice, { amount, charge: reference, reason: refused }, now);
      await withdrawRefused(this.context, session, invoice, now);
      return false;
    }
    const by = { gateway: BY_HAND, method: wanted.method, reference, paidAt };
    const payment = { payerId, invoiceId, amount, ...by };
    const { excess, replayed } = await settleInvoice(session, payment, now);
    if (replayed) return true;
    const credit = { from: payerId, into: payer.payerId, currency, amount: excess };
    await moveCredits(session, [credit], now);
    await this.creditNotes.giveBackLate(session, invoice, now);
    return false;
  }

  /** Money that cannot be used any more: on record, so that it is given back. */
  private async giveBack(
    session: Session,
    { payerId, accountId, invoiceId, currency }: StoredInvoice,
    back: { amount: Decimal; charge: string; reason: string },
    now: Instant,
  ): Promise<void> {
    const about = { purpose: 'invoice' as const, purposeId: invoiceId, attemptId: null };
    const refund = { payerId, accountId, currency, gateway: BY_HAND, ...about, ...back };
    await openRefund(this.context, session, refund, now);
  }
}

const BY_HAND = 'manual';

/** Nobody is asked for it any more: it is void, or a credit note took off all of it. */
const isWithdrawn = ({ status, total, creditNoted }: StoredInvoice): boolean =>
  status === 'void' || (status === 'paid' && !total.isZero() && creditNoted.equals(total));

/** What an invoice asks for, or asked for before it was withdrawn. */
const askedOf = (invoice: StoredInvoice): Decimal =>
  isWithdrawn(invoice) ? invoice.total.minus(invoice.credited) : invoice.amountDue;

/** Also of what was withdrawn, which nobody who pays it need know. */
const whyGivenBack = async (
  session: Session,
  invoice: StoredInvoice,
  now: Instant,
): ReturnType<typeof whyRefused> =>
  invoice.status === 'open' || invoice.status === 'uncollectible' || isWithdrawn(invoice)
    ? whyRefused(session, invoice, now)
    : null;

const RECORDED = table('invoice_payments', { reference: column.text(), amount: column.decimal() });

/** Payments by hand of an invoice ($1, $2) that are to go back whole; of what was counted credit notes say it. */
const GOING_BACK = `
  from {schema}.payment_refunds
  where payer_id = $1::uuid and purpose = 'invoice' and purpose_id = $2::uuid
    and gateway = '${BY_HAND}' and attempt_id is null and reason <> 'credit_note'`;

/** Payments by hand of an invoice: what was counted, with what was beyond, and what is to go back. */
const FIND_RECORDED = `
select ${RECORDED.select('r')}
from (
  select reference, amount + excess as amount
  from {schema}.invoice_payments
  where payer_id = $1::uuid and invoice_id = $2::uuid and gateway = '${BY_HAND}'
  union all
  select charge, amount ${GOING_BACK}) as r`;

/** Whether a payment was told of before, by its reference. @throws payment_mismatch */
async function isOnRecord(
  session: Session,
  { payerId, invoiceId, decimals }: StoredInvoice,
  { reference, amount }: { reference?: string; amount?: Decimal },
): Promise<boolean> {
  const all = await RECORDED.rows(session, FIND_RECORDED, [payerId, invoiceId]);
  const known = all.find((one) => one.reference === reference);
  if (known === undefined) return false;
  if (amount === undefined || amount.equals(known.amount)) return true;
  throw new BillingError(
    'payment_mismatch',
    `The payment ${reference} was one of ${formatMoney(known.amount, decimals)}.`,
    { parameter: 'reference', advice: 'Each payment has a reference of its own.' },
  );
}

const FIND_GOING_BACK = `select 1 as found ${GOING_BACK} limit 1`;

/** Without a reference nobody can tell a second payment from the first. @throws invoice_state */
async function requireFirst(session: Session, invoice: StoredInvoice): Promise<void> {
  const found = await session.query(FIND_GOING_BACK, [invoice.payerId, invoice.invoiceId]);
  if (found.length === 0) return;
  throw wrongState(
    invoice,
    'cannot be paid any more, and a payment of it is on record as to be given back',
    'If another one came in, tell it by a reference of its own.',
  );
}
