import type { Migration } from '.';
import { neverTruncated, writtenOnce } from './triggers';

/**
 * What must be true of the ledger, and what verify holds it to ("Σ" over all entries of a
 * payer; "the cause" is the line that `cause_sequence` names; a grant's end is the earlier of expires_at
 * and ended_at):
 *
 * Grants
 *  - Σ traces of a grant, hold and release lines among them = its remaining.
 *  - Σ traces of a grant in hold and release lines = -held.
 *  - Σ values of a grant's traces = round(value x (remaining + held) / initial, 8): hold and release
 *    lines carry no value.
 *  - At every line: the running Σ of traces >= 0, and the running Σ of a grant's hold and release
 *    traces <= 0.
 * Entries
 *  - amount = Σ traces - coalesce(overage, 0), but for uses and restores of products that are not
 *    counted (no traces, no overage, any amount) and for 'uncovered' (no traces, no overage).
 *  - Signs: 'grant', 'release', 'restore' > 0; 'use', 'expiry', 'hold', 'uncovered', 'exchange',
 *    'deduction', 'refund', 'debt', 'owed' < 0. A 'transfer' is < 0 where units leave a grant, and > 0
 *    where they make one. 'owed' has no traces: it moves nothing. The amounts of a line's traces have
 *    the sign of the line.
 *  - overage: only in a 'use' (> 0) and in a 'restore' of such a use (< 0), and never 0.
 *  - Causes, always an earlier line of the same payer and product: a 'release' names its 'hold'; a 'use'
 *    names the 'hold' that it settles, or nothing; 'uncovered' names the 'hold'; a 'restore' names the
 *    'use'; an 'expiry' names nothing when it is the grant's own end, and else the 'hold' or the
 *    'restore' that gave units back to a grant whose time was over; a 'debt' names the 'owed' that it
 *    pays; a 'grant' may name the 'exchange' that paid for it. Other kinds name nothing.
 *  - An 'expiry' without a cause is effective at its grant's end; one with a cause at the
 *    moment of that hold's 'release', or of that 'restore', which is not before the grant's end.
 *  - A 'use' outside its grant's time has a hold as its cause, and takes of that grant no more than the
 *    hold held of it. A 'hold' draws only on grants in force.
 *  - Σ amounts of the restores of a use <= what was used (-amount); the same of its overage, and of
 *    each grant in its traces.
 *  - A grant's own line is a 'grant' or a 'transfer'.
 *  - Each 'transfer' has its row in entry_pairs, and that row's twin: one line gives what the other
 *    takes, and their values, all of one currency, cancel out.
 *  - The values of an exchange and of the grants that it paid for cancel out, in each currency.
 *  - effective_at <= recorded_at.
 * Holds
 *  - Each has the entry of its payer and sequence: kind 'hold', the same account and product, amount
 *    = -amount of the hold; and each 'hold' entry has its row.
 *  - Open (ended_at null): no line has it as its cause.
 *  - Ended: exactly one 'release', effective at ended_at, with the hold's traces turned around.
 *  - 'settled': exactly one 'use' and at most one 'uncovered' with it as the cause, and
 *    settled = -(their amounts). 'released' and 'expired': none. 'expired': ended_at = expires_at.
 *  - A hold that is over by the clock and not yet written off (open, expires_at passed) is fine.
 * Overage
 *  - overage_terms.used = Σ entries.overage of its payer and product; no overage without a row there.
 * Debts
 *  - Each has the 'owed' line of its payer and sequence, with amount = -amount of the debt; and each
 *    'owed' line has its row.
 *  - paid = -(amounts of the 'debt' lines that name it). What was moved is the amount of the debt as
 *    which it lives on.
 * Gates: why a payer may not use a product, or why it has none left
 *  - accounts.gated is true of a payer with a gate 'payment_overdue', and of no other account.
 *  - Whoever sets gates holds the payer's lock.
 */
export const ledger: Migration = {
  id: 4,
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
  -- The line of the same payer that this one settles, releases, restores, or expires what it gave back.
  cause_sequence bigint,
  -- Of a use: units beyond what grants paid; of a restore: such units given back, negative.
  overage numeric,
  -- When it counts, and when it was written: an expiry counts from its instant.
  effective_at timestamptz not null,
  recorded_at timestamptz not null,
  primary key (payer_id, sequence),
  check (cardinality(grant_sequences) = cardinality(grant_amounts)),
  check (grant_values is null or cardinality(grant_values) = cardinality(grant_amounts))
);
comment on table {schema}.entries is 'The ledger: append-only, one line a change, of every paying account.';
create index entries_cause on {schema}.entries (payer_id, cause_sequence) where cause_sequence is not null;
-- What is to be billed of a ledger: found without reading the rest of it.
create index entries_overage on {schema}.entries (payer_id, product, sequence) where overage is not null;
${writtenOnce('entries')}

create table {schema}.entry_details (
  payer_id uuid not null,
  sequence bigint not null,
  source text,
  -- Why, and who said so, of what people did by hand.
  reason text,
  author text,
  metadata jsonb not null default '{}',
  primary key (payer_id, sequence)
);
comment on table {schema}.entry_details is 'What people wrote beside an entry. Emptied when a person is erased.';

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
${writtenOnce('entry_pairs')}

create table {schema}.grants (
  payer_id uuid not null,
  -- The entry that made it.
  sequence bigint not null,
  account_id uuid not null,
  product text not null,
  initial numeric not null check (initial > 0),
  -- A guarded cache of what the entries say: remaining can be used or set aside, held is set aside by
  -- open holds. A hold moves no value.
  remaining numeric not null,
  held numeric not null default 0 check (held >= 0),
  live boolean not null,
  -- Smaller goes first.
  priority smallint not null,
  valid_from timestamptz not null,
  expires_at timestamptz,
  -- From this moment on it counts no longer, whatever expires_at says: what comes back to it is lost.
  ended_at timestamptz,
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
  check (value = 0 or currency is not null),
  check (remaining + held <= initial)
) with (fillfactor = 80);
comment on table {schema}.grants is 'Batches of units given to an account; remaining and live are a cache of the entries.';
-- live changes only when a grant runs dry, so that other uses stay HOT updates.
create index grants_live on {schema}.grants (payer_id, product) where live;
create index grants_due on {schema}.grants (expires_at) where live and expires_at is not null;
create index grants_ended on {schema}.grants (ended_at) where live and ended_at is not null;
create index grants_spent on {schema}.grants (payer_id, product) where not live;
create trigger grants_stay before delete or update of
  payer_id, sequence, account_id, product, initial, priority, valid_from, expires_at,
  anchor_at, anchor_months, value, currency, sku, offer_version on {schema}.grants
  for each statement execute function {schema}.refuse_change();
create trigger grants_end_once before update of ended_at on {schema}.grants
  for each row when (old.ended_at is not null and (new.ended_at is null or new.ended_at > old.ended_at))
  execute function {schema}.refuse_change();
${neverTruncated('grants')}

create table {schema}.holds (
  payer_id uuid not null,
  -- The entry that made it; what it holds of which grants is that entry's trace.
  sequence bigint not null,
  account_id uuid not null,
  product text not null,
  amount numeric not null check (amount > 0),
  -- Moves later when it is extended.
  expires_at timestamptz not null,
  ended_at timestamptz,
  outcome text check (outcome in ('settled', 'released', 'expired')),
  -- What was asked to be settled, covered or not.
  settled numeric check (settled > 0),
  -- The first answer to its settling or release, as JSON: it is given again with or without a key.
  answer text,
  primary key (payer_id, sequence),
  check ((ended_at is null) = (outcome is null)),
  check ((outcome is not distinct from 'settled') = (settled is not null)),
  check (answer is null or ended_at is not null)
) with (fillfactor = 80);
comment on table {schema}.holds is 'Units set aside before the work: open, or how each ended.';
-- Open, said in two ways, so that on an empty table no look-up by pocket can be planned by the other.
create index holds_open on {schema}.holds (payer_id, product) where outcome is null;
create index holds_due on {schema}.holds (expires_at) where ended_at is null;
create trigger holds_stay before delete or update of payer_id, sequence, account_id, product, amount
  on {schema}.holds for each statement execute function {schema}.refuse_change();
create trigger ended_holds_stay before update on {schema}.holds
  for each row when (old.ended_at is not null) execute function {schema}.refuse_change();
${neverTruncated('holds')}

create table {schema}.overage_terms (
  payer_id uuid not null,
  product text not null,
  -- Null: without limit.
  unit_limit numeric check (unit_limit >= 0),
  -- A guarded cache of what the entries say.
  used numeric not null default 0 check (used >= 0),
  primary key (payer_id, product)
) with (fillfactor = 80);
comment on table {schema}.overage_terms is 'How far accounts may use more of a product than they were granted, and have.';
create trigger overage_terms_stay before delete or update of payer_id, product
  on {schema}.overage_terms for each statement execute function {schema}.refuse_change();
${neverTruncated('overage_terms')}

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
${neverTruncated('unit_debts')}

create table {schema}.access_gates (
  payer_id uuid not null,
  product text not null,
  -- 'payment_overdue' denies every use; the others only say why there is nothing left.
  reason text not null check (reason in (
    'no_subscription', 'subscription_ended', 'subscription_cancelled', 'subscription_paused',
    'payment_overdue')),
  primary key (payer_id, product)
);
comment on table {schema}.access_gates is 'What subscriptions have to say about the use of a product: that it is denied, or why it is used up.';
`,
};
