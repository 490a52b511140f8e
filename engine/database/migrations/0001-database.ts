import type { Migration } from '.';

/** What all rooms use: what refuses a change, and the first answers to keys. */
export const database: Migration = {
  id: 1,
  name: 'database',
  major: 1,
  statements: `
create function {schema}.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% on %.% is refused: what is written there stays', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation',
          hint = 'Correct a mistake with another entry, an offer with a new version.';
end
$$;

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
-- Retention. It costs each use 2 microseconds, at the end of the tree. A BRIN would cost none, and find
-- the short-lived denials among the long-lived changes by reading the whole table.
create index answers_expiry on {schema}.answers (expires_at);
`,
};
