import type { Session } from '../database';

/**
 * Recomputes what the ledger caches and checks what it promises, from the entries alone. Payers
 * come in chunks, so that memory stays flat however long the ledger is.
 */

export interface Problem {
  /** Which promise is broken. */
  code: string;
  table: string;
  /** The row: a ledger line's id, or a key. */
  id: string;
  message: string;
}

export interface Verification {
  ok: boolean;
  /** Rows looked at, by table. */
  checked: Record<string, number>;
  problems: Problem[];
}

const CHUNK = 500;
/** A database in ruins is known to be one after this many. */
const MAX_PROBLEMS = 1_000;

const NEXT_PAYERS = `
select account_id::text as account_id from {schema}.accounts
where ($1::uuid is null or account_id > $1::uuid)
order by account_id limit ${CHUNK}`;

const COUNT_CHUNK = `
select (select count(*) from {schema}.accounts where account_id = any($1::uuid[]))::text as accounts,
       (select count(*) from {schema}.entries where payer_id = any($1::uuid[]))::text as entries,
       (select count(*) from {schema}.grants where payer_id = any($1::uuid[]))::text as grants`;

/** Every check of a chunk of payers in one statement: each part gives one row a problem. */
const CHECK_CHUNK = `
with lines as (
  select * from {schema}.entries where payer_id = any($1::uuid[])
), traces as (
  select l.payer_id, l.sequence, l.kind, l.product, l.effective_at,
         t.grant_sequence, t.amount, coalesce(t.value, 0) as value
  from lines l
  cross join lateral unnest(l.grant_sequences, l.grant_amounts, l.grant_values)
    as t (grant_sequence, amount, value)
), batches as (
  select * from {schema}.grants where payer_id = any($1::uuid[])
), sums as (
  select payer_id, grant_sequence, sum(amount) as remaining, sum(value) as value
  from traces group by payer_id, grant_sequence
), running as (
  select payer_id, sequence, grant_sequence,
         sum(amount) over (partition by payer_id, grant_sequence order by sequence) as left_over
  from traces
)
select 'sequence_gap' as code, 'entries' as "table", payer_id::text as payer, max(sequence)::text as sequence,
       'the ledger has ' || count(*) || ' lines but the last is number ' || max(sequence) as message
from lines group by payer_id having count(*) <> max(sequence)
union all
select 'time_order', 'entries', payer_id::text, sequence::text,
       'was recorded before the line ahead of it, or counts later than it was recorded'
from (select payer_id, sequence, recorded_at, effective_at,
             lag(recorded_at) over (partition by payer_id order by sequence) as before from lines) as ordered
where recorded_at < before or effective_at > recorded_at
union all
select 'amount_of_traces', 'entries', l.payer_id::text, l.sequence::text,
       'moves ' || l.amount || ' but its traces say ' || coalesce(sum(t.amount), 0)
from lines l join {schema}.products p on p.key = l.product
left join traces t on t.payer_id = l.payer_id and t.sequence = l.sequence
where p.kind = 'quantity' or l.kind <> 'use'
group by l.payer_id, l.sequence, l.amount having l.amount <> coalesce(sum(t.amount), 0)
union all
select 'unknown_grant', 'entries', t.payer_id::text, t.sequence::text,
       'names the grant ' || t.grant_sequence || ', which does not exist or is of another product'
from traces t left join batches b on b.payer_id = t.payer_id and b.sequence = t.grant_sequence
where b.product is distinct from t.product
union all
select 'grant_remaining', 'grants', b.payer_id::text, b.sequence::text,
       'says ' || b.remaining || ' are left, its entries say ' || coalesce(s.remaining, 0)
from batches b left join sums s on s.payer_id = b.payer_id and s.grant_sequence = b.sequence
where b.remaining <> coalesce(s.remaining, 0)
union all
select 'grant_live', 'grants', b.payer_id::text, b.sequence::text, 'live does not agree with what is left'
from batches b where b.live <> (b.remaining > 0)
union all
select 'grant_value', 'grants', b.payer_id::text, b.sequence::text,
       'is worth ' || round(b.value * b.remaining / b.initial, 8) || ', its entries say ' || coalesce(s.value, 0)
from batches b left join sums s on s.payer_id = b.payer_id and s.grant_sequence = b.sequence
where round(b.value * b.remaining / b.initial, 8) <> coalesce(s.value, 0)
union all
select 'grant_entry', 'grants', b.payer_id::text, b.sequence::text, 'has no entry of its own that gave it'
from batches b left join lines l
  on l.payer_id = b.payer_id and l.sequence = b.sequence and l.kind = 'grant'
     and l.product = b.product and l.amount = b.initial
where l.sequence is null
union all
select 'sign', 'entries', l.payer_id::text, l.sequence::text,
       'is of kind ' || l.kind || ' and moves ' || l.amount
from lines l where (l.kind = 'grant') <> (l.amount > 0)
union all
select 'unknown_account', 'entries', l.payer_id::text, l.sequence::text, 'names an account that does not exist'
from lines l left join {schema}.accounts a on a.account_id = l.account_id where a.account_id is null
union all
select 'unknown_product', 'entries', l.payer_id::text, l.sequence::text, 'is of a product that does not exist'
from lines l left join {schema}.products p on p.key = l.product where p.key is null
union all
select 'overdrawn', 'entries', payer_id::text, sequence::text,
       'takes more from the grant ' || grant_sequence || ' than it held'
from running where left_over < 0
union all
select 'used_out_of_time', 'entries', t.payer_id::text, t.sequence::text,
       'uses the grant ' || t.grant_sequence || ' outside its time'
from traces t join batches b on b.payer_id = t.payer_id and b.sequence = t.grant_sequence
where t.kind = 'use' and (t.effective_at < b.valid_from or t.effective_at >= b.expires_at)
union all
select 'expired_early', 'entries', t.payer_id::text, t.sequence::text,
       'writes off the grant ' || t.grant_sequence || ' at another moment than its end'
from traces t join batches b on b.payer_id = t.payer_id and b.sequence = t.grant_sequence
where t.kind = 'expiry' and t.effective_at is distinct from b.expires_at`;

/** Small tables, each looked at once. */
const CHECK_ACCOUNTS = `
select 'payer' as code, 'accounts' as "table", a.account_id::text as payer, null::text as sequence,
       'is paid for by an account that does not exist or is itself a child' as message
from {schema}.accounts a left join {schema}.accounts p on p.account_id = a.payer_id
where p.account_id is null or p.payer_id <> p.account_id
union all
select 'unknown_payer', 'entries', e.payer_id::text, e.sequence::text, 'is in the ledger of no account'
from (select distinct on (payer_id) payer_id, sequence from {schema}.entries order by payer_id, sequence) e
where not exists (select 1 from {schema}.accounts a where a.account_id = e.payer_id)
union all
select 'unknown_product', 'grants', g.payer_id::text, g.sequence::text, 'is of a product that does not exist'
from {schema}.grants g where not exists (select 1 from {schema}.products p where p.key = g.product)`;

const COUNT_SMALL = `
select (select count(*) from {schema}.products)::text as products,
       (select count(*) from {schema}.offers)::text as offers,
       (select count(*) from {schema}.identities)::text as identities`;

interface ProblemRow {
  code: string;
  table: string;
  payer: string;
  sequence: string | null;
  message: string;
}

const problemOf = (row: ProblemRow): Problem => {
  const id = row.sequence === null ? row.payer : `${row.payer}.${row.sequence}`;
  return { code: row.code, table: row.table, id, message: `${row.table} ${id} ${row.message}.` };
};

/** Checks everything. Reads only; what is being written meanwhile is seen before or after, never half. */
export async function verifyLedger(session: Session): Promise<Verification> {
  const checked: Record<string, number> = {};
  const problems: Problem[] = [];
  const count = (row: Record<string, string> | undefined): void => {
    for (const [table, rows] of Object.entries(row ?? {})) {
      checked[table] = (checked[table] ?? 0) + Number.parseInt(rows, 10);
    }
  };
  count((await session.query<Record<string, string>>(COUNT_SMALL))[0]);
  problems.push(...(await session.query<ProblemRow>(CHECK_ACCOUNTS)).map(problemOf));

  let after: string | null = null;
  for (;;) {
    const payers: Array<{ account_id: string }> = await session.query(NEXT_PAYERS, [after]);
    if (payers.length === 0 || problems.length >= MAX_PROBLEMS) break;
    const ids = payers.map((payer) => payer.account_id);
    count((await session.query<Record<string, string>>(COUNT_CHUNK, [ids]))[0]);
    problems.push(...(await session.query<ProblemRow>(CHECK_CHUNK, [ids])).map(problemOf));
    after = ids.at(-1)!;
  }
  return { ok: problems.length === 0, checked, problems: problems.slice(0, MAX_PROBLEMS) };
}
