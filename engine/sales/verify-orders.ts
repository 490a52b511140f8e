import { verifyTables, type Check } from '../database';

/**
 * What must be true of orders and refunds beside what their tables refuse (migrations/0009-sales.ts):
 *
 *  - An order's amounts are the sums of its lines'; its line numbers are 1, 2, 3 ...
 *  - refunded = the sum of its refunds; each refund is the sum of its lines, and no line gives back
 *    more net or tax than it had. What came back of a line says the same of its refunds.
 *  - A paid order brought something for each line, and no other did. Those grants exist, in the
 *    order's currency, and the money of a line is the value of what it brought.
 *  - No more units of a grant were given up than it had.
 *  - A payment of an order has its reference and each reference its order or refund.
 *  - The money book says: cash of an order is what was paid, less what was refunded.
 */

const TABLES = [
  'orders',
  'order_items',
  'order_grants',
  'payment_references',
  'refunds',
  'purchase_marks',
];

const CHECKS: readonly Check[] = [
  {
    code: 'order_totals',
    table: 'orders',
    message: 'Order % does not come to the sums of its lines.',
    statement: `
select o.order_id::text as id
from {schema}.orders o
left join lateral (
  select count(*) as lines, max(i.position) as last, sum(i.subtotal) as subtotal,
         sum(i.discount) as discount, sum(i.net) as net, sum(i.tax) as tax, sum(i.total) as total
  from {schema}.order_items i
  where i.payer_id = o.payer_id and i.order_id = o.order_id) as sums on true
where sums.lines = 0 or sums.last <> sums.lines
   or (o.subtotal, o.discount, o.net, o.tax, o.total) is distinct from
      (sums.subtotal, sums.discount, sums.net, sums.tax, sums.total)`,
  },
  {
    code: 'order_refunded',
    table: 'orders',
    message: 'Order % has been refunded otherwise than its refunds say.',
    statement: `
select o.order_id::text as id from {schema}.orders o
where o.refunded <> (
  select coalesce(sum(r.amount), 0) from {schema}.refunds r
  where r.payer_id = o.payer_id and r.order_id = o.order_id)`,
  },
  {
    code: 'refund_items',
    table: 'refunds',
    message: 'Refund % is not the sum of its lines.',
    statement: `
select r.order_id || ' ' || r.refund_id as id
from {schema}.refunds r
left join lateral (
  select sum(i.amount) as amount, sum(i.net) as net, sum(i.tax) as tax
  from {schema}.refund_items i
  where i.payer_id = r.payer_id and i.order_id = r.order_id and i.refund_id = r.refund_id
) as sums on true
where (r.amount, r.net, r.tax) is distinct from (sums.amount, sums.net, sums.tax)`,
  },
  {
    code: 'refund_exceeds',
    table: 'refund_items',
    message: 'Order and line % gave more back than was paid for it.',
    statement: `
select i.order_id || ' ' || i.position as id
from (
  select payer_id, order_id, position, sum(net) as net, sum(tax) as tax
  from {schema}.refund_items group by payer_id, order_id, position) as back
left join {schema}.order_items i using (payer_id, order_id, position)
where i.net is null or back.net > i.net or back.tax > i.tax`,
  },
  {
    code: 'order_returned',
    table: 'refund_items',
    message: 'Order and line % were refunded otherwise than what came back says.',
    statement: `
select coalesce(i.order_id, r.order_id) || ' ' || coalesce(i.position, r.position) as id
from (
  select order_id, position, sum(net) as net, sum(tax) as tax
  from {schema}.refund_items group by 1, 2 having sum(net) <> 0 or sum(tax) <> 0) as i
full join (
  select r.document_id as order_id, r.position, sum(r.net) as net, sum(r.tax) as tax
  from {schema}.line_returns r where r.kind = 'refund' group by 1, 2) as r
  on r.order_id = i.order_id and r.position = i.position
where (i.net, i.tax) is distinct from (r.net, r.tax)`,
  },
  {
    code: 'order_grants',
    table: 'order_grants',
    message: 'Order and line % brought nothing though paid, or something though not.',
    statement: `
select o.order_id || ' ' || i.position as id
from {schema}.orders o
join {schema}.order_items i on i.payer_id = o.payer_id and i.order_id = o.order_id
where (o.paid_at is not null) <> exists (
  select 1 from {schema}.order_grants g
  where g.payer_id = i.payer_id and g.order_id = i.order_id and g.position = i.position)`,
  },
  {
    code: 'order_value',
    table: 'order_grants',
    message: 'Order and line % brought grants that are missing, or not worth what was paid.',
    statement: `
select o.order_id || ' ' || b.position as id
from {schema}.order_grants b
join {schema}.orders o on o.payer_id = b.payer_id and o.order_id = b.order_id
left join {schema}.order_items i
  on i.payer_id = b.payer_id and i.order_id = b.order_id and i.position = b.position
left join {schema}.grants g on g.payer_id = b.ledger_id and g.sequence = b.grant_sequence
group by o.order_id, b.position, i.net, o.currency
having count(*) <> count(g.sequence) or i.net is distinct from sum(g.value)
    or bool_or(g.value > 0 and (b.bonus or g.currency <> o.currency))`,
  },
  {
    code: 'refund_units',
    table: 'refund_units',
    message: 'Grant % gave up more units than it had.',
    statement: `
select u.ledger_id || '.' || u.grant_sequence as id
from {schema}.refund_units u
left join {schema}.grants g on g.payer_id = u.ledger_id and g.sequence = u.grant_sequence
group by u.ledger_id, u.grant_sequence, g.initial
having g.initial is null or sum(u.units) > g.initial`,
  },
  {
    code: 'payment_reference',
    table: 'orders',
    message: 'Order % has a payment that is not on record as its own.',
    statement: `
select o.order_id::text as id from {schema}.orders o
where o.payment_id is not null and not exists (
  select 1 from {schema}.payment_references r
  where r.gateway = o.gateway and r.kind = 'payment' and r.reference = o.payment_id
    and r.payer_id = o.payer_id and r.order_id = o.order_id)`,
  },
  {
    code: 'reference_order',
    table: 'payment_references',
    message: 'Reference % is on record for an order that has it not.',
    statement: `
select r.gateway || ' ' || r.reference as id from {schema}.payment_references r
where case r.kind
  when 'payment' then not exists (
    select 1 from {schema}.orders o
    where o.payer_id = r.payer_id and o.order_id = r.order_id
      and o.gateway = r.gateway and o.payment_id = r.reference)
  else not exists (
    select 1 from {schema}.refunds f
    where f.payer_id = r.payer_id and f.order_id = r.order_id and f.refund_id = r.reference)
  end`,
  },
  {
    code: 'order_cash',
    table: 'postings',
    message: 'Order % was paid and refunded otherwise than the money book says.',
    statement: `
select o.order_id::text as id
from {schema}.orders o
where o.paid - o.refunded <> (
  select coalesce(sum(leg.amount), 0)
  from {schema}.postings p
  cross join lateral unnest(p.accounts, p.amounts) as leg (account, amount)
  where leg.account = 'cash' and p.currency = o.currency
    and p.reference_type in ('order', 'refund') and p.reference_id in (
      select o.order_id::text
      union all
      select r.order_id || '.' || r.refund_id from {schema}.refunds r
      where r.payer_id = o.payer_id and r.order_id = o.order_id))`,
  },
];

/** Recomputes what orders and refunds have to hold to. Reads only. */
export const verifyOrders = verifyTables(TABLES, CHECKS);
