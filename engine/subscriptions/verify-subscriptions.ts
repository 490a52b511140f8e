import { verifyTables, type Check } from '../database';
import { presentPayer } from './stored-subscription';

/**
 * What must be true of subscriptions beside what their tables refuse (migrations/0010-subscriptions.ts):
 *
 *  - Periods are numbered 1, 2, 3 ...; each begins where the one before ended, or later if it says so.
 *  - A subscription stands in the period that was opened last; only what is over was cut short.
 *  - Its status says whether that is a trial phase, and it is looked at again unless it is over or
 *    paused for good.
 *  - Each period that costs something, and that no order paid, has been put on the list for invoices.
 *  - What waits for its first payment stands in the period that is to be paid, which brought nothing.
 *  - Grants of periods exist, and a running period that waits for no payment has been given its units.
 *  - Uses are denied for what is overdue, and for nothing else.
 */

const TABLES = ['subscriptions', 'subscription_periods', 'period_grants', 'pending_items'];

const CHECKS: readonly Check[] = [
  {
    code: 'period_order',
    table: 'subscription_periods',
    message: 'Period % does not follow the one before it.',
    statement: `
select p.subscription_id || ' ' || p.number as id
from (
  select p.*, lag(p.number) over subscription as last_number,
         lag(p.ends_at) over subscription as before_end,
         max(p.ends_at) filter (where p.ends_at > p.starts_at) over (
           subscription rows between unbounded preceding and 1 preceding) as last_end
  from {schema}.subscription_periods p
  window subscription as (partition by p.payer_id, p.subscription_id order by p.number)) as p
where p.number <> coalesce(p.last_number, 0) + 1
   -- One that was bought ahead and taken back never began.
   or (p.ends_at > p.starts_at
       and (p.starts_at < p.last_end
         or (p.starts_at > p.last_end and p.starts_at <> p.before_end and not p.resumed)))`,
  },
  {
    code: 'subscription_period',
    table: 'subscriptions',
    message: 'Subscription % does not stand in the period that was opened last.',
    statement: `
select s.subscription_id::text as id
from {schema}.subscriptions s
left join lateral (
  select p.number, p.starts_at, p.ends_at, p.phase
  from {schema}.subscription_periods p
  where p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
  order by p.number desc limit 1) as p on true
where s.period_number <> coalesce(p.number, 0)
   or (p.number is not null and s.ended_at is null
       and (s.period_start <> p.starts_at or s.period_end <> p.ends_at
            or s.phase is distinct from p.phase))`,
  },
  {
    code: 'subscription_status',
    table: 'subscriptions',
    message: 'Subscription % has a status that its times do not agree with.',
    statement: `
select s.subscription_id::text as id
from {schema}.subscriptions s
where (s.period_number > 0 and s.status = 'trialing' and s.phase is null)
   or (s.period_number > 0 and s.status = 'active' and s.phase is not null)
   or (s.ended_at is null and s.next_due_at is null and not s.first_unpaid
       and not (s.status = 'paused' and s.resume_at is null))`,
  },
  {
    code: 'period_fee',
    table: 'pending_items',
    message: 'Period % costs something and is on no list for an invoice.',
    statement: `
select p.subscription_id || ' ' || p.number as id
from {schema}.subscription_periods p
where p.order_id is null and p.fee > 0 and not exists (
  select 1 from {schema}.pending_items i
  where i.payer_id = p.payer_id and i.subscription_id = p.subscription_id
    and i.period_number = p.number and i.kind in ('fee', 'proration_charge'))`,
  },
  {
    code: 'period_grants',
    table: 'period_grants',
    message: 'Period % brought a grant that is missing, or is no period.',
    statement: `
select g.subscription_id || ' ' || g.period_number as id
from {schema}.period_grants g
left join {schema}.grants k
  on k.payer_id = g.ledger_id and k.sequence = g.grant_sequence and k.product = g.product
left join {schema}.subscription_periods p
  on p.payer_id = g.payer_id and p.subscription_id = g.subscription_id
 and p.number = g.period_number
where k.sequence is null or p.number is null`,
  },
  {
    code: 'period_granted',
    table: 'subscription_periods',
    message: 'Period % has not been given its units, and waits for no payment.',
    statement: `
select p.subscription_id || ' ' || p.number as id
from {schema}.subscriptions s
join {schema}.subscription_periods p
  on p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
 and p.number = s.period_number
where s.ended_at is null and s.status <> 'paused' and not s.awaiting_payment
  and p.granted_at is null`,
  },
  {
    code: 'first_unpaid',
    table: 'subscription_periods',
    message: 'Period % was given units, or follows another, though its first payment is awaited.',
    statement: `
select s.subscription_id || ' ' || s.period_number as id
from {schema}.subscriptions s
left join {schema}.subscription_periods p
  on p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
 and p.number = s.period_number
where s.first_unpaid
  and (p.number is null or not p.first_unpaid or p.granted_at is not null
       or (s.ended_at is null and not s.awaiting_payment))`,
  },
  {
    code: 'overdue_gates',
    table: 'access_gates',
    message: 'Uses of account % are denied as overdue, and no subscription of it is.',
    statement: `
select distinct g.payer_id::text as id
from {schema}.access_gates g
where g.reason = 'payment_overdue' and not exists (
  select 1 from {schema}.subscriptions s ${presentPayer('s')}
  where m.payer_id = g.payer_id and s.overdue)`,
  },
  {
    code: 'overdue_ungated',
    table: 'subscriptions',
    message: 'Subscription % is overdue, and nothing of it is denied.',
    statement: `
select s.subscription_id::text as id
from {schema}.subscriptions s ${presentPayer('s')}
where s.overdue and s.status = 'past_due'
  and not exists (
    select 1 from {schema}.access_gates g
    where g.payer_id = m.payer_id and g.reason = 'payment_overdue')
  and not exists (
    select 1 from {schema}.accounts a
    join {schema}.subscriptions o on o.payer_id = a.account_id
    where (a.account_id = m.payer_id or a.merged_into = m.payer_id)
      and o.subscription_id <> s.subscription_id and o.ended_at is null and not o.overdue)`,
  },
];

/** Checks subscriptions, their periods and what is to be invoiced of them. */
export const verifySubscriptions = verifyTables(TABLES, CHECKS);
