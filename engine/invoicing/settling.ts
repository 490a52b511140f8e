import { post } from '../books';
import { column, table, type RowOf, type Session } from '../database';
import { recordEvents } from '../events';
import { BillingError, Decimal, isoTime, newId, type Instant } from '../kernel';
import { writeCredits } from './account-credit';
import { invoiceEvent } from './invoice-events';
import {
  findInvoices,
  unknownInvoice,
  wrongState,
  type InvoiceStatus,
  type StoredInvoice,
} from './invoice-records';
import { invoicesPaid } from './when-paid';

/** Payments of invoices, whoever brings them: a charge, a provider's notice, a person at a keyboard. */

export const HAND_METHODS = ['bank_transfer', 'cash', 'cheque', 'card_terminal', 'other'] as const;
/** How money came in outside any gateway. */
export type HandMethod = (typeof HAND_METHODS)[number];

export interface SettledInvoice {
  status: InvoiceStatus;
  /** What the payment paid of the invoice, and what was beyond: account credit now. */
  applied: Decimal;
  excess: Decimal;
  amountDue: Decimal;
  /** Whether this reference was counted before. */
  replayed: boolean;
}

export const PAYMENTS = table('invoice_payments', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  paymentId: column.uuid(),
  /** The attempt that brought it; null: entered by hand, or told by a provider. */
  attemptId: column.uuid().orNull,
  gateway: column.text(),
  /** How it was paid by hand: bank_transfer, cash ... */
  method: column.text().orNull,
  /** The gateway's id of the payment, or one that was entered by hand: counts once for the invoice. */
  reference: column.text(),
  /** What it paid of the invoice, and what was beyond. */
  amount: column.decimal(),
  excess: column.decimal(),
  paidAt: column.instant(),
  recordedAt: column.instant(),
});

type Payment = RowOf<typeof PAYMENTS>;
export interface InvoicePayment
  extends
    Pick<Payment, 'payerId' | 'invoiceId' | 'gateway' | 'reference' | 'paidAt'>,
    Partial<Pick<Payment, 'attemptId' | 'method'>> {
  /** What came in, tax included; above 0, in the currency's decimals. */
  amount: Decimal;
}

const FIND_PAYMENT = `
select ${PAYMENTS.select('p')} from {schema}.invoice_payments p
where p.payer_id = $1::uuid and p.invoice_id = $2::uuid and p.gateway = $3 and p.reference = $4`;

const PAY = `
update {schema}.invoices
set paid = paid + $3::numeric, status = $4,
    paid_at = case when $4 = 'paid' then $5::timestamptz end
where payer_id = $1::uuid and invoice_id = $2::uuid`;

/**
 * Counts a payment of an issued invoice: what is due becomes less, the rest is account credit, and an
 * invoice that is paid brings what waited for it. Whoever calls has seen that the money can be used
 * (`whyRefused`). The payer must be locked.
 *
 * @throws unknown_invoice; invoice_state (a draft, void, or paid already by other payments)
 */
export async function settleInvoice(
  session: Session,
  payment: InvoicePayment,
  now: Instant,
): Promise<SettledInvoice> {
  const { payerId, invoiceId, gateway, reference } = payment;
  const [invoice] = await findInvoices(session, [{ payerId, invoiceId }]);
  if (invoice === undefined) throw unknownInvoice(invoiceId);
  const name = [payerId, invoiceId, gateway, reference];
  const [counted] = await PAYMENTS.rows(session, FIND_PAYMENT, name);
  if (counted !== undefined) {
    const { amount: applied, excess } = counted;
    const { status, amountDue } = invoice;
    return { status, applied, excess, amountDue, replayed: true };
  }
  if (invoice.status !== 'open' && invoice.status !== 'uncollectible') throw notPayable(invoice);

  const applied = Decimal.min(payment.amount, invoice.amountDue);
  const excess = payment.amount.minus(applied);
  const amountDue = invoice.amountDue.minus(applied);
  const status = amountDue.isZero() ? 'paid' : invoice.status;
  const { attemptId = null, method = null, paidAt } = payment;
  const by = { paymentId: newId(), attemptId, gateway, method, reference };
  const counts = { amount: applied, excess, paidAt, recordedAt: now };
  await PAYMENTS.write(session, [{ payerId, invoiceId, ...by, ...counts }]);
  await session.query(PAY, [payerId, invoiceId, applied.toFixed(), status, isoTime(now)]);
  await writeCredits(
    session,
    [{ payerId, currency: invoice.currency, amount: excess, reason: 'overpaid', invoiceId }],
    now,
  );
  // What was written off is no receivable any more.
  const owed = invoice.status === 'uncollectible' ? 'written_off' : 'receivable';
  await post(session, {
    payerId,
    currency: invoice.currency,
    at: now,
    kind: 'payment',
    reference: { type: 'invoice', id: invoiceId },
    legs: [
      { account: 'cash' as const, gateway, amount: payment.amount },
      { account: owed as 'receivable' | 'written_off', amount: applied.negated() },
      { account: 'customer_credit' as const, amount: excess.negated() },
    ].filter(({ amount }) => !amount.isZero()),
  });
  const after: StoredInvoice = {
    ...invoice,
    status,
    paid: invoice.paid.plus(applied),
    paidAt: status === 'paid' ? now : null,
    amountDue,
  };
  if (status === 'paid') {
    await recordEvents(session, [invoiceEvent('invoice.paid', after, now)]);
    await invoicesPaid(session, [after], now);
  }
  return { status, applied, excess, amountDue, replayed: false };
}

const WHY_NOT: Readonly<Record<InvoiceStatus, string>> = {
  draft: 'is a draft: nothing is owed yet',
  void: 'is void',
  paid: 'is paid already',
  open: '',
  uncollectible: '',
};

const notPayable = (invoice: StoredInvoice): BillingError =>
  wrongState(
    invoice,
    WHY_NOT[invoice.status],
    invoice.status === 'draft'
      ? 'Finalize it first.'
      : 'Nothing was counted. If money came in, give it back or add it as account credit.',
  );
