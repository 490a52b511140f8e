import type { Migration } from '.';

/** See 0004-uses.ts: only one kind of plan to choose, by look-ups, also while tables are empty. */
const PLANS = `
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
  set enable_bitmapscan = off
  set plan_cache_mode = force_generic_plan set jit = off`;

/** The lock of database/locks.ts, tried. */
const tryLock = (payer: string): string =>
  `pg_try_advisory_xact_lock(hashtextextended(${payer}::text, 8104593))`;

/** Adds to a list the payers of which a child's parent, or an identity, is not as it was named. */
const renamed = (into: string): string => `  if p_providers <> '{}' then
    ${into} := ${into} || (
      select array_agg(a.payer)
      from unnest(p_account_payers, p_accounts, p_providers, p_external_ids)
             as a (payer, id, provider, external_id)
      where a.id <> p_payers[a.payer] and 'active' is distinct from (
          select k.status from {schema}.accounts k where k.account_id = p_payers[a.payer])
        or a.provider is not null and a.id is distinct from (
          select i.account_id from {schema}.identities i
          where i.provider = a.provider and i.external_id = a.external_id));
  end if;
`;

/**
 * Uses that were decided on what the process already knew of the accounts, written only if it still
 * is so. Each call is a transaction by itself and one round trip; it never waits for a lock.
 * Called from ledger/record-uses.ts; a change of what they take or give is another function.
 *
 * Why that is safe: whoever changes what a payer has writes a line under the payer's lock, and lines
 * are numbered without gaps. A use decided on line n is written as line n + 1: had anybody written
 * since, that number would be taken. What changes without a line (who pays, statuses, identities) is
 * compared here. Scalar subqueries, since EXISTS would become a hash of the whole table.
 */
export const plainUses: Migration = {
  id: 6,
  name: 'plain uses',
  major: 2,
  statements: `
-- One use of one grant, for a lone call: '' when written, else 'busy', 'stale' or 'answered'.
create function {schema}.record_use(
  p_payer uuid, p_sequence bigint, p_account uuid, p_provider text, p_external_id text,
  p_grant bigint, p_was numeric, p_remaining numeric,
  p_product text, p_amount numeric, p_value numeric, p_recorded_at timestamptz,
  p_key bytea, p_fingerprint bytea, p_answer text, p_expires_at timestamptz, p_lock_timeout text
) returns text language plpgsql volatile ${PLANS} as $$
begin
  if not ${tryLock('p_payer')} then return 'busy'; end if;
  if p_payer is distinct from (
      select a.payer_id from {schema}.accounts a where a.account_id = p_account and a.status = 'active')
    or p_sequence - 1 is distinct from coalesce((
      select e.sequence from {schema}.entries e where e.payer_id = p_payer
      order by e.sequence desc limit 1), 0)
    or p_account <> p_payer and 'active' is distinct from (
      select a.status from {schema}.accounts a where a.account_id = p_payer)
    or p_provider is not null and p_account is distinct from (
      select i.account_id from {schema}.identities i
      where i.provider = p_provider and i.external_id = p_external_id)
  then return 'stale'; end if;
  if p_key is not null and (
    select true from {schema}.answers w
    where w.payer_id = p_payer and w.account_id = p_account and w.key_hash = p_key)
  then return 'answered'; end if;
  perform set_config('lock_timeout', p_lock_timeout, true);

  update {schema}.grants g set remaining = p_remaining, live = p_remaining > 0
  where g.payer_id = p_payer and g.sequence = p_grant and g.remaining = p_was;
  if not found then
    raise exception 'a grant changed without its account being locked' using errcode = 'serialization_failure';
  end if;

  insert into {schema}.entries
    (payer_id, sequence, account_id, product, kind, amount,
     grant_sequences, grant_amounts, grant_values, effective_at, recorded_at)
  values (p_payer, p_sequence, p_account, p_product, 'use', -p_amount, array[p_grant],
    array[-p_amount], case when p_value is not null then array[p_value] end,
    p_recorded_at, p_recorded_at);

  if p_key is not null then
    insert into {schema}.answers (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
    values (p_payer, p_account, p_key, p_fingerprint, p_answer, p_expires_at);
  end if;
  return '';
end
$$;

-- A batch of uses of many accounts. Gives the payers (1, 2, ...) whose uses were not written: busy,
-- somebody holds their lock; stale, something is not as it was known; answered, a key of theirs is.
create function {schema}.record_uses(
  -- look: find out beforehand which payers are not as they were known. Without it, a line or key that
  -- is taken breaks the call (23505), which costs the usual case nothing.
  p_look boolean,
  -- A batch may build on the one sent before it on this connection: then that one must have been
  -- written whole.
  p_after text, p_token text,
  p_now timestamptz, p_expires_at timestamptz, p_lock_timeout text,
  -- payers, the line each was known by, whether that line is of the batch before, and their time if
  -- it is not now
  p_payers uuid[], p_lasts bigint[], p_chained boolean[], p_times timestamptz[],
  -- accounts as they were named, and who pays
  p_account_payers integer[], p_accounts uuid[], p_providers text[], p_external_ids text[],
  p_grant_payers integer[], p_grants bigint[], p_was numeric[], p_remaining numeric[],
  -- uses: by which account, line, product, units, units left; the one grant drawn on and its value,
  -- or the lists of them; keys and fingerprints, 16 bytes each
  p_named integer[], p_sequences bigint[], p_products text[], p_amounts numeric[], p_left text[],
  p_drawn bigint[], p_values numeric[],
  p_traced text[], p_traced_amounts text[], p_traced_values text[],
  p_keyed boolean[], p_keys bytea, p_fingerprints bytea,
  out busy integer[], out stale integer[], out answered integer[]
) language plpgsql volatile ${PLANS} as $$
declare
  v_bad integer[];
  v_changed integer;
  v_written integer;
begin
  perform set_config('lock_timeout', p_lock_timeout, true);

  select array_agg(p.n) into busy
  from unnest(p_payers) with ordinality as p (id, n)
  where not ${tryLock('p.id')};

  select array_agg(a.payer) into stale
  from unnest(p_account_payers, p_accounts) as a (payer, id)
  where p_payers[a.payer] is distinct from (
    select k.payer_id from {schema}.accounts k where k.account_id = a.id and k.status = 'active');
${renamed('stale')}  if p_after is not null and current_setting('billing.written', true) is distinct from p_after then
    stale := stale || (
      select array_agg(p.n::integer) from unnest(p_chained) with ordinality as p (chained, n)
      where p.chained);
  end if;
  if p_look then
    stale := stale || (
      select array_agg(p.n::integer)
      from unnest(p_payers, p_lasts) with ordinality as p (id, last, n)
      where p.last is distinct from coalesce((
        select e.sequence from {schema}.entries e where e.payer_id = p.id
        order by e.sequence desc limit 1), 0));
    if p_keys <> '' then
      answered := (
        select array_agg(p_account_payers[u.named])
        from unnest(p_named, p_keyed) with ordinality as u (named, keyed, n)
        where u.keyed is not false and (
          select true from {schema}.answers w
          where w.payer_id = p_payers[p_account_payers[u.named]]
            and w.account_id = p_accounts[u.named]
            and w.key_hash = substring(p_keys from (u.n::integer - 1) * 16 + 1 for 16)));
    end if;
  end if;
  v_bad := busy || stale || answered;

  update {schema}.grants g
  set remaining = n.remaining, live = n.remaining > 0
  from unnest(p_grant_payers, p_grants, p_was, p_remaining) as n (payer, sequence, was, remaining)
  where g.payer_id = p_payers[n.payer] and g.sequence = n.sequence and g.remaining = n.was
    and (v_bad is null or n.payer <> all (v_bad));
  get diagnostics v_changed = row_count;

  insert into {schema}.entries
    (payer_id, sequence, account_id, product, kind, amount,
     grant_sequences, grant_amounts, grant_values, effective_at, recorded_at)
  select p_payers[p_account_payers[n.named]], n.sequence, p_accounts[n.named], n.product, 'use',
         -n.amount,
         case when n.traced is null then array[n.drawn] else n.traced::bigint[] end,
         case when n.traced is null then array[-n.amount] else n.traced_amounts::numeric[] end,
         case when n.traced is not null then n.traced_values::numeric[]
              when n.value is not null then array[n.value] end,
         coalesce(p_times[p_account_payers[n.named]], p_now),
         coalesce(p_times[p_account_payers[n.named]], p_now)
  from unnest(p_named, p_sequences, p_products, p_amounts, p_drawn, p_values,
              p_traced, p_traced_amounts, p_traced_values)
         as n (named, sequence, product, amount, drawn, value, traced, traced_amounts, traced_values)
  where v_bad is null or p_account_payers[n.named] <> all (v_bad);
  get diagnostics v_written = row_count;

  if p_keys <> '' then
    insert into {schema}.answers (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
    select p_payers[p_account_payers[n.named]], p_accounts[n.named],
           substring(p_keys from (n.n::integer - 1) * 16 + 1 for 16),
           substring(p_fingerprints from (n.n::integer - 1) * 16 + 1 for 16),
           '["' || n.sequence || '","' || n.remaining || '"]', p_expires_at
    from unnest(p_named, p_sequences, p_left, p_keyed) with ordinality
           as n (named, sequence, remaining, keyed, n)
    where n.keyed is not false and (v_bad is null or p_account_payers[n.named] <> all (v_bad));
  end if;

  if v_changed <> (case when v_bad is null then cardinality(p_grants) else (
        select count(*) from unnest(p_grant_payers) as n (payer) where n.payer <> all (v_bad)) end)
    or v_bad is null and v_written <> cardinality(p_named)
  then
    raise exception 'a grant changed without its account being locked' using errcode = 'serialization_failure';
  end if;
  if v_bad is null then perform set_config('billing.written', p_token, false); end if;
end
$$;

-- Which payers (1, 2, ...) are not as they are known, and which products are not; in one snapshot.
create function {schema}.find_changed(
  p_payers uuid[], p_lasts bigint[],
  p_account_payers integer[], p_accounts uuid[], p_providers text[], p_external_ids text[],
  p_products text[], p_units text[],
  out payers integer[], out products text[]
) language plpgsql stable ${PLANS} as $$
begin
  payers := (
    select array_agg(p.n::integer)
    from unnest(p_payers, p_lasts) with ordinality as p (id, last, n)
    where p.last is distinct from (
      select e.sequence from {schema}.entries e where e.payer_id = p.id
      order by e.sequence desc limit 1)
  ) || (
    select array_agg(a.payer)
    from unnest(p_account_payers, p_accounts) as a (payer, id)
    where p_payers[a.payer] is distinct from (
      select k.payer_id from {schema}.accounts k where k.account_id = a.id and k.status = 'active'));
${renamed('payers')}  products := (
    select array_agg(p.key)
    from unnest(p_products, p_units) as p (key, unit)
    where p.unit is distinct from (
      select k.unit from {schema}.products k where k.key = p.key));
end
$$;

-- What check answers from, and what uses are decided on: accounts, products, last lines and pockets,
-- all in the caller's one snapshot. Takes no lock.
create function {schema}.read_standing(
  p_ids uuid[], p_providers text[], p_external_ids text[], p_named integer[], p_products text[]
) returns json language plpgsql stable ${PLANS} as $$
declare
  v_accounts uuid[];
  v_payers uuid[];
  v_pocket_payers uuid[];
  v_pocket_products text[];
begin
  select array_agg(a.account_id order by r.n), array_agg(a.payer_id order by r.n)
  into v_accounts, v_payers
  from unnest(p_ids, p_providers, p_external_ids) with ordinality as r (id, provider, external_id, n)
  left join {schema}.identities i
    on r.id is null and i.provider = r.provider and i.external_id = r.external_id
  left join {schema}.accounts a on a.account_id = coalesce(r.id, i.account_id);

  select array_agg(pocket.payer_id), array_agg(pocket.product)
  into v_pocket_payers, v_pocket_products
  from (
    select distinct v_payers[i.named] as payer_id, i.product
    from unnest(p_named, p_products) as i (named, product)) as pocket
  where pocket.payer_id is not null;

  return json_build_object(
    'accounts', (
      select json_agg(json_build_array(
        r.n, a.account_id, a.payer_id, a.earlier_payers, a.status, p.status, p.time_zone))
      from unnest(v_accounts) with ordinality as r (id, n)
      join {schema}.accounts a on a.account_id = r.id
      join {schema}.accounts p on p.account_id = a.payer_id),
    'products', (
      select json_agg(json_build_array(p.key, p.kind, p.unit, p.decimals))
      from {schema}.products p where p.key = any (p_products)),
    'lines', (
      select json_agg(json_build_array(
        payer.id, last.sequence::text, (extract(epoch from last.recorded_at) * 1000)::bigint))
      from (select distinct id from unnest(v_payers) as id where id is not null) as payer
      cross join lateral (
        select e.sequence, e.recorded_at from {schema}.entries e
        where e.payer_id = payer.id order by e.sequence desc limit 1) as last),
    'pockets', {schema}.read_pockets(v_pocket_payers, v_pocket_products));
end
$$;

-- The same under the lock of one payer. Volatile: it reads what the lock's last holder committed.
create function {schema}.lock_standing(
  p_payer uuid,
  p_ids uuid[], p_providers text[], p_external_ids text[], p_named integer[], p_products text[]
) returns json language plpgsql volatile ${PLANS} as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(p_payer::text, 8104593));
  return {schema}.read_standing(p_ids, p_providers, p_external_ids, p_named, p_products);
end
$$;
`,
};
