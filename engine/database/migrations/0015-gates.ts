import type { Migration } from '.';

/** More that pockets hold, as members of a JSON object: gates, and at which balances something is told. */
const pocketMembers = (pockets: string): string => `
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
    'terms', (`;

/**
 * Gates: why a payer may not use a product, or why it has none left. What must be true of them:
 *
 *  - accounts.gated is true of a payer with a gate 'payment_overdue', and of no other account.
 *  - Whoever sets gates holds the payer's lock.
 */
export const gates: Migration = {
  id: 15,
  name: 'gates',
  major: 3,
  statements: `
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

alter table {schema}.accounts
  -- Whether it pays for itself or others and some product is denied to it: such uses are not plain.
  add column gated boolean not null default false;

alter table {schema}.products
  -- Percents of what was granted: usage.threshold tells when so much of it is used.
  add column usage_thresholds numeric[];
create index grants_spent on {schema}.grants (payer_id, product) where not live;

-- The hot path confirms that a payer is not gated where it confirms statuses; whoever reads pockets
-- sees their gates and thresholds. (The same functions, and nothing else in them changed.)
do $migration$
declare
  v_function regprocedure;
  v_from text;
  v_to text;
  v_changed text;
begin
  for v_function, v_from, v_to in values
    ($name\${schema}.record_use(uuid, bigint, uuid, text, text, bigint, numeric, numeric, text, numeric,
       numeric, timestamptz, bytea, bytea, text, timestamptz, text)$name$::regprocedure,
     $from$a.status = 'active')$from$, $to$a.status = 'active' and not a.gated)$to$),
    ($name\${schema}.record_use(uuid, bigint, uuid, text, text, bigint, numeric, numeric, text, numeric,
       numeric, timestamptz, bytea, bytea, text, timestamptz, text)$name$::regprocedure,
     $from$where a.account_id = p_payer)$from$, $to$where a.account_id = p_payer and not a.gated)$to$),
    ($name\${schema}.record_uses(boolean, text, text, timestamptz, timestamptz, text, uuid[], bigint[],
       boolean[], timestamptz[], integer[], uuid[], text[], text[], integer[], bigint[], numeric[],
       numeric[], integer[], bigint[], text[], numeric[], text[], bigint[], numeric[], text[], text[],
       text[], boolean[], bytea, bytea)$name$::regprocedure,
     $from$k.status = 'active')$from$, $to$k.status = 'active' and not k.gated)$to$),
    ($name\${schema}.record_uses(boolean, text, text, timestamptz, timestamptz, text, uuid[], bigint[],
       boolean[], timestamptz[], integer[], uuid[], text[], text[], integer[], bigint[], numeric[],
       numeric[], integer[], bigint[], text[], numeric[], text[], bigint[], numeric[], text[], text[],
       text[], boolean[], bytea, bytea)$name$::regprocedure,
     $from$where k.account_id = p_payers[a.payer])$from$,
     $to$where k.account_id = p_payers[a.payer] and not k.gated)$to$),
    ($name\${schema}.find_changed(uuid[], bigint[], integer[], uuid[], text[], text[], text[],
       text[])$name$::regprocedure,
     $from$k.status = 'active')$from$, $to$k.status = 'active' and not k.gated)$to$),
    ($name\${schema}.find_changed(uuid[], bigint[], integer[], uuid[], text[], text[], text[],
       text[])$name$::regprocedure,
     $from$where k.account_id = p_payers[a.payer])$from$,
     $to$where k.account_id = p_payers[a.payer] and not k.gated)$to$),
    ($name\${schema}.read_standing(uuid[], text[], text[], integer[], text[])$name$::regprocedure,
     'p.time_zone))', 'p.time_zone, p.gated))'),
    ($name\${schema}.lock_and_read(boolean, uuid[], text[], text[], integer[], text[],
       bytea[])$name$::regprocedure,
     'p.time_zone))', 'p.time_zone, p.gated))'),
    ($name\${schema}.read_pockets(uuid[], text[])$name$::regprocedure,
     $from$
    'terms', ($from$, $to$${pocketMembers('p_payers, p_products')}$to$),
    ($name\${schema}.lock_and_read(boolean, uuid[], text[], text[], integer[], text[],
       bytea[])$name$::regprocedure,
     $from$
    'terms', ($from$, $to$${pocketMembers('v_pocket_payers, v_pocket_products')}$to$)
  loop
    v_changed := replace(pg_get_functiondef(v_function), v_from, v_to);
    if v_changed = pg_get_functiondef(v_function) then
      raise exception 'the function % is not as this migration knows it', v_function;
    end if;
    execute v_changed;
  end loop;
end
$migration$;
`,
};
