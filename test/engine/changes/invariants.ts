import type { Knex } from 'knex';

/** What must hold of money and of sold lines, whatever the rules of changes say: no oracle is asked. */

export interface Breach {
  account: string;
  what: string;
}

/** The test gateway's own memory against the book's cash there. */
const keptByGateway = (schema: string): string => `
select coalesce(b.payer_id, g.payer_id)::text as account,
       format('the book has %s at the gateway, which keeps %s',
              coalesce(b.amount, 0), coalesce(g.amount, 0)) as what
from (
  select p.payer_id, sum(l.amount) as amount from "${schema}".postings p
  cross join unnest(p.accounts, p.gateways, p.amounts) as l (account, gateway, amount)
  where l.account = 'cash' and l.gateway = 'test' group by 1) as b
full join (
  select s.payer_id, sum(s.amount) as amount from (
    select a.payer_id, c.amount from "${schema}".test_gateway_charges c
      join "${schema}".payment_attempts a on a.attempt_id = c.attempt_id
      where c.outcome::json ->> 'status' = 'succeeded'
    union all
    select r.payer_id, -g.amount from "${schema}".test_gateway_refunds g
      join "${schema}".payment_refunds r on r.refund_id = g.refund_id
      where g.outcome::json ->> 'status' = 'succeeded'
    union all
    select r.payer_id, -r.amount from "${schema}".payment_refunds r
      where r.reason = 'gateway' and r.status = 'succeeded') as s
  group by 1) as g on g.payer_id = b.payer_id
where coalesce(b.amount, 0) <> coalesce(g.amount, 0)`;

/** A charge that came too late goes back; nobody is charged again after it. */
const chargedAgain = (schema: string): string => `
select a.payer_id::text as account,
       format('invoice %s was charged %s times', a.purpose_id, count(*)) as what
from "${schema}".payment_attempts a
where a.kind = 'charge' and a.purpose = 'invoice' and a.status = 'succeeded'
group by a.payer_id, a.purpose_id having count(*) > 1
union all
select distinct a.payer_id::text,
       format('invoice %s was tried after its money went back', a.purpose_id)
from "${schema}".payment_attempts a
where a.kind = 'charge' and exists (
  select from "${schema}".payment_attempts b
  where b.payer_id = a.payer_id and b.purpose_id = a.purpose_id and b.surplus
    and b.number < a.number)`;

const sold = (schema: string): string => `
select payer_id, invoice_id as document_id, position, net, tax, tax_percent
from "${schema}".invoice_lines
union all
select i.payer_id, i.order_id, i.position, i.net, i.tax, o.tax_percent
from "${schema}".order_items i join "${schema}".orders o using (payer_id, order_id)`;

/** Of each sold line: what came back of it by the account of that, and by the documents themselves. */
const cameBack = (schema: string): string => `
select r.payer_id, r.document_id, r.position, r.net, r.tax, 'by its account' as how, false as mixed
from "${schema}".line_returns r
union all
select c.payer_id, c.invoice_id, l.position, l.net, l.tax, 'on documents', false
from "${schema}".credit_note_lines l join "${schema}".credit_notes c using (payer_id, credit_note_id)
union all
select l.payer_id, coalesce(l.corrects_invoice_id, l.corrects_order_id), l.corrects_position,
       -l.net + coalesce(n.net, 0), -l.tax + coalesce(n.tax, 0), 'on documents',
       l.tax_percent is distinct from s.tax_percent
from "${schema}".invoice_lines l
join "${schema}".invoices i using (payer_id, invoice_id)
join (${sold(schema)}) as s on s.payer_id = l.payer_id and s.position = l.corrects_position
  and s.document_id = coalesce(l.corrects_invoice_id, l.corrects_order_id)
left join lateral (
  select sum(m.net) as net, sum(m.tax) as tax from "${schema}".credit_note_lines m
  join "${schema}".credit_notes c using (payer_id, credit_note_id)
  where c.payer_id = l.payer_id and c.invoice_id = l.invoice_id and m.position = l.position) as n
  on true
where l.corrects_position is not null and i.status <> 'void'`;

const beyondLines = (schema: string): string => `
select s.payer_id::text as account,
       format('of line %s of %s (%s and %s) came back %s: %s and %s%s', s.position, s.document_id,
              s.net, s.tax, b.how, b.net, b.tax, case when b.mixed then ', at another rate' end)
         as what
from (${sold(schema)}) as s
join (
  select payer_id, document_id, position, how, sum(net) as net, sum(tax) as tax,
         bool_or(mixed) as mixed
  from (${cameBack(schema)}) as r group by 1, 2, 3, 4) as b
  on b.payer_id = s.payer_id and b.document_id = s.document_id and b.position = s.position
where b.mixed or abs(b.net) > abs(s.net) or abs(b.tax) > abs(s.tax)
  or b.net * s.net < 0 or b.tax * s.tax < 0`;

/** What does not hold, of whom. */
export async function breachesIn(knex: Knex, schema: string): Promise<Breach[]> {
  const breaches: Breach[] = [];
  for (const ask of [keptByGateway, chargedAgain, beyondLines]) {
    const { rows } = await knex.raw<{ rows: Breach[] }>(ask(schema));
    breaches.push(...rows);
  }
  return breaches;
}
