import type { Migration } from '.';
import { INDEX_LOOKUPS, LOOKUPS } from './plans';

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
      (extract(epoch from least(g.expires_at, g.ended_at)) * 1000)::bigint,
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
    'due', (
      select json_agg(json_build_array(
        pocket.payer_id, pocket.product, (extract(epoch from d.at) * 1000)::bigint))
      from unnest(${pockets}) as pocket (payer_id, product)
      cross join lateral (
        select min(f.at) as at
        from (
          select pocket.payer_id as id
          union all
          select a.account_id from {schema}.accounts a
          where a.merged_into = pocket.payer_id) as n
        cross join lateral (
          select s.next_due_at as at from {schema}.subscriptions s
          where s.payer_id = n.id and s.next_due_at is not null
          order by s.next_due_at limit 1) as f
        offset 0) as d
      where d.at is not null),
    'gates', (
      select json_agg(json_build_array(a.payer_id, a.product, a.reason))
      from unnest(${pockets}) as pocket (payer_id, product)
      cross join lateral (
        select * from {schema}.access_gates a
        where a.payer_id = pocket.payer_id and a.product = pocket.product
        offset 0) as a),
    'thresholds', (
      select json_agg(json_build_array(
        pocket.payer_id, p.key, p.low_balance_threshold::text, p.usage_thresholds::text[],
        -- Units of grants that are used up, by the end of their time: few ends, however many grants.
        case when p.usage_thresholds is not null then (
          select json_agg(json_build_array(spent.ends, spent.units::text))
          from (
            select (extract(epoch from least(g.expires_at, g.ended_at)) * 1000)::bigint as ends,
                   sum(g.initial) as units
            from {schema}.grants g
            where g.payer_id = pocket.payer_id and g.product = pocket.product
              and not g.live and g.held = 0
            group by ends) as spent) end))
      from unnest(${pockets}) as pocket (payer_id, product)
      cross join lateral (
        select * from {schema}.products p
        where p.key = pocket.product
          and (p.low_balance_threshold is not null or p.usage_thresholds is not null)
        offset 0) as p),
    'terms', (
      select json_agg(json_build_array(t.payer_id, t.product, t.unit_limit::text, t.used::text))
      from unnest(${pockets}) as pocket (payer_id, product)
      cross join lateral (
        select * from {schema}.overage_terms t
        where t.payer_id = pocket.payer_id and t.product = pocket.product
        offset 0) as t)`;

/** The accounts that were named, in order, and who pays for them. */
const FIND_ACCOUNTS = `  select array_agg(a.account_id order by r.n), array_agg(a.payer_id order by r.n)
  into v_accounts, v_payers
  from unnest(p_ids, p_providers, p_external_ids) with ordinality as r (id, provider, external_id, n)
  left join {schema}.identities i
    on r.id is null and i.provider = r.provider and i.external_id = r.external_id
  left join {schema}.accounts a on a.account_id = coalesce(r.id, i.account_id);
`;

/** As members of a JSON object: these accounts, and the last line of each of their payers. */
const ACCOUNTS = `    'accounts', (
      select json_agg(json_build_array(
        r.n, a.account_id, a.payer_id, a.earlier_payers, a.status, p.status, p.time_zone, p.gated))
      from unnest(v_accounts) with ordinality as r (id, n)
      join {schema}.accounts a on a.account_id = r.id
      join {schema}.accounts p on p.account_id = a.payer_id),
`;
const LAST_LINES = `    'lines', (
      select json_agg(json_build_array(
        payer.id, last.sequence::text, (extract(epoch from last.recorded_at) * 1000)::bigint))
      from (select distinct id from unnest(v_payers) as id where id is not null) as payer
      cross join lateral (
        select e.sequence, e.recorded_at from {schema}.entries e
        where e.payer_id = payer.id order by e.sequence desc limit 1) as last),
`;

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
          select k.status from {schema}.accounts k where k.account_id = p_payers[a.payer] and not k.gated)
        or a.provider is not null and a.id is distinct from (
          select i.account_id from {schema}.identities i
          where i.provider = a.provider and i.external_id = a.external_id));
  end if;
`;

/**
 * The calls of the hot path. Functions, because a session keeps the plans of what is inside them,
 * behind a transaction pooler too; planning these statements anew costs more than running them. A
 * change of what they take or give is another function.
 *
 * record_use and record_uses write what was decided on what the process already knew of the accounts,
 * and only if it still is so. Each is a transaction by itself and one round trip; neither waits for
 * an account's lock. Why that is safe: whoever changes what a payer has writes a line under the payer's
 * lock, and lines are numbered without gaps. A use decided on line n is written as line n + 1: had
 * anybody written since, that number would be taken. What changes without a line (who pays, statuses,
 * identities) is compared here. Scalar subqueries, since EXISTS would become a hash of the whole table.
 */
export const ledgerCalls: Migration = {
  id: 5,
  name: 'ledger calls',
  major: 1,
  statements: `
-- What pockets (pairs of payer and product) hold. Stable: all of it in the caller's one snapshot.
create function {schema}.read_pockets(p_payers uuid[], p_products text[])
returns json language plpgsql stable ${LOOKUPS} as $$
declare
  v_holds json;
begin
  v_holds := (${findHolds('p_payers, p_products')});
  return json_build_object(${pocketMembers('p_payers, p_products')});
end
$$;

-- Finds the accounts, locks who pays for them, and reads all that decides about a batch of uses.
-- Volatile in READ COMMITTED: each statement after the lock sees what its last holder committed.
create function {schema}.lock_and_read(
  -- whether to wait for locks that others have; if not, they are reported
  p_wait boolean,
  -- the accounts named, each once: an id, or an identity
  p_ids uuid[], p_providers text[], p_external_ids text[],
  -- the items: which of these accounts (1, 2, ...), which product, the hash of the key or null
  p_named integer[], p_products text[], p_keys bytea[]
) returns json language plpgsql volatile ${LOOKUPS} as $$
declare
  v_accounts uuid[];
  v_payers uuid[];
  v_payers_now uuid[];
  v_pocket_payers uuid[];
  v_pocket_products text[];
  v_holds json;
  v_busy uuid[];
begin
${FIND_ACCOUNTS}
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
${ACCOUNTS}    'products', (
      select json_agg(json_build_array(p.key, p.kind, p.unit, p.decimals))
      from {schema}.products p where p.key = any(p_products)),
${LAST_LINES}    ${pocketMembers('v_pocket_payers, v_pocket_products')},
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
) language plpgsql volatile ${LOOKUPS} as $$
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

-- One use of one grant, for a lone call: '' when written, else 'busy', 'stale' or 'answered'.
create function {schema}.record_use(
  p_payer uuid, p_sequence bigint, p_account uuid, p_provider text, p_external_id text,
  p_grant bigint, p_was numeric, p_remaining numeric,
  p_product text, p_amount numeric, p_value numeric, p_recorded_at timestamptz,
  p_key bytea, p_fingerprint bytea, p_answer text, p_expires_at timestamptz, p_lock_timeout text
) returns text language plpgsql volatile ${INDEX_LOOKUPS} as $$
begin
  perform set_config('lock_timeout', p_lock_timeout, true);
  if not ${tryLock('p_payer')} then return 'busy'; end if;
  if p_payer is distinct from (
      select a.payer_id from {schema}.accounts a where a.account_id = p_account and a.status = 'active' and not a.gated)
    or p_sequence - 1 is distinct from coalesce((
      select e.sequence from {schema}.entries e where e.payer_id = p_payer
      order by e.sequence desc limit 1), 0)
    or p_account <> p_payer and 'active' is distinct from (
      select a.status from {schema}.accounts a where a.account_id = p_payer and not a.gated)
    or p_provider is not null and p_account is distinct from (
      select i.account_id from {schema}.identities i
      where i.provider = p_provider and i.external_id = p_external_id)
  then return 'stale'; end if;
  if p_key is not null and (
    select true from {schema}.answers w
    where w.payer_id = p_payer and w.account_id = p_account and w.key_hash = p_key)
  then return 'answered'; end if;

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
) language plpgsql volatile ${INDEX_LOOKUPS} as $$
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
    select k.payer_id from {schema}.accounts k where k.account_id = a.id and k.status = 'active' and not k.gated);
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
) language plpgsql stable ${INDEX_LOOKUPS} as $$
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
      select k.payer_id from {schema}.accounts k where k.account_id = a.id and k.status = 'active' and not k.gated));
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
) returns json language plpgsql stable ${INDEX_LOOKUPS} as $$
declare
  v_accounts uuid[];
  v_payers uuid[];
  v_pocket_payers uuid[];
  v_pocket_products text[];
begin
${FIND_ACCOUNTS}
  select array_agg(pocket.payer_id), array_agg(pocket.product)
  into v_pocket_payers, v_pocket_products
  from (
    select distinct v_payers[i.named] as payer_id, i.product
    from unnest(p_named, p_products) as i (named, product)) as pocket
  where pocket.payer_id is not null;

  return json_build_object(
${ACCOUNTS}    'products', (
      select json_agg(json_build_array(p.key, p.kind, p.unit, p.decimals))
      from {schema}.products p where p.key = any (p_products)),
${LAST_LINES}    'pockets', {schema}.read_pockets(v_pocket_payers, v_pocket_products));
end
$$;

-- The same under the lock of one payer. Volatile: it reads what the lock's last holder committed.
create function {schema}.lock_standing(
  p_payer uuid,
  p_ids uuid[], p_providers text[], p_external_ids text[], p_named integer[], p_products text[]
) returns json language plpgsql volatile ${INDEX_LOOKUPS} as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(p_payer::text, 8104593));
  return {schema}.read_standing(p_ids, p_providers, p_external_ids, p_named, p_products);
end
$$;
`,
};
