import type { Migration } from '.';

/**
 * Holds, overage, restores. What must be true of the ledger from here on, and what verify holds it to
 * ("Σ" over all entries of a payer; "the cause" is the line that `cause_sequence` names):
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
 *  - Signs: 'grant', 'release', 'restore' > 0; 'use', 'expiry', 'hold', 'uncovered' < 0. The amounts of
 *    a line's traces have the sign of the line.
 *  - overage: only in a 'use' (> 0) and in a 'restore' of such a use (< 0), and never 0.
 *  - Causes, always an earlier line of the same payer and product: a 'release' names its 'hold'; a 'use'
 *    names the 'hold' that it settles, or nothing; 'uncovered' names the 'hold'; a 'restore' names the
 *    'use'; an 'expiry' names nothing when it is the grant's own end, and else the 'hold' or the
 *    'restore' that gave units back to a grant whose time was over. Other kinds name nothing.
 *  - An 'expiry' without a cause is effective at its grant's expires_at; one with a cause at the
 *    moment of that hold's 'release', or of that 'restore', which is not before the grant's expires_at.
 *  - A 'use' outside its grant's time has a hold as its cause, and takes of that grant no more than the
 *    hold held of it. A 'hold' draws only on grants in force.
 *  - Σ amounts of the restores of a use <= what was used (-amount); the same of its overage, and of
 *    each grant in its traces.
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
 */

/** See 0004-uses.ts: only one kind of plan to choose, by look-ups. */
const PLANS = `
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
  set plan_cache_mode = force_generic_plan set jit = off`;

/**
 * `offset 0` is a fence, here and below: pulled up, a plan made while a table is empty would read all
 * of it for every call, by an index that it does not look anything up in.
 */
const OPEN_HOLDS = `
  cross join lateral (
    select * from {schema}.holds h
    where h.payer_id = pocket.payer_id and h.product = pocket.product and h.outcome is null
    offset 0) as h
  cross join lateral (
    select e.grant_sequences, e.grant_amounts from {schema}.entries e
    where e.payer_id = h.payer_id and e.sequence = h.sequence
    offset 0) as e`;

/** Open holds of pockets, with what each took from which grants. Most pockets have none. */
const findHolds = (pockets: string): string => `
  select json_agg(json_build_array(
    h.payer_id, h.product, h.sequence::text, h.account_id, h.amount::text,
    (extract(epoch from h.expires_at) * 1000)::bigint,
    e.grant_sequences::text[], e.grant_amounts::text[])
    order by h.payer_id, h.sequence)
  from unnest(${pockets}) as pocket (payer_id, product)${OPEN_HOLDS}`;

const GRANT = `
      g.payer_id, g.product, g.sequence::text, g.initial::text, g.remaining::text, g.held::text,
      g.priority, (extract(epoch from g.valid_from) * 1000)::bigint,
      (extract(epoch from g.expires_at) * 1000)::bigint,
      (extract(epoch from g.anchor_at) * 1000)::bigint, g.anchor_months, g.value::text, g.currency`;

/** What pockets hold, as members of a JSON object; `v_holds` has been read before. */
const pocketMembers = (pockets: string): string => `
    'grants', (
      select json_agg(json_build_array(${GRANT}))
      from unnest(${pockets}) as pocket (payer_id, product)
      cross join lateral (
        select * from {schema}.grants g
        where g.payer_id = pocket.payer_id and g.product = pocket.product and g.live
        offset 0) as g),
    'holds', v_holds,
    -- Grants of which nothing is left but what is on hold.
    'held', case when v_holds is not null then (
      select json_agg(json_build_array(${GRANT}))
      from (
        select distinct pocket.payer_id, held.sequence
        from unnest(${pockets}) as pocket (payer_id, product)${OPEN_HOLDS}
        cross join lateral unnest(e.grant_sequences) as held (sequence)) as held
      cross join lateral (
        select * from {schema}.grants g
        where g.payer_id = held.payer_id and g.sequence = held.sequence and not g.live
        offset 0) as g) end,
    'terms', (
      select json_agg(json_build_array(t.payer_id, t.product, t.unit_limit::text, t.used::text))
      from unnest(${pockets}) as pocket (payer_id, product)
      cross join lateral (
        select * from {schema}.overage_terms t
        where t.payer_id = pocket.payer_id and t.product = pocket.product
        offset 0) as t)`;

export const holds: Migration = {
  id: 5,
  name: 'holds',
  major: 2,
  statements: `
-- remaining is what can be used or set aside; held is set aside by open holds. A hold moves no value.
alter table {schema}.grants
  add column held numeric not null default 0,
  add check (held >= 0),
  add check (remaining + held <= initial);
create index grants_due on {schema}.grants (expires_at) where live and expires_at is not null;

alter table {schema}.entries
  -- The line of the same payer that this one settles, releases, restores, or expires what it gave back.
  add column cause_sequence bigint,
  -- Of a use: units beyond what grants paid; of a restore: such units given back, negative.
  add column overage numeric;
create index entries_cause on {schema}.entries (payer_id, cause_sequence) where cause_sequence is not null;

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

create trigger holds_stay before delete or update of payer_id, sequence, account_id, product, amount
  on {schema}.holds for each statement execute function {schema}.refuse_change();
create trigger holds_are_kept before truncate on {schema}.holds
  for each statement execute function {schema}.refuse_change();
create trigger ended_holds_stay before update on {schema}.holds
  for each row when (old.ended_at is not null) execute function {schema}.refuse_change();
create trigger overage_terms_stay before delete or update of payer_id, product
  on {schema}.overage_terms for each statement execute function {schema}.refuse_change();
create trigger overage_terms_are_kept before truncate on {schema}.overage_terms
  for each statement execute function {schema}.refuse_change();

-- Retention. BRIN: answers are appended in the order of time, and a btree would cost each use.
create index answers_expiry on {schema}.answers using brin (expires_at);

-- What pockets (pairs of payer and product) hold. Stable: all of it in the caller's one snapshot.
create function {schema}.read_pockets(p_payers uuid[], p_products text[])
returns json language plpgsql stable ${PLANS} as $$
declare
  v_holds json;
begin
  v_holds := (${findHolds('p_payers, p_products')});
  return json_build_object(${pocketMembers('p_payers, p_products')});
end
$$;

-- Finds the accounts, locks who pays for them, and reads all that decides about a batch of uses.
-- Volatile in READ COMMITTED: each statement after the lock sees what its last holder committed.
-- (Takes the place of read_uses, which knew no holds and no overage.)
create function {schema}.lock_and_read(
  -- whether to wait for locks that others have; if not, they are reported
  p_wait boolean,
  -- the accounts named, each once: an id, or an identity
  p_ids uuid[], p_providers text[], p_external_ids text[],
  -- the items: which of these accounts (1, 2, ...), which product, the hash of the key or null
  p_named integer[], p_products text[], p_keys bytea[]
) returns json language plpgsql volatile ${PLANS} as $$
declare
  v_accounts uuid[];
  v_payers uuid[];
  v_payers_now uuid[];
  v_pocket_payers uuid[];
  v_pocket_products text[];
  v_holds json;
  v_busy uuid[];
begin
  select array_agg(a.account_id order by r.n), array_agg(a.payer_id order by r.n)
  into v_accounts, v_payers
  from unnest(p_ids, p_providers, p_external_ids) with ordinality as r (id, provider, external_id, n)
  left join {schema}.identities i
    on r.id is null and i.provider = r.provider and i.external_id = r.external_id
  left join {schema}.accounts a on a.account_id = coalesce(r.id, i.account_id);

  -- The same locks in the same order as database/locks.ts takes them.
  if p_wait then
    perform pg_advisory_xact_lock(hash)
    from (
      select distinct hashtextextended(payer::text, 8104593) as hash
      from unnest(v_payers) as payer where payer is not null
      order by 1
    ) as locks;
  else
    select array_agg(payer) into v_busy
    from (select distinct payer from unnest(v_payers) as payer where payer is not null) as locks
    where not pg_try_advisory_xact_lock(hashtextextended(payer::text, 8104593));
  end if;

  select array_agg(a.payer_id order by r.n) into v_payers_now
  from unnest(v_accounts) with ordinality as r (id, n)
  left join {schema}.accounts a on a.account_id = r.id;
  if v_payers_now is distinct from v_payers then
    raise exception 'an account got another payer meanwhile' using errcode = 'serialization_failure';
  end if;

  select array_agg(pocket.payer_id), array_agg(pocket.product)
  into v_pocket_payers, v_pocket_products
  from (
    select distinct v_payers[i.named] as payer_id, i.product
    from unnest(p_named, p_products) as i (named, product)) as pocket;
  v_holds := (${findHolds('v_pocket_payers, v_pocket_products')});

  return json_build_object(
    'busy', to_json(v_busy),
    'accounts', (
      select json_agg(json_build_array(
        r.n, a.account_id, a.payer_id, a.earlier_payers, a.status, p.status, p.time_zone))
      from unnest(v_accounts) with ordinality as r (id, n)
      join {schema}.accounts a on a.account_id = r.id
      join {schema}.accounts p on p.account_id = a.payer_id),
    'products', (
      select json_agg(json_build_array(p.key, p.kind, p.unit, p.decimals))
      from {schema}.products p where p.key = any(p_products)),
    'lines', (
      select json_agg(json_build_array(
        payer.id, last.sequence::text, (extract(epoch from last.recorded_at) * 1000)::bigint))
      from (select distinct id from unnest(v_payers) as id where id is not null) as payer
      cross join lateral (
        select e.sequence, e.recorded_at from {schema}.entries e
        where e.payer_id = payer.id order by e.sequence desc limit 1) as last),
    ${pocketMembers('v_pocket_payers, v_pocket_products')},
    'answers', (
      select json_agg(json_build_array(
        i.n, w.payer_id, encode(w.fingerprint, 'hex'), w.answer,
        (extract(epoch from w.expires_at) * 1000)::bigint))
      from unnest(p_named, p_keys) with ordinality as i (named, key_hash, n)
      join {schema}.accounts a on a.account_id = v_accounts[i.named]
      -- One look-up for each payer, nearly always one; = any() would cost ten times as much.
      cross join lateral unnest(array_prepend(a.payer_id, a.earlier_payers)) as payer (id)
      cross join lateral (
        select w.payer_id, w.fingerprint, w.answer, w.expires_at from {schema}.answers w
        where w.payer_id = payer.id and w.account_id = a.account_id and w.key_hash = i.key_hash
        -- A fence: pulled up, the key would become a filter on all the account's answers.
        offset 0) as w
      where i.key_hash is not null)
  );
end
$$;

-- Writes a transaction's lines. Grants and overage are updated by compare-and-set: should anybody have
-- written one without the lock, fewer rows change than were sent and the caller runs the whole again.
-- Entries go in by (payer, sequence), the order of the primary key. An answer whose time is over
-- makes room for the new one under its key; one that stands makes fewer rows be kept.
-- Lists that say nothing (no cause, no overage, no terms) come as null.
-- (Takes the place of write_lines, which knew no holds and no overage.)
create function {schema}.write_entries(
  p_grant_payers uuid[], p_grant_sequences bigint[], p_was numeric[], p_remaining numeric[],
  p_was_held numeric[], p_held numeric[],
  p_payers uuid[], p_sequences bigint[], p_accounts uuid[], p_products text[], p_kinds text[],
  p_amounts numeric[], p_traced text[], p_traced_amounts text[], p_traced_values text[],
  p_effective_at timestamptz[], p_recorded_at timestamptz[], p_sources text[], p_metadata text[],
  p_causes bigint[], p_overages numeric[],
  p_term_payers uuid[], p_term_products text[], p_was_used numeric[], p_used numeric[],
  p_answer_payers uuid[], p_answer_accounts uuid[], p_keys bytea[], p_fingerprints bytea[],
  p_answers text[], p_answered_at timestamptz, p_expires_at timestamptz[],
  out changed integer, out written integer, out kept integer, out counted integer
) language plpgsql volatile ${PLANS} as $$
begin
  update {schema}.grants g
  set remaining = n.remaining, live = n.remaining > 0, held = n.held
  from unnest(p_grant_payers, p_grant_sequences, p_was, p_remaining, p_was_held, p_held)
         as n (payer_id, sequence, was, remaining, was_held, held)
  where g.payer_id = n.payer_id and g.sequence = n.sequence
    and g.remaining = n.was and g.held = n.was_held;
  get diagnostics changed = row_count;

  insert into {schema}.entries
    (payer_id, sequence, account_id, product, kind, amount, grant_sequences, grant_amounts,
     grant_values, effective_at, recorded_at, cause_sequence, overage)
  select n.payer_id, n.sequence, n.account_id, n.product, n.kind, n.amount,
         n.traced::bigint[], n.amounts::numeric[], n.moved::numeric[], n.effective_at, n.recorded_at,
         n.cause_sequence, n.overage
  from unnest(p_payers, p_sequences, p_accounts, p_products, p_kinds, p_amounts,
              p_traced, p_traced_amounts, p_traced_values, p_effective_at, p_recorded_at,
              p_causes, p_overages)
         as n (payer_id, sequence, account_id, product, kind, amount,
               traced, amounts, moved, effective_at, recorded_at, cause_sequence, overage)
  order by n.payer_id, n.sequence;
  get diagnostics written = row_count;

  if array_length(array_remove(p_metadata, null), 1) > 0 then
    insert into {schema}.entry_details (payer_id, sequence, source, metadata)
    select n.payer_id, n.sequence, n.source, n.metadata::jsonb
    from unnest(p_payers, p_sequences, p_sources, p_metadata)
           as n (payer_id, sequence, source, metadata)
    where n.metadata is not null;
  end if;

  counted := 0;
  if cardinality(p_term_payers) > 0 then
    update {schema}.overage_terms t
    set used = n.used
    from unnest(p_term_payers, p_term_products, p_was_used, p_used)
           as n (payer_id, product, was, used)
    where t.payer_id = n.payer_id and t.product = n.product and t.used = n.was;
    get diagnostics counted = row_count;
  end if;

  kept := 0;
  if cardinality(p_keys) > 0 then
    insert into {schema}.answers as old
      (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
    select n.payer_id, n.account_id, n.key_hash, n.fingerprint, n.answer, n.expires_at
    from unnest(p_answer_payers, p_answer_accounts, p_keys, p_fingerprints, p_answers, p_expires_at)
           as n (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
    order by n.payer_id, n.account_id, n.key_hash
    on conflict (payer_id, account_id, key_hash) do update
      set fingerprint = excluded.fingerprint, answer = excluded.answer,
          expires_at = excluded.expires_at
      where old.expires_at <= p_answered_at;
    get diagnostics kept = row_count;
  end if;
end
$$;
`,
};
