import type { Migration } from '.';

/**
 * Trials, referrals, commissions and payouts. What must be true of them (engine/sales/verify-referrals.ts):
 *
 *  - Per order, level and receiver: reversed commission <= earned commission.
 *  - Per receiving account and currency: payouts asked for or paid <= commission earned. (What a reversal takes
 *    back after a payout makes the balance negative: it is owed.)
 *  - The order that a referral was rewarded for has one row of bonus a side, at most.
 */
export const trials: Migration = {
  id: 12,
  name: 'trials and referrals',
  major: 2,
  statements: `
create table {schema}.trial_marks (
  -- Who paid for the account at the time: a trial is spent for both.
  payer_id uuid not null,
  account_id uuid not null,
  sku text not null,
  -- The order whose first phase it was; null: claimed for nothing.
  order_id uuid,
  started_at timestamptz not null,
  ends_at timestamptz,
  primary key (payer_id, account_id)
);
comment on table {schema}.trial_marks is 'Accounts that have had their trial.';
create trigger trial_marks_stay before update or delete on {schema}.trial_marks
  for each statement execute function {schema}.refuse_change();
create trigger trial_marks_are_kept before truncate on {schema}.trial_marks
  for each statement execute function {schema}.refuse_change();

create table {schema}.trial_hashes (
  -- A keyed hash of provider and external id; who lacks the key cannot tell whose it is.
  hash bytea primary key,
  -- Which of the seller's secrets made it.
  key_id text not null,
  claimed_at timestamptz not null
);
comment on table {schema}.trial_hashes is 'Identities that have had their trial, as keyed hashes alone. Kept when a person is erased.';
create index trial_hashes_age on {schema}.trial_hashes (claimed_at);
create trigger trial_hashes_stay before update on {schema}.trial_hashes
  for each statement execute function {schema}.refuse_change();
create trigger trial_hashes_are_kept before truncate on {schema}.trial_hashes
  for each statement execute function {schema}.refuse_change();

create table {schema}.referral_programs (
  version integer primary key check (version > 0),
  active boolean not null,
  terms jsonb not null,
  created_at timestamptz not null
);
comment on table {schema}.referral_programs is 'What is given for bringing a customer; the latest version counts.';
create trigger referral_programs_stay before update or delete on {schema}.referral_programs
  for each statement execute function {schema}.refuse_change();
create trigger referral_programs_are_kept before truncate on {schema}.referral_programs
  for each statement execute function {schema}.refuse_change();

create table {schema}.referrals (
  -- Who was brought: a payer once.
  payer_id uuid primary key,
  referral_id uuid not null unique,
  account_id uuid not null,
  -- Who brought it. Its present payer is found through its account.
  referrer_id uuid not null,
  created_at timestamptz not null,
  -- The first order that was paid, which earned the bonus.
  first_order_id uuid,
  first_paid_at timestamptz,
  check ((first_order_id is null) = (first_paid_at is null))
);
comment on table {schema}.referrals is 'Which payer was brought by which account.';
create index referrals_referrer on {schema}.referrals (referrer_id);
create trigger referrals_stay before delete or update of
  payer_id, referral_id, account_id, referrer_id, created_at
  on {schema}.referrals for each statement execute function {schema}.refuse_change();
create trigger rewarded_referrals_stay before update on {schema}.referrals
  for each row when (old.first_order_id is not null) execute function {schema}.refuse_change();
create trigger referrals_are_kept before truncate on {schema}.referrals
  for each statement execute function {schema}.refuse_change();

create table {schema}.referral_bonuses (
  -- Who received it.
  payer_id uuid not null,
  referral_id uuid not null,
  side text not null check (side in ('referrer', 'referred')),
  order_id uuid not null,
  program_version integer not null,
  grant_sequences bigint[] not null,
  created_at timestamptz not null,
  primary key (payer_id, referral_id, side)
);
comment on table {schema}.referral_bonuses is 'What was given for referrals, once a side.';
create trigger referral_bonuses_stay before update or delete on {schema}.referral_bonuses
  for each statement execute function {schema}.refuse_change();
create trigger referral_bonuses_are_kept before truncate on {schema}.referral_bonuses
  for each statement execute function {schema}.refuse_change();

create table {schema}.commissions (
  -- Who receives it, and the account that brought the customer.
  payer_id uuid not null,
  commission_id uuid not null,
  account_id uuid not null,
  referral_id uuid not null,
  order_payer_id uuid not null,
  order_id uuid not null,
  -- 1: brought the buyer. 2: brought the one who brought the buyer.
  level smallint not null check (level in (1, 2)),
  kind text not null check (kind in ('earned', 'reversed')),
  refund_id text,
  currency text not null,
  -- What it is a percentage of: the order's net.
  net numeric not null check (net > 0),
  percent numeric not null check (percent > 0 and percent <= 100),
  -- Signed: a reversal takes back.
  amount numeric not null,
  created_at timestamptz not null,
  primary key (payer_id, commission_id),
  check (case kind when 'earned' then amount > 0 and amount <= net else amount < 0 end),
  check ((kind = 'reversed') = (refund_id is not null))
);
comment on table {schema}.commissions is 'Money that accounts earn by the orders of those they brought: append-only.';
create unique index commissions_once on {schema}.commissions (payer_id, order_id, level)
  where kind = 'earned';
create unique index commissions_reversed_once
  on {schema}.commissions (payer_id, order_id, level, refund_id) where kind = 'reversed';
-- Commission is owed to an account, whoever pays for it by now.
create index commissions_account on {schema}.commissions (account_id);
create index commissions_order on {schema}.commissions (order_payer_id, order_id);
create trigger commissions_stay before update or delete on {schema}.commissions
  for each statement execute function {schema}.refuse_change();
create trigger commissions_are_kept before truncate on {schema}.commissions
  for each statement execute function {schema}.refuse_change();

create table {schema}.payouts (
  payer_id uuid not null,
  payout_id uuid not null unique,
  account_id uuid not null,
  currency text not null,
  amount numeric not null check (amount > 0),
  status text not null default 'requested' check (status in ('requested', 'paid', 'rejected')),
  requested_at timestamptz not null,
  decided_at timestamptz,
  primary key (payer_id, payout_id),
  check ((status = 'requested') = (decided_at is null))
);
create index payouts_account on {schema}.payouts (account_id);
comment on table {schema}.payouts is 'Commission that accounts asked to be paid, and what was decided.';
create trigger payouts_stay before delete or update of
  payer_id, payout_id, account_id, currency, amount, requested_at
  on {schema}.payouts for each statement execute function {schema}.refuse_change();
create trigger decided_payouts_stay before update on {schema}.payouts
  for each row when (old.status <> 'requested') execute function {schema}.refuse_change();
create trigger payouts_are_kept before truncate on {schema}.payouts
  for each statement execute function {schema}.refuse_change();

create table {schema}.payout_details (
  payer_id uuid not null,
  payout_id uuid not null,
  reference text,
  reason text,
  metadata jsonb not null default '{}',
  primary key (payer_id, payout_id)
);
comment on table {schema}.payout_details is 'What people wrote beside a payout. Emptied when a person is erased.';
`,
};
