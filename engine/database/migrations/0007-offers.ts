import type { Migration } from '.';

/**
 * Offers whole: what recurs, who may buy, and the terms of an offer and of its items. Terms are JSON:
 * they are read and written as a whole with their version, never searched.
 *
 * The names: keys of products and skus of offers share one name space, in which case does not count.
 * Tables of before may hold a product and an offer of one name. Then the older of the two has its
 * entry here and the other goes without: both work on, and no third can come.
 */
export const offers: Migration = {
  id: 7,
  name: 'offers',
  major: 2,
  statements: `
alter table {schema}.offer_versions
  drop constraint offer_versions_billing_check,
  add column interval_unit text,
  add column interval_count integer,
  -- A custom plan: the only account that may buy it.
  add column account_id uuid,
  add column once_per_account boolean not null default false,
  add column free_tier boolean not null default false,
  add column terms jsonb not null default '{}',
  add constraint offer_versions_billing_check check (billing in ('one_time', 'recurring')),
  add constraint offer_versions_interval_check check (
    interval_unit in ('day', 'week', 'month', 'year') and interval_count > 0
    and (interval_unit is null) = (interval_count is null)),
  add constraint offer_versions_recurring_check check ((billing = 'recurring') = (interval_unit is not null)),
  add constraint offer_versions_account_check check (account_id is null or not (public or free_tier)),
  add constraint offer_versions_free_check check (not free_tier or price = 0),
  add constraint offer_versions_terms_check check (jsonb_typeof(terms) = 'object');
-- Asked for each account that is created.
create index offer_versions_free on {schema}.offer_versions (sku, version) where free_tier;

alter table {schema}.offer_items
  add column terms jsonb not null default '{}',
  add constraint offer_items_terms_check check (jsonb_typeof(terms) = 'object');

create table {schema}.catalog_names (
  -- In lower case as the engine folds it.
  folded text primary key,
  kind text not null check (kind in ('product', 'offer')),
  name text not null
);
comment on table {schema}.catalog_names is
  'Keys of products and skus of offers: none differs from another by case alone.';
insert into {schema}.catalog_names (folded, kind, name)
select distinct on (folded) folded, kind, name
from (
  select folded_key as folded, 'product' as kind, key as name, created_at from {schema}.products
  union all
  select folded_sku, 'offer', sku, created_at from {schema}.offers) as named
order by folded, created_at, kind desc;
`,
};
