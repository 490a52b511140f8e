import type { Knex } from 'knex';

/**
 * Statements on an engine's tables as nobody but a test makes them.
 *
 * @param names what stands in braces beside `{schema}`: ids by their names
 */
export function tampering(knex: Knex, schema: string, names: Readonly<Record<string, string>>) {
  const written = (statement: string): string =>
    statement
      .replaceAll('{schema}', `"${schema}"`)
      .replace(/\{(\w+)\}/g, (all, name: string) => (name in names ? `'${names[name]}'` : all));
  return {
    run: (statement: string) => knex.raw(written(statement)),
    /** With the guards off. */
    tamper: (statement: string) =>
      knex.transaction(async (tx) => {
        await tx.raw('set local session_replication_role = replica');
        await tx.raw(written(statement));
      }),
  };
}
