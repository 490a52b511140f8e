import type { Migration } from '.';
import { neverTruncated, writtenOnce } from './triggers';

/**
 * Keys of products and skus of offers share one name space, in which case does not count. Terms of
 * offers and of their items are JSON: read and written as a whole with their version, never searched.
 */
export const catalog: Migration = {
  id: 2,
  name: 'catalog',
  major: 1,
  statements: `
create table {schema}.products (
  key text primary key,
  -- In lower case as the engine folds it: what the server's lower() knows depends on its locale.
  folded_key text not null unique,
  name text not null,
  unit text not null,
  decimals smallint not null check (decimals between 0 and 12),
  kind text not null check (kind in ('quantity', 'period', 'unlimited')),
  is_currency boolean not null,
  low_balance_threshold numeric check (low_balance_threshold >= 0),
  -- Percents of what was granted: usage.threshold tells when so much of it is used.
  usage_thresholds numeric[],
  -- Set by the first grant of it, or the first price in it; from then on kind and is_currency stay.
  used boolean not null default false,
  metadata jsonb not null default '{}',
  created_at timestamptz not null,
  updated_at timestamptz not null
);
comment on table {schema}.products is 'What can be granted and used.';

create table {schema}.offers (
  sku text primary key,
  folded_sku text not null unique,
  version integer not null check (version > 0),
  created_at timestamptz not null,
  updated_at timestamptz not null
);
comment on table {schema}.offers is 'What is sold: the sku and its present version.';

create table {schema}.offer_versions (
  sku text not null references {schema}.offers (sku),
  version integer not null check (version > 0),
  name text not null,
  price numeric not null check (price >= 0),
  list_price numeric check (list_price >= 0),
  currency text not null,
  billing text not null check (billing in ('one_time', 'recurring')),
  interval_unit text,
  interval_count integer,
  public boolean not null,
  active boolean not null,
  -- A custom plan: the only account that may buy it.
  account_id uuid,
  once_per_account boolean not null default false,
  free_tier boolean not null default false,
  -- Read and written as a whole, never searched.
  terms jsonb not null default '{}',
  metadata jsonb not null default '{}',
  created_at timestamptz not null,
  primary key (sku, version),
  constraint offer_versions_interval_check check (
    interval_unit in ('day', 'week', 'month', 'year') and interval_count > 0
    and (interval_unit is null) = (interval_count is null)),
  constraint offer_versions_recurring_check check ((billing = 'recurring') = (interval_unit is not null)),
  constraint offer_versions_account_check check (account_id is null or not (public or free_tier)),
  constraint offer_versions_free_check check (not free_tier or price = 0),
  constraint offer_versions_terms_check check (jsonb_typeof(terms) = 'object')
);
comment on table {schema}.offer_versions is 'Every version of an offer as it was sold. Never changed.';
-- Asked for each account that is created.
create index offer_versions_free on {schema}.offer_versions (sku, version) where free_tier;
${writtenOnce('offer_versions')}

create table {schema}.offer_items (
  sku text not null,
  version integer not null,
  position smallint not null,
  product text not null references {schema}.products (key),
  quantity numeric not null check (quantity > 0),
  expires_unit text check (expires_unit in ('second', 'minute', 'hour', 'day', 'week', 'month', 'year')),
  expires_count integer check (expires_count > 0),
  priority smallint not null,
  terms jsonb not null default '{}',
  primary key (sku, version, position),
  foreign key (sku, version) references {schema}.offer_versions (sku, version),
  check ((expires_unit is null) = (expires_count is null)),
  constraint offer_items_terms_check check (jsonb_typeof(terms) = 'object')
);
create index offer_items_product on {schema}.offer_items (product);
${writtenOnce('offer_items')}

create table {schema}.catalog_names (
  -- In lower case as the engine folds it.
  folded text primary key,
  kind text not null check (kind in ('product', 'offer')),
  name text not null
);
comment on table {schema}.catalog_names is
  'Keys of products and skus of offers: none differs from another by case alone.';

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
create trigger kept_coupon_redemptions_stay before update on {schema}.coupon_redemptions
  for each row when (old.lapses_at is null or old.released_at is not null)
  execute function {schema}.refuse_change();
${neverTruncated('coupon_redemptions')}

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
