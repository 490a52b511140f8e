import type { Session } from '../database';
import { Decimal, sumOf } from '../kernel';
import type { SubscriptionPorts } from '../subscriptions';

/**
 * The lines that bill a period, with what credit notes took back of them, in the terms of the line: with
 * the tax where the rate is an inclusive one. Along the items of the period.
 */
const FIND = `
select v.status, v.amount_due = 0 as is_paid,
       (case when l.tax_inclusive then l.total - coalesce(c.total, 0)
             else l.net - coalesce(c.net, 0) end)::text as amount
from {schema}.pending_items i
join {schema}.invoices v on v.payer_id = i.payer_id and v.invoice_id = i.invoice_id
join {schema}.invoice_lines l
  on l.payer_id = i.payer_id and l.invoice_id = i.invoice_id and l.item_id = i.item_id
left join lateral (
  select sum(n.net) as net, sum(n.total) as total
  from {schema}.credit_notes k
  join {schema}.credit_note_lines n
    on n.payer_id = k.payer_id and n.credit_note_id = k.credit_note_id and n.position = l.position
  where k.payer_id = l.payer_id and k.invoice_id = l.invoice_id) as c on true
where i.payer_id = $1::uuid and i.subscription_id = $2::uuid and i.period_number = $3::integer
  and i.kind in ('fee', 'proration_charge') and i.dropped_at is null`;

/** Fills the port of subscriptions: what issued invoices ask for a period. */
export const invoicedPeriods: SubscriptionPorts = {
  async invoiced(session: Session, { payerId, subscriptionId, number }) {
    const rows = await session.query<{ status: string; is_paid: boolean; amount: string }>(FIND, [
      payerId,
      subscriptionId,
      number,
    ]);
    if (rows.length === 0 || rows.some(({ status }) => status === 'draft')) return null;
    const standing = rows.filter(({ status }) => status === 'open' || status === 'paid');
    return {
      amount: sumOf(standing.map((row) => new Decimal(row.amount))),
      isPaid: standing.every((row) => row.is_paid),
    };
  },
};
