import type { Migration } from '.';

export const ledger: Migration = {
  id: 3,
  name: 'ledger',
  major: 1,
  statements: `
create table {schema}.entries (
  payer_id uuid not null,
  -- 1, 2, 3 ... for each payer, without gaps: a line that went missing shows.
  sequence bigint not null check (sequence > 0),
  -- Who used or received; the payer itself, or a child of it.
  account_id uuid not null,
  product text not null,
  kind text not null,
  -- Signed: what the balance gained.
  amount numeric not null,
  -- The trace: which grants paid, how much each, and how much value that took along.
  grant_sequences bigint[] not null default '{}',
  grant_amounts numeric[] not null default '{}',
  -- Null when nothing of it was paid for.
  grant_values numeric[],
  -- When it counts, and when it was written: an expiry counts from its instant.
  effective_at timestamptz not null,
  recorded_at timestamptz not null,
  primary key (payer_id, sequence),
  check (cardinality(grant_sequences) = cardinality(grant_amounts)),
  check (grant_values is null or cardinality(grant_values) = cardinality(grant_amounts))
);
comment on table {schema}.entries is 'The ledger: append-only, one line a change, of every paying account.';

create table {schema}.entry_details (
  payer_id uuid not null,
  sequence bigint not null,
  source text,
  metadata jsonb not null default '{}',
  primary key (payer_id, sequence)
);
comment on table {schema}.entry_details is 'What people wrote beside an entry. Emptied when a person is erased.';

create table {schema}.grants (
  payer_id uuid not null,
  -- The entry that made it.
  sequence bigint not null,
  account_id uuid not null,
  product text not null,
  initial numeric not null check (initial > 0),
  -- A guarded cache of what the entries say; only it and live may change.
  remaining numeric not null,
  live boolean not null,
  -- Smaller goes first.
  priority smallint not null,
  valid_from timestamptz not null,
  expires_at timestamptz,
  -- Periods that extend one another keep the first one's day: end = anchor + months.
  anchor_at timestamptz,
  anchor_months integer,
  -- The money it was bought for, net of tax and after discount.
  value numeric not null default 0 check (value >= 0),
  currency text,
  sku text,
  offer_version integer,
  primary key (payer_id, sequence),
  check (remaining >= 0 and remaining <= initial),
  check (live = (remaining > 0)),
  check (expires_at > valid_from),
  check (value = 0 or currency is not null)
) with (fillfactor = 80);
comment on table {schema}.grants is 'Batches of units given to an account; remaining and live are a cache of the entries.';
-- live changes only when a grant runs dry, so that other uses stay HOT updates.
create index grants_live on {schema}.grants (payer_id, product) where live;

create trigger entries_stay before update or delete on {schema}.entries
  for each statement execute function {schema}.refuse_change();
create trigger entries_are_kept before truncate on {schema}.entries
  for each statement execute function {schema}.refuse_change();
create trigger grants_stay before delete or update of
  payer_id, sequence, account_id, product, initial, priority, valid_from, expires_at,
  anchor_at, anchor_months, value, currency, sku, offer_version on {schema}.grants
  for each statement execute function {schema}.refuse_change();
create trigger grants_are_kept before truncate on {schema}.grants
  for each statement execute function {schema}.refuse_change();
`,
};
