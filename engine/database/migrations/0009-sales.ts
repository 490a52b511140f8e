import type { Migration } from '.';
import { neverTruncated, writtenOnce } from './triggers';

/**
 * Orders and their refunds, trials, referrals, commissions and payouts. What must be true of them beside
 * what their tables check (engine/sales/verify-orders.ts, verify-referrals.ts):
 *
 *  - Per order, level and receiver: reversed commission <= earned commission.
 *  - Per receiving account and currency: payouts asked for or paid <= commission earned. (What a reversal takes
 *    back after a payout makes the balance negative: it is owed.)
 *  - The order that a referral was rewarded for has one row of bonus a side, at most.
 */
export const sales: Migration = {
  id: 9,
  name: 'sales',
  major: 1,
  statements: `
create table {schema}.orders (
  -- Who pays: the account that ordered, or its parent at that time.
  payer_id uuid not null,
  order_id uuid not null,
  account_id uuid not null,
  status text not null check (status in ('pending', 'paid', 'cancelled', 'partly_refunded', 'refunded')),
  currency text not null,
  subtotal numeric not null check (subtotal >= 0),
  discount numeric not null check (discount >= 0 and discount <= subtotal),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  total numeric not null,
  paid numeric not null default 0,
  refunded numeric not null default 0,
  coupon text,
  -- The tax rate as it was.
  tax_key text,
  tax_name text,
  tax_percent numeric check (tax_percent >= 0),
  tax_inclusive boolean,
  gateway text,
  payment_id text,
  -- Whether a subscription that the order begins renews; null: as its lines say, and before there were
  -- subscriptions.
  renews boolean,
  created_at timestamptz not null,
  -- A pending order lapses then, by the clock; a payment that comes later may revive it.
  expires_at timestamptz not null,
  paid_at timestamptz,
  cancelled_at timestamptz,
  primary key (payer_id, order_id),
  check (total = net + tax),
  check (refunded >= 0 and refunded <= paid),
  check (paid = case when paid_at is null then 0 else total end),
  check ((paid_at is not null) = (status in ('paid', 'partly_refunded', 'refunded'))),
  check ((cancelled_at is not null) = (status = 'cancelled')),
  check (status <> 'paid' or refunded = 0),
  check (status <> 'partly_refunded' or (refunded > 0 and refunded < paid)),
  check (status <> 'refunded' or refunded = paid),
  check (payment_id is null or gateway is not null),
  check (tax_key is not null or (tax_percent is null and tax = 0))
) with (fillfactor = 80);
comment on table {schema}.orders is 'What was ordered, for how much, and what became of it.';
-- Not unique: an order is found by its id alone, while each row belongs to its payer.
create index orders_id on {schema}.orders (order_id);
create index orders_account on {schema}.orders (account_id, order_id);
create trigger orders_stay before delete or update of
  payer_id, order_id, account_id, currency, subtotal, discount, net, tax, total, coupon,
  tax_key, tax_name, tax_percent, tax_inclusive, created_at, expires_at on {schema}.orders
  for each statement execute function {schema}.refuse_change();
-- The state machine. What is paid stays paid as it was; what was refunded only grows.
create trigger orders_move before update on {schema}.orders
  for each row when (not (
    (old.status = 'pending' and new.status in ('paid', 'cancelled'))
    or (old.status in ('paid', 'partly_refunded') and new.status in ('partly_refunded', 'refunded')
        and (new.refunded > old.refunded or new.total = 0)
        and new.paid_at = old.paid_at
        and new.gateway is not distinct from old.gateway
        and new.payment_id is not distinct from old.payment_id)
  )) execute function {schema}.refuse_change();
create trigger orders_keep_renewal before update of renews on {schema}.orders
  for each statement execute function {schema}.refuse_change();
${neverTruncated('orders')}

create table {schema}.order_details (
  payer_id uuid not null,
  order_id uuid not null,
  metadata jsonb not null default '{}',
  primary key (payer_id, order_id)
);
comment on table {schema}.order_details is 'What people wrote beside an order. Emptied when a person is erased.';

create table {schema}.order_items (
  payer_id uuid not null,
  order_id uuid not null,
  -- 1, 2, 3 ... within the order.
  position smallint not null check (position > 0),
  -- The offer as it was sold.
  sku text not null,
  version integer not null,
  name text not null,
  quantity integer not null check (quantity > 0),
  unit_price numeric not null check (unit_price >= 0),
  -- 1: at the price, and with the items, of the offer's first trial phase.
  phase smallint check (phase > 0),
  subtotal numeric not null check (subtotal >= 0),
  discount numeric not null check (discount >= 0 and discount <= subtotal),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  total numeric not null,
  primary key (payer_id, order_id, position),
  check (total = net + tax)
);
comment on table {schema}.order_items is 'The lines of orders, with their shares of discount and tax.';
${writtenOnce('order_items')}

create table {schema}.order_grants (
  payer_id uuid not null,
  order_id uuid not null,
  position smallint not null,
  -- The ledger the grant is in: the payer's, unless that account was merged into another before.
  ledger_id uuid not null,
  grant_sequence bigint not null,
  product text not null,
  bonus boolean not null,
  -- Ends when the account pays for the product again, or so much later.
  until_next_payment boolean not null default false,
  lead_unit text,
  lead_count integer check (lead_count > 0),
  primary key (payer_id, order_id, ledger_id, grant_sequence),
  check ((lead_unit is null) = (lead_count is null))
);
comment on table {schema}.order_grants is 'Which grants each line of an order brought. Where their units moved since is in entry_pairs.';
create index order_grants_grant on {schema}.order_grants (ledger_id, grant_sequence);
create index order_grants_until_next on {schema}.order_grants (ledger_id, product)
  where until_next_payment;
${writtenOnce('order_grants')}

create table {schema}.payment_references (
  gateway text not null,
  kind text not null check (kind in ('payment', 'refund')),
  reference text not null,
  payer_id uuid not null,
  order_id uuid not null,
  primary key (gateway, kind, reference)
);
comment on table {schema}.payment_references is 'Payments and refunds of gateways: each belongs to one order.';
${writtenOnce('payment_references')}

create table {schema}.refunds (
  payer_id uuid not null,
  order_id uuid not null,
  -- The gateway''s id of it, or one of ours.
  refund_id text not null,
  used text not null check (used in ('forgive', 'charge', 'negative')),
  amount numeric not null check (amount >= 0),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  -- What the units taken back were worth beyond the net amount; below 0 when they were worth less.
  rounding numeric not null,
  refunded_at timestamptz not null,
  primary key (payer_id, order_id, refund_id),
  check (amount = net + tax)
);
comment on table {schema}.refunds is 'Money given back for orders.';
${writtenOnce('refunds')}

create table {schema}.refund_details (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  reason text,
  metadata jsonb not null default '{}',
  primary key (payer_id, order_id, refund_id)
);
comment on table {schema}.refund_details is 'What people wrote beside a refund. Emptied when a person is erased.';

create table {schema}.refund_items (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  position smallint not null,
  amount numeric not null check (amount >= 0),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  primary key (payer_id, order_id, refund_id, position),
  check (amount = net + tax)
);
comment on table {schema}.refund_items is 'Which line of an order a refund was for.';
${writtenOnce('refund_items')}

create table {schema}.refund_units (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  position smallint not null,
  -- The grant that the order made.
  ledger_id uuid not null,
  grant_sequence bigint not null,
  -- The share of the refund''s net amount that this grant bears.
  net numeric not null check (net >= 0),
  -- Units given up for it, used ones among them, and what they had been bought for.
  units numeric not null check (units >= 0),
  value numeric not null check (value >= 0),
  -- The units that were there and were taken back: fewer, if some were used; more, if some that had
  -- been given up before came back since.
  taken numeric not null check (taken >= 0),
  taken_value numeric not null check (taken_value >= 0),
  primary key (payer_id, order_id, refund_id, ledger_id, grant_sequence)
);
comment on table {schema}.refund_units is 'What each refund took back of which grant.';
${writtenOnce('refund_units')}

create table {schema}.refunds_due (
  payer_id uuid not null,
  order_id uuid not null,
  gateway text not null,
  payment_id text not null,
  amount numeric not null check (amount >= 0),
  currency text not null,
  reason text not null,
  recorded_at timestamptz not null,
  primary key (payer_id, order_id)
);
comment on table {schema}.refunds_due is 'Payments for orders that could not be fulfilled any more; they are to be given back.';
${writtenOnce('refunds_due')}

create table {schema}.purchase_marks (
  payer_id uuid not null,
  mark_id uuid not null,
  -- offer: the place of an offer that is sold once per account; trial: of the one trial phase.
  kind text not null check (kind in ('offer', 'trial')),
  sku text not null,
  account_id uuid not null,
  -- Null: taken without an order.
  order_id uuid,
  taken_at timestamptz not null,
  -- A pending order keeps its place until it lapses; null: for good.
  lapses_at timestamptz,
  -- Lapsed and taken by somebody else, or cancelled.
  freed_at timestamptz,
  primary key (payer_id, mark_id)
);
comment on table {schema}.purchase_marks is 'Places of what an account may buy once.';
create unique index purchase_marks_offer on {schema}.purchase_marks (payer_id, sku)
  where kind = 'offer' and freed_at is null;
create unique index purchase_marks_trial on {schema}.purchase_marks (payer_id)
  where kind = 'trial' and freed_at is null;
create index purchase_marks_order on {schema}.purchase_marks (payer_id, order_id);
create trigger purchase_marks_stay before delete or update of
  payer_id, mark_id, kind, sku, account_id, order_id, taken_at on {schema}.purchase_marks
  for each statement execute function {schema}.refuse_change();
create trigger freed_purchase_marks_stay before update on {schema}.purchase_marks
  for each row when (old.freed_at is not null) execute function {schema}.refuse_change();
${neverTruncated('purchase_marks')}

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
${writtenOnce('trial_marks')}

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
${neverTruncated('trial_hashes')}

create table {schema}.referral_programs (
  version integer primary key check (version > 0),
  active boolean not null,
  terms jsonb not null,
  created_at timestamptz not null
);
comment on table {schema}.referral_programs is 'What is given for bringing a customer; the latest version counts.';
${writtenOnce('referral_programs')}

create table {schema}.referrals (
  -- Who was brought: a payer once.
  payer_id uuid primary key,
  referral_id uuid not null,
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
create index referrals_id on {schema}.referrals (referral_id);
create index referrals_referrer on {schema}.referrals (referrer_id);
create trigger referrals_stay before delete or update of
  payer_id, referral_id, account_id, referrer_id, created_at
  on {schema}.referrals for each statement execute function {schema}.refuse_change();
create trigger rewarded_referrals_stay before update on {schema}.referrals
  for each row when (old.first_order_id is not null) execute function {schema}.refuse_change();
${neverTruncated('referrals')}

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
${writtenOnce('referral_bonuses')}

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
${writtenOnce('commissions')}

create table {schema}.payouts (
  payer_id uuid not null,
  payout_id uuid not null,
  account_id uuid not null,
  currency text not null,
  amount numeric not null check (amount > 0),
  status text not null default 'requested' check (status in ('requested', 'paid', 'rejected')),
  requested_at timestamptz not null,
  decided_at timestamptz,
  primary key (payer_id, payout_id),
  check ((status = 'requested') = (decided_at is null))
);
comment on table {schema}.payouts is 'Commission that accounts asked to be paid, and what was decided.';
create index payouts_id on {schema}.payouts (payout_id);
create index payouts_account on {schema}.payouts (account_id);
create trigger payouts_stay before delete or update of
  payer_id, payout_id, account_id, currency, amount, requested_at
  on {schema}.payouts for each statement execute function {schema}.refuse_change();
create trigger decided_payouts_stay before update on {schema}.payouts
  for each row when (old.status <> 'requested') execute function {schema}.refuse_change();
${neverTruncated('payouts')}

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
