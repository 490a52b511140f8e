import type { Migration } from '.';

export const coupons: Migration = {
  id: 8,
  name: 'coupons and tax rates',
  major: 2,
  statements: `
create table {schema}.coupons (
  -- In lower case as the engine folds it: people type codes as they like.
  folded_code text primary key,
  code text not null,
  name text,
  percent numeric check (percent > 0 and percent <= 100),
  amount numeric check (amount > 0),
  currency text,
  duration text not null check (duration in ('once', 'forever', 'times')),
  duration_times integer check (duration_times > 0),
  max_redemptions integer check (max_redemptions > 0),
  max_per_account integer check (max_per_account > 0),
  starts_at timestamptz,
  expires_at timestamptz,
  -- Null: for every offer.
  skus text[] check (cardinality(skus) > 0),
  active boolean not null,
  metadata jsonb not null default '{}',
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check ((percent is null) <> (amount is null)),
  check ((amount is null) = (currency is null)),
  check ((duration = 'times') = (duration_times is not null)),
  check (expires_at > starts_at)
);
comment on table {schema}.coupons is 'Discounts that a code gives: how much, for what, when and how often.';

create table {schema}.coupon_redemptions (
  payer_id uuid not null,
  order_id uuid not null,
  folded_code text not null references {schema}.coupons (folded_code),
  account_id uuid not null,
  redeemed_at timestamptz not null,
  -- From here on the place is free again; null: the order is paid, the place is taken for good.
  lapses_at timestamptz,
  -- When the order gave the place back.
  released_at timestamptz,
  primary key (payer_id, order_id),
  check (lapses_at > redeemed_at),
  check (released_at is null or lapses_at is not null)
);
comment on table {schema}.coupon_redemptions is 'Which order uses which coupon: reserved, kept, lapsed or given back.';
create index coupon_redemptions_code on {schema}.coupon_redemptions (folded_code, payer_id)
  where released_at is null;

create trigger coupon_redemptions_stay before delete or update of
  payer_id, order_id, folded_code, account_id, redeemed_at on {schema}.coupon_redemptions
  for each statement execute function {schema}.refuse_change();
create trigger coupon_redemptions_are_kept before truncate on {schema}.coupon_redemptions
  for each statement execute function {schema}.refuse_change();
create trigger kept_coupon_redemptions_stay before update on {schema}.coupon_redemptions
  for each row when (old.lapses_at is null or old.released_at is not null)
  execute function {schema}.refuse_change();

create table {schema}.tax_rates (
  key text primary key,
  folded_key text not null unique,
  name text not null,
  percent numeric not null check (percent between 0 and 100),
  -- ISO 3166 alpha-2: the rate that accounts of the country pay unless told otherwise.
  country text check (country ~ '^[A-Z]{2}$'),
  -- Whether prices hold the tax already.
  inclusive boolean not null,
  active boolean not null,
  metadata jsonb not null default '{}',
  created_at timestamptz not null,
  updated_at timestamptz not null
);
comment on table {schema}.tax_rates is 'Taxes on what is sold. Orders and invoices keep the rate as it was.';
create unique index tax_rates_country on {schema}.tax_rates (country) where active and country is not null;
`,
};
