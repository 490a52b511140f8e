import { leftToGiveBack } from '../books';
import { column, table, type Session } from '../database';
import { OF_PERIOD, type InvoicedStanding, type PeriodPorts } from '../subscriptions';

/** A line that bills a period, under the name that its payer had. */
const LINES = table('invoice_lines', {
  payerId: column.uuid(),
  documentId: column.uuid().named('invoice_id'),
  position: column.integer(),
  net: column.decimal(),
  tax: column.decimal(),
  inclusive: column.flag(),
  isPaid: column.flag(),
});

/** A draft that is being issued by this transaction: its sums stand, so that it counts as issued. */
const IS_BEING_ISSUED = `
(v.status = 'draft' and exists (
  select from {schema}.invoice_details d
  where d.payer_id = v.payer_id and d.invoice_id = v.invoice_id and d.snapshot is not null))`;

/** Along the items of the period. */
const FIND = `
select ${LINES.select('f')}
from (
  select l.payer_id, l.invoice_id, l.position, l.net, l.tax,
         coalesce(l.tax_inclusive, false) as inclusive, v.amount_due = 0 as is_paid
  from {schema}.pending_items i
  join {schema}.invoices v on v.invoice_id = i.invoice_id
  join {schema}.invoice_lines l on l.payer_id = v.payer_id and l.invoice_id = v.invoice_id
    and l.item_id = i.item_id
  where i.payer_id = $1::uuid and i.subscription_id = $2::uuid and i.period_number = $3::integer
    and i.kind in ('fee', 'proration_charge') and i.dropped_at is null ${OF_PERIOD}
    and (v.status in ('open', 'paid') or ${IS_BEING_ISSUED})) as f`;

/** Along the items of the subscription, few to each period. */
const STANDINGS = `
select i.period_number as number,
       case when bool_or(v.status = 'uncollectible') then 'given_up'
            when bool_and(v.amount_due = 0) then 'paid' else 'open' end as standing
from {schema}.pending_items i
join {schema}.invoices v on v.invoice_id = i.invoice_id
where i.payer_id = $1::uuid and i.subscription_id = $2::uuid
  and i.kind in ('fee', 'proration_charge') and i.dropped_at is null ${OF_PERIOD}
  and (v.status in ('open', 'paid', 'uncollectible') or ${IS_BEING_ISSUED})
group by i.period_number`;

/** The line of a draft goes, and the item that it bills waits again. The payer is locked. */
const FREE = `
with draft as (
  select i.payer_id as item_payer, i.item_id, l.payer_id, l.invoice_id, l.position
  from {schema}.pending_items i
  join {schema}.invoices v
    on v.invoice_id = i.invoice_id and v.status = 'draft' and not ${IS_BEING_ISSUED}
  join {schema}.invoice_lines l on l.payer_id = v.payer_id and l.invoice_id = v.invoice_id
    and l.item_id = i.item_id
  where i.payer_id = $1::uuid and i.item_id = $2::uuid
), gone as (
  delete from {schema}.invoice_lines l using draft d
  where l.payer_id = d.payer_id and l.invoice_id = d.invoice_id and l.position = d.position
)
update {schema}.pending_items i set invoice_id = null
from draft d where i.payer_id = d.item_payer and i.item_id = d.item_id
returning 1 as freed`;

/** Fills the port of subscriptions: what issued invoices ask for a period. */
export const invoicedPeriods: PeriodPorts = {
  async invoiced(session: Session, { payerId, subscriptionId, number }) {
    const found = await LINES.rows(session, FIND, [payerId, subscriptionId, number]);
    const sold = found.map((line) => ({ ...line, soldBy: 'invoice' as const }));
    const [line] = await leftToGiveBack(session, sold);
    return line === undefined ? null : { line, isPaid: line.isPaid };
  },

  async standing(session: Session, { payerId, subscriptionId }) {
    const found = await session.query<{ number: number; standing: InvoicedStanding }>(STANDINGS, [
      payerId,
      subscriptionId,
    ]);
    return new Map(found.map(({ number, standing }) => [number, standing]));
  },

  async freeFromDraft(session: Session, { payerId, itemId }) {
    return (await session.query(FREE, [payerId, itemId])).length > 0;
  },
};
