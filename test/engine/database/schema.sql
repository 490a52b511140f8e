create schema billing;

-- Functions

CREATE OR REPLACE FUNCTION billing.fee_earned(p_amount numeric, p_from timestamp with time zone, p_to timestamp with time zone, p_ended_at timestamp with time zone, p_kept numeric, p_at timestamp with time zone)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select case
    when p_at >= p_ended_at then p_kept
    when p_at >= p_to then p_amount
    when p_at <= p_from then 0
    else round(p_amount * extract(epoch from p_at - p_from)::numeric
               / extract(epoch from p_to - p_from)::numeric, 8) end
$function$;

CREATE OR REPLACE FUNCTION billing.find_changed(p_payers uuid[], p_lasts bigint[], p_account_payers integer[], p_accounts uuid[], p_providers text[], p_external_ids text[], p_products text[], p_units text[], OUT payers integer[], OUT products text[])
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
begin
  payers := (
    select array_agg(p.n::integer)
    from unnest(p_payers, p_lasts) with ordinality as p (id, last, n)
    where p.last is distinct from (
      select e.sequence from billing.entries e where e.payer_id = p.id
      order by e.sequence desc limit 1)
  ) || (
    select array_agg(a.payer)
    from unnest(p_account_payers, p_accounts) as a (payer, id)
    where p_payers[a.payer] is distinct from (
      select k.payer_id from billing.accounts k where k.account_id = a.id and k.status = 'active' and not k.gated));
  if p_providers <> '{}' then
    payers := payers || (
      select array_agg(a.payer)
      from unnest(p_account_payers, p_accounts, p_providers, p_external_ids)
             as a (payer, id, provider, external_id)
      where a.id <> p_payers[a.payer] and 'active' is distinct from (
          select k.status from billing.accounts k where k.account_id = p_payers[a.payer] and not k.gated)
        or a.provider is not null and a.id is distinct from (
          select i.account_id from billing.identities i
          where i.provider = a.provider and i.external_id = a.external_id));
  end if;
  products := (
    select array_agg(p.key)
    from unnest(p_products, p_units) as p (key, unit)
    where p.unit is distinct from (
      select k.unit from billing.products k where k.key = p.key));
end
$function$;

CREATE OR REPLACE FUNCTION billing.follow_merges(p_ids uuid[])
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
begin
  return (
    select coalesce(array_agg(coalesce(a.merged_into, r.id) order by r.n), '{}')
    from unnest(p_ids) with ordinality as r (id, n)
    left join billing.accounts a on a.account_id = r.id);
end
$function$;

CREATE OR REPLACE FUNCTION billing.legs_balance(p_amounts numeric[])
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
declare
  v_amount numeric;
  v_sum numeric := 0;
begin
  foreach v_amount in array p_amounts loop
    if v_amount is null or v_amount = 0 or scale(trim_scale(v_amount)) > 8 then
      return false;
    end if;
    v_sum := v_sum + v_amount;
  end loop;
  return cardinality(p_amounts) >= 2 and v_sum = 0;
end
$function$;

CREATE OR REPLACE FUNCTION billing.lock_and_read(p_wait boolean, p_ids uuid[], p_providers text[], p_external_ids text[], p_named integer[], p_products text[], p_keys bytea[])
 RETURNS json
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
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
  left join billing.identities i
    on r.id is null and i.provider = r.provider and i.external_id = r.external_id
  left join billing.accounts a on a.account_id = coalesce(r.id, i.account_id);

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
  left join billing.accounts a on a.account_id = r.id;
  if v_payers_now is distinct from v_payers then
    raise exception 'an account got another payer meanwhile' using errcode = 'serialization_failure';
  end if;

  select array_agg(pocket.payer_id), array_agg(pocket.product)
  into v_pocket_payers, v_pocket_products
  from (
    select distinct v_payers[i.named] as payer_id, i.product
    from unnest(p_named, p_products) as i (named, product)) as pocket;
  v_holds := (
  select json_agg(json_build_array(
    h.payer_id, h.product, h.sequence::text, h.account_id, h.amount::text,
    (extract(epoch from h.expires_at) * 1000)::bigint,
    e.grant_sequences::text[], e.grant_amounts::text[])
    order by h.payer_id, h.sequence)
  from unnest(v_pocket_payers, v_pocket_products) as pocket (payer_id, product)
  cross join lateral (
    select * from billing.holds h
    where h.payer_id = pocket.payer_id and h.product = pocket.product and h.outcome is null
    offset 0) as h
  cross join lateral (
    select e.grant_sequences, e.grant_amounts from billing.entries e
    where e.payer_id = h.payer_id and e.sequence = h.sequence
    offset 0) as e);

  return json_build_object(
    'busy', to_json(v_busy),
    'accounts', (
      select json_agg(json_build_array(
        r.n, a.account_id, a.payer_id, a.earlier_payers, a.status, p.status, p.time_zone, p.gated))
      from unnest(v_accounts) with ordinality as r (id, n)
      join billing.accounts a on a.account_id = r.id
      join billing.accounts p on p.account_id = a.payer_id),
    'products', (
      select json_agg(json_build_array(p.key, p.kind, p.unit, p.decimals))
      from billing.products p where p.key = any(p_products)),
    'lines', (
      select json_agg(json_build_array(
        payer.id, last.sequence::text, (extract(epoch from last.recorded_at) * 1000)::bigint))
      from (select distinct id from unnest(v_payers) as id where id is not null) as payer
      cross join lateral (
        select e.sequence, e.recorded_at from billing.entries e
        where e.payer_id = payer.id order by e.sequence desc limit 1) as last),
    
    'grants', (
      select json_agg(json_build_array(
      g.payer_id, g.product, g.sequence::text, g.initial::text, g.remaining::text, g.held::text,
      g.priority, (extract(epoch from g.valid_from) * 1000)::bigint,
      (extract(epoch from least(g.expires_at, g.ended_at)) * 1000)::bigint,
      (extract(epoch from g.anchor_at) * 1000)::bigint, g.anchor_months, g.value::text, g.currency))
      from unnest(v_pocket_payers, v_pocket_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.grants g
        where g.payer_id = pocket.payer_id and g.product = pocket.product and g.live
        offset 0) as g),
    'holds', v_holds,
    -- Grants of which nothing is left but what is on hold.
    'held', case when v_holds is not null then (
      select json_agg(json_build_array(
      g.payer_id, g.product, g.sequence::text, g.initial::text, g.remaining::text, g.held::text,
      g.priority, (extract(epoch from g.valid_from) * 1000)::bigint,
      (extract(epoch from least(g.expires_at, g.ended_at)) * 1000)::bigint,
      (extract(epoch from g.anchor_at) * 1000)::bigint, g.anchor_months, g.value::text, g.currency))
      from (
        select distinct pocket.payer_id, held.sequence
        from unnest(v_pocket_payers, v_pocket_products) as pocket (payer_id, product)
  cross join lateral (
    select * from billing.holds h
    where h.payer_id = pocket.payer_id and h.product = pocket.product and h.outcome is null
    offset 0) as h
  cross join lateral (
    select e.grant_sequences, e.grant_amounts from billing.entries e
    where e.payer_id = h.payer_id and e.sequence = h.sequence
    offset 0) as e
        cross join lateral unnest(e.grant_sequences) as held (sequence)) as held
      cross join lateral (
        select * from billing.grants g
        where g.payer_id = held.payer_id and g.sequence = held.sequence and not g.live
        offset 0) as g) end,
    'due', (
      select json_agg(json_build_array(
        pocket.payer_id, pocket.product, (extract(epoch from d.at) * 1000)::bigint))
      from unnest(v_pocket_payers, v_pocket_products) as pocket (payer_id, product)
      cross join lateral (
        select min(f.at) as at
        from (
          select pocket.payer_id as id
          union all
          select a.account_id from billing.accounts a
          where a.merged_into = pocket.payer_id) as n
        cross join lateral (
          select s.next_due_at as at from billing.subscriptions s
          where s.payer_id = n.id and s.next_due_at is not null
          order by s.next_due_at limit 1) as f
        offset 0) as d
      where d.at is not null),
    'gates', (
      select json_agg(json_build_array(a.payer_id, a.product, a.reason))
      from unnest(v_pocket_payers, v_pocket_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.access_gates a
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
            from billing.grants g
            where g.payer_id = pocket.payer_id and g.product = pocket.product
              and not g.live and g.held = 0
            group by ends) as spent) end))
      from unnest(v_pocket_payers, v_pocket_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.products p
        where p.key = pocket.product
          and (p.low_balance_threshold is not null or p.usage_thresholds is not null)
        offset 0) as p),
    'terms', (
      select json_agg(json_build_array(t.payer_id, t.product, t.unit_limit::text, t.used::text))
      from unnest(v_pocket_payers, v_pocket_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.overage_terms t
        where t.payer_id = pocket.payer_id and t.product = pocket.product
        offset 0) as t),
    'answers', (
      select json_agg(json_build_array(
        i.n, w.payer_id, encode(w.fingerprint, 'hex'), w.answer,
        (extract(epoch from w.expires_at) * 1000)::bigint))
      from unnest(p_named, p_keys) with ordinality as i (named, key_hash, n)
      join billing.accounts a on a.account_id = v_accounts[i.named]
      -- One look-up for each payer, nearly always one; = any() would cost ten times as much.
      cross join lateral unnest(array_prepend(a.payer_id, a.earlier_payers)) as payer (id)
      cross join lateral (
        select w.payer_id, w.fingerprint, w.answer, w.expires_at from billing.answers w
        where w.payer_id = payer.id and w.account_id = a.account_id and w.key_hash = i.key_hash
        -- A fence: pulled up, the key would become a filter on all the account's answers.
        offset 0) as w
      where i.key_hash is not null)
  );
end
$function$;

CREATE OR REPLACE FUNCTION billing.lock_standing(p_payer uuid, p_ids uuid[], p_providers text[], p_external_ids text[], p_named integer[], p_products text[])
 RETURNS json
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
begin
  perform pg_advisory_xact_lock(hashtextextended(p_payer::text, 8104593));
  return billing.read_standing(p_ids, p_providers, p_external_ids, p_named, p_products);
end
$function$;

CREATE OR REPLACE FUNCTION billing.read_pockets(p_payers uuid[], p_products text[])
 RETURNS json
 LANGUAGE plpgsql
 STABLE
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
declare
  v_holds json;
begin
  v_holds := (
  select json_agg(json_build_array(
    h.payer_id, h.product, h.sequence::text, h.account_id, h.amount::text,
    (extract(epoch from h.expires_at) * 1000)::bigint,
    e.grant_sequences::text[], e.grant_amounts::text[])
    order by h.payer_id, h.sequence)
  from unnest(p_payers, p_products) as pocket (payer_id, product)
  cross join lateral (
    select * from billing.holds h
    where h.payer_id = pocket.payer_id and h.product = pocket.product and h.outcome is null
    offset 0) as h
  cross join lateral (
    select e.grant_sequences, e.grant_amounts from billing.entries e
    where e.payer_id = h.payer_id and e.sequence = h.sequence
    offset 0) as e);
  return json_build_object(
    'grants', (
      select json_agg(json_build_array(
      g.payer_id, g.product, g.sequence::text, g.initial::text, g.remaining::text, g.held::text,
      g.priority, (extract(epoch from g.valid_from) * 1000)::bigint,
      (extract(epoch from least(g.expires_at, g.ended_at)) * 1000)::bigint,
      (extract(epoch from g.anchor_at) * 1000)::bigint, g.anchor_months, g.value::text, g.currency))
      from unnest(p_payers, p_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.grants g
        where g.payer_id = pocket.payer_id and g.product = pocket.product and g.live
        offset 0) as g),
    'holds', v_holds,
    -- Grants of which nothing is left but what is on hold.
    'held', case when v_holds is not null then (
      select json_agg(json_build_array(
      g.payer_id, g.product, g.sequence::text, g.initial::text, g.remaining::text, g.held::text,
      g.priority, (extract(epoch from g.valid_from) * 1000)::bigint,
      (extract(epoch from least(g.expires_at, g.ended_at)) * 1000)::bigint,
      (extract(epoch from g.anchor_at) * 1000)::bigint, g.anchor_months, g.value::text, g.currency))
      from (
        select distinct pocket.payer_id, held.sequence
        from unnest(p_payers, p_products) as pocket (payer_id, product)
  cross join lateral (
    select * from billing.holds h
    where h.payer_id = pocket.payer_id and h.product = pocket.product and h.outcome is null
    offset 0) as h
  cross join lateral (
    select e.grant_sequences, e.grant_amounts from billing.entries e
    where e.payer_id = h.payer_id and e.sequence = h.sequence
    offset 0) as e
        cross join lateral unnest(e.grant_sequences) as held (sequence)) as held
      cross join lateral (
        select * from billing.grants g
        where g.payer_id = held.payer_id and g.sequence = held.sequence and not g.live
        offset 0) as g) end,
    'due', (
      select json_agg(json_build_array(
        pocket.payer_id, pocket.product, (extract(epoch from d.at) * 1000)::bigint))
      from unnest(p_payers, p_products) as pocket (payer_id, product)
      cross join lateral (
        select min(f.at) as at
        from (
          select pocket.payer_id as id
          union all
          select a.account_id from billing.accounts a
          where a.merged_into = pocket.payer_id) as n
        cross join lateral (
          select s.next_due_at as at from billing.subscriptions s
          where s.payer_id = n.id and s.next_due_at is not null
          order by s.next_due_at limit 1) as f
        offset 0) as d
      where d.at is not null),
    'gates', (
      select json_agg(json_build_array(a.payer_id, a.product, a.reason))
      from unnest(p_payers, p_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.access_gates a
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
            from billing.grants g
            where g.payer_id = pocket.payer_id and g.product = pocket.product
              and not g.live and g.held = 0
            group by ends) as spent) end))
      from unnest(p_payers, p_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.products p
        where p.key = pocket.product
          and (p.low_balance_threshold is not null or p.usage_thresholds is not null)
        offset 0) as p),
    'terms', (
      select json_agg(json_build_array(t.payer_id, t.product, t.unit_limit::text, t.used::text))
      from unnest(p_payers, p_products) as pocket (payer_id, product)
      cross join lateral (
        select * from billing.overage_terms t
        where t.payer_id = pocket.payer_id and t.product = pocket.product
        offset 0) as t));
end
$function$;

CREATE OR REPLACE FUNCTION billing.read_standing(p_ids uuid[], p_providers text[], p_external_ids text[], p_named integer[], p_products text[])
 RETURNS json
 LANGUAGE plpgsql
 STABLE
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
declare
  v_accounts uuid[];
  v_payers uuid[];
  v_pocket_payers uuid[];
  v_pocket_products text[];
begin
  select array_agg(a.account_id order by r.n), array_agg(a.payer_id order by r.n)
  into v_accounts, v_payers
  from unnest(p_ids, p_providers, p_external_ids) with ordinality as r (id, provider, external_id, n)
  left join billing.identities i
    on r.id is null and i.provider = r.provider and i.external_id = r.external_id
  left join billing.accounts a on a.account_id = coalesce(r.id, i.account_id);

  select array_agg(pocket.payer_id), array_agg(pocket.product)
  into v_pocket_payers, v_pocket_products
  from (
    select distinct v_payers[i.named] as payer_id, i.product
    from unnest(p_named, p_products) as i (named, product)) as pocket
  where pocket.payer_id is not null;

  return json_build_object(
    'accounts', (
      select json_agg(json_build_array(
        r.n, a.account_id, a.payer_id, a.earlier_payers, a.status, p.status, p.time_zone, p.gated))
      from unnest(v_accounts) with ordinality as r (id, n)
      join billing.accounts a on a.account_id = r.id
      join billing.accounts p on p.account_id = a.payer_id),
    'products', (
      select json_agg(json_build_array(p.key, p.kind, p.unit, p.decimals))
      from billing.products p where p.key = any (p_products)),
    'lines', (
      select json_agg(json_build_array(
        payer.id, last.sequence::text, (extract(epoch from last.recorded_at) * 1000)::bigint))
      from (select distinct id from unnest(v_payers) as id where id is not null) as payer
      cross join lateral (
        select e.sequence, e.recorded_at from billing.entries e
        where e.payer_id = payer.id order by e.sequence desc limit 1) as last),
    'pockets', billing.read_pockets(v_pocket_payers, v_pocket_products));
end
$function$;

CREATE OR REPLACE FUNCTION billing.record_use(p_payer uuid, p_sequence bigint, p_account uuid, p_provider text, p_external_id text, p_grant bigint, p_was numeric, p_remaining numeric, p_product text, p_amount numeric, p_value numeric, p_recorded_at timestamp with time zone, p_key bytea, p_fingerprint bytea, p_answer text, p_expires_at timestamp with time zone, p_lock_timeout text)
 RETURNS text
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
begin
  perform set_config('lock_timeout', p_lock_timeout, true);
  if not pg_try_advisory_xact_lock(hashtextextended(p_payer::text, 8104593)) then return 'busy'; end if;
  if p_payer is distinct from (
      select a.payer_id from billing.accounts a where a.account_id = p_account and a.status = 'active' and not a.gated)
    or p_sequence - 1 is distinct from coalesce((
      select e.sequence from billing.entries e where e.payer_id = p_payer
      order by e.sequence desc limit 1), 0)
    or p_account <> p_payer and 'active' is distinct from (
      select a.status from billing.accounts a where a.account_id = p_payer and not a.gated)
    or p_provider is not null and p_account is distinct from (
      select i.account_id from billing.identities i
      where i.provider = p_provider and i.external_id = p_external_id)
  then return 'stale'; end if;
  if p_key is not null and (
    select true from billing.answers w
    where w.payer_id = p_payer and w.account_id = p_account and w.key_hash = p_key)
  then return 'answered'; end if;

  update billing.grants g set remaining = p_remaining, live = p_remaining > 0
  where g.payer_id = p_payer and g.sequence = p_grant and g.remaining = p_was;
  if not found then
    raise exception 'a grant changed without its account being locked' using errcode = 'serialization_failure';
  end if;

  insert into billing.entries
    (payer_id, sequence, account_id, product, kind, amount,
     grant_sequences, grant_amounts, grant_values, effective_at, recorded_at)
  values (p_payer, p_sequence, p_account, p_product, 'use', -p_amount, array[p_grant],
    array[-p_amount], case when p_value is not null then array[p_value] end,
    p_recorded_at, p_recorded_at);

  if p_key is not null then
    insert into billing.answers (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
    values (p_payer, p_account, p_key, p_fingerprint, p_answer, p_expires_at);
  end if;
  return '';
end
$function$;

CREATE OR REPLACE FUNCTION billing.record_uses(p_look boolean, p_after text, p_token text, p_now timestamp with time zone, p_expires_at timestamp with time zone, p_lock_timeout text, p_payers uuid[], p_lasts bigint[], p_chained boolean[], p_times timestamp with time zone[], p_account_payers integer[], p_accounts uuid[], p_providers text[], p_external_ids text[], p_grant_payers integer[], p_grants bigint[], p_was numeric[], p_remaining numeric[], p_named integer[], p_sequences bigint[], p_products text[], p_amounts numeric[], p_left text[], p_drawn bigint[], p_values numeric[], p_traced text[], p_traced_amounts text[], p_traced_values text[], p_keyed boolean[], p_keys bytea, p_fingerprints bytea, OUT busy integer[], OUT stale integer[], OUT answered integer[])
 RETURNS record
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_bitmapscan TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
declare
  v_bad integer[];
  v_changed integer;
  v_written integer;
begin
  perform set_config('lock_timeout', p_lock_timeout, true);

  select array_agg(p.n) into busy
  from unnest(p_payers) with ordinality as p (id, n)
  where not pg_try_advisory_xact_lock(hashtextextended(p.id::text, 8104593));

  select array_agg(a.payer) into stale
  from unnest(p_account_payers, p_accounts) as a (payer, id)
  where p_payers[a.payer] is distinct from (
    select k.payer_id from billing.accounts k where k.account_id = a.id and k.status = 'active' and not k.gated);
  if p_providers <> '{}' then
    stale := stale || (
      select array_agg(a.payer)
      from unnest(p_account_payers, p_accounts, p_providers, p_external_ids)
             as a (payer, id, provider, external_id)
      where a.id <> p_payers[a.payer] and 'active' is distinct from (
          select k.status from billing.accounts k where k.account_id = p_payers[a.payer] and not k.gated)
        or a.provider is not null and a.id is distinct from (
          select i.account_id from billing.identities i
          where i.provider = a.provider and i.external_id = a.external_id));
  end if;
  if p_after is not null and current_setting('billing.written', true) is distinct from p_after then
    stale := stale || (
      select array_agg(p.n::integer) from unnest(p_chained) with ordinality as p (chained, n)
      where p.chained);
  end if;
  if p_look then
    stale := stale || (
      select array_agg(p.n::integer)
      from unnest(p_payers, p_lasts) with ordinality as p (id, last, n)
      where p.last is distinct from coalesce((
        select e.sequence from billing.entries e where e.payer_id = p.id
        order by e.sequence desc limit 1), 0));
    if p_keys <> '' then
      answered := (
        select array_agg(p_account_payers[u.named])
        from unnest(p_named, p_keyed) with ordinality as u (named, keyed, n)
        where u.keyed is not false and (
          select true from billing.answers w
          where w.payer_id = p_payers[p_account_payers[u.named]]
            and w.account_id = p_accounts[u.named]
            and w.key_hash = substring(p_keys from (u.n::integer - 1) * 16 + 1 for 16)));
    end if;
  end if;
  v_bad := busy || stale || answered;

  update billing.grants g
  set remaining = n.remaining, live = n.remaining > 0
  from unnest(p_grant_payers, p_grants, p_was, p_remaining) as n (payer, sequence, was, remaining)
  where g.payer_id = p_payers[n.payer] and g.sequence = n.sequence and g.remaining = n.was
    and (v_bad is null or n.payer <> all (v_bad));
  get diagnostics v_changed = row_count;

  insert into billing.entries
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
    insert into billing.answers (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
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
$function$;

CREATE OR REPLACE FUNCTION billing.refuse_billed_item()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if (old.dropped_at is null or new.dropped_at = old.dropped_at)
     and (new.description is null or new.description = old.description)
     and (old.invoice_id is null or new.invoice_id = old.invoice_id
          or (new.invoice_id is null and not exists (
                select from billing.invoices i
                where i.invoice_id = old.invoice_id and i.status not in ('draft', 'void')))) then
    return new;
  end if;
  raise exception 'what was billed is not billed again' using errcode = 'restrict_violation';
end
$function$;

CREATE OR REPLACE FUNCTION billing.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception '% on %.% is refused: what is written there stays', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation',
          hint = 'Correct a mistake with another entry, an offer with a new version.';
end
$function$;

CREATE OR REPLACE FUNCTION billing.refuse_changes_of_issued()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from (
      select l.* from old_lines l
      cross join lateral (
        select i.status from billing.invoices i
        where i.payer_id = l.payer_id and i.invoice_id = l.invoice_id offset 0) as i
      where i.status <> 'draft' offset 0) as l
    where not exists (
      select from new_lines n
      where n.payer_id = l.payer_id and n.invoice_id = l.invoice_id and n.position = l.position
        and n.description is null
        and (to_jsonb(n) - 'description') = (to_jsonb(l) - 'description'))) then
    raise exception 'the lines of an issued invoice never change' using errcode = 'restrict_violation';
  end if;
  return null;
end
$function$;

CREATE OR REPLACE FUNCTION billing.refuse_excess_return()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
declare
  v_net numeric;
  v_tax numeric;
  v_back_net numeric;
  v_back_tax numeric;
begin
  if new.sold_by = 'invoice' then
    select l.net, l.tax into v_net, v_tax from billing.invoice_lines l
    where l.payer_id = new.payer_id and l.invoice_id = new.document_id and l.position = new.position
    for no key update;
  else
    select i.net, i.tax into v_net, v_tax from billing.order_items i
    where i.payer_id = new.payer_id and i.order_id = new.document_id and i.position = new.position
    for no key update;
  end if;
  select sum(r.net), sum(r.tax) into v_back_net, v_back_tax from billing.line_returns r
  where r.payer_id = new.payer_id and r.document_id = new.document_id
    and r.position = new.position;
  v_back_net := coalesce(v_back_net, 0) + new.net;
  v_back_tax := coalesce(v_back_tax, 0) + new.tax;
  if v_net is null or abs(v_back_net) > abs(v_net) or abs(v_back_tax) > abs(v_tax)
     or v_back_net * v_net < 0 or v_back_tax * v_tax < 0 then
    raise exception 'more would come back of line % of % % than there was',
      new.position, new.sold_by, new.document_id using errcode = 'check_violation';
  end if;
  return new;
end
$function$;

CREATE OR REPLACE FUNCTION billing.refuse_free_usage()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (select from billing.invoices i
             where i.payer_id = old.invoice_payer_id and i.invoice_id = old.invoice_id
               and i.status = 'void') then
    return old;
  end if;
  raise exception 'what was billed is not billed again' using errcode = 'restrict_violation';
end
$function$;

CREATE OR REPLACE FUNCTION billing.refuse_lines_of_issued()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from (select distinct l.payer_id, l.invoice_id from touched l offset 0) as l
    cross join lateral (
      select i.status from billing.invoices i
      where i.payer_id = l.payer_id and i.invoice_id = l.invoice_id offset 0) as i
    where i.status <> 'draft') then
    raise exception 'the lines of an issued invoice never change' using errcode = 'restrict_violation';
  end if;
  return null;
end
$function$;

CREATE OR REPLACE FUNCTION billing.write_entries(p_grant_payers uuid[], p_grant_sequences bigint[], p_was numeric[], p_remaining numeric[], p_was_held numeric[], p_held numeric[], p_payers uuid[], p_sequences bigint[], p_accounts uuid[], p_products text[], p_kinds text[], p_amounts numeric[], p_traced text[], p_traced_amounts text[], p_traced_values text[], p_effective_at timestamp with time zone[], p_recorded_at timestamp with time zone[], p_sources text[], p_metadata text[], p_causes bigint[], p_overages numeric[], p_term_payers uuid[], p_term_products text[], p_was_used numeric[], p_used numeric[], p_answer_payers uuid[], p_answer_accounts uuid[], p_keys bytea[], p_fingerprints bytea[], p_answers text[], p_answered_at timestamp with time zone, p_expires_at timestamp with time zone[], OUT changed integer, OUT written integer, OUT kept integer, OUT counted integer)
 RETURNS record
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
begin
  update billing.grants g
  set remaining = n.remaining, live = n.remaining > 0, held = n.held
  from unnest(p_grant_payers, p_grant_sequences, p_was, p_remaining, p_was_held, p_held)
         as n (payer_id, sequence, was, remaining, was_held, held)
  where g.payer_id = n.payer_id and g.sequence = n.sequence
    and g.remaining = n.was and g.held = n.was_held;
  get diagnostics changed = row_count;

  insert into billing.entries
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
    insert into billing.entry_details (payer_id, sequence, source, metadata)
    select n.payer_id, n.sequence, n.source, n.metadata::jsonb
    from unnest(p_payers, p_sequences, p_sources, p_metadata)
           as n (payer_id, sequence, source, metadata)
    where n.metadata is not null;
  end if;

  counted := 0;
  if cardinality(p_term_payers) > 0 then
    update billing.overage_terms t
    set used = n.used
    from unnest(p_term_payers, p_term_products, p_was_used, p_used)
           as n (payer_id, product, was, used)
    where t.payer_id = n.payer_id and t.product = n.product and t.used = n.was;
    get diagnostics counted = row_count;
  end if;

  kept := 0;
  if cardinality(p_keys) > 0 then
    insert into billing.answers as old
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
$function$;

-- Tables

create table billing.access_gates (
  payer_id uuid not null,
  product text not null,
  reason text not null,
  constraint access_gates_pkey PRIMARY KEY (payer_id, product),
  constraint access_gates_reason_check CHECK (reason = ANY (ARRAY['no_subscription'::text, 'subscription_ended'::text, 'subscription_cancelled'::text, 'subscription_paused'::text, 'payment_overdue'::text, 'payment_awaited'::text]))
);
comment on table billing.access_gates is 'What subscriptions have to say about the use of a product: that it is denied, or why it is used up.';

create table billing.account_contacts (
  account_id uuid not null,
  name text,
  company text,
  phone text,
  line1 text,
  line2 text,
  city text,
  postal_code text,
  region text,
  country text,
  updated_at timestamp with time zone not null,
  constraint account_contacts_pkey PRIMARY KEY (account_id),
  constraint account_contacts_check CHECK ((line1 IS NULL) = (city IS NULL) AND (line1 IS NULL) = (postal_code IS NULL) AND (line1 IS NULL) = (country IS NULL)),
  constraint account_contacts_check1 CHECK (line1 IS NOT NULL OR line2 IS NULL AND region IS NULL)
);
comment on table billing.account_contacts is 'To whom invoices of an account are addressed. Its row goes when a person is erased.';

create table billing.account_credit_details (
  payer_id uuid not null,
  credit_id uuid not null,
  account_id uuid not null,
  reason text,
  metadata jsonb not null default '{}'::jsonb,
  constraint account_credit_details_pkey PRIMARY KEY (payer_id, credit_id)
);
comment on table billing.account_credit_details is 'What people wrote beside account credit. Emptied when a person is erased.';
CREATE INDEX account_credit_details_account ON billing.account_credit_details USING btree (account_id);

create table billing.account_credits (
  payer_id uuid not null,
  credit_id uuid not null,
  currency text not null,
  amount numeric not null,
  reason text not null,
  invoice_id uuid,
  credit_note_id uuid,
  created_at timestamp with time zone not null,
  constraint account_credits_pkey PRIMARY KEY (payer_id, credit_id),
  constraint account_credits_amount_check CHECK (amount <> 0::numeric),
  constraint account_credits_reason_check CHECK (reason = ANY (ARRAY['carried'::text, 'used'::text, 'credit_note'::text, 'overpaid'::text, 'given'::text, 'taken'::text, 'moved'::text]))
);
comment on table billing.account_credits is 'Credit of accounts against invoices to come: append-only; it is the sum.';
CREATE INDEX account_credits_sum ON billing.account_credits USING btree (payer_id, currency) INCLUDE (amount);
CREATE TRIGGER account_credits_are_kept BEFORE TRUNCATE ON billing.account_credits FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER account_credits_stay BEFORE DELETE OR UPDATE ON billing.account_credits FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.account_details (
  account_id uuid not null,
  name text,
  email text,
  metadata jsonb not null default '{}'::jsonb,
  updated_at timestamp with time zone not null,
  constraint account_details_pkey PRIMARY KEY (account_id)
);
comment on table billing.account_details is 'Contact data of an account. Never used to find or join accounts.';

create table billing.account_taxes (
  account_id uuid not null,
  status text not null default 'normal'::text,
  country text,
  tax_rate text,
  tax_ids jsonb not null default '[]'::jsonb,
  updated_at timestamp with time zone not null,
  constraint account_taxes_pkey PRIMARY KEY (account_id),
  constraint account_taxes_status_check CHECK (status = ANY (ARRAY['normal'::text, 'exempt'::text, 'reverse_charge'::text]))
);
comment on table billing.account_taxes is 'How an account is taxed.';

create table billing.accounts (
  account_id uuid not null,
  payer_id uuid not null,
  earlier_payers uuid[] not null default '{}'::uuid[],
  status text not null default 'active'::text,
  time_zone text not null default 'UTC'::text,
  gated boolean not null default false,
  created_at timestamp with time zone not null,
  merged_into uuid,
  merged_at timestamp with time zone,
  erased_at timestamp with time zone,
  constraint accounts_pkey PRIMARY KEY (account_id),
  constraint accounts_check CHECK ((merged_into IS NULL) = (merged_at IS NULL)),
  constraint accounts_check1 CHECK (merged_into IS NULL OR merged_into <> account_id AND payer_id <> account_id),
  constraint accounts_status_check CHECK (status = ANY (ARRAY['active'::text, 'suspended'::text, 'closed'::text]))
);
comment on table billing.accounts is 'Who is billed. Holds no personal data; that is in account_details and identities.';
CREATE INDEX accounts_aliases ON billing.accounts USING btree (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX accounts_children ON billing.accounts USING btree (payer_id) WHERE payer_id <> account_id;
CREATE TRIGGER aliases_stay BEFORE UPDATE ON billing.accounts FOR EACH ROW WHEN (old.merged_into IS NOT NULL AND new.merged_into IS NULL OR old.erased_at IS DISTINCT FROM new.erased_at AND old.erased_at IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();

create table billing.answers (
  payer_id uuid not null,
  account_id uuid not null,
  key_hash bytea not null,
  fingerprint bytea not null,
  answer text not null,
  expires_at timestamp with time zone not null,
  constraint answers_pkey PRIMARY KEY (payer_id, account_id, key_hash)
);
comment on table billing.answers is 'The first answer to each idempotency key, until it expires.';
CREATE INDEX answers_expiry ON billing.answers USING btree (expires_at);

create table billing.awaiting_changes (
  payer_id uuid not null,
  subscription_id uuid not null,
  change_id uuid not null,
  sku text not null,
  version integer not null,
  quantity integer not null,
  mode text not null,
  names_offer boolean not null,
  names_quantity boolean not null,
  opens integer not null,
  cycle integer not null,
  fee numeric not null,
  part_days integer,
  whole_days integer,
  amount numeric not null,
  credited jsonb not null,
  effective_at timestamp with time zone not null,
  lapses_at timestamp with time zone not null,
  applied_at timestamp with time zone,
  period_number integer,
  lapsed_at timestamp with time zone,
  by_time boolean not null default true,
  constraint awaiting_changes_pkey PRIMARY KEY (payer_id, subscription_id, change_id),
  constraint awaiting_changes_amount_check CHECK (amount > 0::numeric),
  constraint awaiting_changes_check CHECK (cycle >= 1 AND cycle <= opens),
  constraint awaiting_changes_check1 CHECK ((applied_at IS NULL) = (period_number IS NULL)),
  constraint awaiting_changes_check2 CHECK (applied_at IS NULL OR lapsed_at IS NULL),
  constraint awaiting_changes_check3 CHECK (applied_at IS NULL OR period_number = opens),
  constraint awaiting_changes_check4 CHECK ((part_days IS NULL) = (whole_days IS NULL)),
  constraint awaiting_changes_fee_check CHECK (fee > 0::numeric),
  constraint awaiting_changes_mode_check CHECK (mode = ANY (ARRAY['prorate'::text, 'add'::text, 'full'::text])),
  constraint awaiting_changes_opens_check CHECK (opens > 0),
  constraint awaiting_changes_part_days_check CHECK (part_days >= 0),
  constraint awaiting_changes_quantity_check CHECK (quantity > 0),
  constraint awaiting_changes_whole_days_check CHECK (whole_days > 0)
);
comment on table billing.awaiting_changes is 'Changes of subscriptions that wait for their payment, and what became of them.';
CREATE INDEX awaiting_changes_id ON billing.awaiting_changes USING btree (change_id);
CREATE UNIQUE INDEX awaiting_changes_open ON billing.awaiting_changes USING btree (payer_id, subscription_id) WHERE applied_at IS NULL AND lapsed_at IS NULL;
CREATE TRIGGER awaiting_changes_are_kept BEFORE TRUNCATE ON billing.awaiting_changes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER awaiting_changes_by_time_stays BEFORE UPDATE OF by_time ON billing.awaiting_changes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER awaiting_changes_stay BEFORE DELETE OR UPDATE OF payer_id, subscription_id, change_id, sku, version, quantity, mode, names_offer, names_quantity, opens, cycle, fee, part_days, whole_days, amount, credited, effective_at, lapses_at ON billing.awaiting_changes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER done_awaiting_changes_stay BEFORE UPDATE ON billing.awaiting_changes FOR EACH ROW WHEN (old.applied_at IS NOT NULL OR old.lapsed_at IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();

create table billing.book_marks (
  payer_id uuid not null,
  posted_sequence bigint not null,
  due_at timestamp with time zone not null,
  constraint book_marks_pkey PRIMARY KEY (payer_id),
  constraint book_marks_posted_sequence_check CHECK (posted_sequence >= 0)
) with (fillfactor=80);
comment on table billing.book_marks is 'How far the money book has followed each ledger in which there was money.';
CREATE INDEX book_marks_due ON billing.book_marks USING btree (due_at, payer_id);
CREATE TRIGGER book_marks_are_kept BEFORE TRUNCATE ON billing.book_marks FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER book_marks_go_on BEFORE UPDATE ON billing.book_marks FOR EACH ROW WHEN (new.posted_sequence < old.posted_sequence) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER book_marks_stay BEFORE DELETE OR UPDATE OF payer_id ON billing.book_marks FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.catalog_names (
  folded text not null,
  kind text not null,
  name text not null,
  constraint catalog_names_pkey PRIMARY KEY (folded),
  constraint catalog_names_kind_check CHECK (kind = ANY (ARRAY['product'::text, 'offer'::text]))
);
comment on table billing.catalog_names is 'Keys of products, and skus of offers behind a word: of a kind none differs from another by case alone.';

create table billing.collections (
  payer_id uuid not null,
  invoice_id uuid not null,
  account_id uuid not null,
  mode text not null,
  status text not null,
  stop_reason text,
  opened_at timestamp with time zone not null,
  attempts smallint not null default 0,
  next_attempt_at timestamp with time zone,
  hard_method_id uuid,
  first_failed_at timestamp with time zone,
  grace_until timestamp with time zone,
  overdue_at timestamp with time zone,
  final_at timestamp with time zone,
  final_action text,
  finished_at timestamp with time zone,
  closed_at timestamp with time zone,
  next_due_at timestamp with time zone,
  constraint collections_pkey PRIMARY KEY (payer_id, invoice_id),
  constraint collections_attempts_check CHECK (attempts >= 0),
  constraint collections_check CHECK ((status = 'closed'::text) = (closed_at IS NOT NULL)),
  constraint collections_check1 CHECK ((status = 'stopped'::text) = (stop_reason IS NOT NULL)),
  constraint collections_check2 CHECK (status = 'waiting'::text OR next_attempt_at IS NULL),
  constraint collections_check3 CHECK (mode = 'charge'::text OR attempts = 0 AND next_attempt_at IS NULL OR mode = 'provider'::text),
  constraint collections_check4 CHECK ((final_action IS NULL) = (finished_at IS NULL)),
  constraint collections_check5 CHECK ((first_failed_at IS NULL) = (grace_until IS NULL)),
  constraint collections_check6 CHECK (closed_at IS NULL OR next_due_at IS NULL),
  constraint collections_final_action_check CHECK (final_action = ANY (ARRAY['cancel'::text, 'uncollectible'::text, 'keep'::text])),
  constraint collections_mode_check CHECK (mode = ANY (ARRAY['charge'::text, 'send'::text, 'provider'::text])),
  constraint collections_status_check CHECK (status = ANY (ARRAY['waiting'::text, 'stopped'::text, 'exhausted'::text, 'closed'::text])),
  constraint collections_stop_reason_check CHECK (stop_reason = ANY (ARRAY['hard_decline'::text, 'customer_cancelled'::text, 'payment_lapsed'::text]))
) with (fillfactor=70);
comment on table billing.collections is 'How far the collecting of each invoice has come.';
CREATE INDEX collections_due ON billing.collections USING btree (next_due_at, payer_id) WHERE next_due_at IS NOT NULL;
CREATE INDEX collections_invoice ON billing.collections USING btree (invoice_id);
CREATE TRIGGER collections_are_kept BEFORE DELETE OR TRUNCATE ON billing.collections FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER collections_move BEFORE UPDATE ON billing.collections FOR EACH ROW WHEN (old.closed_at IS NOT NULL OR new.attempts < old.attempts OR old.finished_at IS NOT NULL AND new.finished_at IS DISTINCT FROM old.finished_at OR old.overdue_at IS NOT NULL AND new.overdue_at IS DISTINCT FROM old.overdue_at) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER collections_stay BEFORE UPDATE OF payer_id, invoice_id, account_id, mode, opened_at ON billing.collections FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.commissions (
  payer_id uuid not null,
  commission_id uuid not null,
  account_id uuid not null,
  referral_id uuid not null,
  order_payer_id uuid not null,
  order_id uuid not null,
  level smallint not null,
  kind text not null,
  refund_id text,
  currency text not null,
  net numeric not null,
  percent numeric not null,
  amount numeric not null,
  created_at timestamp with time zone not null,
  constraint commissions_pkey PRIMARY KEY (payer_id, commission_id),
  constraint commissions_check CHECK (
CASE kind
    WHEN 'earned'::text THEN amount > 0::numeric AND amount <= net
    ELSE amount < 0::numeric
END),
  constraint commissions_check1 CHECK ((kind = 'reversed'::text) = (refund_id IS NOT NULL)),
  constraint commissions_kind_check CHECK (kind = ANY (ARRAY['earned'::text, 'reversed'::text])),
  constraint commissions_level_check CHECK (level = ANY (ARRAY[1, 2])),
  constraint commissions_net_check CHECK (net > 0::numeric),
  constraint commissions_percent_check CHECK (percent > 0::numeric AND percent <= 100::numeric)
);
comment on table billing.commissions is 'Money that accounts earn by the orders of those they brought: append-only.';
CREATE INDEX commissions_account ON billing.commissions USING btree (account_id);
CREATE UNIQUE INDEX commissions_once ON billing.commissions USING btree (payer_id, order_id, level) WHERE kind = 'earned'::text;
CREATE INDEX commissions_order ON billing.commissions USING btree (order_payer_id, order_id);
CREATE UNIQUE INDEX commissions_reversed_once ON billing.commissions USING btree (payer_id, order_id, level, refund_id) WHERE kind = 'reversed'::text;
CREATE TRIGGER commissions_are_kept BEFORE TRUNCATE ON billing.commissions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER commissions_stay BEFORE DELETE OR UPDATE ON billing.commissions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.coupon_periods (
  payer_id uuid not null,
  subscription_id uuid not null,
  cycle integer not null,
  taken numeric not null,
  counted_at timestamp with time zone not null,
  constraint coupon_periods_pkey PRIMARY KEY (payer_id, subscription_id, cycle),
  constraint coupon_periods_cycle_check CHECK (cycle > 0),
  constraint coupon_periods_taken_check CHECK (taken >= 0::numeric)
) with (fillfactor=80);
comment on table billing.coupon_periods is 'What coupons took off periods of subscriptions: each counts once.';
CREATE TRIGGER coupon_periods_are_kept BEFORE TRUNCATE ON billing.coupon_periods FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.coupon_redemptions (
  payer_id uuid not null,
  order_id uuid not null,
  folded_code text not null,
  account_id uuid not null,
  redeemed_at timestamp with time zone not null,
  lapses_at timestamp with time zone,
  released_at timestamp with time zone,
  constraint coupon_redemptions_pkey PRIMARY KEY (payer_id, order_id),
  constraint coupon_redemptions_check CHECK (lapses_at > redeemed_at),
  constraint coupon_redemptions_check1 CHECK (released_at IS NULL OR lapses_at IS NOT NULL)
);
comment on table billing.coupon_redemptions is 'Which order uses which coupon: reserved, kept, lapsed or given back.';
CREATE INDEX coupon_redemptions_code ON billing.coupon_redemptions USING btree (folded_code, payer_id) WHERE released_at IS NULL;
CREATE TRIGGER coupon_redemptions_are_kept BEFORE TRUNCATE ON billing.coupon_redemptions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER coupon_redemptions_stay BEFORE DELETE OR UPDATE OF payer_id, order_id, folded_code, account_id, redeemed_at ON billing.coupon_redemptions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER kept_coupon_redemptions_stay BEFORE UPDATE ON billing.coupon_redemptions FOR EACH ROW WHEN (old.lapses_at IS NULL OR old.released_at IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();

create table billing.coupons (
  folded_code text not null,
  code text not null,
  name text,
  percent numeric,
  amount numeric,
  currency text,
  duration text not null,
  duration_times integer,
  max_redemptions integer,
  max_per_account integer,
  starts_at timestamp with time zone,
  expires_at timestamp with time zone,
  skus text[],
  active boolean not null,
  metadata jsonb not null default '{}'::jsonb,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  constraint coupons_pkey PRIMARY KEY (folded_code),
  constraint coupons_amount_check CHECK (amount > 0::numeric),
  constraint coupons_check CHECK ((percent IS NULL) <> (amount IS NULL)),
  constraint coupons_check1 CHECK ((amount IS NULL) = (currency IS NULL)),
  constraint coupons_check2 CHECK ((duration = 'times'::text) = (duration_times IS NOT NULL)),
  constraint coupons_check3 CHECK (expires_at > starts_at),
  constraint coupons_duration_check CHECK (duration = ANY (ARRAY['once'::text, 'forever'::text, 'times'::text])),
  constraint coupons_duration_times_check CHECK (duration_times > 0),
  constraint coupons_max_per_account_check CHECK (max_per_account > 0),
  constraint coupons_max_redemptions_check CHECK (max_redemptions > 0),
  constraint coupons_percent_check CHECK (percent > 0::numeric AND percent <= 100::numeric),
  constraint coupons_skus_check CHECK (cardinality(skus) > 0)
);
comment on table billing.coupons is 'Discounts that a code gives: how much, for what, when and how often.';

create table billing.credit_note_details (
  payer_id uuid not null,
  credit_note_id uuid not null,
  snapshot jsonb not null,
  reason text,
  metadata jsonb not null default '{}'::jsonb,
  constraint credit_note_details_pkey PRIMARY KEY (payer_id, credit_note_id)
);
comment on table billing.credit_note_details is 'What people wrote on and beside a credit note. What is beside it is emptied when a person is erased, all of it after the retention date.';

create table billing.credit_note_lines (
  payer_id uuid not null,
  credit_note_id uuid not null,
  position integer not null,
  net numeric not null,
  tax numeric not null,
  total numeric not null,
  constraint credit_note_lines_pkey PRIMARY KEY (payer_id, credit_note_id, "position"),
  constraint credit_note_lines_check CHECK (total = (net + tax)),
  constraint credit_note_lines_position_check CHECK ("position" > 0),
  constraint credit_note_lines_total_check CHECK (total <> 0::numeric)
);
comment on table billing.credit_note_lines is 'How much of which line of its invoice a credit note takes back.';
CREATE TRIGGER credit_note_lines_are_kept BEFORE TRUNCATE ON billing.credit_note_lines FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER credit_note_lines_stay BEFORE DELETE OR UPDATE ON billing.credit_note_lines FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.credit_notes (
  payer_id uuid not null,
  credit_note_id uuid not null,
  invoice_id uuid not null,
  series text not null,
  number bigint not null,
  number_text text not null,
  currency text not null,
  net numeric not null,
  tax numeric not null,
  total numeric not null,
  to_due numeric not null,
  to_credit numeric not null,
  to_refund numeric not null,
  reason text not null,
  issued_at timestamp with time zone not null,
  constraint credit_notes_pkey PRIMARY KEY (payer_id, credit_note_id),
  constraint credit_notes_check CHECK (total = (net + tax)),
  constraint credit_notes_check1 CHECK (total = (to_due + to_credit + to_refund)),
  constraint credit_notes_number_check CHECK (number > 0),
  constraint credit_notes_reason_check CHECK (reason = ANY (ARRAY['correction'::text, 'refund'::text, 'void'::text, 'dispute'::text])),
  constraint credit_notes_to_credit_check CHECK (to_credit >= 0::numeric),
  constraint credit_notes_to_due_check CHECK (to_due >= 0::numeric),
  constraint credit_notes_to_refund_check CHECK (to_refund >= 0::numeric),
  constraint credit_notes_total_check CHECK (total > 0::numeric)
);
comment on table billing.credit_notes is 'What was taken back of finalized invoices.';
CREATE INDEX credit_notes_id ON billing.credit_notes USING btree (credit_note_id);
CREATE INDEX credit_notes_invoice ON billing.credit_notes USING btree (payer_id, invoice_id);
CREATE UNIQUE INDEX credit_notes_number ON billing.credit_notes USING btree (series, number);
CREATE INDEX credit_notes_old ON billing.credit_notes USING btree (issued_at);
CREATE TRIGGER credit_notes_are_kept BEFORE TRUNCATE ON billing.credit_notes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER credit_notes_stay BEFORE DELETE OR UPDATE ON billing.credit_notes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.dunning_settings (
  sole boolean not null default true,
  retry_after_days integer[] not null,
  grace_days integer not null,
  final_action text not null,
  saved_at timestamp with time zone not null,
  constraint dunning_settings_pkey PRIMARY KEY (sole),
  constraint dunning_settings_final_action_check CHECK (final_action = ANY (ARRAY['cancel'::text, 'uncollectible'::text, 'keep'::text])),
  constraint dunning_settings_grace_days_check CHECK (grace_days >= 0),
  constraint dunning_settings_sole_check CHECK (sole)
);
comment on table billing.dunning_settings is 'When a payment that failed is tried again, and what comes in the end.';

create table billing.entries (
  payer_id uuid not null,
  sequence bigint not null,
  account_id uuid not null,
  product text not null,
  kind text not null,
  amount numeric not null,
  grant_sequences bigint[] not null default '{}'::bigint[],
  grant_amounts numeric[] not null default '{}'::numeric[],
  grant_values numeric[],
  cause_sequence bigint,
  overage numeric,
  effective_at timestamp with time zone not null,
  recorded_at timestamp with time zone not null,
  constraint entries_pkey PRIMARY KEY (payer_id, sequence),
  constraint entries_check CHECK (cardinality(grant_sequences) = cardinality(grant_amounts)),
  constraint entries_check1 CHECK (grant_values IS NULL OR cardinality(grant_values) = cardinality(grant_amounts)),
  constraint entries_sequence_check CHECK (sequence > 0)
);
comment on table billing.entries is 'The ledger: append-only, one line a change, of every paying account.';
CREATE INDEX entries_cause ON billing.entries USING btree (payer_id, cause_sequence) WHERE cause_sequence IS NOT NULL;
CREATE INDEX entries_overage ON billing.entries USING btree (payer_id, product, sequence) WHERE overage IS NOT NULL;
CREATE TRIGGER entries_are_kept BEFORE TRUNCATE ON billing.entries FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER entries_stay BEFORE DELETE OR UPDATE ON billing.entries FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.entry_details (
  payer_id uuid not null,
  sequence bigint not null,
  source text,
  reason text,
  author text,
  metadata jsonb not null default '{}'::jsonb,
  constraint entry_details_pkey PRIMARY KEY (payer_id, sequence)
);
comment on table billing.entry_details is 'What people wrote beside an entry. Emptied when a person is erased.';

create table billing.entry_pairs (
  payer_id uuid not null,
  sequence bigint not null,
  other_payer_id uuid not null,
  other_sequence bigint not null,
  kind text not null,
  grant_sequence bigint,
  constraint entry_pairs_pkey PRIMARY KEY (payer_id, sequence),
  constraint entry_pairs_check CHECK (payer_id <> other_payer_id OR sequence <> other_sequence),
  constraint entry_pairs_kind_check CHECK (kind = ANY (ARRAY['transfer'::text, 'merge'::text, 'end'::text]))
);
comment on table billing.entry_pairs is 'Two lines that name each other: what left the one grant, and the grant that it made. Both have their row.';
CREATE INDEX entry_pairs_grant ON billing.entry_pairs USING btree (payer_id, grant_sequence) WHERE grant_sequence IS NOT NULL;
CREATE TRIGGER entry_pairs_are_kept BEFORE TRUNCATE ON billing.entry_pairs FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER entry_pairs_stay BEFORE DELETE OR UPDATE ON billing.entry_pairs FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.event_deliveries (
  reader text not null,
  position bigint not null,
  payer_id uuid not null,
  event_id uuid not null,
  lease uuid not null,
  leased_until timestamp with time zone not null,
  attempts integer not null,
  taken boolean not null default false,
  constraint event_deliveries_pkey PRIMARY KEY (payer_id, reader, event_id),
  constraint event_deliveries_attempts_check CHECK (attempts > 0)
) with (fillfactor=80);
comment on table billing.event_deliveries is 'Events that a reader was given and has not acknowledged.';
CREATE INDEX event_deliveries_due ON billing.event_deliveries USING btree (reader, leased_until, "position");
CREATE INDEX event_deliveries_event ON billing.event_deliveries USING btree (reader, event_id);
CREATE INDEX event_deliveries_position ON billing.event_deliveries USING btree (reader, "position");

create table billing.event_positions (
  one boolean not null default true,
  last_position bigint not null,
  constraint event_positions_pkey PRIMARY KEY (one),
  constraint event_positions_last_position_check CHECK (last_position >= 0),
  constraint event_positions_one_check CHECK (one)
);
comment on table billing.event_positions is 'The last position that was given to an event.';
CREATE TRIGGER event_positions_are_kept BEFORE TRUNCATE ON billing.event_positions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER event_positions_go_on BEFORE UPDATE ON billing.event_positions FOR EACH ROW WHEN (new.last_position < old.last_position) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER event_positions_stay BEFORE DELETE ON billing.event_positions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.event_readers (
  name text not null,
  read_to bigint not null,
  created_at timestamp with time zone not null,
  last_polled_at timestamp with time zone not null,
  constraint event_readers_pkey PRIMARY KEY (name),
  constraint event_readers_read_to_check CHECK (read_to >= 0)
) with (fillfactor=50);
comment on table billing.event_readers is 'Who reads events, and how far.';

create table billing.events (
  payer_id uuid not null,
  event_id uuid not null,
  account_id uuid not null,
  type text not null,
  version smallint not null,
  data jsonb not null,
  occurred_at timestamp with time zone not null,
  recorded_at timestamp with time zone not null,
  position bigint,
  constraint events_pkey PRIMARY KEY (payer_id, event_id),
  constraint events_data_check CHECK (jsonb_typeof(data) = 'object'::text),
  constraint events_position_check CHECK ("position" > 0),
  constraint events_version_check CHECK (version > 0)
);
comment on table billing.events is 'What happened, written with the change itself: ids, codes, amounts and times, no text of a person; what a gateway said is emptied by erasure.';
CREATE INDEX events_account ON billing.events USING btree (account_id);
CREATE INDEX events_age ON billing.events USING btree (recorded_at, event_id);
CREATE INDEX events_position ON billing.events USING btree ("position") WHERE "position" IS NOT NULL;
CREATE INDEX events_type ON billing.events USING btree (type, recorded_at, event_id);
CREATE INDEX events_waiting ON billing.events USING btree (recorded_at, event_id) WHERE "position" IS NULL;
CREATE TRIGGER events_are_kept BEFORE TRUNCATE ON billing.events FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER events_keep_their_place BEFORE UPDATE OF "position" ON billing.events FOR EACH ROW WHEN (old."position" IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER events_say_the_same BEFORE UPDATE OF data ON billing.events FOR EACH ROW WHEN (new.data IS DISTINCT FROM (old.data ||
        CASE old.type
            WHEN 'card.error'::text THEN '{"rejectReason": null, "responseText": null}'::jsonb
            WHEN 'top_up.failed'::text THEN '{"rejectReason": null}'::jsonb
            ELSE '{}'::jsonb
        END)) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER events_stay BEFORE UPDATE OF payer_id, event_id, account_id, type, version, occurred_at, recorded_at ON billing.events FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.fees (
  payer_id uuid not null,
  fee_id uuid not null,
  currency text not null,
  amount numeric not null,
  starts_at timestamp with time zone not null,
  ends_at timestamp with time zone not null,
  reference_type text not null,
  reference_id text not null,
  ended_at timestamp with time zone,
  kept numeric,
  posted numeric not null default 0,
  posted_to timestamp with time zone not null,
  due_at timestamp with time zone,
  constraint fees_pkey PRIMARY KEY (payer_id, fee_id),
  constraint fees_amount_check CHECK (amount <> 0::numeric AND scale(trim_scale(amount)) <= 8),
  constraint fees_check CHECK (ends_at > starts_at),
  constraint fees_check1 CHECK ((ended_at IS NULL) = (kept IS NULL)),
  constraint fees_check2 CHECK (ended_at < ends_at),
  constraint fees_check3 CHECK (posted_to >= starts_at)
) with (fillfactor=80);
comment on table billing.fees is 'Money for a time, deferred when it was invoiced and earned by the day; how far the book has come.';
CREATE INDEX fees_due ON billing.fees USING btree (due_at, payer_id, fee_id) WHERE due_at IS NOT NULL;
CREATE INDEX fees_open ON billing.fees USING btree (payer_id) WHERE due_at IS NOT NULL;
CREATE TRIGGER fees_are_kept BEFORE TRUNCATE ON billing.fees FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER fees_end_once BEFORE UPDATE ON billing.fees FOR EACH ROW WHEN (old.ended_at IS NOT NULL AND (new.ended_at IS NULL OR new.ended_at > old.ended_at)) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER fees_stay BEFORE DELETE OR UPDATE OF payer_id, fee_id, currency, amount, starts_at, ends_at, reference_type, reference_id ON billing.fees FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.grants (
  payer_id uuid not null,
  sequence bigint not null,
  account_id uuid not null,
  product text not null,
  initial numeric not null,
  remaining numeric not null,
  held numeric not null default 0,
  live boolean not null,
  priority smallint not null,
  valid_from timestamp with time zone not null,
  expires_at timestamp with time zone,
  ended_at timestamp with time zone,
  anchor_at timestamp with time zone,
  anchor_months integer,
  value numeric not null default 0,
  currency text,
  sku text,
  offer_version integer,
  constraint grants_pkey PRIMARY KEY (payer_id, sequence),
  constraint grants_check CHECK (remaining >= 0::numeric AND remaining <= initial),
  constraint grants_check1 CHECK (live = (remaining > 0::numeric)),
  constraint grants_check2 CHECK (expires_at > valid_from),
  constraint grants_check3 CHECK (value = 0::numeric OR currency IS NOT NULL),
  constraint grants_check4 CHECK ((remaining + held) <= initial),
  constraint grants_held_check CHECK (held >= 0::numeric),
  constraint grants_initial_check CHECK (initial > 0::numeric),
  constraint grants_value_check CHECK (value >= 0::numeric)
) with (fillfactor=80);
comment on table billing.grants is 'Batches of units given to an account; remaining and live are a cache of the entries.';
CREATE INDEX grants_due ON billing.grants USING btree (expires_at) WHERE live AND expires_at IS NOT NULL;
CREATE INDEX grants_ended ON billing.grants USING btree (ended_at) WHERE live AND ended_at IS NOT NULL;
CREATE INDEX grants_live ON billing.grants USING btree (payer_id, product) WHERE live;
CREATE INDEX grants_spent ON billing.grants USING btree (payer_id, product) WHERE NOT live;
CREATE TRIGGER grants_are_kept BEFORE TRUNCATE ON billing.grants FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER grants_end_once BEFORE UPDATE OF ended_at ON billing.grants FOR EACH ROW WHEN (old.ended_at IS NOT NULL AND (new.ended_at IS NULL OR new.ended_at > old.ended_at)) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER grants_stay BEFORE DELETE OR UPDATE OF payer_id, sequence, account_id, product, initial, priority, valid_from, expires_at, anchor_at, anchor_months, value, currency, sku, offer_version ON billing.grants FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.held_fees (
  payer_id uuid not null,
  fee_id uuid not null,
  currency text not null,
  amount numeric not null,
  reference_type text not null,
  reference_id text not null,
  released_at timestamp with time zone,
  constraint held_fees_pkey PRIMARY KEY (payer_id, fee_id),
  constraint held_fees_amount_check CHECK (amount <> 0::numeric AND scale(trim_scale(amount)) <= 8)
);
comment on table billing.held_fees is 'Money for a time that begins when it is paid: deferred, and nothing of it is earned until then.';
CREATE INDEX held_fees_open ON billing.held_fees USING btree (payer_id) WHERE released_at IS NULL;
CREATE TRIGGER held_fees_are_kept BEFORE TRUNCATE ON billing.held_fees FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER held_fees_end_once BEFORE UPDATE ON billing.held_fees FOR EACH ROW WHEN (old.released_at IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER held_fees_stay BEFORE DELETE OR UPDATE OF payer_id, fee_id, currency, amount, reference_type, reference_id ON billing.held_fees FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.holds (
  payer_id uuid not null,
  sequence bigint not null,
  account_id uuid not null,
  product text not null,
  amount numeric not null,
  expires_at timestamp with time zone not null,
  ended_at timestamp with time zone,
  outcome text,
  settled numeric,
  answer text,
  constraint holds_pkey PRIMARY KEY (payer_id, sequence),
  constraint holds_amount_check CHECK (amount > 0::numeric),
  constraint holds_check CHECK ((ended_at IS NULL) = (outcome IS NULL)),
  constraint holds_check1 CHECK ((NOT outcome IS DISTINCT FROM 'settled'::text) = (settled IS NOT NULL)),
  constraint holds_check2 CHECK (answer IS NULL OR ended_at IS NOT NULL),
  constraint holds_outcome_check CHECK (outcome = ANY (ARRAY['settled'::text, 'released'::text, 'expired'::text])),
  constraint holds_settled_check CHECK (settled >= 0::numeric)
) with (fillfactor=80);
comment on table billing.holds is 'Units set aside before the work: open, or how each ended.';
CREATE INDEX holds_due ON billing.holds USING btree (expires_at) WHERE ended_at IS NULL;
CREATE INDEX holds_open ON billing.holds USING btree (payer_id, product) WHERE outcome IS NULL;
CREATE TRIGGER ended_holds_stay BEFORE UPDATE ON billing.holds FOR EACH ROW WHEN (old.ended_at IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER holds_are_kept BEFORE TRUNCATE ON billing.holds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER holds_stay BEFORE DELETE OR UPDATE OF payer_id, sequence, account_id, product, amount ON billing.holds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.identities (
  provider text not null,
  external_id text not null,
  account_id uuid not null,
  secondary boolean not null default false,
  created_at timestamp with time zone not null,
  constraint identities_pkey PRIMARY KEY (provider, external_id)
);
CREATE INDEX identities_account ON billing.identities USING btree (account_id);
CREATE UNIQUE INDEX identities_primary ON billing.identities USING btree (account_id, provider) WHERE NOT secondary;

create table billing.invoice_details (
  payer_id uuid not null,
  invoice_id uuid not null,
  snapshot jsonb,
  memo text,
  metadata jsonb not null default '{}'::jsonb,
  constraint invoice_details_pkey PRIMARY KEY (payer_id, invoice_id)
);
comment on table billing.invoice_details is 'What stands on invoices of people. Kept until the invoice need not be kept any longer.';

create table billing.invoice_lines (
  payer_id uuid not null,
  invoice_id uuid not null,
  position integer not null,
  line_id uuid not null,
  kind text not null,
  account_id uuid not null,
  subscription_id uuid,
  period_number integer,
  item_id uuid,
  sku text,
  version integer,
  product text,
  description text,
  quantity numeric not null,
  unit_price numeric,
  subtotal numeric not null,
  discount numeric not null default 0,
  net numeric not null,
  tax numeric not null default 0,
  total numeric not null,
  coupon text,
  taxable boolean not null default true,
  discountable boolean not null default true,
  tax_key text,
  tax_name text,
  tax_percent numeric,
  tax_inclusive boolean,
  period_from timestamp with time zone,
  period_to timestamp with time zone,
  corrects_invoice_id uuid,
  corrects_order_id uuid,
  corrects_position integer,
  constraint invoice_lines_pkey PRIMARY KEY (payer_id, invoice_id, "position"),
  constraint invoice_lines_check CHECK (total = (net + tax)),
  constraint invoice_lines_check1 CHECK (discount = 0::numeric OR discount <= subtotal),
  constraint invoice_lines_check2 CHECK (period_to IS NULL OR period_from <= period_to),
  constraint invoice_lines_corrects_check CHECK ((corrects_position IS NOT NULL) = (num_nonnulls(corrects_invoice_id, corrects_order_id) = 1) AND num_nonnulls(corrects_invoice_id, corrects_order_id) < 2),
  constraint invoice_lines_discount_check CHECK (discount >= 0::numeric),
  constraint invoice_lines_kind_check CHECK (kind = ANY (ARRAY['fee'::text, 'step'::text, 'usage'::text, 'proration_credit'::text, 'proration_charge'::text, 'one_off'::text])),
  constraint invoice_lines_position_check CHECK ("position" > 0),
  constraint invoice_lines_tax_percent_check CHECK (tax_percent >= 0::numeric)
) with (fillfactor=80);
comment on table billing.invoice_lines is 'The lines of invoices. Those of a draft are not reckoned yet: no discount, no tax.';
CREATE INDEX invoice_lines_id ON billing.invoice_lines USING btree (line_id);
CREATE INDEX invoice_lines_usage ON billing.invoice_lines USING btree (payer_id, subscription_id, period_number) WHERE kind = 'usage'::text;
CREATE TRIGGER invoice_lines_are_kept BEFORE TRUNCATE ON billing.invoice_lines FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoice_lines_change AFTER UPDATE ON billing.invoice_lines REFERENCING OLD TABLE AS old_lines NEW TABLE AS new_lines FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_changes_of_issued();
CREATE TRIGGER invoice_lines_come AFTER INSERT ON billing.invoice_lines REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_lines_of_issued();
CREATE TRIGGER invoice_lines_go AFTER DELETE ON billing.invoice_lines REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_lines_of_issued();
CREATE TRIGGER invoice_lines_stay BEFORE UPDATE OF payer_id, invoice_id, "position", line_id ON billing.invoice_lines FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.invoice_logos (
  logo_id text not null,
  mime_type text not null,
  content bytea not null,
  saved_at timestamp with time zone not null,
  constraint invoice_logos_pkey PRIMARY KEY (logo_id),
  constraint invoice_logos_content_check CHECK (octet_length(content) <= 500000),
  constraint invoice_logos_logo_id_check CHECK (logo_id ~ '^[0-9a-f]{64}$'::text),
  constraint invoice_logos_mime_type_check CHECK (mime_type = ANY (ARRAY['image/png'::text, 'image/jpeg'::text, 'image/svg+xml'::text]))
);
comment on table billing.invoice_logos is 'Logos that stand, or stood, on invoices.';
CREATE TRIGGER invoice_logos_are_kept BEFORE TRUNCATE ON billing.invoice_logos FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoice_logos_stay BEFORE DELETE OR UPDATE ON billing.invoice_logos FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.invoice_payments (
  payer_id uuid not null,
  invoice_id uuid not null,
  payment_id uuid not null,
  attempt_id uuid,
  gateway text not null,
  method text,
  reference text not null,
  amount numeric not null,
  excess numeric not null default 0,
  paid_at timestamp with time zone not null,
  recorded_at timestamp with time zone not null,
  constraint invoice_payments_pkey PRIMARY KEY (payer_id, invoice_id, payment_id),
  constraint invoice_payments_amount_check CHECK (amount >= 0::numeric),
  constraint invoice_payments_check CHECK ((amount + excess) > 0::numeric),
  constraint invoice_payments_excess_check CHECK (excess >= 0::numeric)
);
comment on table billing.invoice_payments is 'Payments of invoices, each by its reference once.';
CREATE UNIQUE INDEX invoice_payments_reference ON billing.invoice_payments USING btree (payer_id, invoice_id, gateway, reference);
CREATE TRIGGER invoice_payments_are_kept BEFORE TRUNCATE ON billing.invoice_payments FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoice_payments_stay BEFORE DELETE OR UPDATE ON billing.invoice_payments FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.invoice_refunds (
  payer_id uuid not null,
  invoice_id uuid not null,
  refund_id text not null,
  credit_note_id uuid,
  gateway text not null,
  amount numeric not null,
  currency text not null,
  refunded_at timestamp with time zone not null,
  constraint invoice_refunds_pkey PRIMARY KEY (payer_id, invoice_id, refund_id),
  constraint invoice_refunds_amount_check CHECK (amount > 0::numeric)
);
comment on table billing.invoice_refunds is 'Money that went back for invoices.';
CREATE INDEX invoice_refunds_reference ON billing.invoice_refunds USING btree (gateway, refund_id);
CREATE TRIGGER invoice_refunds_are_kept BEFORE TRUNCATE ON billing.invoice_refunds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoice_refunds_stay BEFORE DELETE OR UPDATE ON billing.invoice_refunds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.invoice_series (
  series text not null,
  next_number bigint not null,
  last_issued_at timestamp with time zone not null,
  constraint invoice_series_pkey PRIMARY KEY (series),
  constraint invoice_series_next_number_check CHECK (next_number > 0)
);
comment on table billing.invoice_series is 'The next number of each series of papers: taken last before a commit, so that none is missing.';
CREATE TRIGGER invoice_series_are_kept BEFORE TRUNCATE ON billing.invoice_series FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoice_series_go_on BEFORE UPDATE ON billing.invoice_series FOR EACH ROW WHEN (new.series <> old.series OR new.next_number < old.next_number OR new.last_issued_at < old.last_issued_at) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoice_series_stay BEFORE DELETE ON billing.invoice_series FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.invoice_usage (
  payer_id uuid not null,
  entry_sequence bigint not null,
  invoice_payer_id uuid not null,
  invoice_id uuid not null,
  position integer,
  constraint invoice_usage_pkey PRIMARY KEY (payer_id, entry_sequence)
);
comment on table billing.invoice_usage is 'Which line of which invoice bills which entry of the ledger.';
CREATE INDEX invoice_usage_invoice ON billing.invoice_usage USING btree (invoice_payer_id, invoice_id);
CREATE TRIGGER invoice_usage_goes BEFORE DELETE ON billing.invoice_usage FOR EACH ROW EXECUTE FUNCTION billing.refuse_free_usage();
CREATE TRIGGER invoice_usage_is_kept BEFORE TRUNCATE ON billing.invoice_usage FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoice_usage_stays BEFORE UPDATE ON billing.invoice_usage FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.invoices (
  payer_id uuid not null,
  invoice_id uuid not null,
  account_id uuid not null,
  kind text not null,
  status text not null,
  currency text not null,
  boundary_at timestamp with time zone,
  series text,
  number bigint,
  number_text text,
  created_at timestamp with time zone not null,
  issued_at timestamp with time zone,
  due_at timestamp with time zone,
  due_days integer,
  tax_status text not null default 'normal'::text,
  subtotal numeric not null default 0,
  discount numeric not null default 0,
  net numeric not null default 0,
  tax numeric not null default 0,
  carried numeric not null default 0,
  total numeric not null default 0,
  credited numeric not null default 0,
  paid numeric not null default 0,
  credit_noted numeric not null default 0,
  reduced numeric not null default 0,
  refunded numeric not null default 0,
  amount_due numeric not null generated always as (
CASE
    WHEN (status = 'void'::text) THEN (0)::numeric
    ELSE (((total - credited) - reduced) - paid)
END) stored,
  collection text not null,
  collected_by text not null,
  method_id uuid,
  sent_at timestamp with time zone,
  paid_at timestamp with time zone,
  voided_at timestamp with time zone,
  uncollectible_at timestamp with time zone,
  change_id uuid,
  constraint invoices_pkey PRIMARY KEY (payer_id, invoice_id),
  constraint invoices_carried_check CHECK (carried >= 0::numeric),
  constraint invoices_check CHECK ((kind = 'cycle'::text) = (boundary_at IS NOT NULL)),
  constraint invoices_check1 CHECK ((status = 'draft'::text) = (number IS NULL)),
  constraint invoices_check10 CHECK (status <> 'paid'::text OR (credited + reduced + paid) = total),
  constraint invoices_check11 CHECK (status <> 'open'::text OR (credited + reduced + paid) < total),
  constraint invoices_check12 CHECK ((status = 'void'::text) = (voided_at IS NOT NULL)),
  constraint invoices_check13 CHECK (status <> 'void'::text OR paid = 0::numeric),
  constraint invoices_check14 CHECK (status <> 'uncollectible'::text OR uncollectible_at IS NOT NULL),
  constraint invoices_check15 CHECK (status <> 'draft'::text OR total = 0::numeric AND sent_at IS NULL),
  constraint invoices_check2 CHECK ((number IS NULL) = (series IS NULL) AND (number IS NULL) = (number_text IS NULL)),
  constraint invoices_check3 CHECK ((number IS NULL) = (issued_at IS NULL) AND (number IS NULL) = (due_at IS NULL)),
  constraint invoices_check4 CHECK (total = (net + tax + carried)),
  constraint invoices_check5 CHECK (carried = 0::numeric OR total = 0::numeric),
  constraint invoices_check6 CHECK ((credited + reduced + paid) <= total),
  constraint invoices_check7 CHECK (credit_noted <= total),
  constraint invoices_check8 CHECK (refunded <= (paid + credited)),
  constraint invoices_check9 CHECK ((status = 'paid'::text) = (paid_at IS NOT NULL)),
  constraint invoices_collected_by_check CHECK (collected_by = ANY (ARRAY['engine'::text, 'provider'::text])),
  constraint invoices_collection_check CHECK (collection = ANY (ARRAY['charge'::text, 'send'::text])),
  constraint invoices_credit_noted_check CHECK (credit_noted >= 0::numeric),
  constraint invoices_credited_check CHECK (credited >= 0::numeric),
  constraint invoices_discount_check CHECK (discount >= 0::numeric),
  constraint invoices_due_days_check CHECK (due_days >= 0),
  constraint invoices_kind_check CHECK (kind = ANY (ARRAY['cycle'::text, 'manual'::text])),
  constraint invoices_number_check CHECK (number > 0),
  constraint invoices_paid_check CHECK (paid >= 0::numeric),
  constraint invoices_reduced_check CHECK (reduced >= 0::numeric),
  constraint invoices_refunded_check CHECK (refunded >= 0::numeric),
  constraint invoices_status_check CHECK (status = ANY (ARRAY['draft'::text, 'open'::text, 'paid'::text, 'void'::text, 'uncollectible'::text])),
  constraint invoices_tax_status_check CHECK (tax_status = ANY (ARRAY['normal'::text, 'exempt'::text, 'reverse_charge'::text])),
  constraint invoices_total_check CHECK (total >= 0::numeric)
) with (fillfactor=70);
comment on table billing.invoices is 'Invoices: drafts, and what was issued, with what became of it.';
CREATE INDEX invoices_account ON billing.invoices USING btree (account_id, invoice_id);
CREATE UNIQUE INDEX invoices_draft ON billing.invoices USING btree (payer_id, currency, boundary_at, collection, collected_by, COALESCE(change_id, '00000000-0000-0000-0000-000000000000'::uuid)) WHERE status = 'draft'::text AND kind = 'cycle'::text;
CREATE INDEX invoices_drafts_due ON billing.invoices USING btree (boundary_at, payer_id) WHERE status = 'draft'::text AND kind = 'cycle'::text;
CREATE INDEX invoices_id ON billing.invoices USING btree (invoice_id);
CREATE UNIQUE INDEX invoices_number ON billing.invoices USING btree (series, number) WHERE number IS NOT NULL;
CREATE INDEX invoices_number_text ON billing.invoices USING btree (number_text) WHERE number IS NOT NULL;
CREATE INDEX invoices_of_changes ON billing.invoices USING btree (payer_id, invoice_id) WHERE change_id IS NOT NULL AND (status = ANY (ARRAY['draft'::text, 'open'::text]));
CREATE INDEX invoices_old ON billing.invoices USING btree (issued_at) WHERE status = ANY (ARRAY['paid'::text, 'void'::text, 'uncollectible'::text]);
CREATE INDEX invoices_open ON billing.invoices USING btree (due_at, payer_id) WHERE status = 'open'::text;
CREATE INDEX invoices_unsent ON billing.invoices USING btree (issued_at, payer_id, invoice_id) WHERE sent_at IS NULL AND (status = ANY (ARRAY['open'::text, 'paid'::text]));
CREATE TRIGGER invoices_are_kept BEFORE TRUNCATE ON billing.invoices FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoices_boundary_stays BEFORE UPDATE OF boundary_at ON billing.invoices FOR EACH ROW WHEN (old.status <> 'draft'::text OR new.boundary_at < old.boundary_at) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoices_change_stays BEFORE UPDATE OF change_id ON billing.invoices FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoices_move BEFORE UPDATE ON billing.invoices FOR EACH ROW WHEN (NOT (old.status = 'draft'::text OR (old.status = new.status OR old.status = 'open'::text AND (new.status = ANY (ARRAY['paid'::text, 'void'::text, 'uncollectible'::text])) OR old.status = 'uncollectible'::text AND new.status = 'paid'::text) AND NOT (new.series IS DISTINCT FROM old.series OR new.number IS DISTINCT FROM old.number OR new.number_text IS DISTINCT FROM old.number_text OR new.issued_at IS DISTINCT FROM old.issued_at OR new.due_at IS DISTINCT FROM old.due_at OR new.tax_status IS DISTINCT FROM old.tax_status OR new.subtotal IS DISTINCT FROM old.subtotal OR new.discount IS DISTINCT FROM old.discount OR new.net IS DISTINCT FROM old.net OR new.tax IS DISTINCT FROM old.tax OR new.carried IS DISTINCT FROM old.carried OR new.total IS DISTINCT FROM old.total OR new.credited IS DISTINCT FROM old.credited OR new.collection IS DISTINCT FROM old.collection OR new.collected_by IS DISTINCT FROM old.collected_by) AND new.paid >= old.paid AND new.credit_noted >= old.credit_noted AND new.reduced >= old.reduced AND new.refunded >= old.refunded AND (old.sent_at IS NULL OR new.sent_at = old.sent_at) AND (old.paid_at IS NULL OR new.paid_at = old.paid_at))) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER invoices_stay BEFORE UPDATE OF payer_id, invoice_id, account_id, kind, currency, created_at ON billing.invoices FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER issued_invoices_are_kept BEFORE DELETE ON billing.invoices FOR EACH ROW WHEN (old.status <> 'draft'::text) EXECUTE FUNCTION billing.refuse_change();

create table billing.invoicing_settings (
  sole boolean not null default true,
  settings jsonb not null,
  logo_id text,
  saved_at timestamp with time zone not null,
  constraint invoicing_settings_pkey PRIMARY KEY (sole),
  constraint invoicing_settings_sole_check CHECK (sole)
);
comment on table billing.invoicing_settings is 'Who sells, how invoices are numbered, and what stands on them.';

create table billing.line_returns (
  payer_id uuid not null,
  return_id uuid not null,
  sold_by text not null,
  document_id uuid not null,
  position integer not null,
  kind text not null,
  item_id uuid,
  credit_note_id uuid,
  refund_id text,
  net numeric not null,
  tax numeric not null,
  returned_at timestamp with time zone not null,
  constraint line_returns_pkey PRIMARY KEY (payer_id, return_id),
  constraint line_returns_check CHECK ((item_id IS NOT NULL) = (kind = ANY (ARRAY['proration_credit'::text, 'usage_credit'::text, 'undone'::text]))),
  constraint line_returns_check1 CHECK (credit_note_id IS NOT NULL OR kind <> 'credit_note'::text),
  constraint line_returns_check2 CHECK ((refund_id IS NOT NULL) = (kind = 'refund'::text)),
  constraint line_returns_kind_check CHECK (kind = ANY (ARRAY['proration_credit'::text, 'usage_credit'::text, 'undone'::text, 'credit_note'::text, 'refund'::text])),
  constraint line_returns_sold_by_check CHECK (sold_by = ANY (ARRAY['invoice'::text, 'order'::text]))
);
comment on table billing.line_returns is 'What came back of each sold line, whichever way: append-only, in sum never more than the line.';
CREATE INDEX line_returns_item ON billing.line_returns USING btree (item_id) WHERE item_id IS NOT NULL;
CREATE INDEX line_returns_line ON billing.line_returns USING btree (payer_id, document_id, "position");
CREATE TRIGGER line_returns_are_kept BEFORE TRUNCATE ON billing.line_returns FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER line_returns_stay BEFORE DELETE OR UPDATE ON billing.line_returns FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER line_returns_stay_within BEFORE INSERT ON billing.line_returns FOR EACH ROW EXECUTE FUNCTION billing.refuse_excess_return();

create table billing.migrations (
  id integer not null,
  name text not null,
  major integer not null,
  applied_at timestamp with time zone not null,
  constraint migrations_pkey PRIMARY KEY (id)
);

create table billing.offer_items (
  sku text not null,
  version integer not null,
  position smallint not null,
  product text not null,
  quantity numeric not null,
  expires_unit text,
  expires_count integer,
  priority smallint not null,
  terms jsonb not null default '{}'::jsonb,
  constraint offer_items_pkey PRIMARY KEY (sku, version, "position"),
  constraint offer_items_check CHECK ((expires_unit IS NULL) = (expires_count IS NULL)),
  constraint offer_items_expires_count_check CHECK (expires_count > 0),
  constraint offer_items_expires_unit_check CHECK (expires_unit = ANY (ARRAY['second'::text, 'minute'::text, 'hour'::text, 'day'::text, 'week'::text, 'month'::text, 'year'::text])),
  constraint offer_items_quantity_check CHECK (quantity >= 0::numeric),
  constraint offer_items_terms_check CHECK (jsonb_typeof(terms) = 'object'::text)
);
CREATE INDEX offer_items_product ON billing.offer_items USING btree (product);
CREATE TRIGGER offer_items_are_kept BEFORE TRUNCATE ON billing.offer_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER offer_items_stay BEFORE DELETE OR UPDATE ON billing.offer_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.offer_versions (
  sku text not null,
  version integer not null,
  name text not null,
  price numeric not null,
  list_price numeric,
  currency text not null,
  billing text not null,
  interval_unit text,
  interval_count integer,
  public boolean not null,
  active boolean not null,
  account_id uuid,
  once_per_account boolean not null default false,
  free_tier boolean not null default false,
  terms jsonb not null default '{}'::jsonb,
  metadata jsonb not null default '{}'::jsonb,
  created_at timestamp with time zone not null,
  constraint offer_versions_pkey PRIMARY KEY (sku, version),
  constraint offer_versions_account_check CHECK (account_id IS NULL OR NOT (public OR free_tier)),
  constraint offer_versions_billing_check CHECK (billing = ANY (ARRAY['one_time'::text, 'recurring'::text])),
  constraint offer_versions_free_check CHECK (NOT free_tier OR price = 0::numeric),
  constraint offer_versions_interval_check CHECK ((interval_unit = ANY (ARRAY['day'::text, 'week'::text, 'month'::text, 'year'::text])) AND interval_count > 0 AND (interval_unit IS NULL) = (interval_count IS NULL)),
  constraint offer_versions_list_price_check CHECK (list_price >= 0::numeric),
  constraint offer_versions_price_check CHECK (price >= 0::numeric),
  constraint offer_versions_recurring_check CHECK ((billing = 'recurring'::text) = (interval_unit IS NOT NULL)),
  constraint offer_versions_terms_check CHECK (jsonb_typeof(terms) = 'object'::text),
  constraint offer_versions_version_check CHECK (version > 0)
);
comment on table billing.offer_versions is 'Every version of an offer as it was sold. Never changed.';
CREATE INDEX offer_versions_free ON billing.offer_versions USING btree (sku, version) WHERE free_tier;
CREATE TRIGGER offer_versions_are_kept BEFORE TRUNCATE ON billing.offer_versions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER offer_versions_stay BEFORE DELETE OR UPDATE ON billing.offer_versions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.offers (
  sku text not null,
  folded_sku text not null,
  version integer not null,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  constraint offers_pkey PRIMARY KEY (sku),
  constraint offers_folded_sku_key UNIQUE (folded_sku),
  constraint offers_version_check CHECK (version > 0)
);
comment on table billing.offers is 'What is sold: the sku and its present version.';

create table billing.order_details (
  payer_id uuid not null,
  order_id uuid not null,
  metadata jsonb not null default '{}'::jsonb,
  constraint order_details_pkey PRIMARY KEY (payer_id, order_id)
);
comment on table billing.order_details is 'What people wrote beside an order. Emptied when a person is erased.';

create table billing.order_grants (
  payer_id uuid not null,
  order_id uuid not null,
  position smallint not null,
  ledger_id uuid not null,
  grant_sequence bigint not null,
  product text not null,
  bonus boolean not null,
  until_next_payment boolean not null default false,
  lead_unit text,
  lead_count integer,
  constraint order_grants_pkey PRIMARY KEY (payer_id, order_id, ledger_id, grant_sequence),
  constraint order_grants_check CHECK ((lead_unit IS NULL) = (lead_count IS NULL)),
  constraint order_grants_lead_count_check CHECK (lead_count > 0)
);
comment on table billing.order_grants is 'Which grants each line of an order brought. Where their units moved since is in entry_pairs.';
CREATE INDEX order_grants_grant ON billing.order_grants USING btree (ledger_id, grant_sequence);
CREATE INDEX order_grants_until_next ON billing.order_grants USING btree (ledger_id, product) WHERE until_next_payment;
CREATE TRIGGER order_grants_are_kept BEFORE TRUNCATE ON billing.order_grants FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER order_grants_stay BEFORE DELETE OR UPDATE ON billing.order_grants FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.order_items (
  payer_id uuid not null,
  order_id uuid not null,
  position smallint not null,
  sku text not null,
  version integer not null,
  name text not null,
  quantity integer not null,
  unit_price numeric not null,
  phase smallint,
  subtotal numeric not null,
  discount numeric not null,
  net numeric not null,
  tax numeric not null,
  total numeric not null,
  constraint order_items_pkey PRIMARY KEY (payer_id, order_id, "position"),
  constraint order_items_check CHECK (discount >= 0::numeric AND discount <= subtotal),
  constraint order_items_check1 CHECK (total = (net + tax)),
  constraint order_items_net_check CHECK (net >= 0::numeric),
  constraint order_items_phase_check CHECK (phase > 0),
  constraint order_items_position_check CHECK ("position" > 0),
  constraint order_items_quantity_check CHECK (quantity > 0),
  constraint order_items_subtotal_check CHECK (subtotal >= 0::numeric),
  constraint order_items_tax_check CHECK (tax >= 0::numeric),
  constraint order_items_unit_price_check CHECK (unit_price >= 0::numeric)
);
comment on table billing.order_items is 'The lines of orders, with their shares of discount and tax.';
CREATE TRIGGER order_items_are_kept BEFORE TRUNCATE ON billing.order_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER order_items_stay BEFORE DELETE OR UPDATE ON billing.order_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.order_periods (
  payer_id uuid not null,
  subscription_id uuid not null,
  period_number integer not null,
  order_id uuid not null,
  position smallint not null,
  paid numeric not null,
  constraint order_periods_pkey PRIMARY KEY (payer_id, subscription_id, period_number),
  constraint order_periods_paid_check CHECK (paid >= 0::numeric)
);
comment on table billing.order_periods is 'Periods of subscriptions that were paid by orders.';
CREATE UNIQUE INDEX order_periods_line ON billing.order_periods USING btree (payer_id, order_id, "position");
CREATE INDEX order_periods_order ON billing.order_periods USING btree (order_id);
CREATE TRIGGER order_periods_are_kept BEFORE TRUNCATE ON billing.order_periods FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER order_periods_stay BEFORE DELETE OR UPDATE ON billing.order_periods FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.orders (
  payer_id uuid not null,
  order_id uuid not null,
  account_id uuid not null,
  status text not null,
  currency text not null,
  subtotal numeric not null,
  discount numeric not null,
  net numeric not null,
  tax numeric not null,
  total numeric not null,
  paid numeric not null default 0,
  refunded numeric not null default 0,
  coupon text,
  tax_key text,
  tax_name text,
  tax_percent numeric,
  tax_inclusive boolean,
  gateway text,
  payment_id text,
  renews boolean,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  paid_at timestamp with time zone,
  cancelled_at timestamp with time zone,
  constraint orders_pkey PRIMARY KEY (payer_id, order_id),
  constraint orders_check CHECK (discount >= 0::numeric AND discount <= subtotal),
  constraint orders_check1 CHECK (total = (net + tax)),
  constraint orders_check10 CHECK (tax_key IS NOT NULL OR tax_percent IS NULL AND tax = 0::numeric),
  constraint orders_check2 CHECK (refunded >= 0::numeric AND refunded <= paid),
  constraint orders_check3 CHECK (paid =
CASE
    WHEN paid_at IS NULL THEN 0::numeric
    ELSE total
END),
  constraint orders_check4 CHECK ((paid_at IS NOT NULL) = (status = ANY (ARRAY['paid'::text, 'partly_refunded'::text, 'refunded'::text]))),
  constraint orders_check5 CHECK ((cancelled_at IS NOT NULL) = (status = 'cancelled'::text)),
  constraint orders_check6 CHECK (status <> 'paid'::text OR refunded = 0::numeric),
  constraint orders_check7 CHECK (status <> 'partly_refunded'::text OR refunded > 0::numeric AND refunded < paid),
  constraint orders_check8 CHECK (status <> 'refunded'::text OR refunded = paid),
  constraint orders_check9 CHECK (payment_id IS NULL OR gateway IS NOT NULL),
  constraint orders_net_check CHECK (net >= 0::numeric),
  constraint orders_status_check CHECK (status = ANY (ARRAY['pending'::text, 'paid'::text, 'cancelled'::text, 'partly_refunded'::text, 'refunded'::text])),
  constraint orders_subtotal_check CHECK (subtotal >= 0::numeric),
  constraint orders_tax_check CHECK (tax >= 0::numeric),
  constraint orders_tax_percent_check CHECK (tax_percent >= 0::numeric)
) with (fillfactor=80);
comment on table billing.orders is 'What was ordered, for how much, and what became of it.';
CREATE INDEX orders_account ON billing.orders USING btree (account_id, order_id);
CREATE INDEX orders_id ON billing.orders USING btree (order_id);
CREATE TRIGGER orders_are_kept BEFORE TRUNCATE ON billing.orders FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER orders_keep_renewal BEFORE UPDATE OF renews ON billing.orders FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER orders_move BEFORE UPDATE ON billing.orders FOR EACH ROW WHEN (NOT (old.status = 'pending'::text AND (new.status = ANY (ARRAY['paid'::text, 'cancelled'::text])) OR (old.status = ANY (ARRAY['paid'::text, 'partly_refunded'::text])) AND (new.status = ANY (ARRAY['partly_refunded'::text, 'refunded'::text])) AND (new.refunded > old.refunded OR new.total = 0::numeric) AND new.paid_at = old.paid_at AND NOT new.gateway IS DISTINCT FROM old.gateway AND NOT new.payment_id IS DISTINCT FROM old.payment_id)) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER orders_stay BEFORE DELETE OR UPDATE OF payer_id, order_id, account_id, currency, subtotal, discount, net, tax, total, coupon, tax_key, tax_name, tax_percent, tax_inclusive, created_at, expires_at ON billing.orders FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.overage_terms (
  payer_id uuid not null,
  product text not null,
  unit_limit numeric,
  used numeric not null default 0,
  constraint overage_terms_pkey PRIMARY KEY (payer_id, product),
  constraint overage_terms_unit_limit_check CHECK (unit_limit >= 0::numeric),
  constraint overage_terms_used_check CHECK (used >= 0::numeric)
) with (fillfactor=80);
comment on table billing.overage_terms is 'How far accounts may use more of a product than they were granted, and have.';
CREATE TRIGGER overage_terms_are_kept BEFORE TRUNCATE ON billing.overage_terms FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER overage_terms_stay BEFORE DELETE OR UPDATE OF payer_id, product ON billing.overage_terms FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.payment_attempt_details (
  payer_id uuid not null,
  attempt_id uuid not null,
  response_text text,
  reject_reason text,
  message text,
  action_url text,
  constraint payment_attempt_details_pkey PRIMARY KEY (payer_id, attempt_id)
);
comment on table billing.payment_attempt_details is 'What gateways said of attempts, in words. Emptied when a person is erased.';

create table billing.payment_attempts (
  payer_id uuid not null,
  attempt_id uuid not null,
  account_id uuid not null,
  purpose text not null,
  purpose_id uuid not null,
  number integer not null,
  kind text not null,
  gateway text,
  method_id uuid,
  amount numeric not null,
  currency text not null,
  status text not null,
  surplus boolean not null default false,
  reference text,
  response_code text,
  hard boolean not null default false,
  created_at timestamp with time zone not null,
  finished_at timestamp with time zone,
  leased_until timestamp with time zone,
  constraint payment_attempts_pkey PRIMARY KEY (payer_id, attempt_id),
  constraint payment_attempts_amount_check CHECK (amount > 0::numeric),
  constraint payment_attempts_check CHECK ((status = ANY (ARRAY['open'::text, 'unknown'::text, 'pending'::text])) = (finished_at IS NULL)),
  constraint payment_attempts_check1 CHECK ((finished_at IS NULL) = (leased_until IS NOT NULL)),
  constraint payment_attempts_check2 CHECK (status <> 'succeeded'::text OR gateway IS NOT NULL AND reference IS NOT NULL),
  constraint payment_attempts_check3 CHECK (gateway IS NOT NULL OR status = 'failed'::text AND method_id IS NULL),
  constraint payment_attempts_check4 CHECK (NOT surplus OR status = 'succeeded'::text),
  constraint payment_attempts_check5 CHECK (NOT hard OR (status = ANY (ARRAY['failed'::text, 'succeeded'::text]))),
  constraint payment_attempts_kind_check CHECK (kind = ANY (ARRAY['charge'::text, 'incoming'::text])),
  constraint payment_attempts_number_check CHECK (number > 0),
  constraint payment_attempts_purpose_check CHECK (purpose = ANY (ARRAY['invoice'::text, 'order'::text])),
  constraint payment_attempts_status_check CHECK (status = ANY (ARRAY['open'::text, 'unknown'::text, 'pending'::text, 'succeeded'::text, 'failed'::text, 'requires_action'::text]))
) with (fillfactor=80);
comment on table billing.payment_attempts is 'Every attempt to be paid: recorded before the gateway is asked, decided by what it answers.';
CREATE INDEX payment_attempts_account ON billing.payment_attempts USING btree (account_id, attempt_id);
CREATE INDEX payment_attempts_due ON billing.payment_attempts USING btree (leased_until) WHERE finished_at IS NULL;
CREATE INDEX payment_attempts_id ON billing.payment_attempts USING btree (attempt_id);
CREATE UNIQUE INDEX payment_attempts_number ON billing.payment_attempts USING btree (payer_id, purpose, purpose_id, number);
CREATE UNIQUE INDEX payment_attempts_one_open ON billing.payment_attempts USING btree (payer_id, purpose, purpose_id) WHERE finished_at IS NULL;
CREATE UNIQUE INDEX payment_attempts_one_success ON billing.payment_attempts USING btree (payer_id, purpose, purpose_id, amount) WHERE status = 'succeeded'::text AND NOT surplus AND purpose = 'order'::text;
CREATE INDEX payment_attempts_purpose ON billing.payment_attempts USING btree (purpose_id);
CREATE INDEX payment_attempts_reference ON billing.payment_attempts USING btree (gateway, reference);
CREATE TRIGGER payment_attempts_are_kept BEFORE TRUNCATE ON billing.payment_attempts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER payment_attempts_move BEFORE UPDATE ON billing.payment_attempts FOR EACH ROW WHEN (old.status = 'succeeded'::text OR (old.status = ANY (ARRAY['failed'::text, 'requires_action'::text])) AND new.status <> 'succeeded'::text AND new.status <> 'failed'::text OR (old.status = ANY (ARRAY['unknown'::text, 'pending'::text])) AND new.status = 'open'::text) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER payment_attempts_stay BEFORE DELETE OR UPDATE OF payer_id, attempt_id, account_id, purpose, purpose_id, number, kind, amount, currency, created_at, gateway, method_id ON billing.payment_attempts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.payment_checkouts (
  payer_id uuid not null,
  checkout_id uuid not null,
  account_id uuid not null,
  purpose text not null,
  purpose_id uuid not null,
  gateway text not null,
  amount numeric not null,
  currency text not null,
  reference text,
  created_at timestamp with time zone not null,
  constraint payment_checkouts_pkey PRIMARY KEY (payer_id, checkout_id),
  constraint payment_checkouts_amount_check CHECK (amount > 0::numeric),
  constraint payment_checkouts_purpose_check CHECK (purpose = ANY (ARRAY['invoice'::text, 'order'::text]))
);
comment on table billing.payment_checkouts is 'Pages of gateways on which customers were asked to pay.';
CREATE INDEX payment_checkouts_id ON billing.payment_checkouts USING btree (checkout_id);
CREATE INDEX payment_checkouts_reference ON billing.payment_checkouts USING btree (gateway, reference);

create table billing.payment_customers (
  payer_id uuid not null,
  gateway text not null,
  reference text not null,
  created_at timestamp with time zone not null,
  constraint payment_customers_pkey PRIMARY KEY (payer_id, gateway)
);
comment on table billing.payment_customers is 'How gateways call our accounts. Emptied when a person is erased.';

create table billing.payment_method_details (
  payer_id uuid not null,
  method_id uuid not null,
  reference text not null,
  customer text,
  kind text not null,
  brand text,
  last4 text,
  exp_month smallint,
  exp_year smallint,
  metadata jsonb not null default '{}'::jsonb,
  constraint payment_method_details_pkey PRIMARY KEY (payer_id, method_id),
  constraint payment_method_details_exp_month_check CHECK (exp_month >= 1 AND exp_month <= 12),
  constraint payment_method_details_exp_year_check CHECK (exp_year >= 2000 AND exp_year <= 2200),
  constraint payment_method_details_last4_check CHECK (last4 ~ '^[0-9]{4}$'::text)
);
comment on table billing.payment_method_details is 'What a payment method is known by. Emptied when a person is erased.';

create table billing.payment_methods (
  payer_id uuid not null,
  method_id uuid not null,
  account_id uuid not null,
  gateway text not null,
  is_default boolean not null,
  created_at timestamp with time zone not null,
  removed_at timestamp with time zone,
  constraint payment_methods_pkey PRIMARY KEY (payer_id, method_id),
  constraint payment_methods_check CHECK (removed_at IS NULL OR NOT is_default)
);
comment on table billing.payment_methods is 'What accounts pay with, as far as a gateway keeps it for them.';
CREATE UNIQUE INDEX payment_methods_default ON billing.payment_methods USING btree (payer_id) WHERE is_default;
CREATE INDEX payment_methods_id ON billing.payment_methods USING btree (method_id);

create table billing.payment_notices (
  gateway text not null,
  notice_id text not null,
  kind text not null,
  payer_id uuid,
  received_at timestamp with time zone not null,
  constraint payment_notices_pkey PRIMARY KEY (gateway, notice_id)
);
comment on table billing.payment_notices is 'Notices of gateways that have been dealt with: each once.';

create table billing.payment_references (
  gateway text not null,
  kind text not null,
  reference text not null,
  payer_id uuid not null,
  order_id uuid not null,
  constraint payment_references_pkey PRIMARY KEY (gateway, kind, reference),
  constraint payment_references_kind_check CHECK (kind = ANY (ARRAY['payment'::text, 'refund'::text]))
);
comment on table billing.payment_references is 'Payments and refunds of gateways: each belongs to one order.';
CREATE TRIGGER payment_references_are_kept BEFORE TRUNCATE ON billing.payment_references FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER payment_references_stay BEFORE DELETE OR UPDATE ON billing.payment_references FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.payment_refunds (
  payer_id uuid not null,
  refund_id uuid not null,
  account_id uuid not null,
  purpose text not null,
  purpose_id uuid not null,
  attempt_id uuid,
  gateway text not null,
  charge text not null,
  amount numeric not null,
  currency text not null,
  reason text not null,
  status text not null,
  reference text,
  response_code text,
  created_at timestamp with time zone not null,
  finished_at timestamp with time zone,
  leased_until timestamp with time zone,
  constraint payment_refunds_pkey PRIMARY KEY (payer_id, refund_id),
  constraint payment_refunds_amount_check CHECK (amount > 0::numeric),
  constraint payment_refunds_check CHECK ((status = ANY (ARRAY['succeeded'::text, 'failed'::text])) = (finished_at IS NOT NULL)),
  constraint payment_refunds_check1 CHECK ((status = ANY (ARRAY['open'::text, 'unknown'::text, 'pending'::text])) = (leased_until IS NOT NULL)),
  constraint payment_refunds_purpose_check CHECK (purpose = ANY (ARRAY['invoice'::text, 'order'::text])),
  constraint payment_refunds_status_check CHECK (status = ANY (ARRAY['open'::text, 'unknown'::text, 'pending'::text, 'due'::text, 'succeeded'::text, 'failed'::text]))
) with (fillfactor=80);
comment on table billing.payment_refunds is 'Money on its way back: recorded before the gateway is asked.';
CREATE INDEX payment_refunds_by_hand ON billing.payment_refunds USING btree (refund_id) WHERE status = 'due'::text;
CREATE INDEX payment_refunds_charge ON billing.payment_refunds USING btree (gateway, charge);
CREATE INDEX payment_refunds_due ON billing.payment_refunds USING btree (leased_until) WHERE leased_until IS NOT NULL;
CREATE INDEX payment_refunds_id ON billing.payment_refunds USING btree (refund_id);
CREATE INDEX payment_refunds_purpose ON billing.payment_refunds USING btree (purpose_id);
CREATE TRIGGER payment_refunds_are_kept BEFORE TRUNCATE ON billing.payment_refunds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER payment_refunds_move BEFORE UPDATE ON billing.payment_refunds FOR EACH ROW WHEN ((old.status = ANY (ARRAY['succeeded'::text, 'failed'::text])) OR new.status = 'open'::text AND old.status <> 'open'::text) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER payment_refunds_stay BEFORE DELETE OR UPDATE OF payer_id, refund_id, account_id, purpose, purpose_id, attempt_id, gateway, charge, amount, currency, reason, created_at ON billing.payment_refunds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.payout_details (
  payer_id uuid not null,
  payout_id uuid not null,
  reference text,
  reason text,
  metadata jsonb not null default '{}'::jsonb,
  constraint payout_details_pkey PRIMARY KEY (payer_id, payout_id)
);
comment on table billing.payout_details is 'What people wrote beside a payout. Emptied when a person is erased.';

create table billing.payouts (
  payer_id uuid not null,
  payout_id uuid not null,
  account_id uuid not null,
  currency text not null,
  amount numeric not null,
  status text not null default 'requested'::text,
  requested_at timestamp with time zone not null,
  decided_at timestamp with time zone,
  constraint payouts_pkey PRIMARY KEY (payer_id, payout_id),
  constraint payouts_amount_check CHECK (amount > 0::numeric),
  constraint payouts_check CHECK ((status = 'requested'::text) = (decided_at IS NULL)),
  constraint payouts_status_check CHECK (status = ANY (ARRAY['requested'::text, 'paid'::text, 'rejected'::text]))
);
comment on table billing.payouts is 'Commission that accounts asked to be paid, and what was decided.';
CREATE INDEX payouts_account ON billing.payouts USING btree (account_id);
CREATE INDEX payouts_id ON billing.payouts USING btree (payout_id);
CREATE TRIGGER decided_payouts_stay BEFORE UPDATE ON billing.payouts FOR EACH ROW WHEN (old.status <> 'requested'::text) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER payouts_are_kept BEFORE TRUNCATE ON billing.payouts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER payouts_stay BEFORE DELETE OR UPDATE OF payer_id, payout_id, account_id, currency, amount, requested_at ON billing.payouts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.pending_items (
  payer_id uuid not null,
  item_id uuid not null,
  account_id uuid not null,
  subscription_id uuid,
  period_number integer,
  kind text not null,
  sku text,
  version integer,
  product text,
  description text,
  quantity numeric not null,
  unit_price numeric,
  amount numeric not null,
  currency text not null,
  taxable boolean not null,
  discountable boolean not null,
  service_from timestamp with time zone not null,
  service_to timestamp with time zone not null,
  due_at timestamp with time zone not null,
  created_at timestamp with time zone not null,
  invoice_id uuid,
  dropped_at timestamp with time zone,
  rides_along boolean not null default false,
  change_id uuid,
  constraint pending_items_pkey PRIMARY KEY (payer_id, item_id),
  constraint pending_items_check CHECK (service_from <= service_to),
  constraint pending_items_check1 CHECK ((subscription_id IS NULL) = (kind = 'one_off'::text)),
  constraint pending_items_check2 CHECK (description IS NULL OR kind = 'one_off'::text),
  constraint pending_items_check3 CHECK ((subscription_id IS NULL) = (period_number IS NULL)),
  constraint pending_items_check4 CHECK (invoice_id IS NULL OR dropped_at IS NULL),
  constraint pending_items_kind_check CHECK (kind = ANY (ARRAY['fee'::text, 'step'::text, 'proration_credit'::text, 'proration_charge'::text, 'one_off'::text])),
  constraint pending_items_quantity_check CHECK (quantity > 0::numeric),
  constraint pending_items_rides_along_check CHECK (NOT rides_along OR kind = 'one_off'::text)
) with (fillfactor=80);
comment on table billing.pending_items is 'What is to be put on an invoice once it is due.';
CREATE INDEX pending_items_change ON billing.pending_items USING btree (payer_id, change_id) WHERE change_id IS NOT NULL;
CREATE UNIQUE INDEX pending_items_fee ON billing.pending_items USING btree (payer_id, subscription_id, period_number) WHERE kind = 'fee'::text AND dropped_at IS NULL AND change_id IS NULL;
CREATE INDEX pending_items_invoice ON billing.pending_items USING btree (payer_id, invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX pending_items_payer ON billing.pending_items USING btree (payer_id, due_at) WHERE invoice_id IS NULL AND dropped_at IS NULL;
CREATE INDEX pending_items_subscription ON billing.pending_items USING btree (payer_id, subscription_id, period_number);
CREATE INDEX pending_items_waiting ON billing.pending_items USING btree (due_at, payer_id) WHERE invoice_id IS NULL AND dropped_at IS NULL;
CREATE TRIGGER pending_items_are_kept BEFORE DELETE OR TRUNCATE ON billing.pending_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER pending_items_change_stays BEFORE UPDATE OF change_id ON billing.pending_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER pending_items_come_nearer BEFORE UPDATE OF due_at ON billing.pending_items FOR EACH ROW WHEN (new.due_at > old.due_at) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER pending_items_move BEFORE UPDATE ON billing.pending_items FOR EACH ROW WHEN (old.invoice_id IS NOT NULL OR old.dropped_at IS NOT NULL OR new.description IS DISTINCT FROM old.description) EXECUTE FUNCTION billing.refuse_billed_item();
CREATE TRIGGER pending_items_ride_as_said BEFORE UPDATE OF rides_along ON billing.pending_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER pending_items_stay BEFORE UPDATE OF payer_id, item_id, account_id, subscription_id, period_number, kind, sku, version, product, quantity, unit_price, amount, currency, taxable, discountable, service_from, service_to, created_at ON billing.pending_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.period_grants (
  payer_id uuid not null,
  subscription_id uuid not null,
  period_number integer not null,
  kind text not null,
  position smallint not null,
  ledger_id uuid not null,
  grant_sequence bigint not null,
  product text not null,
  constraint period_grants_pkey PRIMARY KEY (payer_id, subscription_id, period_number, kind, "position"),
  constraint period_grants_kind_check CHECK (kind = ANY (ARRAY['item'::text, 'bonus'::text, 'step'::text, 'order'::text])),
  constraint period_grants_position_check CHECK ("position" > 0)
);
comment on table billing.period_grants is 'Which grants each period of a subscription brought. Where their units moved since is in entry_pairs.';
CREATE INDEX period_grants_grant ON billing.period_grants USING btree (ledger_id, grant_sequence);
CREATE TRIGGER period_grants_are_kept BEFORE TRUNCATE ON billing.period_grants FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER period_grants_stay BEFORE DELETE OR UPDATE ON billing.period_grants FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.postings (
  payer_id uuid not null,
  posting_id uuid not null,
  currency text not null,
  kind text not null,
  reference_type text,
  reference_id text,
  posted_at timestamp with time zone not null,
  accounts text[] not null,
  gateways text[] not null,
  amounts numeric[] not null,
  constraint postings_pkey PRIMARY KEY (payer_id, posting_id),
  constraint postings_accounts_check CHECK (accounts <@ ARRAY['receivable'::text, 'cash'::text, 'fees'::text, 'deferred'::text, 'revenue'::text, 'tax_payable'::text, 'customer_credit'::text, 'commission_payable'::text, 'written_off'::text, 'rounding'::text, 'transfer'::text]),
  constraint postings_amounts_check CHECK (billing.legs_balance(amounts)),
  constraint postings_check CHECK ((reference_type IS NULL) = (reference_id IS NULL)),
  constraint postings_check1 CHECK (cardinality(accounts) = cardinality(amounts) AND cardinality(gateways) = cardinality(amounts))
);
comment on table billing.postings is 'The money book: append-only, double entry; each posting is of one payer and currency and sums to 0.';
CREATE INDEX postings_in_time ON billing.postings USING btree (posted_at, posting_id);
CREATE INDEX postings_of_payer ON billing.postings USING btree (payer_id, posted_at, posting_id);
CREATE INDEX postings_reference ON billing.postings USING btree (reference_id) WHERE reference_id IS NOT NULL;
CREATE TRIGGER postings_are_kept BEFORE TRUNCATE ON billing.postings FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER postings_stay BEFORE DELETE OR UPDATE ON billing.postings FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.products (
  key text not null,
  folded_key text not null,
  name text not null,
  unit text not null,
  decimals smallint not null,
  kind text not null,
  is_currency boolean not null,
  low_balance_threshold numeric,
  usage_thresholds numeric[],
  used boolean not null default false,
  metadata jsonb not null default '{}'::jsonb,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  constraint products_pkey PRIMARY KEY (key),
  constraint products_folded_key_key UNIQUE (folded_key),
  constraint products_decimals_check CHECK (decimals >= 0 AND decimals <= 12),
  constraint products_kind_check CHECK (kind = ANY (ARRAY['quantity'::text, 'period'::text, 'unlimited'::text])),
  constraint products_low_balance_threshold_check CHECK (low_balance_threshold >= 0::numeric)
);
comment on table billing.products is 'What can be granted and used.';

create table billing.purchase_marks (
  payer_id uuid not null,
  mark_id uuid not null,
  kind text not null,
  sku text not null,
  account_id uuid not null,
  order_id uuid,
  taken_at timestamp with time zone not null,
  lapses_at timestamp with time zone,
  freed_at timestamp with time zone,
  constraint purchase_marks_pkey PRIMARY KEY (payer_id, mark_id),
  constraint purchase_marks_kind_check CHECK (kind = ANY (ARRAY['offer'::text, 'trial'::text]))
);
comment on table billing.purchase_marks is 'Places of what an account may buy once.';
CREATE UNIQUE INDEX purchase_marks_offer ON billing.purchase_marks USING btree (payer_id, sku) WHERE kind = 'offer'::text AND freed_at IS NULL;
CREATE INDEX purchase_marks_order ON billing.purchase_marks USING btree (payer_id, order_id);
CREATE UNIQUE INDEX purchase_marks_trial ON billing.purchase_marks USING btree (payer_id) WHERE kind = 'trial'::text AND freed_at IS NULL;
CREATE TRIGGER freed_purchase_marks_stay BEFORE UPDATE ON billing.purchase_marks FOR EACH ROW WHEN (old.freed_at IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER purchase_marks_are_kept BEFORE TRUNCATE ON billing.purchase_marks FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER purchase_marks_stay BEFORE DELETE OR UPDATE OF payer_id, mark_id, kind, sku, account_id, order_id, taken_at ON billing.purchase_marks FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.queued_changes (
  payer_id uuid not null,
  subscription_id uuid not null,
  change_id uuid not null,
  sku text not null,
  version integer not null,
  quantity integer not null,
  queued_at timestamp with time zone not null,
  applied_at timestamp with time zone,
  period_number integer,
  dropped_at timestamp with time zone,
  names_offer boolean not null default true,
  names_quantity boolean not null default true,
  constraint queued_changes_pkey PRIMARY KEY (payer_id, subscription_id, change_id),
  constraint queued_changes_check CHECK ((applied_at IS NULL) = (period_number IS NULL)),
  constraint queued_changes_check1 CHECK (applied_at IS NULL OR dropped_at IS NULL),
  constraint queued_changes_quantity_check CHECK (quantity > 0)
);
comment on table billing.queued_changes is 'Changes of subscriptions that wait for the end of the period, and what became of them.';
CREATE UNIQUE INDEX queued_changes_open ON billing.queued_changes USING btree (payer_id, subscription_id) WHERE applied_at IS NULL AND dropped_at IS NULL;
CREATE TRIGGER done_queued_changes_stay BEFORE UPDATE ON billing.queued_changes FOR EACH ROW WHEN (old.applied_at IS NOT NULL OR old.dropped_at IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER queued_changes_are_kept BEFORE TRUNCATE ON billing.queued_changes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER queued_changes_names_stay BEFORE UPDATE OF names_offer, names_quantity ON billing.queued_changes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER queued_changes_stay BEFORE DELETE OR UPDATE OF payer_id, subscription_id, change_id, sku, version, quantity, queued_at ON billing.queued_changes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.referral_bonuses (
  payer_id uuid not null,
  referral_id uuid not null,
  side text not null,
  order_id uuid not null,
  program_version integer not null,
  grant_sequences bigint[] not null,
  created_at timestamp with time zone not null,
  constraint referral_bonuses_pkey PRIMARY KEY (payer_id, referral_id, side),
  constraint referral_bonuses_side_check CHECK (side = ANY (ARRAY['referrer'::text, 'referred'::text]))
);
comment on table billing.referral_bonuses is 'What was given for referrals, once a side.';
CREATE TRIGGER referral_bonuses_are_kept BEFORE TRUNCATE ON billing.referral_bonuses FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER referral_bonuses_stay BEFORE DELETE OR UPDATE ON billing.referral_bonuses FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.referral_programs (
  version integer not null,
  active boolean not null,
  terms jsonb not null,
  created_at timestamp with time zone not null,
  constraint referral_programs_pkey PRIMARY KEY (version),
  constraint referral_programs_version_check CHECK (version > 0)
);
comment on table billing.referral_programs is 'What is given for bringing a customer; the latest version counts.';
CREATE TRIGGER referral_programs_are_kept BEFORE TRUNCATE ON billing.referral_programs FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER referral_programs_stay BEFORE DELETE OR UPDATE ON billing.referral_programs FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.referrals (
  payer_id uuid not null,
  referral_id uuid not null,
  account_id uuid not null,
  referrer_id uuid not null,
  created_at timestamp with time zone not null,
  first_order_id uuid,
  first_paid_at timestamp with time zone,
  constraint referrals_pkey PRIMARY KEY (payer_id),
  constraint referrals_check CHECK ((first_order_id IS NULL) = (first_paid_at IS NULL))
);
comment on table billing.referrals is 'Which payer was brought by which account.';
CREATE INDEX referrals_id ON billing.referrals USING btree (referral_id);
CREATE INDEX referrals_referrer ON billing.referrals USING btree (referrer_id);
CREATE TRIGGER referrals_are_kept BEFORE TRUNCATE ON billing.referrals FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER referrals_stay BEFORE DELETE OR UPDATE OF payer_id, referral_id, account_id, referrer_id, created_at ON billing.referrals FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER rewarded_referrals_stay BEFORE UPDATE ON billing.referrals FOR EACH ROW WHEN (old.first_order_id IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();

create table billing.refund_details (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  reason text,
  metadata jsonb not null default '{}'::jsonb,
  constraint refund_details_pkey PRIMARY KEY (payer_id, order_id, refund_id)
);
comment on table billing.refund_details is 'What people wrote beside a refund. Emptied when a person is erased.';

create table billing.refund_items (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  position smallint not null,
  amount numeric not null,
  net numeric not null,
  tax numeric not null,
  constraint refund_items_pkey PRIMARY KEY (payer_id, order_id, refund_id, "position"),
  constraint refund_items_amount_check CHECK (amount >= 0::numeric),
  constraint refund_items_check CHECK (amount = (net + tax)),
  constraint refund_items_net_check CHECK (net >= 0::numeric),
  constraint refund_items_tax_check CHECK (tax >= 0::numeric)
);
comment on table billing.refund_items is 'Which line of an order a refund was for.';
CREATE TRIGGER refund_items_are_kept BEFORE TRUNCATE ON billing.refund_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER refund_items_stay BEFORE DELETE OR UPDATE ON billing.refund_items FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.refund_units (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  position smallint not null,
  ledger_id uuid not null,
  grant_sequence bigint not null,
  net numeric not null,
  units numeric not null,
  value numeric not null,
  taken numeric not null,
  taken_value numeric not null,
  constraint refund_units_pkey PRIMARY KEY (payer_id, order_id, refund_id, ledger_id, grant_sequence),
  constraint refund_units_net_check CHECK (net >= 0::numeric),
  constraint refund_units_taken_check CHECK (taken >= 0::numeric),
  constraint refund_units_taken_value_check CHECK (taken_value >= 0::numeric),
  constraint refund_units_units_check CHECK (units >= 0::numeric),
  constraint refund_units_value_check CHECK (value >= 0::numeric)
);
comment on table billing.refund_units is 'What each refund took back of which grant.';
CREATE TRIGGER refund_units_are_kept BEFORE TRUNCATE ON billing.refund_units FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER refund_units_stay BEFORE DELETE OR UPDATE ON billing.refund_units FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.refunds (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  used text not null,
  amount numeric not null,
  net numeric not null,
  tax numeric not null,
  rounding numeric not null,
  refunded_at timestamp with time zone not null,
  constraint refunds_pkey PRIMARY KEY (payer_id, order_id, refund_id),
  constraint refunds_amount_check CHECK (amount >= 0::numeric),
  constraint refunds_check CHECK (amount = (net + tax)),
  constraint refunds_net_check CHECK (net >= 0::numeric),
  constraint refunds_tax_check CHECK (tax >= 0::numeric),
  constraint refunds_used_check CHECK (used = ANY (ARRAY['forgive'::text, 'charge'::text, 'negative'::text]))
);
comment on table billing.refunds is 'Money given back for orders.';
CREATE TRIGGER refunds_are_kept BEFORE TRUNCATE ON billing.refunds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER refunds_stay BEFORE DELETE OR UPDATE ON billing.refunds FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.refunds_due (
  payer_id uuid not null,
  order_id uuid not null,
  gateway text not null,
  payment_id text not null,
  amount numeric not null,
  currency text not null,
  reason text not null,
  recorded_at timestamp with time zone not null,
  constraint refunds_due_pkey PRIMARY KEY (payer_id, order_id),
  constraint refunds_due_amount_check CHECK (amount >= 0::numeric)
);
comment on table billing.refunds_due is 'Payments for orders that could not be fulfilled any more; they are to be given back.';
CREATE TRIGGER refunds_due_are_kept BEFORE TRUNCATE ON billing.refunds_due FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER refunds_due_stay BEFORE DELETE OR UPDATE ON billing.refunds_due FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.sandbox (
  one boolean not null default true,
  moved_ms bigint not null default 0,
  marked_at timestamp with time zone not null,
  constraint sandbox_pkey PRIMARY KEY (one),
  constraint sandbox_moved_ms_check CHECK (moved_ms >= 0),
  constraint sandbox_one_check CHECK (one)
);
comment on table billing.sandbox is 'There is a row if this schema is a sandbox: nothing in it is meant.';
CREATE TRIGGER sandbox_goes_on BEFORE UPDATE ON billing.sandbox FOR EACH ROW WHEN (new.moved_ms < old.moved_ms OR new.marked_at <> old.marked_at) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER sandbox_is_kept BEFORE TRUNCATE ON billing.sandbox FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER sandbox_stays BEFORE DELETE ON billing.sandbox FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.subscription_details (
  payer_id uuid not null,
  subscription_id uuid not null,
  cancel_reason text,
  metadata jsonb not null default '{}'::jsonb,
  constraint subscription_details_pkey PRIMARY KEY (payer_id, subscription_id)
);
comment on table billing.subscription_details is 'What people wrote beside a subscription. Emptied when a person is erased.';

create table billing.subscription_periods (
  payer_id uuid not null,
  subscription_id uuid not null,
  number integer not null,
  phase smallint,
  sku text not null,
  version integer not null,
  quantity integer not null,
  fee numeric not null,
  currency text not null,
  starts_at timestamp with time zone not null,
  ends_at timestamp with time zone not null,
  granted_at timestamp with time zone,
  reset_at timestamp with time zone,
  drafted_at timestamp with time zone,
  order_id uuid,
  resumed boolean not null default false,
  first_own boolean not null default false,
  part_days integer,
  whole_days integer,
  cut_ledger_id uuid,
  cut_sequence bigint,
  cycle integer,
  carried_from integer,
  credited numeric not null default 0,
  first_unpaid boolean not null default false,
  begun_anew boolean not null default false,
  constraint subscription_periods_pkey PRIMARY KEY (payer_id, subscription_id, number),
  constraint subscription_periods_check CHECK ((part_days IS NULL) = (whole_days IS NULL)),
  constraint subscription_periods_check1 CHECK (starts_at <= ends_at),
  constraint subscription_periods_check2 CHECK (cycle < number),
  constraint subscription_periods_check3 CHECK (carried_from < number),
  constraint subscription_periods_credited_check CHECK (credited >= 0::numeric AND credited <= 1::numeric),
  constraint subscription_periods_fee_check CHECK (fee >= 0::numeric),
  constraint subscription_periods_number_check CHECK (number > 0),
  constraint subscription_periods_part_days_check CHECK (part_days >= 0),
  constraint subscription_periods_phase_check CHECK (phase > 0),
  constraint subscription_periods_quantity_check CHECK (quantity > 0),
  constraint subscription_periods_whole_days_check CHECK (whole_days > 0)
) with (fillfactor=80);
comment on table billing.subscription_periods is 'What was in force of a subscription from when to when, and for how much.';
CREATE INDEX subscription_periods_order ON billing.subscription_periods USING btree (payer_id, order_id) WHERE order_id IS NOT NULL;
CREATE INDEX subscription_periods_undrafted ON billing.subscription_periods USING btree (ends_at, payer_id) WHERE drafted_at IS NULL;
CREATE INDEX subscription_periods_ungranted ON billing.subscription_periods USING btree (ends_at) WHERE granted_at IS NULL AND order_id IS NULL;
CREATE INDEX subscription_periods_unreset ON billing.subscription_periods USING btree (ends_at) WHERE reset_at IS NULL;
CREATE TRIGGER subscription_periods_are_kept BEFORE DELETE OR TRUNCATE ON billing.subscription_periods FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER subscription_periods_credited_once BEFORE UPDATE ON billing.subscription_periods FOR EACH ROW WHEN (old.credited <> 0::numeric AND new.credited <> old.credited) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER subscription_periods_cycle_stays BEFORE UPDATE OF cycle, carried_from ON billing.subscription_periods FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER subscription_periods_move BEFORE UPDATE ON billing.subscription_periods FOR EACH ROW WHEN (NOT ((old.granted_at IS NULL OR new.granted_at = old.granted_at) AND (old.first_unpaid OR NOT new.first_unpaid) AND (new.starts_at = old.starts_at AND new.resumed = old.resumed AND new.ends_at <= old.ends_at AND (old.reset_at IS NULL OR new.reset_at = old.reset_at) OR old.first_unpaid AND NOT new.first_unpaid AND old.granted_at IS NULL AND new.starts_at >= old.starts_at))) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER subscription_periods_stay BEFORE UPDATE OF payer_id, subscription_id, number, phase, sku, version, quantity, fee, currency, order_id, first_own, part_days, whole_days ON billing.subscription_periods FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.subscription_steps (
  payer_id uuid not null,
  subscription_id uuid not null,
  step_id uuid not null,
  period_number integer not null,
  product text not null,
  steps integer not null,
  size numeric not null,
  price numeric not null,
  item_id uuid not null,
  added_at timestamp with time zone not null,
  constraint subscription_steps_pkey PRIMARY KEY (payer_id, subscription_id, step_id),
  constraint subscription_steps_price_check CHECK (price >= 0::numeric),
  constraint subscription_steps_size_check CHECK (size > 0::numeric),
  constraint subscription_steps_steps_check CHECK (steps > 0)
);
comment on table billing.subscription_steps is 'Extra units bought on top of a period, step by step.';
CREATE TRIGGER subscription_steps_are_kept BEFORE TRUNCATE ON billing.subscription_steps FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER subscription_steps_stay BEFORE DELETE OR UPDATE ON billing.subscription_steps FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.subscriptions (
  payer_id uuid not null,
  subscription_id uuid not null,
  account_id uuid not null,
  sku text not null,
  version integer not null,
  quantity integer not null,
  status text not null,
  currency text not null,
  created_at timestamp with time zone not null,
  started_at timestamp with time zone not null,
  anchor_at timestamp with time zone not null,
  anchor_zone text not null,
  anchor_number integer not null,
  trial_phases smallint not null,
  phase smallint,
  period_number integer not null,
  period_start timestamp with time zone not null,
  period_end timestamp with time zone not null,
  next_due_at timestamp with time zone,
  reminded_number integer,
  renews boolean not null,
  cancel_at timestamp with time zone,
  pause_at timestamp with time zone,
  resume_at timestamp with time zone,
  ended_at timestamp with time zone,
  end_reason text,
  collection text not null,
  collected_by text not null,
  coupon text,
  coupon_left integer,
  awaiting_payment boolean not null,
  overdue boolean not null default false,
  grace_until timestamp with time zone,
  sends_by_default boolean not null default false,
  first_unpaid boolean not null default false,
  lapses_at timestamp with time zone,
  access text,
  followed_by uuid,
  constraint subscriptions_pkey PRIMARY KEY (payer_id, subscription_id),
  constraint subscriptions_access_check CHECK (access = ANY (ARRAY['on_payment'::text, 'at_once'::text])),
  constraint subscriptions_check CHECK (period_start <= period_end),
  constraint subscriptions_check1 CHECK ((ended_at IS NOT NULL) = (status = ANY (ARRAY['cancelled'::text, 'ended'::text]))),
  constraint subscriptions_check2 CHECK ((end_reason IS NOT NULL) = (ended_at IS NOT NULL)),
  constraint subscriptions_check3 CHECK (ended_at IS NULL OR next_due_at IS NULL),
  constraint subscriptions_check4 CHECK (coupon IS NOT NULL OR coupon_left IS NULL),
  constraint subscriptions_check5 CHECK (NOT overdue OR (status = ANY (ARRAY['past_due'::text, 'paused'::text]))),
  constraint subscriptions_check6 CHECK (grace_until IS NULL OR (status = ANY (ARRAY['past_due'::text, 'paused'::text])) AND NOT overdue),
  constraint subscriptions_collected_by_check CHECK (collected_by = ANY (ARRAY['engine'::text, 'provider'::text])),
  constraint subscriptions_collection_check CHECK (collection = ANY (ARRAY['charge'::text, 'send'::text])),
  constraint subscriptions_coupon_left_check CHECK (coupon_left >= 0),
  constraint subscriptions_end_reason_check CHECK (end_reason = ANY (ARRAY['expired'::text, 'cancelled'::text, 'payment_failed'::text, 'payment_lapsed'::text, 'no_payment_method'::text, 'refunded'::text, 'account_closed'::text])),
  constraint subscriptions_lapse CHECK (lapses_at IS NULL OR first_unpaid AND ended_at IS NULL),
  constraint subscriptions_period_number_check CHECK (period_number >= 0),
  constraint subscriptions_phase_check CHECK (phase > 0),
  constraint subscriptions_quantity_check CHECK (quantity > 0),
  constraint subscriptions_sends_by_default_check CHECK (NOT sends_by_default OR collection = 'send'::text),
  constraint subscriptions_status_check CHECK (status = ANY (ARRAY['trialing'::text, 'active'::text, 'past_due'::text, 'paused'::text, 'cancelled'::text, 'ended'::text])),
  constraint subscriptions_trial_phases_check CHECK (trial_phases >= 0 AND trial_phases <= 2)
) with (fillfactor=70);
comment on table billing.subscriptions is 'Recurring offers that accounts have or had, as they stand.';
CREATE INDEX subscriptions_account ON billing.subscriptions USING btree (account_id, subscription_id);
CREATE INDEX subscriptions_due ON billing.subscriptions USING btree (next_due_at, payer_id, subscription_id) WHERE next_due_at IS NOT NULL;
CREATE INDEX subscriptions_id ON billing.subscriptions USING btree (subscription_id);
CREATE INDEX subscriptions_next ON billing.subscriptions USING btree (payer_id, next_due_at) WHERE next_due_at IS NOT NULL;
CREATE TRIGGER subscriptions_are_kept BEFORE DELETE OR TRUNCATE ON billing.subscriptions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER subscriptions_move BEFORE UPDATE ON billing.subscriptions FOR EACH ROW WHEN (NOT (new.period_number >= old.period_number AND (new.status = old.status OR (old.status = ANY (ARRAY['trialing'::text, 'active'::text, 'past_due'::text])) AND NOT (old.status = 'active'::text AND new.status = 'trialing'::text) OR old.status = 'paused'::text AND (new.status = ANY (ARRAY['trialing'::text, 'active'::text, 'past_due'::text, 'cancelled'::text, 'ended'::text])) OR (old.status = ANY (ARRAY['cancelled'::text, 'ended'::text])) AND (new.status = ANY (ARRAY['trialing'::text, 'active'::text]))))) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER subscriptions_stay BEFORE UPDATE OF payer_id, subscription_id, account_id, currency, created_at ON billing.subscriptions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.tax_rates (
  key text not null,
  folded_key text not null,
  name text not null,
  percent numeric not null,
  country text,
  inclusive boolean not null,
  active boolean not null,
  metadata jsonb not null default '{}'::jsonb,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  constraint tax_rates_pkey PRIMARY KEY (key),
  constraint tax_rates_folded_key_key UNIQUE (folded_key),
  constraint tax_rates_country_check CHECK (country ~ '^[A-Z]{2}$'::text),
  constraint tax_rates_percent_check CHECK (percent >= 0::numeric AND percent <= 100::numeric)
);
comment on table billing.tax_rates is 'Taxes on what is sold. Orders and invoices keep the rate as it was.';
CREATE UNIQUE INDEX tax_rates_country ON billing.tax_rates USING btree (country) WHERE active AND country IS NOT NULL;

create table billing.test_gateway_charges (
  idempotency_key text not null,
  attempt_id uuid not null,
  customer text,
  method text not null,
  amount numeric not null,
  currency text not null,
  outcome text not null,
  calls integer not null default 1,
  constraint test_gateway_charges_pkey PRIMARY KEY (idempotency_key)
);
comment on table billing.test_gateway_charges is 'The memory of the test gateway. No money of anybody''s.';
CREATE INDEX test_gateway_charges_method ON billing.test_gateway_charges USING btree (method, customer);

create table billing.test_gateway_refunds (
  idempotency_key text not null,
  refund_id uuid not null,
  charge text not null,
  amount numeric not null,
  currency text not null,
  outcome text not null,
  calls integer not null default 1,
  constraint test_gateway_refunds_pkey PRIMARY KEY (idempotency_key)
);
comment on table billing.test_gateway_refunds is 'The memory of the test gateway. No money of anybody''s.';

create table billing.top_ups (
  payer_id uuid not null,
  product text not null,
  account_id uuid not null,
  sku text not null,
  quantity integer not null,
  below numeric not null,
  max_per_period integer not null,
  period text not null,
  active boolean not null,
  period_start timestamp with time zone,
  bought integer not null default 0,
  stopped_until timestamp with time zone,
  order_id uuid,
  saved_at timestamp with time zone not null,
  constraint top_ups_pkey PRIMARY KEY (payer_id, product),
  constraint top_ups_below_check CHECK (below > 0::numeric),
  constraint top_ups_bought_check CHECK (bought >= 0),
  constraint top_ups_max_per_period_check CHECK (max_per_period > 0),
  constraint top_ups_period_check CHECK (period = ANY (ARRAY['day'::text, 'week'::text, 'month'::text])),
  constraint top_ups_quantity_check CHECK (quantity > 0)
) with (fillfactor=70);
comment on table billing.top_ups is 'What is bought by itself when units run low.';
CREATE INDEX top_ups_active ON billing.top_ups USING btree (payer_id, product) WHERE active;
CREATE INDEX top_ups_order ON billing.top_ups USING btree (order_id) WHERE order_id IS NOT NULL;

create table billing.trial_hashes (
  hash bytea not null,
  key_id text not null,
  claimed_at timestamp with time zone not null,
  constraint trial_hashes_pkey PRIMARY KEY (hash)
);
comment on table billing.trial_hashes is 'Identities that have had their trial, as keyed hashes alone. Kept when a person is erased.';
CREATE INDEX trial_hashes_age ON billing.trial_hashes USING btree (claimed_at);
CREATE TRIGGER trial_hashes_are_kept BEFORE TRUNCATE ON billing.trial_hashes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER trial_hashes_stay BEFORE UPDATE ON billing.trial_hashes FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.trial_marks (
  payer_id uuid not null,
  account_id uuid not null,
  sku text not null,
  order_id uuid,
  started_at timestamp with time zone not null,
  ends_at timestamp with time zone,
  constraint trial_marks_pkey PRIMARY KEY (payer_id, account_id)
);
comment on table billing.trial_marks is 'Accounts that have had their trial.';
CREATE TRIGGER ordered_trial_marks_stay BEFORE DELETE ON billing.trial_marks FOR EACH ROW WHEN (old.order_id IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER trial_marks_are_kept BEFORE TRUNCATE ON billing.trial_marks FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER trial_marks_stay BEFORE UPDATE ON billing.trial_marks FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.unit_debts (
  payer_id uuid not null,
  sequence bigint not null,
  product text not null,
  amount numeric not null,
  paid numeric not null default 0,
  moved numeric not null default 0,
  moved_payer_id uuid,
  moved_sequence bigint,
  constraint unit_debts_pkey PRIMARY KEY (payer_id, sequence),
  constraint unit_debts_amount_check CHECK (amount > 0::numeric),
  constraint unit_debts_check CHECK ((paid + moved) <= amount),
  constraint unit_debts_check1 CHECK ((moved > 0::numeric) = (moved_payer_id IS NOT NULL) AND (moved > 0::numeric) = (moved_sequence IS NOT NULL)),
  constraint unit_debts_moved_check CHECK (moved >= 0::numeric),
  constraint unit_debts_paid_check CHECK (paid >= 0::numeric)
) with (fillfactor=80);
comment on table billing.unit_debts is 'Units that were used and then refunded: the next grants of the product pay them first.';
CREATE INDEX unit_debts_open ON billing.unit_debts USING btree (payer_id, product) WHERE (paid + moved) < amount;
CREATE TRIGGER unit_debts_are_kept BEFORE TRUNCATE ON billing.unit_debts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER unit_debts_stay BEFORE DELETE OR UPDATE OF payer_id, sequence, product, amount ON billing.unit_debts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

create table billing.usage_marks (
  payer_id uuid not null,
  product text not null,
  billed_sequence bigint not null,
  constraint usage_marks_pkey PRIMARY KEY (payer_id, product),
  constraint usage_marks_billed_sequence_check CHECK (billed_sequence >= 0)
) with (fillfactor=80);
comment on table billing.usage_marks is 'How far invoices have followed what was used beyond grants, so that nobody reads all of it again.';

create table billing.webhook_failures (
  webhook_id uuid not null,
  payer_id uuid not null,
  event_id uuid not null,
  attempts integer not null,
  status integer,
  error text,
  given_up_at timestamp with time zone not null,
  constraint webhook_failures_pkey PRIMARY KEY (payer_id, webhook_id, event_id),
  constraint webhook_failures_attempts_check CHECK (attempts > 0)
);
comment on table billing.webhook_failures is 'Events that an endpoint did not take, however often they were sent.';
CREATE INDEX webhook_failures_age ON billing.webhook_failures USING btree (given_up_at);
CREATE INDEX webhook_failures_webhook ON billing.webhook_failures USING btree (webhook_id, given_up_at);

create table billing.webhooks (
  webhook_id uuid not null,
  url text not null,
  types text[],
  active boolean not null,
  disabled_reason text,
  created_at timestamp with time zone not null,
  updated_at timestamp with time zone not null,
  last_delivered_at timestamp with time zone,
  constraint webhooks_pkey PRIMARY KEY (webhook_id),
  constraint webhooks_check CHECK (active = (disabled_reason IS NULL)),
  constraint webhooks_disabled_reason_check CHECK (disabled_reason = ANY (ARRAY['switched_off'::text, 'gone'::text])),
  constraint webhooks_types_check CHECK (cardinality(types) > 0)
);
comment on table billing.webhooks is 'Where events are sent by HTTP. What signs them is not in the database.';
CREATE UNIQUE INDEX webhooks_url ON billing.webhooks USING btree (url);

-- Foreign keys

alter table billing.account_contacts add constraint account_contacts_account_id_fkey FOREIGN KEY (account_id) REFERENCES billing.accounts(account_id);

alter table billing.account_details add constraint account_details_account_id_fkey FOREIGN KEY (account_id) REFERENCES billing.accounts(account_id);

alter table billing.account_taxes add constraint account_taxes_account_id_fkey FOREIGN KEY (account_id) REFERENCES billing.accounts(account_id);

alter table billing.accounts add constraint accounts_merged_into_fkey FOREIGN KEY (merged_into) REFERENCES billing.accounts(account_id);

alter table billing.coupon_redemptions add constraint coupon_redemptions_folded_code_fkey FOREIGN KEY (folded_code) REFERENCES billing.coupons(folded_code);

alter table billing.identities add constraint identities_account_id_fkey FOREIGN KEY (account_id) REFERENCES billing.accounts(account_id) DEFERRABLE INITIALLY DEFERRED;

alter table billing.offer_items add constraint offer_items_product_fkey FOREIGN KEY (product) REFERENCES billing.products(key);

alter table billing.offer_items add constraint offer_items_sku_version_fkey FOREIGN KEY (sku, version) REFERENCES billing.offer_versions(sku, version);

alter table billing.offer_versions add constraint offer_versions_sku_fkey FOREIGN KEY (sku) REFERENCES billing.offers(sku);
