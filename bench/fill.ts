import { statfs } from 'node:fs/promises';

import { escapeIdentifier, type Pool } from 'pg';

import { PRODUCT, UNITS, PAID } from './ledgers';
import { progress } from './progress';
import { count } from './report';

/**
 * Fills a ledger as years of use would have, in minutes: in bulk by SQL, and so that verify() finds
 * nothing wrong with it.
 *
 * Each account has packs, one after the other: a grant, and uses of 1 until it is used up, each with
 * its value and its answer. The last pack holds more than any benchmark uses up. All were paid for, and
 * the money book has followed to the last line.
 */

/** Lines a pack: the grant, and the uses of it. */
const PACK = 1_000;
const PACK_PRICE = '47.00';
/** Rows a statement. */
const CHUNK = 100_000;
const DAYS_KEPT = 90;
/** Measured: a line with its answer and their indexes, and as much of WAL until it is recycled. */
const BYTES_A_LINE = 700;
const BYTES_OF_WAL = 6e9;
const WAL_A_LINE = 2_000;

/**
 * The lines with numbers $1 to $2 of an account with $3 lines in all, the first at $4. A round of
 * arithmetic a line, whatever the number of accounts.
 */
const LINES = `
with line as materialized (
  select sequence, pack, sequence = pack as is_grant, initial, value,
         initial - (sequence - pack) as left_over, $4::timestamptz + sequence * interval '1 second' as at
  from (
    select sequence, pack,
           case when pack + ${PACK} > $3::bigint then ${UNITS} else ${PACK - 1} end::numeric as initial,
           case when pack + ${PACK} > $3::bigint then ${PAID.amount} else ${PACK_PRICE} end::numeric as value
    from (
      select sequence, sequence - (sequence - 1) % ${PACK} as pack
      from generate_series($1::bigint, $2::bigint) as sequence
    ) as numbered
  ) as packed
), account as (select id from unnest($5::uuid[]) as id)`;

/** In the order of time, all accounts side by side, as real use leaves them on disk. */
const FILL_ENTRIES = `
${LINES}
insert into {schema}.entries
  (payer_id, sequence, account_id, product, kind, amount, grant_sequences, grant_amounts, grant_values,
   effective_at, recorded_at)
select account.id, sequence, account.id, '${PRODUCT}', kind, amount, array[pack], array[amount], array[moved], at, at
from (
  select *, case when is_grant then 'grant' else 'use' end as kind,
         case when is_grant then initial else -1 end as amount,
         case when is_grant then value
           else round(value * left_over / initial, 8) - round(value * (left_over + 1) / initial, 8) end as moved
  from line
) as moving cross join account
order by account.id, sequence`;

/** Account by account: their keys are in no order anyway. */
const FILL_ANSWERS = `
${LINES}
insert into {schema}.answers (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
select account.id, account.id, decode(md5(account.id::text || sequence), 'hex'),
       decode(md5(account.id::text), 'hex'), '["' || sequence || '","' || left_over || '"]',
       at + interval '${DAYS_KEPT} days'
from line cross join account
where not is_grant`;

/** The grants, as the uses of them have left them. */
const FILL_GRANTS = `
${LINES}
insert into {schema}.grants
  (payer_id, sequence, account_id, product, initial, remaining, live, priority, valid_from, value, currency)
select account.id, pack, account.id, '${PRODUCT}', initial, left_over, left_over > 0, 50, at, value, '${PAID.currency}'
from (
  select pack, initial, value, min(at) as at, min(left_over) as left_over
  from line group by pack, initial, value
) as packs cross join account`;

/** Each pack was paid for ($1 accounts). */
const FILL_PAID = `
insert into {schema}.postings
  (payer_id, posting_id, currency, kind, reference_type, reference_id, posted_at, accounts, gateways, amounts)
select g.payer_id, gen_random_uuid(), g.currency, 'outside_grant', 'grant', g.payer_id || '.' || g.sequence,
       g.valid_from, array['cash', 'deferred'], array['manual', null], array[g.value, -g.value]
from {schema}.grants g where g.payer_id = any($1::uuid[])`;

/** The book has followed, day by day, to the last line. */
const FILL_EARNED = `
insert into {schema}.postings
  (payer_id, posting_id, currency, kind, reference_type, reference_id, posted_at, accounts, gateways, amounts)
select payer_id, gen_random_uuid(), '${PAID.currency}', 'earned', 'lines', payer_id || '.' || first || '-' || last,
       at, array['deferred', 'revenue'], array[null, null]::text[], array[earned, -earned]
from (
  select e.payer_id, min(e.sequence) as first, max(e.sequence) as last, max(e.effective_at) as at,
         -sum(e.grant_values[1]) as earned
  from {schema}.entries e where e.payer_id = any($1::uuid[]) and e.kind = 'use'
  group by e.payer_id, (e.effective_at at time zone 'UTC')::date
) as days where earned <> 0`;

const FILL_MARKS = `
insert into {schema}.book_marks (payer_id, posted_sequence, due_at)
select e.payer_id, max(e.sequence), date_trunc('day', now()) + interval '1 day'
from {schema}.entries e where e.payer_id = any($1::uuid[]) group by e.payer_id`;

const TABLES = ['entries', 'answers', 'grants', 'postings', 'book_marks'];

/**
 * @param schema of an engine that was opened, with these accounts and the product, and no grants
 * @param entries ledger lines in all; each account gets the same number
 */
export async function fillLedger(
  pool: Pool,
  { schema, accounts, entries }: { schema: string; accounts: readonly string[]; entries: number },
): Promise<void> {
  await requireRoom(pool, entries);
  const lines = Math.ceil(entries / accounts.length);
  const begin = new Date(Date.now() - (lines + 60) * 1_000).toISOString();
  const total = 2 * lines * accounts.length;
  let filled = 0;
  const run = async (statement: string, from: number, to: number, some: readonly string[]) => {
    const sql = statement.replaceAll('{schema}', escapeIdentifier(schema));
    await pool.query(sql, [from, to, lines, begin, some]);
    filled += (to - from + 1) * some.length;
    progress(
      `filling ${count(lines * accounts.length)} entries: ${Math.floor((100 * filled) / total)}%`,
    );
  };

  const fillEntries = async (): Promise<void> => {
    const step = Math.max(1, Math.floor(CHUNK / accounts.length));
    for (let from = 1; from <= lines; from += step) {
      await run(FILL_ENTRIES, from, Math.min(lines, from + step - 1), accounts);
    }
  };
  const fillAnswers = async (): Promise<void> => {
    const together = Math.max(1, Math.floor(CHUNK / lines));
    for (let first = 0; first < accounts.length; first += together) {
      const some = accounts.slice(first, first + together);
      for (let from = 1; from <= lines; from += CHUNK) {
        await run(FILL_ANSWERS, from, Math.min(lines, from + CHUNK - 1), some);
      }
    }
  };
  // One connection each: a machine has more than one core.
  await Promise.all([fillEntries(), fillAnswers()]);
  const sql = FILL_GRANTS.replaceAll('{schema}', escapeIdentifier(schema));
  await pool.query(sql, [1, lines, lines, begin, accounts]);
  for (const statement of [FILL_PAID, FILL_EARNED, FILL_MARKS]) {
    await pool.query(statement.replaceAll('{schema}', escapeIdentifier(schema)), [accounts]);
  }
  progress('vacuum, as autovacuum would have done meanwhile, and a checkpoint');
  for (const table of TABLES) {
    await pool.query(`vacuum (analyze) ${escapeIdentifier(schema)}.${table}`);
  }
  await pool.query('checkpoint');
}

async function requireRoom(pool: Pool, entries: number): Promise<void> {
  const { rows } = await pool.query<{ folder: string }>(
    `select current_setting('data_directory') as folder`,
  );
  const { bavail, bsize } = await statfs(rows[0]!.folder);
  const needed = entries * BYTES_A_LINE + Math.min(entries * WAL_A_LINE, BYTES_OF_WAL);
  if (bavail * bsize >= needed) return;
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new Error(
    `${count(entries)} entries need about ${gigabytes(needed)} in ${rows[0]!.folder}, and ` +
      `${gigabytes(bavail * bsize)} are free. Set BENCH_ENTRIES to fewer.`,
  );
}

/** What a schema's tables take on disk, with their indexes, in bytes. */
export async function sizeOf(pool: Pool, schema: string): Promise<number> {
  const { rows } = await pool.query<{ bytes: string }>(
    `select sum(pg_total_relation_size(c.oid))::text as bytes
     from pg_class c where c.relkind = 'r' and c.relnamespace = $1::regnamespace`,
    [schema],
  );
  return Number(rows[0]!.bytes);
}
