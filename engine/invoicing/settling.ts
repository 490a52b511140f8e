import { post } from '../books';
import type { Session } from '../database';
import { recordEvents } from '../events';
import { BillingError, Decimal, isoTime, newId, type Instant } from '../kernel';
import { writeCredits } from './account-credit';
import { invoiceEvent } from './invoice-events';
import {
  findInvoices,
  unknownInvoice,
  type InvoiceStatus,
  type StoredInvoice,
} from './invoice-records';
import { invoicesPaid } from './when-paid';

/** Payments of invoices, whoever brings them: a charge, a provider's notice, a person at a keyboard. */

export const HAND_METHODS = ['bank_transfer', 'cash', 'cheque', 'card_terminal', 'other'] as const;
/** How money came in outside any gateway. */
export type HandMethod = (typeof HAND_METHODS)[number];

export interface InvoicePayment {
  payerId: string;
  invoiceId: string;
  /** What came in, tax included; above 0, in the currency's decimals. */
  amount: Decimal;
  gateway: string;
  /** The gateway's id of the payment, or one that was entered by hand: counts once for the invoice. */
  reference: string;
  /** The attempt that brought it; null: entered by hand, or told by a provider. */
  attemptId?: string | null;
  /** How it was paid by hand: bank_transfer, cash ... */
  method?: string | null;
  /** When it was paid. */
  at: Instant;
}

export interface SettledInvoice {
  status: InvoiceStatus;
  /** What the payment paid of the invoice, and what was beyond: account credit now. */
  applied: Decimal;
  excess: Decimal;
  amountDue: Decimal;
  /** Whether this reference was counted before. */
  replayed: boolean;
}

const FIND_PAYMENT = `
select amount::text as amount, excess::text as excess from {schema}.invoice_payments
where payer_id = $1::uuid and invoice_id = $2::uuid and gateway = $3 and reference = $4`;

const WRITE_PAYMENT = `
insert into {schema}.invoice_payments
  (payer_id, invoice_id, payment_id, attempt_id, gateway, method, reference, amount, excess, paid_at,
   recorded_at)
values ($1::uuid, $2::uuid, $3::uuid, $4::uuid, $5, $6, $7, $8::numeric, $9::numeric,
        $10::timestamptz, $11::timestamptz)`;

const PAY = `
update {schema}.invoices
set paid = paid + $3::numeric, status = $4,
    paid_at = case when $4 = 'paid' then $5::timestamptz end
where payer_id = $1::uuid and invoice_id = $2::uuid`;

/**
 * Counts a payment of an issued invoice: what is due becomes less, the rest is account credit, and an
 * invoice that is paid brings what waited for it. The payer must be locked.
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
  const [counted] = await session.query<{ amount: string; excess: string }>(FIND_PAYMENT, [
    payerId,
    invoiceId,
    gateway,
    reference,
  ]);
  if (counted !== undefined) {
    return {
      status: invoice.status,
      applied: new Decimal(counted.amount),
      excess: new Decimal(counted.excess),
      amountDue: invoice.amountDue,
      replayed: true,
    };
  }
  if (invoice.status !== 'open' && invoice.status !== 'uncollectible') throw notPayable(invoice);

  const applied = Decimal.min(payment.amount, invoice.amountDue);
  const excess = payment.amount.minus(applied);
  const amountDue = invoice.amountDue.minus(applied);
  const status = amountDue.isZero() ? 'paid' : invoice.status;
  await session.query(WRITE_PAYMENT, [
    payerId,
    invoiceId,
    newId(),
    payment.attemptId ?? null,
    gateway,
    payment.method ?? null,
    reference,
    applied.toFixed(),
    excess.toFixed(),
    isoTime(payment.at),
    isoTime(now),
  ]);
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

const notPayable = ({ invoiceId, number, status }: StoredInvoice): BillingError =>
  new BillingError('invoice_state', `Invoice ${number ?? invoiceId} ${WHY_NOT[status]}.`, {
    parameter: 'invoiceId',
    advice:
      status === 'draft'
        ? 'Finalize it first.'
        : 'Nothing was counted. If money came in, give it back or add it as account credit.',
  });
