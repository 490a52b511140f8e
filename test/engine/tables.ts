import type { Knex } from 'knex';

import type { Billing } from '../../engine';

const query = async <Row>(tx: Knex.Transaction, statement: string): Promise<Row[]> =>
  (await tx.raw<{ rows: Row[] }>(statement)).rows;

/** The rows of a table as Postgres writes them, sorted: to see that they are as they were. */
export const rowsOf = (billing: Billing, schema: string, table: string): Promise<string[]> =>
  billing.transaction(async (tx) => {
    const rows = await query<{ row: string }>(
      tx,
      `select t::text as row from "${schema}"."${table}" t order by t::text`,
    );
    return rows.map(({ row }) => row);
  });

/** The tables of a schema. */
export const tablesOf = (billing: Billing, schema: string): Promise<string[]> =>
  billing.transaction(async (tx) => {
    const rows = await query<{ name: string }>(
      tx,
      `select table_name as name from information_schema.tables
       where table_schema = '${schema}' and table_type = 'BASE TABLE' order by table_name`,
    );
    return rows.map(({ name }) => name);
  });

/**
 * What all rows of a schema come to: each table with its count, and the sum of what its rows hash
 * to. Another row, one less or a changed one makes it another.
 */
export const fingerprintOf = async (billing: Billing, schema: string): Promise<unknown> => {
  const tables = await tablesOf(billing, schema);
  const each = tables.map(
    (table) =>
      `select '${table}' as "table", count(*)::text as rows,
              sum(hashtextextended(t::text, 0))::text as hashes
       from "${schema}"."${table}" t`,
  );
  return billing.transaction((tx) => query(tx, each.join('\nunion all\n')));
};
