import { verifyTables, type Check } from '../database';

/** What must be true of trials, referrals, commissions and payouts: see migrations/0009-sales.ts. */

const TABLES = ['trial_marks', 'referrals', 'referral_bonuses', 'commissions', 'payouts'];

const CHECKS: readonly Check[] = [
  {
    code: 'commission_reversed',
    table: 'commissions',
    message: 'Commission % is of an order of which more commission was taken back than was earned.',
    statement: `
select min(commission_id::text) as id from {schema}.commissions
group by payer_id, order_id, level having sum(amount) < 0`,
  },
  {
    code: 'commission_amount',
    table: 'commissions',
    message: 'Commission % is more than its percentage of the net amount.',
    statement: `
select commission_id::text as id from {schema}.commissions
where kind = 'earned' and amount > net * percent / 100`,
  },
  {
    code: 'commission_order',
    table: 'commissions',
    message: 'Commission % names no paid order of its net amount and currency.',
    statement: `
select c.commission_id::text as id from {schema}.commissions c
where not exists (
  select 1 from {schema}.orders o
  where o.order_id = c.order_id and o.paid_at is not null and o.net = c.net
    and o.currency = c.currency)`,
  },
  {
    code: 'payouts_exceed',
    table: 'payouts',
    message:
      'Payout % is of an account that was promised more than it ever earned in this currency.',
    statement: `
select min(drawn.id) as id
from (
  select coalesce(a.merged_into, a.account_id) as account_id, p.currency, p.amount,
         p.payout_id::text as id
  from {schema}.payouts p
  join {schema}.accounts a on a.account_id = p.account_id
  where p.status <> 'rejected') as drawn
group by drawn.account_id, drawn.currency
having sum(drawn.amount) > (
  select coalesce(sum(c.amount), 0)
  from {schema}.accounts f
  join {schema}.commissions c on c.account_id = f.account_id
  where (f.account_id = drawn.account_id or f.merged_into = drawn.account_id)
    and c.currency = drawn.currency and c.kind = 'earned')`,
  },
  {
    code: 'commission_posting',
    table: 'commissions',
    message: 'Commission % is not in the money book as it stands here.',
    statement: `
select c.commission_id::text as id from {schema}.commissions c
where not exists (
  select 1 from {schema}.postings b
  where b.payer_id = c.payer_id and b.reference_id = c.commission_id::text
    and b.kind = 'commission' and b.currency = c.currency and c.amount = any(b.amounts))`,
  },
  {
    code: 'payout_posting',
    table: 'payouts',
    message: 'Payout % is not in the money book as it stands here.',
    statement: `
select p.payout_id::text as id from {schema}.payouts p
where (p.status = 'paid') <> exists (
  select 1 from {schema}.postings b
  where b.payer_id = p.payer_id and b.reference_id = p.payout_id::text
    and b.kind = 'payout' and b.currency = p.currency and p.amount = any(b.amounts))`,
  },
  {
    code: 'bonus_grants',
    table: 'referral_bonuses',
    message:
      'Referral % has a bonus without its grants, or without the order that it was given for.',
    statement: `
select b.referral_id::text as id from {schema}.referral_bonuses b
where not exists (
    select 1 from {schema}.referrals r
    where r.referral_id = b.referral_id and r.first_order_id = b.order_id)
  or exists (
    select 1 from unnest(b.grant_sequences) as given (sequence)
    where not exists (
      select 1 from {schema}.grants g
      where g.payer_id = b.payer_id and g.sequence = given.sequence and g.value = 0))`,
  },
];

/** Recomputes what trials and referrals have to hold to. Reads only. */
export const verifyReferrals = verifyTables(TABLES, CHECKS);
