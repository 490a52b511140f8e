import type { Migration } from '.';

/**
 * Exchange, transfer, deduction, units taken back, debts. What must be true of the ledger beside what
 * 0005-holds.ts says:
 *
 * Entries
 *  - Signs: 'exchange', 'deduction', 'refund', 'debt', 'owed' < 0. A 'transfer' is < 0 where units leave
 *    a grant, and > 0 where they make one. 'owed' has no traces: it moves nothing.
 *  - A grant's own line is a 'grant' or a 'transfer'.
 *  - Each 'transfer' has its row in entry_pairs, and that row's twin: one line gives what the other
 *    takes, and their values, all of one currency, cancel out.
 *  - A 'grant' may name the 'exchange' that paid for it. The values of an exchange and of its grants
 *    cancel out, in each currency.
 *  - A 'debt' names the 'owed' that it pays.
 * Grants
 *  - Its end is the earlier of expires_at and ended_at, wherever 0005-holds.ts speaks of expires_at.
 * Debts
 *  - Each has the 'owed' line of its payer and sequence, with amount = -amount of the debt; and each
 *    'owed' line has its row.
 *  - paid = -(amounts of the 'debt' lines that name it). What was moved is the amount of the debt as
 *    which it lives on.
 */
export const moves: Migration = {
  id: 9,
  name: 'moves',
  major: 2,
  statements: `
alter table {schema}.grants
  -- From this moment on it counts no longer, whatever expires_at says: what comes back to it is lost.
  add column ended_at timestamptz;
create index grants_ended on {schema}.grants (ended_at) where live and ended_at is not null;
create trigger grants_end_once before update of ended_at on {schema}.grants
  for each row when (old.ended_at is not null and (new.ended_at is null or new.ended_at > old.ended_at))
  execute function {schema}.refuse_change();

-- Whoever reads pockets sees one end of a grant. (The same functions, and nothing else in them changed.)
do $migration$
declare
  v_function regprocedure;
begin
  foreach v_function in array array[
    $name\${schema}.read_pockets(uuid[], text[])$name$::regprocedure,
    $name\${schema}.lock_and_read(boolean, uuid[], text[], text[], integer[], text[], bytea[])$name$::regprocedure]
  loop
    execute replace(pg_get_functiondef(v_function), 'g.expires_at', 'least(g.expires_at, g.ended_at)');
  end loop;
end
$migration$;

alter table {schema}.entry_details
  -- Why, and who said so, of what people did by hand.
  add column reason text,
  add column author text;

create table {schema}.entry_pairs (
  payer_id uuid not null,
  sequence bigint not null,
  other_payer_id uuid not null,
  other_sequence bigint not null,
  -- 'transfer': somebody asked for it; 'merge': with all the account had; 'end': the grant ends earlier.
  kind text not null check (kind in ('transfer', 'merge', 'end')),
  -- Of a merge and an end, where units leave: the grant that lives on as other_sequence.
  grant_sequence bigint,
  primary key (payer_id, sequence),
  check (payer_id <> other_payer_id or sequence <> other_sequence)
);
comment on table {schema}.entry_pairs is 'Two lines that name each other: what left the one grant, and the grant that it made. Both have their row.';
create index entry_pairs_grant on {schema}.entry_pairs (payer_id, grant_sequence)
  where grant_sequence is not null;
create trigger entry_pairs_stay before update or delete on {schema}.entry_pairs
  for each statement execute function {schema}.refuse_change();
create trigger entry_pairs_are_kept before truncate on {schema}.entry_pairs
  for each statement execute function {schema}.refuse_change();

create table {schema}.unit_debts (
  payer_id uuid not null,
  -- The line that says so.
  sequence bigint not null,
  product text not null,
  amount numeric not null check (amount > 0),
  -- A guarded cache of what the entries say.
  paid numeric not null default 0 check (paid >= 0),
  -- What another account has taken over, all that was left.
  moved numeric not null default 0 check (moved >= 0),
  -- The debt as which it lives on there.
  moved_payer_id uuid,
  moved_sequence bigint,
  primary key (payer_id, sequence),
  check (paid + moved <= amount),
  check ((moved > 0) = (moved_payer_id is not null) and (moved > 0) = (moved_sequence is not null))
) with (fillfactor = 80);
comment on table {schema}.unit_debts is 'Units that were used and then refunded: the next grants of the product pay them first.';
create index unit_debts_open on {schema}.unit_debts (payer_id, product) where paid + moved < amount;
create trigger unit_debts_stay before delete or update of payer_id, sequence, product, amount
  on {schema}.unit_debts for each statement execute function {schema}.refuse_change();
create trigger unit_debts_are_kept before truncate on {schema}.unit_debts
  for each statement execute function {schema}.refuse_change();
`,
};
