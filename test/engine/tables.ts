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

/** The rows of all tables into tables of the same names in another schema, in place of what is there. */
const COPY = `
do $copy$
declare
  name text;
  columns text;
begin
  set local session_replication_role = replica;
  for name, columns in
    select c.table_name, string_agg(quote_ident(c.column_name), ', ')
    from information_schema.columns c
    where c.table_schema = '{schema}' and c.is_generated = 'NEVER'
    group by c.table_name
    having pg_relation_size(format('{from}.%I', c.table_name)) > 0
      or pg_relation_size(format('{to}.%I', c.table_name)) > 0
  loop
    execute format('delete from {to}.%I', name);
    execute format('insert into {to}.%1$I (%2$s) select %2$s from {from}.%1$I', name, columns);
  end loop;
end $copy$`;

/** Keeps a schema's rows as they are, for tests that spoil them; the answer puts them back. */
export async function keepRows(knex: Knex, schema: string): Promise<() => Promise<void>> {
  const kept = `${schema}_kept`;
  const copy = async (from: string, to: string): Promise<void> => {
    const statement = COPY.replace('{schema}', schema);
    await knex.raw(statement.replaceAll('{from}', from).replaceAll('{to}', to));
  };
  await knex.raw(`create schema ${kept}`);
  const { rows } = await knex.raw<{ rows: Array<{ name: string }> }>(
    `select table_name as name from information_schema.tables where table_schema = '${schema}'`,
  );
  for (const { name } of rows) {
    await knex.raw(`create table ${kept}."${name}" (like ${schema}."${name}" including generated)`);
  }
  await copy(schema, kept);
  return () => copy(kept, schema);
}
