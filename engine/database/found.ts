import type { Database } from './database';

/**
 * What is looked up in tables is looked up by a key, behind a fence (`offset 0`), and these settings
 * leave no other way: with plans made for tables that were never analyzed, a slice could read a whole
 * table, sort a whole ledger, or join its own rows each with each.
 */
const BY_INDEX = `
select set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true)`;

/**
 * For statements that check, or sum up, a part of much: what one gives as `found`, which is JSON. One
 * snapshot, in a transaction for its settings and its time limit. Locks nothing.
 */
export function readFound<Found>(
  database: Database,
  statement: string,
  values: readonly unknown[],
): Promise<Found> {
  return database.transaction(undefined, async (session) => {
    await session.query(BY_INDEX);
    const [row] = await session.query<{ found: string }>(statement, values);
    return JSON.parse(row!.found) as Found;
  });
}

/**
 * For WITH RECURSIVE: `of_<table>`, who has rows in a table, behind $1 and up to some last one. From one
 * payer to the next along an index, however many rows each has. The last of them is null.
 */
export const payersOf = (
  table: string,
  upto = `'ffffffff-ffff-ffff-ffff-ffffffffffff'`,
): string => `
  of_${table} as (
    (select t.payer_id from {schema}.${table} t
     where t.payer_id > $1::uuid and t.payer_id <= ${upto} order by t.payer_id limit 1)
    union all
    select (select t.payer_id from {schema}.${table} t
            where t.payer_id > o.payer_id and t.payer_id <= ${upto} order by t.payer_id limit 1)
    from of_${table} o where o.payer_id is not null
  )`;

/** Ledgers to take together: of few lines each, or one long one. */
export function* packed<T>(
  ledgers: readonly T[],
  linesOf: (ledger: T) => number,
  mostLines: number,
  most = Number.POSITIVE_INFINITY,
): Generator<T[]> {
  let chunk: T[] = [];
  let lines = 0;
  for (const ledger of ledgers) {
    if (chunk.length > 0 && (chunk.length === most || lines + linesOf(ledger) > mostLines)) {
      yield chunk;
      [chunk, lines] = [[], 0];
    }
    chunk.push(ledger);
    lines += linesOf(ledger);
  }
  if (chunk.length > 0) yield chunk;
}

/** A problem that a part of verify() found, whose message goes on behind the row's name. */
export const problemOf = <P extends { table: string; id: string; message: string }>(row: P): P => ({
  ...row,
  message: `${row.table} ${row.id} ${row.message}.`,
});
