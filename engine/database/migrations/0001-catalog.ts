import type { Migration } from '.';

export const catalog: Migration = {
  id: 1,
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
  billing text not null check (billing in ('one_time')),
  public boolean not null,
  active boolean not null,
  metadata jsonb not null default '{}',
  created_at timestamptz not null,
  primary key (sku, version)
);
comment on table {schema}.offer_versions is 'Every version of an offer as it was sold. Never changed.';

create table {schema}.offer_items (
  sku text not null,
  version integer not null,
  position smallint not null,
  product text not null references {schema}.products (key),
  quantity numeric not null check (quantity > 0),
  expires_unit text check (expires_unit in ('second', 'minute', 'hour', 'day', 'week', 'month', 'year')),
  expires_count integer check (expires_count > 0),
  priority smallint not null,
  primary key (sku, version, position),
  foreign key (sku, version) references {schema}.offer_versions (sku, version),
  check ((expires_unit is null) = (expires_count is null))
);
create index offer_items_product on {schema}.offer_items (product);

create function {schema}.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% on %.% is refused: what is written there stays', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation',
          hint = 'Correct a mistake with another entry, an offer with a new version.';
end
$$;

create trigger offer_versions_stay before update or delete on {schema}.offer_versions
  for each statement execute function {schema}.refuse_change();
create trigger offer_versions_are_kept before truncate on {schema}.offer_versions
  for each statement execute function {schema}.refuse_change();
create trigger offer_items_stay before update or delete on {schema}.offer_items
  for each statement execute function {schema}.refuse_change();
create trigger offer_items_are_kept before truncate on {schema}.offer_items
  for each statement execute function {schema}.refuse_change();
`,
};
