import type { VerifyPart } from './context';
import type { Session } from './session';

/** Something that must be true of rows, as a part of verify() asks for it. */
export interface Check {
  code: string;
  table: string;
  /** `%` stands for the id. */
  message: string;
  /** Gives the ids of rows that are not as they must be. */
  statement: string;
}

/** The most that one check reports, so that a broken table does not flood memory. */
const MOST = 100;

/** How many rows each table has, in one row. */
const countOf = (tables: readonly string[]): string =>
  `select ${tables.map((name) => `(select count(*) from {schema}.${name})::int as ${name}`).join(', ')}`;

/** A part of verify(): counts the rows of tables, and asks for whatever breaks a check. */
export const verifyTables =
  (tables: readonly string[], checks: readonly Check[]) =>
  async (session: Session): ReturnType<VerifyPart> => {
    const [checked] = await session.query<Record<string, number>>(countOf(tables));
    const problems = [];
    for (const { code, table, message, statement } of checks) {
      const rows = await session.query<{ id: string }>(
        `select id from (${statement}) as found order by id limit ${MOST}`,
      );
      problems.push(
        ...rows.map(({ id }) => ({ code, table, id, message: message.replace('%', () => id) })),
      );
    }
    return { checked: checked!, problems };
  };
