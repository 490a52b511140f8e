import { column, table, type Session } from '../database';
import { Decimal, ZERO } from '../kernel';
import type { PaidFor } from './transfers';

/** A charge of which something can still be given back. */
export interface RefundableCharge {
  attemptId: string;
  gateway: string;
  /** The gateway's id of it. */
  charge: string;
  currency: string;
  /** What is left of it, refunds under way taken off. */
  amount: Decimal;
}

const CHARGES = table<RefundableCharge>('payment_attempts', {
  attemptId: column.uuid(),
  gateway: column.text(),
  charge: column.text().named('reference'),
  currency: column.text(),
  amount: column.decimal(),
});

const REFUNDABLE = `
select ${CHARGES.select('a')}, coalesce(back.amount, 0)::text as back
from {schema}.payment_attempts a
left join lateral (
  select sum(r.amount) as amount from {schema}.payment_refunds r
  where r.payer_id = a.payer_id and r.purpose = a.purpose and r.purpose_id = a.purpose_id
    and r.attempt_id = a.attempt_id and r.status <> 'failed') as back on true
where a.payer_id = $1::uuid and a.purpose = $2 and a.purpose_id = $3::uuid
  and a.status = 'succeeded' and not a.surplus
order by a.attempt_id desc`;

/** Charges by which something was paid and that are not given back whole, the latest first. */
export async function refundableCharges(
  session: Session,
  of: PaidFor,
): Promise<RefundableCharge[]> {
  const values = [of.payerId, of.purpose, of.purposeId];
  const rows = await session.query<{ back: string }>(REFUNDABLE, values);
  return rows
    .map((row) => {
      const charge = CHARGES.read(row);
      return { ...charge, amount: charge.amount.minus(row.back) };
    })
    .filter(({ amount }) => amount.greaterThan(ZERO));
}
