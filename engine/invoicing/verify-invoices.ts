import { verifyTables, type Check } from '../database';

/**
 * What must be true of invoices, credit notes and account credit beside what their tables refuse
 * (migrations/0011-invoicing.ts):
 *
 *  - An issued invoice comes to the sums of its lines, by column; a rate's tax is what the rate says of
 *    the sum of its lines, rounded once.
 *  - paid = the sum of its payments; credit_noted = the sum of its credit notes; refunded = the sum of
 *    its refunds, which are never more than credit notes set aside.
 *  - Credit notes take back no more of a line, net and tax, than it has.
 *  - What came back of a line, whichever way, is in sum no more than the line; credits and credit notes
 *    are what its account says.
 *  - Numbers of a series are 1, 2, 3 ... with none missing.
 *  - Account credit is never below 0, and is what the book has on customer_credit.
 *  - What the book has on receivable for an invoice is what is due of it, less what is to go back.
 *  - What waits on `deferred` for a first payment is on an invoice that may still be paid.
 *  - A line of use is of as many units as the entries that it bills; a pending item that is billed is on
 *    its invoice.
 *  - What coupons took off periods of a subscription is what stands on its invoices that are not void.
 *  - Use that a subscription of the payer prices is on a line, or lies in a period from which it will
 *    still come onto one.
 */

const TABLES = [
  'invoices',
  'invoice_lines',
  'invoice_usage',
  'invoice_payments',
  'credit_notes',
  'invoice_refunds',
  'account_credits',
  'line_returns',
  'held_fees',
];

/** Periods under any name of the payer of an entry `e` that price the use of its product, from its start. */
const PRICED_PERIODS = `
  {schema}.accounts l
  join {schema}.accounts n
    on coalesce(n.merged_into, n.account_id) = coalesce(l.merged_into, l.account_id)
  join {schema}.subscription_periods p
    on p.payer_id = n.account_id and p.starts_at <= e.effective_at
  join {schema}.offer_items o
    on o.sku = p.sku and o.version = p.version and o.product = e.product
   and jsonb_typeof(o.terms -> 'overage') = 'object'
  join {schema}.subscriptions s
    on s.payer_id = p.payer_id and s.subscription_id = p.subscription_id
  where l.account_id = e.payer_id`;

/** Whether an entry `e` lies in a period `p`. */
const LIES_IN_PERIOD = `(e.effective_at, e.sequence) <= (
  p.ends_at, case when p.cut_ledger_id = e.payer_id then coalesce(p.cut_sequence, 0) else 0 end)`;

/** Legs of postings on an account, for what a posting was made. */
const legsOn = (account: string): string => `
  select p.payer_id, p.currency, p.reference_type, p.reference_id, sum(leg.amount) as amount
  from {schema}.postings p
  cross join lateral unnest(p.accounts, p.amounts) as leg (account, amount)
  where leg.account = '${account}' and '${account}' = any(p.accounts)
  group by 1, 2, 3, 4`;

const CHECKS: readonly Check[] = [
  {
    code: 'invoice_totals',
    table: 'invoices',
    message: 'Invoice % does not come to the sums of its lines.',
    statement: `
select i.invoice_id::text as id
from {schema}.invoices i
left join lateral (
  select count(*) as lines, sum(l.subtotal) as subtotal, sum(l.discount) as discount,
         sum(l.net) as net, sum(l.tax) as tax, sum(l.total) as total
  from {schema}.invoice_lines l
  where l.payer_id = i.payer_id and l.invoice_id = i.invoice_id) as sums on true
where i.status <> 'draft'
  and (sums.lines = 0
       or (i.subtotal, i.discount, i.net, i.tax, i.total - i.carried) is distinct from
          (sums.subtotal, sums.discount, sums.net, sums.tax, sums.total))`,
  },
  {
    code: 'invoice_tax',
    table: 'invoice_lines',
    message: 'Invoice and rate % are not taxed as the rate says.',
    // Rounded once, to the smallest unit of the currency, of which none has fewer than 0 decimals; an
    // inclusive rate is rounded out of the sum of net and tax, which moves net by as much. A credit
    // carries its part of the tax of the line that it corrects, which was rounded there.
    statement: `
select l.invoice_id || ' ' || l.tax_key as id
from {schema}.invoice_lines l
join {schema}.invoices i on i.payer_id = l.payer_id and i.invoice_id = l.invoice_id
where i.status <> 'draft' and l.tax_percent is not null
group by l.payer_id, l.invoice_id, l.tax_key, l.tax_percent
having abs(sum(l.tax) - sum(l.net) * l.tax_percent / 100)
       > (1.5 + 2 * count(l.corrects_position)) * power(10::numeric, -max(greatest(scale(l.tax), scale(l.net))))`,
  },
  {
    code: 'invoice_untaxed',
    table: 'invoice_lines',
    message: 'Invoice and line % are taxed without a rate.',
    statement: `
select l.invoice_id || ' ' || l.position as id
from {schema}.invoice_lines l
where l.tax_percent is null and l.tax <> 0`,
  },
  {
    code: 'invoice_paid',
    table: 'invoices',
    message: 'Invoice % is paid otherwise than its payments say.',
    statement: `
select i.invoice_id::text as id from {schema}.invoices i
where i.paid <> (
  select coalesce(sum(p.amount), 0) from {schema}.invoice_payments p
  where p.payer_id = i.payer_id and p.invoice_id = i.invoice_id)`,
  },
  {
    code: 'invoice_credit_noted',
    table: 'invoices',
    message: 'Invoice % is corrected otherwise than its credit notes say.',
    statement: `
select i.invoice_id::text as id
from {schema}.invoices i
left join lateral (
  select coalesce(sum(c.total), 0) as total, coalesce(sum(c.to_due), 0) as to_due,
         coalesce(sum(c.to_credit + c.to_refund), 0) as back,
         coalesce(sum(c.to_refund), 0) as to_refund
  from {schema}.credit_notes c
  where c.payer_id = i.payer_id and c.invoice_id = i.invoice_id) as c on true
where i.credit_noted <> c.total or i.reduced <> c.to_due or c.back > i.paid + i.credited
   or c.to_refund > i.paid or i.refunded > c.to_refund`,
  },
  {
    code: 'invoice_refunded',
    table: 'invoices',
    message: 'Invoice % is refunded otherwise than its refunds say.',
    statement: `
select i.invoice_id::text as id from {schema}.invoices i
where i.refunded <> (
  select coalesce(sum(r.amount), 0) from {schema}.invoice_refunds r
  where r.payer_id = i.payer_id and r.invoice_id = i.invoice_id)`,
  },
  {
    code: 'credit_note_lines',
    table: 'credit_notes',
    message: 'Credit note % is not the sum of its lines.',
    statement: `
select c.credit_note_id::text as id
from {schema}.credit_notes c
left join lateral (
  select sum(l.net) as net, sum(l.tax) as tax, sum(l.total) as total
  from {schema}.credit_note_lines l
  where l.payer_id = c.payer_id and l.credit_note_id = c.credit_note_id) as sums on true
where (c.net, c.tax, c.total) is distinct from (sums.net, sums.tax, sums.total)`,
  },
  {
    code: 'credit_note_exceeds',
    table: 'credit_note_lines',
    message: 'Invoice and line % were taken back by more than there was.',
    statement: `
select back.invoice_id || ' ' || back.position as id
from (
  select c.payer_id, c.invoice_id, l.position, sum(l.net) as net, sum(l.tax) as tax
  from {schema}.credit_notes c
  join {schema}.credit_note_lines l
    on l.payer_id = c.payer_id and l.credit_note_id = c.credit_note_id
  group by 1, 2, 3) as back
left join {schema}.invoice_lines i
  on i.payer_id = back.payer_id and i.invoice_id = back.invoice_id and i.position = back.position
where i.net is null or abs(back.net) > abs(i.net) or abs(back.tax) > abs(i.tax)
   or back.net * i.net < 0 or back.tax * i.tax < 0`,
  },
  {
    code: 'line_returned',
    table: 'line_returns',
    message: 'Invoice and line % gave back otherwise by credit notes than their lines say.',
    statement: `
select coalesce(n.invoice_id, r.invoice_id) || ' ' || coalesce(n.position, r.position) as id
from (
  select c.invoice_id, l.position, sum(l.net) as net, sum(l.tax) as tax
  from {schema}.credit_notes c
  join {schema}.credit_note_lines l
    on l.payer_id = c.payer_id and l.credit_note_id = c.credit_note_id
  group by 1, 2) as n
full join (
  select r.document_id as invoice_id, r.position, sum(r.net) as net, sum(r.tax) as tax
  from {schema}.line_returns r where r.kind = 'credit_note' group by 1, 2) as r
  on r.invoice_id = n.invoice_id and r.position = n.position
where (n.net, n.tax) is distinct from (r.net, r.tax)`,
  },
  {
    code: 'line_returns',
    table: 'line_returns',
    message: 'Line % gave back more than it was sold for.',
    statement: `
select r.document_id || ' ' || r.position as id
from (
  select sold_by, payer_id, document_id, position, sum(net) as net, sum(tax) as tax
  from {schema}.line_returns group by 1, 2, 3, 4) as r
left join {schema}.invoice_lines l on r.sold_by = 'invoice' and l.payer_id = r.payer_id
  and l.invoice_id = r.document_id and l.position = r.position
left join {schema}.order_items o on r.sold_by = 'order' and o.payer_id = r.payer_id
  and o.order_id = r.document_id and o.position = r.position
where coalesce(l.net, o.net) is null
   or abs(r.net) > abs(coalesce(l.net, o.net)) or abs(r.tax) > abs(coalesce(l.tax, o.tax))
   or r.net * coalesce(l.net, o.net) < 0 or r.tax * coalesce(l.tax, o.tax) < 0`,
  },
  {
    code: 'credit_returned',
    table: 'line_returns',
    message: 'The credit of item % is not what came back of the line that it corrects.',
    // Of one that waits there is no line yet; one that was taken off, or void for good, gives nothing.
    statement: `
select r.item_id::text as id
from (
  select item_id, sum(net) as net, sum(tax) as tax
  from {schema}.line_returns where item_id is not null
  group by 1 having not bool_or(kind = 'usage_credit')) as r
left join {schema}.pending_items p on p.item_id = r.item_id
left join {schema}.invoices v on v.invoice_id = p.invoice_id
left join {schema}.invoice_lines l on l.payer_id = v.payer_id and l.invoice_id = v.invoice_id
  and l.item_id = p.item_id and l.corrects_position is not null
left join lateral (
  select coalesce(sum(b.net), 0) as net, coalesce(sum(b.tax), 0) as tax
  from {schema}.line_returns b
  where b.payer_id = l.payer_id and b.document_id = l.invoice_id and b.position = l.position
) as b on true
where p.item_id is null
   or ((p.dropped_at is not null or v.status = 'void') and (r.net <> 0 or r.tax <> 0))
   or (l.net is not null and v.status <> 'void'
       and (r.net + r.tax) <> -(l.net + l.tax - b.net - b.tax))`,
  },
  {
    code: 'use_returned',
    table: 'line_returns',
    message: 'The credit of line % for use is not what came back of the line that it corrects.',
    statement: `
select r.item_id::text as id
from (
  select item_id, sum(net + tax) as total
  from {schema}.line_returns where item_id is not null
  group by 1 having bool_or(kind = 'usage_credit')) as r
left join {schema}.invoice_lines l on l.line_id = r.item_id and l.corrects_position is not null
left join {schema}.invoices v on v.payer_id = l.payer_id and v.invoice_id = l.invoice_id
left join lateral (
  select coalesce(sum(b.net + b.tax), 0) as total from {schema}.line_returns b
  where b.payer_id = l.payer_id and b.document_id = l.invoice_id and b.position = l.position
) as b on true
where r.total is distinct from case when v.status = 'void' then 0 else -(l.total - b.total) end`,
  },
  {
    code: 'paper_numbers',
    table: 'invoice_series',
    message: 'The series % has numbers that are missing.',
    statement: `
select coalesce(s.series, n.series) as id
from (
  select series, count(*) as papers, max(number) as last
  from (select series, number from {schema}.invoices where number is not null
        union all
        select series, number from {schema}.credit_notes) as papers
  group by series) as n
full join {schema}.invoice_series s on s.series = n.series
where coalesce(n.papers, 0) <> coalesce(n.last, 0)
   or coalesce(n.last, 0) + 1 <> coalesce(s.next_number, 1)`,
  },
  {
    code: 'account_credit',
    table: 'account_credits',
    message: 'The account credit of % is below 0, or not what the money book says.',
    statement: `
select coalesce(c.payer_id, b.payer_id) || ' ' || coalesce(c.currency, b.currency) as id
from (
  select payer_id, currency, sum(amount) as amount
  from {schema}.account_credits group by 1, 2) as c
full join (
  select payer_id, currency, -sum(amount) as amount
  from (${legsOn('customer_credit')}) as legs group by 1, 2) as b
  on b.payer_id = c.payer_id and b.currency = c.currency
where coalesce(c.amount, 0) < 0 or coalesce(c.amount, 0) <> coalesce(b.amount, 0)`,
  },
  {
    code: 'invoice_receivable',
    table: 'postings',
    message: 'The money book has something else on receivable for invoice % than is due of it.',
    statement: `
select coalesce(i.invoice_id::text, b.invoice_id) as id
from (
  select i.payer_id, i.invoice_id,
         case when i.status in ('open', 'paid') then i.amount_due else 0 end
         - coalesce((select sum(c.to_refund) from {schema}.credit_notes c
                     where c.payer_id = i.payer_id and c.invoice_id = i.invoice_id), 0)
         + i.refunded as due
  from {schema}.invoices i where i.status <> 'draft') as i
full join (
  select coalesce(c.invoice_id::text, l.reference_id) as invoice_id, sum(l.amount) as amount
  from (${legsOn('receivable')}) as l
  left join {schema}.credit_notes c
    on l.reference_type = 'credit_note' and c.payer_id = l.payer_id
   and c.credit_note_id::text = l.reference_id
  where l.reference_type in ('invoice', 'credit_note')
  group by 1) as b on b.invoice_id = i.invoice_id::text
where coalesce(i.due, 0) <> coalesce(b.amount, 0)`,
  },
  {
    code: 'held_fee',
    table: 'held_fees',
    message: 'Fee % waits for a first payment that has come, or is not asked for any more.',
    statement: `
select f.payer_id || '.' || f.fee_id as id
from {schema}.held_fees f
join {schema}.invoices i on f.reference_type = 'invoice' and i.invoice_id::text = f.reference_id
where f.released_at is null and i.status in ('paid', 'void')`,
  },
  {
    code: 'usage_billed',
    table: 'invoice_usage',
    message: 'Entry % is billed by a line that there is not, or that is of no use.',
    statement: `
select u.payer_id || '.' || u.entry_sequence as id
from {schema}.invoice_usage u
left join {schema}.invoice_lines l
  on l.payer_id = u.invoice_payer_id and l.invoice_id = u.invoice_id and l.position = u.position
left join {schema}.entries e on e.payer_id = u.payer_id and e.sequence = u.entry_sequence
where (u.position is not null and (l.kind is distinct from 'usage' or e.product <> l.product))
   or e.overage is null`,
  },
  {
    code: 'usage_unbilled',
    table: 'entries',
    message: 'Entry % is of use that is priced, and no invoice will ever bill it.',
    statement: `
select e.payer_id || '.' || e.sequence as id
from {schema}.entries e
where e.overage > 0
  and not exists (
    select from {schema}.invoice_usage u
    where u.payer_id = e.payer_id and u.entry_sequence = e.sequence)
  and e.overage > (
    select coalesce(-sum(r.overage), 0) from {schema}.entries r
    where r.payer_id = e.payer_id and r.product = e.product and r.overage < 0
      and r.kind = 'restore' and r.cause_sequence = e.sequence)
  -- It was used as the period was in force, whatever its end says: before that was written, or, where it
  -- was written without the line that the ledger had come to, in that instant.
  and exists (
    select from ${PRICED_PERIODS} and (
      ${LIES_IN_PERIOD}
      or (p.cut_ledger_id = e.payer_id and e.sequence <= p.cut_sequence)
      or (p.cut_sequence is null and e.effective_at = p.ends_at and s.ended_at = p.ends_at)))
  and (
    e.sequence <= (select m.billed_sequence from {schema}.usage_marks m
                   where m.payer_id = e.payer_id and m.product = e.product)
    or not exists (
      select from ${PRICED_PERIODS} and ${LIES_IN_PERIOD}
        and (p.drafted_at is null or exists (
          select from {schema}.subscriptions f
          where f.payer_id = p.payer_id and f.currency = p.currency and f.ended_at is null))))`,
  },
  {
    code: 'coupon_taken',
    table: 'coupon_periods',
    message: 'What the coupon of subscription % took is not what stands on its invoices.',
    statement: `
select coalesce(c.subscription_id, b.subscription_id)::text as id
from (
  select subscription_id, sum(taken) as taken from {schema}.coupon_periods group by 1) as c
full join (
  select l.subscription_id, sum(l.discount) as taken
  from {schema}.invoice_lines l
  join {schema}.invoices i on i.payer_id = l.payer_id and i.invoice_id = l.invoice_id
  where l.coupon is not null and l.discount > 0 and i.status not in ('draft', 'void')
    -- Settled by a credit note, and nothing came of it.
    and not (i.status = 'paid' and exists (
      select from {schema}.awaiting_changes w
      where w.change_id = i.change_id and w.lapsed_at is not null))
  group by 1) as b on b.subscription_id = c.subscription_id
where coalesce(c.taken, 0) <> coalesce(b.taken, 0)`,
  },
  {
    code: 'item_billed',
    table: 'pending_items',
    message: 'Item % is said to be on an invoice, and is not; or on two.',
    statement: `
select i.item_id::text as id
from {schema}.pending_items i
where i.invoice_id is not null and 1 <> (
  select count(*) from {schema}.invoice_lines l
  join {schema}.invoices v on v.payer_id = l.payer_id and v.invoice_id = l.invoice_id
  where l.invoice_id = i.invoice_id and l.item_id = i.item_id)`,
  },
];

export const verifyInvoices = verifyTables(TABLES, CHECKS);
