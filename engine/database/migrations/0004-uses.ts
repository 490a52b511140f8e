import type { Migration } from '.';

/**
 * Everything here is looked up by a primary key, one after the other. A plan that was made while a
 * table was empty would read all of it, and stay in the session until the next ANALYZE; so there is
 * only one kind of plan to choose. (JIT off: these settings look expensive to it.)
 */
const PLANS = `
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
  set plan_cache_mode = force_generic_plan set jit = off`;

/**
 * The hot path's two calls. Functions, because a session keeps the plans of what is inside them,
 * behind a transaction pooler too; planning these statements anew costs more than running them.
 * Called from ledger/use-statements.ts; a change of what they take or give is another function.
 */
export const uses: Migration = {
  id: 4,
  name: 'uses',
  major: 1,
  statements: `
-- Finds the accounts, locks who pays for them, and reads all that decides about a batch of uses.
-- Volatile in READ COMMITTED: each statement after the lock sees what its last holder committed.
create function {schema}.read_uses(
  -- the accounts named, each once: an id, or an identity
  p_ids uuid[], p_providers text[], p_external_ids text[],
  -- the items: which of these accounts (1, 2, ...), which product, the hash of the key or null
  p_named integer[], p_products text[], p_keys bytea[]
) returns json language plpgsql volatile ${PLANS} as $$
declare
  v_accounts uuid[];
  v_payers uuid[];
  v_payers_now uuid[];
begin
  select array_agg(a.account_id order by r.n), array_agg(a.payer_id order by r.n)
  into v_accounts, v_payers
  from unnest(p_ids, p_providers, p_external_ids) with ordinality as r (id, provider, external_id, n)
  left join {schema}.identities i
    on r.id is null and i.provider = r.provider and i.external_id = r.external_id
  left join {schema}.accounts a on a.account_id = coalesce(r.id, i.account_id);

  -- The same locks in the same order as database/locks.ts takes them.
  perform pg_advisory_xact_lock(hash)
  from (
    select distinct hashtextextended(payer::text, 8104593) as hash
    from unnest(v_payers) as payer where payer is not null
    order by 1
  ) as locks;

  select array_agg(a.payer_id order by r.n) into v_payers_now
  from unnest(v_accounts) with ordinality as r (id, n)
  left join {schema}.accounts a on a.account_id = r.id;
  if v_payers_now is distinct from v_payers then
    raise exception 'an account got another payer meanwhile' using errcode = 'serialization_failure';
  end if;

  return json_build_object(
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
    'grants', (
      select json_agg(json_build_array(
        g.payer_id, g.product, g.sequence::text, g.initial::text, g.remaining::text, g.priority,
        (extract(epoch from g.valid_from) * 1000)::bigint,
        (extract(epoch from g.expires_at) * 1000)::bigint, g.value::text, g.currency))
      from (
        select distinct v_payers[i.named] as payer_id, i.product
        from unnest(p_named, p_products) as i (named, product)) as pocket
      cross join lateral (
        select * from {schema}.grants g
        where g.payer_id = pocket.payer_id and g.product = pocket.product and g.live) as g),
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

-- Writes a transaction's lines. Grants are updated by compare-and-set: should anybody have written
-- one without the lock, fewer rows change than were sent and the caller runs the whole again.
-- Entries go in by (payer, sequence), the order of the primary key. An answer whose time is over
-- makes room for the new one under its key; one that stands makes fewer rows be kept.
create function {schema}.write_lines(
  p_grant_payers uuid[], p_grant_sequences bigint[], p_was numeric[], p_remaining numeric[],
  p_payers uuid[], p_sequences bigint[], p_accounts uuid[], p_products text[], p_kinds text[],
  p_amounts numeric[], p_traced text[], p_traced_amounts text[], p_traced_values text[],
  p_effective_at timestamptz[], p_recorded_at timestamptz[], p_sources text[], p_metadata text[],
  p_answer_payers uuid[], p_answer_accounts uuid[], p_keys bytea[], p_fingerprints bytea[],
  p_answers text[], p_answered_at timestamptz, p_expires_at timestamptz[],
  out changed integer, out written integer, out kept integer
) language plpgsql volatile ${PLANS} as $$
begin
  update {schema}.grants g
  set remaining = n.remaining, live = n.remaining > 0
  from unnest(p_grant_payers, p_grant_sequences, p_was, p_remaining)
         as n (payer_id, sequence, was, remaining)
  where g.payer_id = n.payer_id and g.sequence = n.sequence and g.remaining = n.was;
  get diagnostics changed = row_count;

  insert into {schema}.entries
    (payer_id, sequence, account_id, product, kind, amount,
     grant_sequences, grant_amounts, grant_values, effective_at, recorded_at)
  select n.payer_id, n.sequence, n.account_id, n.product, n.kind, n.amount,
         n.traced::bigint[], n.amounts::numeric[], n.moved::numeric[], n.effective_at, n.recorded_at
  from unnest(p_payers, p_sequences, p_accounts, p_products, p_kinds, p_amounts,
              p_traced, p_traced_amounts, p_traced_values, p_effective_at, p_recorded_at)
         as n (payer_id, sequence, account_id, product, kind, amount,
               traced, amounts, moved, effective_at, recorded_at)
  order by n.payer_id, n.sequence;
  get diagnostics written = row_count;

  if array_length(array_remove(p_metadata, null), 1) > 0 then
    insert into {schema}.entry_details (payer_id, sequence, source, metadata)
    select n.payer_id, n.sequence, n.source, n.metadata::jsonb
    from unnest(p_payers, p_sequences, p_sources, p_metadata)
           as n (payer_id, sequence, source, metadata)
    where n.metadata is not null;
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
