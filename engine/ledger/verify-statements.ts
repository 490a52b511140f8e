import { payersOf } from '../database';
import { ENTRY_KINDS } from './lines';

/** The statements of verify(), for `readFound`. */

/** A row by its key, behind a fence. */
const rowOf = (table: string, row: string, key: string): string => `(
    select * from {schema}.${table} ${row} where (${row}.payer_id, ${row}.sequence) = (${key}) offset 0) as ${row}`;

const accountOf = (row: string, id: string): string =>
  `(select * from {schema}.accounts ${row} where ${row}.account_id = ${id} offset 0) as ${row}`;

/** One more kind of problem, of lines of a ledger or of what bears the number of one; its message follows. */
const also = (code: string, table = 'entries', row = ''): string => `union all
  select '${code}', '${table}', ${row}payer_id || '.' || ${row}sequence,`;

const PROBLEMS = `
  'problems', (select json_agg(p) from (select * from problems limit 1000) as p)`;

/** Not run: the planner's own guess, which follows the size of the tables. */
export const ESTIMATE_ROWS = `
explain select 1 from {schema}.entries union all select 1 from {schema}.answers`;

export const COUNT_SMALL = `
select json_build_object(
  'products', (select count(*) from {schema}.products),
  'offers', (select count(*) from {schema}.offers),
  'identities', (select count(*) from {schema}.identities))::text as found`;

/** Who may have a ledger without being an account. */
const IN_LEDGERS = ['entries', 'grants', 'holds', 'overage_terms', 'unit_debts'];

/** A page of accounts, and payers in the same range that are none; with the number of each one's last line. */
export const NEXT_ACCOUNTS = `
with recursive page as (
  select account_id from {schema}.accounts where account_id > $1::uuid
  order by account_id limit $2::integer
), bounds as (
  select case when (select count(*) from page) = $2::integer
    then (select account_id from page order by account_id desc limit 1)
    else 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid end as upto
), ${IN_LEDGERS.map((table) => payersOf(table, '(select upto from bounds)')).join(', ')}
select coalesce(json_agg(json_build_object('id', id, 'known', known, 'last', last) order by id), '[]')::text as found
from (
  select account_id as id, true as known from page
  union all
  (select stray.payer_id, false
   from (${IN_LEDGERS.map((table) => `select payer_id from of_${table}`).join(' union ')}) as stray
   where stray.payer_id is not null
     and not exists (select 1 from page where page.account_id = stray.payer_id)
   limit 1000)
) as payers
cross join lateral (
  select coalesce((select e.sequence from {schema}.entries e where e.payer_id = payers.id
                   order by e.sequence desc limit 1), 0) as last
) as line`;

/** Accounts one by one, and what stands in the ledger of none. */
export const CHECK_ACCOUNTS = `
with payers as (select id from unnest($1::uuid[]) as id)
select coalesce(json_agg(problem), '[]')::text as found
from (
  select 'payer' as code, 'accounts' as "table", a.account_id::text as id,
         'is paid for by an account that does not exist or is itself a child' as message
  from payers
  cross join lateral ${accountOf('a', 'payers.id')}
  left join lateral ${accountOf('p', 'a.payer_id')} on true
  where p.account_id is null or p.payer_id <> p.account_id
  union all
  select 'gate', 'accounts', a.account_id::text,
         case when a.gated then 'is marked as one to whom a product is denied, and none is'
              else 'is not marked, though a product is denied to it' end
  from payers
  cross join lateral ${accountOf('a', 'payers.id')}
  where a.gated <> exists (
    select 1 from {schema}.access_gates g
    where g.payer_id = a.account_id and g.reason = 'payment_overdue')
  union all
  select 'unknown_payer', first."table", first.id, 'is in the ledger of no account'
  from payers
  cross join lateral (
    (select 'entries' as "table", payers.id || '.' || e.sequence as id from {schema}.entries e
     where e.payer_id = payers.id order by e.sequence limit 1)
    union all
    (select 'grants', payers.id || '.' || g.sequence from {schema}.grants g
     where g.payer_id = payers.id order by g.sequence limit 1)
    union all
    (select 'holds', payers.id || '.' || h.sequence from {schema}.holds h
     where h.payer_id = payers.id order by h.sequence limit 1)
    union all
    (select 'overage_terms', payers.id || ' ' || t.product from {schema}.overage_terms t
     where t.payer_id = payers.id order by t.product limit 1)
    union all
    (select 'unit_debts', payers.id || '.' || d.sequence from {schema}.unit_debts d
     where d.payer_id = payers.id order by d.sequence limit 1)
  ) as first
  where not exists (select 1 from {schema}.accounts a where a.account_id = payers.id)
  limit 1000
) as problem`;

/** At the end of a ledger its payers, before it nobody. */
const AT_END = `any(case when (select yes from finished) then $1::uuid[] else '{}' end)`;

const BATCH = `g.payer_id, g.sequence, g.product, g.initial, g.remaining, g.held, g.live, g.valid_from,
         least(g.expires_at, g.ended_at) as expires_at, g.ended_at, g.value, g.currency`;

/** What a line moved of each grant, and what lines of a kind did whose cause it is. */
const withCaused = (own: string, cause: string, kind: string, moved = 'grant_amounts'): string => `
    select t.grant_sequence, t.amount from unnest(${own}) as t (grant_sequence, amount)
    union all
    select t.grant_sequence, t.amount from {schema}.entries r
    cross join lateral unnest(r.grant_sequences, r.${moved}) as t (grant_sequence, amount)
    where (r.payer_id, r.cause_sequence) = (${cause}) and r.kind = '${kind}'`;

/**
 * Every check of some payers' lines: of all they have, or of a slice of one payer's.
 *
 * $1 payers; $2 the line before the first; $3 how many lines at most, null for all; then what earlier
 * slices carry: $4 lines, $5 the last one's time, $6 the first number that is missing; $7 to $10 what
 * grants hold by then (grant, remaining, held as a sum of traces, value); $11 and $12 overage by
 * product. A grant that is not among $7 holds nothing, as one that was used up does: so little is
 * carried, however many grants there ever were. With more than one payer nothing is carried.
 *
 * What is kept beside the lines (grants, overage) is compared at the end, in the snapshot that has
 * the last line. Holds and restores are looked at with the line that made them.
 */
export const CHECK_LINES = `
with payers as (
  select payer_id from unnest($1::uuid[]) as payer_id
), lines as materialized (
  select l.* from payers cross join lateral (
    select e.payer_id, e.sequence, e.account_id, e.product, e.kind, e.amount, e.grant_sequences,
           e.grant_amounts, e.grant_values, e.effective_at, e.recorded_at, e.cause_sequence, e.overage
    from {schema}.entries e
    where e.payer_id = payers.payer_id and e.sequence > $2::bigint
    order by e.sequence limit $3::integer
  ) as l
), finished as materialized (
  select $3::integer is null or (select count(*) from lines) < $3::integer as yes
), upto as materialized (
  -- Up to where this slice goes: to the end, or to its last line.
  select case when (select yes from finished) then 9223372036854775807
    else (select max(sequence) from lines) end as sequence
), moves as (
  -- Nearly all lines have one trace, which needs no set of its own.
  select l.payer_id, l.sequence, l.kind, l.product, l.effective_at, l.cause_sequence,
         l.grant_sequences[1] as grant_sequence, l.grant_amounts[1] as amount, l.grant_values[1] as value
  from lines l where cardinality(l.grant_amounts) = 1
  union all
  select l.payer_id, l.sequence, l.kind, l.product, l.effective_at, l.cause_sequence,
         t.grant_sequence, t.amount, t.value
  from lines l
  cross join lateral unnest(l.grant_sequences, l.grant_amounts, l.grant_values)
    as t (grant_sequence, amount, value)
  where cardinality(l.grant_amounts) > 1
), traces as materialized (
  select payer_id, sequence, kind, product, effective_at, cause_sequence, grant_sequence, amount,
         coalesce(value, 0) as value, case when kind in ('hold', 'release') then amount else 0 end as held
  from moves
), carried as materialized (
  select ($1::uuid[])[1] as payer_id, c.*
  from unnest($7::bigint[], $8::numeric[], $9::numeric[], $10::numeric[])
    as c (grant_sequence, remaining, held, value)
), sums as materialized (
  select payer_id, grant_sequence, sum(amount) as remaining, sum(held) as held, sum(value) as value
  from (
    select payer_id, grant_sequence, amount, held, value from traces
    union all
    select payer_id, grant_sequence, remaining, held, value from carried
  ) as moved group by payer_id, grant_sequence
), running as (
  select t.payer_id, t.sequence, t.grant_sequence, t.amount, t.held,
         coalesce(c.remaining, 0) + sum(t.amount) over so_far as left_over,
         coalesce(c.held, 0) + sum(t.held) over so_far as held_over
  from traces t
  left join carried c on c.payer_id = t.payer_id and c.grant_sequence = t.grant_sequence
  window so_far as (partition by t.payer_id, t.grant_sequence order by t.sequence)
), batches as materialized (
  -- At the end all grants, before it those that the slice names.
  select ${BATCH} from {schema}.grants g where g.payer_id = ${AT_END}
  union all
  select ${BATCH}
  from (select distinct payer_id, grant_sequence from traces where not (select yes from finished)) as t
  cross join lateral ${rowOf('grants', 'g', 't.payer_id, t.grant_sequence')}
), complete as (
  select b.*, coalesce(s.remaining, 0) as said_remaining, -coalesce(s.held, 0) as said_held,
         coalesce(s.value, 0) as said_value,
         -- Rounded half up, exactly: a division would have been rounded once before.
         case when b.value = 0 then 0
           else div(200000000 * b.value * (b.remaining + b.held) + b.initial, 2 * b.initial)
                * 0.00000001 end as worth
  from batches b
  left join sums s on s.payer_id = b.payer_id and s.grant_sequence = b.sequence
  where (select yes from finished)
), ordered as (
  select payer_id, sequence, recorded_at, effective_at,
         coalesce(lag(sequence) over own, $2::bigint) as number_before,
         coalesce(lag(recorded_at) over own, $5::timestamptz) as time_before
  from lines window own as (partition by payer_id order by sequence)
), books as materialized (
  select p.payer_id, $4::bigint + count(o.sequence) as lines, coalesce(max(o.sequence), $2::bigint) as last,
         coalesce($6::bigint, min(o.number_before + 1) filter (where o.sequence <> o.number_before + 1))
           as first_missing
  from payers p left join ordered o on o.payer_id = p.payer_id
  group by p.payer_id
), weighed as (
  select l.*, p.kind as product_kind, t.total, t.strays,
         l.kind in ('uncovered', 'owed') or (p.kind <> 'quantity' and l.kind in ('use', 'restore')) as moves_nothing
  from lines l
  left join {schema}.products p on p.key = l.product
  cross join lateral (
    select coalesce(sum(amount), 0) as total, count(*) filter (where sign(amount) <> sign(l.amount)) as strays
    from unnest(l.grant_amounts) as amount
  ) as t
), caused as materialized (
  select l.payer_id, l.sequence, l.kind, l.product, l.effective_at, l.cause_sequence,
         c.kind as cause_kind, c.product as cause_product, c.amount as cause_amount,
         c.overage as cause_overage, c.effective_at as cause_effective_at,
         c.grant_sequences as cause_grants, c.grant_amounts as cause_amounts
  from lines l
  left join lateral ${rowOf('entries', 'c', 'l.payer_id, l.cause_sequence')} on true
  where l.cause_sequence is not null
), ends as (
  -- When units came back to a grant whose time was over: the end of the hold, or the restore.
  select c.payer_id, c.sequence, case c.cause_kind when 'restore' then c.cause_effective_at else (
    select r.effective_at from {schema}.entries r
    where r.payer_id = c.payer_id and r.cause_sequence = c.cause_sequence and r.kind = 'release'
    limit 1) end as at
  from caused c where c.kind = 'expiry'
), restored as (
  -- Uses whose latest restore is in this slice.
  select u.*, r.amount as restored, r.overage as overage_restored
  from (select distinct payer_id, cause_sequence, cause_amount, cause_overage, cause_grants, cause_amounts
        from caused where kind = 'restore' and cause_kind = 'use') as u
  cross join lateral (
    select sum(r.amount) as amount, -coalesce(sum(r.overage), 0) as overage, max(r.sequence) as last
    from {schema}.entries r
    where r.payer_id = u.payer_id and r.cause_sequence = u.cause_sequence and r.kind = 'restore'
    offset 0) as r
  where r.last <= (select sequence from upto)
), set_aside as materialized (
  select h.*, e.sequence as entry, e.kind as entry_kind, e.account_id as entry_account,
         e.product as entry_product, e.amount as entry_amount, e.grant_sequences, e.grant_amounts,
         c.*
  from payers
  cross join lateral (
    select * from {schema}.holds h
    where h.payer_id = payers.payer_id and h.sequence > $2::bigint
      and h.sequence <= (select sequence from upto) offset 0) as h
  left join lateral ${rowOf('entries', 'e', 'h.payer_id, h.sequence')} on true
  cross join lateral (
    select count(*) as lines, count(*) filter (where l.kind = 'release') as releases,
           count(*) filter (where l.kind = 'use') as uses,
           count(*) filter (where l.kind = 'uncovered') as uncovered,
           -coalesce(sum(l.amount) filter (where l.kind in ('use', 'uncovered')), 0) as settled_lines,
           max(l.effective_at) filter (where l.kind = 'release') as released_at
    from {schema}.entries l
    where l.payer_id = h.payer_id and l.cause_sequence = h.sequence offset 0) as c
), twins as materialized (
  -- Lines that must be one of two, each with the other.
  select l.payer_id, l.sequence, l.kind, l.amount, l.grant_sequences, l.grant_values,
         o.payer_id as other_payer, o.sequence as other, o.kind as other_kind, o.amount as other_amount,
         o.grant_sequences as other_grants, o.grant_values as other_values, b.sequence as twin
  from lines l
  left join lateral ${rowOf('entry_pairs', 'p', 'l.payer_id, l.sequence')} on true
  left join lateral ${rowOf('entry_pairs', 'b', 'p.other_payer_id, p.other_sequence')}
    on (b.other_payer_id, b.other_sequence, b.kind) = (p.payer_id, p.sequence, p.kind)
  left join lateral ${rowOf('entries', 'o', 'p.other_payer_id, p.other_sequence')} on true
  where l.kind = 'transfer'
), exchanged as materialized (
  -- What an exchange took and what its grants got, by currency. Both are written together.
  select l.payer_id, l.sequence, g.currency, sum(moved.amount) as lost
  from lines l
  cross join lateral (
    ${withCaused('l.grant_sequences, l.grant_values', 'l.payer_id, l.sequence', 'grant', 'grant_values')}
  ) as moved
  cross join lateral ${rowOf('grants', 'g', 'l.payer_id, moved.grant_sequence')}
  where l.kind = 'exchange' and moved.amount <> 0
  group by l.payer_id, l.sequence, g.currency
), debts as materialized (
  select d.*, e.kind as entry_kind, e.product as entry_product, e.amount as entry_amount,
         -coalesce((select sum(p.amount) from {schema}.entries p
           where p.payer_id = d.payer_id and p.cause_sequence = d.sequence and p.kind = 'debt'), 0) as said_paid,
         coalesce((select o.amount from {schema}.unit_debts o
           where o.payer_id = d.moved_payer_id and o.sequence = d.moved_sequence), 0) as said_moved
  from {schema}.unit_debts d
  left join lateral ${rowOf('entries', 'e', 'd.payer_id, d.sequence')} on true
  where d.payer_id = ${AT_END}
), terms as (
  select t.* from {schema}.overage_terms t where t.payer_id = ${AT_END}
), overages as materialized (
  select payer_id, product, sum(overage) as used
  from (
    select payer_id, product, overage from lines where overage is not null
    union all
    select ($1::uuid[])[1], o.* from unnest($11::text[], $12::numeric[]) as o (product, overage)
  ) as moved group by payer_id, product
), problems as (
  select 'sequence_gap' as code, 'entries' as "table", payer_id || '.' || last as id,
         'is the last of a ledger of ' || lines || ' lines; number ' || first_missing || ' is missing' as message
  from books where lines <> last and (select yes from finished)
  ${also('time_order')} 'was recorded before the line ahead of it, or counts later than it was recorded'
  from ordered where recorded_at < time_before or effective_at > recorded_at
  ${also('amount_of_traces')} 'moves ' || amount || ' but its traces say ' || total
         || case when overage is null then '' else ' and its overage ' || overage end
  from weighed where not moves_nothing and amount <> total - coalesce(overage, 0)
  ${also('needless_trace')} 'names grants or overage, though a line of its kind and product moves no units'
  from weighed where moves_nothing and (cardinality(grant_sequences) > 0 or overage is not null)
  ${also('sign')} 'is of kind ' || kind || ' and moves ' || amount
         || case when strays > 0 then ', with a trace that goes the other way or nowhere' else '' end
  from weighed
  where strays > 0 or case when kind in ('grant', 'release', 'restore') then amount <= 0
    when kind = 'transfer' then amount = 0 else amount >= 0 end
  ${also('kind')} 'is of a kind that does not exist: ' || kind
  from lines
  where kind <> all ('{${ENTRY_KINDS.join(',')}}')
  ${also('overage')} 'is of kind ' || kind || ' and has overage of ' || overage
  from lines
  where overage is not null
    and case kind when 'use' then overage <= 0 when 'restore' then overage >= 0 else true end
  ${also('unknown_grant', 'entries', 't.')}
         'names the grant ' || t.grant_sequence || ', which does not exist or is of another product'
  from traces t left join batches b on b.payer_id = t.payer_id and b.sequence = t.grant_sequence
  where b.product is distinct from t.product
  ${also('unknown_account', 'entries', 'l.')} 'names an account that does not exist'
  from lines l
  join (
    select used.account_id from (select distinct account_id from lines) as used
    left join lateral ${accountOf('a', 'used.account_id')} on true
    where a.account_id is null
  ) as unknown on unknown.account_id = l.account_id
  ${also('unknown_product')} 'is of a product that does not exist'
  from weighed where product_kind is null
  ${also('overdrawn')} 'takes more from the grant ' || grant_sequence || ' than it held'
  from running where left_over < 0 and amount < 0
  ${also('released_too_much')} 'gives more back to the grant ' || grant_sequence || ' than was on hold of it'
  from running where held_over > 0 and held > 0
  ${also('used_out_of_time', 'entries', 't.')}
         'draws on the grant ' || t.grant_sequence || ' outside its time, without a hold of so much of it'
  from traces t
  join batches b on b.payer_id = t.payer_id and b.sequence = t.grant_sequence
  left join caused c on c.payer_id = t.payer_id and c.sequence = t.sequence and c.cause_kind = 'hold'
  cross join lateral (
    select coalesce(sum(held.amount), 0) as amount
    from unnest(c.cause_grants, c.cause_amounts) as held (grant_sequence, amount)
    where held.grant_sequence = t.grant_sequence and t.kind in ('use', 'hold')
  ) as held
  where t.kind in ('use', 'hold', 'exchange', 'deduction')
    and (t.effective_at < b.valid_from
      -- Of a grant that was ended, uses just before it bear the same moment.
      or t.effective_at >= b.expires_at and t.effective_at is distinct from b.ended_at)
    and t.amount < held.amount
  ${also('expired_early', 'entries', 't.')}
         'writes off the grant ' || t.grant_sequence || ' at another moment than its end'
         || case when t.cause_sequence is null then ''
              else ' or when the line ' || t.cause_sequence || ' gave units back' end
  from traces t
  join batches b on b.payer_id = t.payer_id and b.sequence = t.grant_sequence
  left join ends on ends.payer_id = t.payer_id and ends.sequence = t.sequence
  where t.kind = 'expiry' and case when t.cause_sequence is null
    then t.effective_at is distinct from b.expires_at
    else t.effective_at is distinct from ends.at or b.expires_at is null or t.effective_at < b.expires_at end
  ${also('cause')} 'is of kind ' || kind || ' and has '
         || case when cause_kind is null then 'as its cause a line that does not exist'
              else 'a cause of kind ' || cause_kind || ' that cannot be one: ' || cause_sequence end
  from caused
  where cause_kind is null or cause_sequence >= sequence or (cause_product <> product and kind <> 'grant')
    or case kind when 'restore' then cause_kind <> 'use'
         when 'expiry' then cause_kind not in ('hold', 'restore')
         when 'use' then cause_kind <> 'hold' when 'release' then cause_kind <> 'hold'
         when 'hold' then cause_kind <> 'hold'
         when 'uncovered' then cause_kind <> 'hold' when 'grant' then cause_kind <> 'exchange'
         when 'debt' then cause_kind <> 'owed' else true end
  ${also('cause')} 'is of kind ' || kind || ' and names no cause'
  from lines where cause_sequence is null and kind in ('release', 'restore', 'uncovered', 'debt')
  union all
  select 'restored_too_much', 'entries', payer_id || '.' || cause_sequence,
         'used ' || -cause_amount || ', of which ' || restored || ' were given back, to grants or as overage '
         || 'that gave less'
  from restored u
  where restored > -cause_amount or overage_restored > coalesce(cause_overage, 0)
    or exists (
      select 1 from (${withCaused('u.cause_grants, u.cause_amounts', 'u.payer_id, u.cause_sequence', 'restore')})
      as moved group by grant_sequence having sum(amount) > 0)
  ${also('hold_missing', 'entries', 'l.')} 'is of kind hold, but there is no such hold'
  from lines l
  left join set_aside h on h.payer_id = l.payer_id and h.sequence = l.sequence
  where l.kind = 'hold' and h.sequence is null
  ${also('hold_again', 'entries', 'l.')} 'goes on with the hold ' || l.cause_sequence || ', but not with all of it'
  from lines l
  join caused c on c.payer_id = l.payer_id and c.sequence = l.sequence
  where l.kind = 'hold' and c.cause_amount is distinct from l.amount
  ${also('hold_entry', 'holds')} 'has no entry of its own that set aside ' || amount || ' for it'
  from set_aside
  where entry is null or entry_kind <> 'hold' or entry_account <> account_id
    or entry_product <> product or entry_amount <> -amount
  ${also('hold_end', 'holds')} 'is open, but ' || lines || ' lines end it'
  from set_aside where ended_at is null and lines > 0
  ${also('hold_end', 'holds')} 'has ended, but not with one line at that moment that gives back what it held'
  from set_aside h
  where ended_at is not null and (
    releases <> 1 or released_at <> ended_at or (outcome = 'expired' and ended_at <> expires_at)
    or exists (
      select 1 from (${withCaused('h.grant_sequences, h.grant_amounts', 'h.payer_id, h.sequence', 'release')})
      as moved group by grant_sequence having sum(amount) <> 0))
  ${also('hold_settled', 'holds')}
         'is ' || outcome || coalesce(' at ' || settled, '') || ', but its lines use ' || settled_lines
  from set_aside
  where ended_at is not null and case when outcome = 'settled'
    then (uses = 1) <> (settled > 0) or uses > 1 or uncovered > 1 or settled <> settled_lines else uses + uncovered > 0 end
  union all
  select 'overage_used', 'overage_terms', coalesce(t.payer_id, o.payer_id) || ' ' || coalesce(t.product, o.product),
         case when t.product is null then 'are missing, though there was overage of ' || o.used
           else 'say ' || t.used || ' were used, the entries say ' || coalesce(o.used, 0) end
  from terms t full join overages o on o.payer_id = t.payer_id and o.product = t.product
  where (select yes from finished) and (t.product is null or t.used <> coalesce(o.used, 0))
  union all
  select 'unknown_product', 'overage_terms', t.payer_id || ' ' || t.product, 'are of a product that does not exist'
  from terms t left join {schema}.products p on p.key = t.product where p.key is null
  ${also('pair')} 'is of kind ' || kind || ' and has no line that it is one of two with'
         || case when other is null then '' else ': not ' || other_payer || '.' || other end
  from twins
  where other is null or twin is null or other_kind <> kind or sign(amount) = sign(other_amount)
  ${also('pair_value', 'entries', 't.')}
         'moves value that ' || t.other_payer || '.' || t.other || ' does not take over'
  from twins t
  where t.amount < 0 and t.other is not null and (
    (select coalesce(sum(v), 0) from unnest(t.grant_values || t.other_values) as v) <> 0
    or (select count(distinct g.currency) from (
          select w.currency from unnest(t.grant_sequences, t.grant_values) as moved (grant_sequence, value)
          cross join lateral ${rowOf('grants', 'w', 't.payer_id, moved.grant_sequence')}
          where moved.value <> 0
          union all
          select w.currency from unnest(t.other_grants, t.other_values) as moved (grant_sequence, value)
          cross join lateral ${rowOf('grants', 'w', 't.other_payer, moved.grant_sequence')}
          where moved.value <> 0) as g) > 1)
  ${also('pair_entry', 'entry_pairs', 'p.')} 'names a line that does not exist, or is no move'
  from {schema}.entry_pairs p
  left join lateral ${rowOf('entries', 'e', 'p.payer_id, p.sequence')} on true
  where p.payer_id = ${AT_END} and (e.kind is null or e.kind <> 'transfer')
  ${also('exchange_value')}
         'spends value in ' || coalesce(currency, 'no currency') || ' that its goods do not have: ' || -lost
  from exchanged where lost <> 0
  ${also('debt', 'unit_debts')}
         'says ' || amount || ' are owed, ' || paid || ' paid and ' || moved || ' taken over, but its entries say '
         || coalesce(-entry_amount, 0) || ', ' || said_paid || ' and ' || said_moved
  from debts
  where entry_kind is distinct from 'owed' or entry_product <> product or entry_amount <> -amount
    or paid <> said_paid or moved <> said_moved
  ${also('debt_missing', 'entries', 'l.')} 'says that units are owed, but there is no such debt'
  from lines l
  left join lateral ${rowOf('unit_debts', 'd', 'l.payer_id, l.sequence')} on true
  where l.kind = 'owed' and d.sequence is null
  ${also('grant_remaining', 'grants')} 'says ' || remaining || ' are left, its entries say ' || said_remaining
  from complete where remaining <> said_remaining
  ${also('grant_held', 'grants')} 'says ' || held || ' are on hold, its entries say ' || said_held
  from complete where held <> said_held
  ${also('grant_live', 'grants')} 'live does not agree with what is left'
  from complete where live <> (remaining > 0)
  ${also('grant_value', 'grants')} 'is worth ' || worth || ', its entries say ' || said_value
  from complete where worth <> said_value
  ${also('grant_entry', 'grants', 'b.')} 'has no entry of its own that gave it'
  from complete b
  left join lateral ${rowOf('entries', 'e', 'b.payer_id, b.sequence')}
    on e.kind in ('grant', 'transfer') and e.product = b.product and e.amount = b.initial
  where e.sequence is null
  ${also('unknown_product', 'grants', 'b.')} 'is of a product that does not exist'
  from complete b left join {schema}.products p on p.key = b.product where p.key is null
)
select json_build_object(
  'checked', json_build_object(
    'entries', (select count(*) from lines),
    'holds', (select count(*) from set_aside),
    'grants', (select count(*) from batches where (select yes from finished)),
    'overage_terms', (select count(*) from terms),
    'unit_debts', (select count(*) from debts)),
  'carried', case when (select yes from finished) then null else (
    select json_build_array(
      b.last::text, b.lines::text, (select max(recorded_at)::text from lines), b.first_missing::text,
      s.grants, s.remaining, s.held, s.values, o.products, o.overages)
    from books b,
    (select coalesce(array_agg(grant_sequence), '{}')::text as grants,
            coalesce(array_agg(remaining), '{}')::text as remaining,
            coalesce(array_agg(held), '{}')::text as held,
            coalesce(array_agg(value), '{}')::text as "values"
     from sums where remaining <> 0 or held <> 0 or value <> 0) as s,
    (select coalesce(array_agg(product), '{}')::text as products,
            coalesce(array_agg(used), '{}')::text as overages from overages) as o) end,${PROBLEMS})::text as found`;

const ANSWER_ID = `w.payer_id || ' ' || w.account_id || ' ' || encode(w.key_hash, 'hex')`;

/**
 * A page of answers, after ($1, $2, $3), at most $4 of them. Nearly all are uses in their short form: the line's number, and what remained (ledger/use-answers.ts).
 */
export const CHECK_ANSWERS = `
with page as materialized (
  select payer_id, account_id, key_hash,
         -- Matched first and taken apart then: a match that captures costs several times as much.
         case when answer ~ '^\\["[1-9][0-9]{0,17}",(null|"[0-9.]+")(,"[0-9.]+")?\\]$'
           then split_part(answer, '"', 2)::bigint end as sequence,
         case when answer like '{%' then answer end as object
  from {schema}.answers
  where (payer_id, account_id, key_hash) > ($1::uuid, $2::uuid, decode($3, 'hex'))
  order by payer_id, account_id, key_hash limit $4::integer
), problems as (
  select 'answer_unreadable' as code, 'answers' as "table", ${ANSWER_ID} as id, 'is unreadable' as message
  from page w where sequence is null and object is null
  union all
  select 'answer_entry', 'answers', ${ANSWER_ID}, 'was given for the use ' || w.sequence || ', which is not there'
  from page w
  left join lateral ${rowOf('entries', 'e', 'w.payer_id, w.sequence')} on true
  where w.sequence is not null and e.kind is distinct from 'use'
)
select json_build_object(
  'rows', (select count(*) from page),
  'last', (
    select json_build_array(payer_id, account_id, encode(key_hash, 'hex')) from page
    where (select count(*) from page) = $4::integer
    order by payer_id desc, account_id desc, key_hash desc limit 1),
  'objects', (select json_agg(json_build_array(${ANSWER_ID}, object)) from page w where object is not null),${PROBLEMS})::text as found`;

/** Which of these lines, named by answers, are not there. */
export const FIND_LINES = `
select coalesce(json_agg(json_build_object(
  'code', 'answer_entry', 'table', 'answers', 'id', n.id,
  'message', 'names the line ' || n.payer_id || '.' || n.sequence || ', which is not there')), '[]')::text as found
from unnest($1::text[], $2::uuid[], $3::bigint[]) as n (id, payer_id, sequence)
left join lateral ${rowOf('entries', 'e', 'n.payer_id, n.sequence')} on true
where e.sequence is null`;
