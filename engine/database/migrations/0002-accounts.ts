import type { Migration } from '.';

export const accounts: Migration = {
  id: 2,
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
  created_at timestamptz not null
);
comment on table {schema}.accounts is 'Who is billed. Holds no personal data; that is in account_details and identities.';
create index accounts_children on {schema}.accounts (payer_id) where payer_id <> account_id;

create table {schema}.account_details (
  account_id uuid primary key references {schema}.accounts (account_id),
  name text,
  email text,
  metadata jsonb not null default '{}',
  updated_at timestamptz not null
);
comment on table {schema}.account_details is 'Contact data of an account. Never used to find or join accounts.';

create table {schema}.identities (
  provider text not null,
  external_id text not null,
  account_id uuid not null,
  created_at timestamptz not null,
  primary key (provider, external_id),
  -- Deferred: the identity is written first, so that of two first contacts only one makes an account.
  foreign key (account_id) references {schema}.accounts (account_id) deferrable initially deferred
);
create index identities_account on {schema}.identities (account_id);

create table {schema}.answers (
  payer_id uuid not null,
  -- The account named in the call; no account at all for the catalog's.
  account_id uuid not null,
  key_hash bytea not null,
  fingerprint bytea not null,
  -- JSON, in a form of the call's own. Text, since the database never looks into it.
  answer text not null,
  expires_at timestamptz not null,
  primary key (payer_id, account_id, key_hash)
);
comment on table {schema}.answers is 'The first answer to each idempotency key, until it expires.';
`,
};
