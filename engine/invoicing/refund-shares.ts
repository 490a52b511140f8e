import type { Session } from '../database';
import { BillingError, Decimal, ZERO, formatMoney, type Instant } from '../kernel';
import { openRefund, refundableCharges, type NewRefund, type PaymentContext } from '../payments';
import type { StoredCreditNote } from './credit-note-records';
import type { StoredInvoice } from './invoice-records';

/** By which of its payments money of an invoice goes back. */

/** What was counted outside any attempt of ours, less what went back of it, by gateway. */
const PAID_BY_HAND = `
select p.gateway, min(p.reference) as reference,
       (sum(p.amount) - coalesce((
         select sum(r.amount) from {schema}.payment_refunds r
         where r.payer_id = $1::uuid and r.purpose = 'invoice' and r.purpose_id = $2::uuid
           and r.gateway = p.gateway and r.attempt_id is null and r.reason = 'credit_note'
           and r.status <> 'failed'), 0))::text
         as amount
from {schema}.invoice_payments p
where p.payer_id = $1::uuid and p.invoice_id = $2::uuid and p.attempt_id is null
group by p.gateway
order by p.gateway`;

/**
 * Records, with a credit note, that money is to go back: by the charges that paid the invoice, the
 * latest first, then by hand as it came.
 *
 * @returns the ids of the refunds
 */
export async function giveBack(
  context: PaymentContext,
  session: Session,
  invoice: StoredInvoice,
  note: Pick<StoredCreditNote, 'toRefund'>,
  now: Instant,
): Promise<string[]> {
  const { shares, left } = await sharesOf(session, invoice, note.toRefund);
  if (left.greaterThan(ZERO)) {
    throw new BillingError(
      'refund_exceeds_paid',
      `Only ${formatMoney(note.toRefund.minus(left), invoice.decimals)} of what was paid is left to give back.`,
      { parameter: 'amount', advice: 'Part of it is on its way back already.' },
    );
  }
  const opened: string[] = [];
  for (const share of shares) opened.push(await openRefund(context, session, share, now));
  return opened;
}

/** Of which payments of an invoice an amount goes back, and what is left of it beyond all of them. */
export async function sharesOf(
  session: Session,
  { payerId, accountId, invoiceId, currency }: StoredInvoice,
  amount: Decimal,
): Promise<{ shares: NewRefund[]; left: Decimal }> {
  const of = { payerId, purpose: 'invoice', purposeId: invoiceId } as const;
  const charges = await refundableCharges(session, of);
  const byHand = await session.query<{ gateway: string; reference: string; amount: string }>(
    PAID_BY_HAND,
    [payerId, invoiceId],
  );
  const sources = [
    ...charges,
    ...byHand.map((one) => ({
      attemptId: null,
      gateway: one.gateway,
      charge: one.reference,
      amount: new Decimal(one.amount),
    })),
  ];
  const shares: NewRefund[] = [];
  let left = amount;
  for (const source of sources) {
    const share = Decimal.min(left, source.amount);
    if (!share.greaterThan(ZERO)) continue;
    const { attemptId, gateway, charge } = source;
    const by = { attemptId, gateway, charge, amount: share };
    shares.push({ ...of, ...by, accountId, currency, reason: 'credit_note' });
    left = left.minus(share);
  }
  return { shares, left };
}
