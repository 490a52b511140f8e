import { verifyTables, type Check } from '../database';

/** What attempts and refunds have to hold to. What they paid for is checked by whose it is. */

const TABLES = ['payment_attempts', 'payment_refunds', 'payment_methods'];

const CHECKS: readonly Check[] = [
  {
    code: 'attempt_number',
    table: 'payment_attempts',
    message: 'The attempts to be paid for % are not numbered 1, 2, 3 ...',
    statement: `
select a.purpose || ' ' || a.purpose_id as id
from {schema}.payment_attempts a
group by a.payer_id, a.purpose, a.purpose_id
having min(a.number) <> 1 or max(a.number) <> count(*)`,
  },
  {
    code: 'paid_twice',
    table: 'payment_attempts',
    message: 'Attempt % brought money that is neither used nor on its way back.',
    statement: `
select a.attempt_id::text as id
from {schema}.payment_attempts a
where a.surplus and not exists (
  select 1 from {schema}.payment_refunds r
  where r.payer_id = a.payer_id and r.purpose = a.purpose and r.purpose_id = a.purpose_id
    and r.attempt_id = a.attempt_id)`,
  },
  {
    code: 'payment_refunded',
    table: 'payment_refunds',
    message: 'Of attempt % more was given back than was charged.',
    statement: `
select r.attempt_id::text as id
from {schema}.payment_refunds r
left join {schema}.payment_attempts a
  on a.payer_id = r.payer_id and a.attempt_id = r.attempt_id and a.status = 'succeeded'
where r.attempt_id is not null and r.status <> 'failed'
group by r.attempt_id, a.amount, a.currency
having a.amount is null or sum(r.amount) > a.amount or bool_or(r.currency <> a.currency)`,
  },
  {
    code: 'payment_reference_twice',
    table: 'payment_attempts',
    message: 'Charge % of a gateway counts for two attempts.',
    statement: `
select a.gateway || ' ' || a.reference as id
from {schema}.payment_attempts a
where a.status = 'succeeded'
group by a.gateway, a.reference
having count(*) > 1`,
  },
  {
    code: 'attempt_method',
    table: 'payment_attempts',
    message: 'Attempt % charged a method that is not on record.',
    statement: `
select a.attempt_id::text as id
from {schema}.payment_attempts a
where a.method_id is not null and not exists (
  select 1 from {schema}.payment_methods m where m.method_id = a.method_id)`,
  },
];

/** Recomputes what payments have to hold to. Reads only. */
export const verifyPayments = verifyTables(TABLES, CHECKS);
