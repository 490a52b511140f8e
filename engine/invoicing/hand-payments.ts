import type { Session } from '../database';
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
import { invoiceRecord, requireInvoice, type Invoice, type StoredInvoice } from './invoice-records';
import { HAND_METHODS, settleInvoice } from './settling';
import { tooLateToPay } from './when-paid';

/** Payments that came in outside any gateway. */

const markPaidInput = input({
  invoiceId: recordId(),
  /** What came in. Default: all that is due. More than that becomes account credit. */
  amount: units().optional(),
  method: oneOf(HAND_METHODS),
  /** What tells this payment from others: the same again is counted once. Default: made up. */
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
   * becomes account credit. A first payment that comes when its subscription cannot begin any more is not
   * counted: the invoice stays as it is, and `refund.due` says that the money is to be given back.
   *
   * @throws unknown_invoice, invoice_state (a draft, void, paid already), payment_mismatch (the reference
   *   was one of another amount), invalid_input, idempotency_conflict
   */
  async markPaid(request: MarkPaidRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(markPaidInput, request);
    return changeOfInvoice(this.context, 'markPaid', wanted, async (session, atHand, now) => {
      const replayed = await this.take(session, atHand, wanted, now);
      return { answer: invoiceRecord(await requireInvoice(session, wanted.invoiceId)), replayed };
    });
  }

  /** @returns whether it was counted before */
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
    const { payerId, invoiceId } = invoice;
    const amount = wanted.amount ?? invoice.amountDue;
    const reference =
      wanted.reference ?? `${wanted.method} ${isoTime(now)} ${invoice.paid.toFixed()}`;
    const isPayable = invoice.status === 'open' || invoice.status === 'uncollectible';
    const tooLate = isPayable ? await tooLateToPay(session, invoice, now) : null;
    if (tooLate !== null) {
      await this.giveBack(session, invoice, { amount, charge: reference, reason: tooLate }, now);
      return false;
    }
    const by = { gateway: 'manual', method: wanted.method, reference, paidAt };
    const settled = await settleInvoice(session, { payerId, invoiceId, amount, ...by }, now);
    const counted = settled.applied.plus(settled.excess);
    if (settled.replayed && wanted.amount !== undefined && !wanted.amount.equals(counted)) {
      throw new BillingError(
        'payment_mismatch',
        `The payment ${wanted.reference} was one of ${formatMoney(counted, invoice.decimals)}.`,
        { parameter: 'reference', advice: 'Each payment has a reference of its own.' },
      );
    }
    if (!settled.replayed) {
      const { currency } = invoice;
      const excess = { from: payerId, into: payer.payerId, currency, amount: settled.excess };
      await moveCredits(session, [excess], now);
      await this.creditNotes.giveBackLate(session, invoice, now);
    }
    return settled.replayed;
  }

  /** Money that cannot be used any more: on record, so that it is given back. */
  private async giveBack(
    session: Session,
    { payerId, accountId, invoiceId, currency }: StoredInvoice,
    back: { amount: Decimal; charge: string; reason: string },
    now: Instant,
  ): Promise<void> {
    const about = { purpose: 'invoice' as const, purposeId: invoiceId, attemptId: null };
    const refund = { payerId, accountId, currency, gateway: 'manual', ...about, ...back };
    await openRefund(this.context, session, refund, now);
  }
}
