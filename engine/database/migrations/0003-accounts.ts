import type { Migration } from '.';
import { LOOKUPS } from './plans';

/**
 * What verify holds accounts to:
 *  - An alias (merged_into) leads to an account that exists, is itself none, and its payer is that
 *    account's payer. Nobody has an alias as payer, and no identity leads to one.
 *  - An erased account is closed and has no identity, name, address or tax id.
 */
export const accounts: Migration = {
  id: 3,
  name: 'accounts',
  major: 1,
  statements: `
create table {schema}.accounts (
  account_id uuid primary key,
  -- Who pays: the account itself, or its parent.
  payer_id uuid not null,
  -- Who paid before: idempotency keys and histories are found there too.
  earlier_payers uuid[] not null default '{}',
  status text not null default 'active' check (status in ('active', 'suspended', 'closed')),
  time_zone text not null default 'UTC',
  -- Whether it pays for itself or others and some product is denied to it: such uses are not plain.
  gated boolean not null default false,
  created_at timestamptz not null,
  -- The account as which this one, an alias of it, answers.
  merged_into uuid references {schema}.accounts (account_id),
  merged_at timestamptz,
  erased_at timestamptz,
  check ((merged_into is null) = (merged_at is null)),
  check (merged_into is null or (merged_into <> account_id and payer_id <> account_id))
);
comment on table {schema}.accounts is 'Who is billed. Holds no personal data; that is in account_details and identities.';
create index accounts_children on {schema}.accounts (payer_id) where payer_id <> account_id;
create index accounts_aliases on {schema}.accounts (merged_into) where merged_into is not null;
-- A merge rewrites nothing, so nothing could be told apart again; what was erased is gone.
create trigger aliases_stay before update on {schema}.accounts
  for each row when (old.merged_into is not null and new.merged_into is null
    or old.erased_at is distinct from new.erased_at and old.erased_at is not null)
  execute function {schema}.refuse_change();

create table {schema}.identities (
  provider text not null,
  external_id text not null,
  account_id uuid not null,
  -- Of two identities of one provider that a merge brought together, the one that gave way: it goes on
  -- leading to the account.
  secondary boolean not null default false,
  created_at timestamptz not null,
  primary key (provider, external_id),
  -- Deferred: the identity is written first, so that of two first contacts only one makes an account.
  foreign key (account_id) references {schema}.accounts (account_id) deferrable initially deferred
);
create index identities_account on {schema}.identities (account_id);
create unique index identities_primary on {schema}.identities (account_id, provider) where not secondary;

create table {schema}.account_details (
  account_id uuid primary key references {schema}.accounts (account_id),
  name text,
  email text,
  metadata jsonb not null default '{}',
  updated_at timestamptz not null
);
comment on table {schema}.account_details is 'Contact data of an account. Never used to find or join accounts.';

create table {schema}.account_contacts (
  account_id uuid primary key references {schema}.accounts (account_id),
  name text,
  company text,
  phone text,
  line1 text,
  line2 text,
  city text,
  postal_code text,
  region text,
  country text,
  updated_at timestamptz not null,
  -- An address is whole or not there.
  check ((line1 is null) = (city is null) and (line1 is null) = (postal_code is null)
    and (line1 is null) = (country is null)),
  check (line1 is not null or (line2 is null and region is null))
);
comment on table {schema}.account_contacts is 'To whom invoices of an account are addressed. Its row goes when a person is erased.';

create table {schema}.account_taxes (
  account_id uuid primary key references {schema}.accounts (account_id),
  status text not null default 'normal' check (status in ('normal', 'exempt', 'reverse_charge')),
  -- Where the customer is taxed, when it is not the country of the address.
  country text,
  tax_rate text,
  -- A list of { type, value }. Emptied when a person is erased; the rest are codes.
  tax_ids jsonb not null default '[]',
  updated_at timestamptz not null
);
comment on table {schema}.account_taxes is 'How an account is taxed.';

-- The accounts as which accounts named by their ids answer: of an alias the one that it was merged
-- into, of others themselves.
create function {schema}.follow_merges(p_ids uuid[])
returns uuid[] language plpgsql stable ${LOOKUPS} as $$
begin
  return (
    select coalesce(array_agg(coalesce(a.merged_into, r.id) order by r.n), '{}')
    from unnest(p_ids) with ordinality as r (id, n)
    left join {schema}.accounts a on a.account_id = r.id);
end
$$;
`,
};
