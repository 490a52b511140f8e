import { hash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Knex } from 'knex';

import { writtenArray } from './array-literal';
import { isLostConnection } from './failures';

/**
 * The one file that talks to the drivers directly. Knex opens, pools and hands out connections;
 * statements go to the connection itself, since knex's own way costs a quarter of a round trip.
 * Statements use $1, $2 ... and `{schema}` for the schema's quoted name.
 */

interface Rows {
  rows: unknown[];
}

/** What pg's Client and PGlite have in common, and the one thing they do not. */
interface RawConnection {
  query(
    statement: string | { name?: string; text: string; values: unknown[]; query_timeout: number },
    values?: unknown[],
  ): Promise<Rows | Rows[]>;
  /** PGlite: several statements in one call. pg does that in `query` when there are no values. */
  exec?(text: string): Promise<Rows[]>;
  /** Knex drops a connection from its pool once this is set. */
  __knex__disposed?: unknown;
}

interface KnexClient {
  acquireConnection(): Promise<RawConnection>;
  releaseConnection(connection: RawConnection): Promise<void>;
}

/** A place to run statements: a connection, inside a transaction or not. */
export interface Session {
  /** Runs one statement and gives its rows. */
  query<Row>(statement: string, values?: readonly unknown[]): Promise<Row[]>;
}

/** Statements are constants, so each is prepared for a schema once. */
export class Statements {
  /** Whether statements may be kept on a connection under a name. */
  mayBeNamed = true;
  private readonly prepared = new Map<string, string>();
  private readonly names = new Map<string, string>();
  private readonly quotedSchema: string;

  constructor(schema: string) {
    this.quotedSchema = `"${schema.replaceAll('"', '""')}"`;
  }

  prepare(statement: string): string {
    let text = this.prepared.get(statement);
    if (text === undefined) {
      text = statement.replaceAll('{schema}', this.quotedSchema);
      this.prepared.set(statement, text);
    }
    return text;
  }

  /** The same text has the same name, in whatever process and version. */
  name(statement: string): string {
    let name = this.names.get(statement);
    if (name === undefined) {
      name = `billing_${hash('sha256', this.prepare(statement), 'hex').slice(0, 24)}`;
      this.names.set(statement, name);
    }
    return name;
  }
}

/** A named statement that the connection does not have, or has from somebody else. */
const isUnprepared = (error: unknown): boolean =>
  ['26000', '42P05'].includes((error as { code?: string } | null)?.code ?? '');

/** PGlite knows the types of parameters, and writes arrays by them. */
const sentValues = ({ exec }: RawConnection, values: readonly unknown[]): unknown[] =>
  exec === undefined
    ? values.map((value) => (Array.isArray(value) ? (writtenArray(value) ?? value) : value))
    : (values as unknown[]);

export class ConnectionSession implements Session {
  constructor(
    private readonly connection: RawConnection,
    private readonly statements: Statements,
  ) {}

  async query<Row>(statement: string, values: readonly unknown[] = []): Promise<Row[]> {
    const text = this.statements.prepare(statement);
    const { connection } = this;
    try {
      const result = (await connection.query(text, sentValues(connection, values))) as Rows;
      return result.rows as Row[];
    } catch (error) {
      if (isLostConnection(error)) this.connection.__knex__disposed ??= error;
      throw error;
    }
  }

  /** Several statements without values in one round trip; the rows of each. */
  async script(text: string): Promise<unknown[][]> {
    const prepared = this.statements.prepare(text);
    const { connection } = this;
    const results =
      connection.exec === undefined
        ? await connection.query(prepared)
        : await connection.exec(prepared);
    return [results].flat().map(({ rows }) => rows);
  }

  /** Takes the connection out of the pool: nobody knows any more what state it is in. */
  abandon(reason: unknown): void {
    this.connection.__knex__disposed ??= reason;
  }
}

/**
 * A connection kept for a while, for statements that are transactions by themselves. They are run
 * one after the other, in the order in which they were given.
 */
export class Reserved {
  private constructor(
    private readonly client: KnexClient,
    private readonly connection: RawConnection,
    private readonly statements: Statements,
    private readonly timeout: number,
  ) {}

  /** @param timeout milliseconds after which a statement is given up, and the connection with it */
  static async of(knex: Knex, statements: Statements, timeout: number): Promise<Reserved> {
    const client = knex.client as KnexClient;
    return new Reserved(client, await client.acquireConnection(), statements, timeout);
  }

  /** @throws the driver's own error; nobody knows what became of a statement that timed out */
  async query<Row>(statement: string, values: readonly unknown[]): Promise<Row[]> {
    try {
      return await this.send<Row>(statement, values);
    } catch (error) {
      if (isLostConnection(error)) this.connection.__knex__disposed ??= error;
      // A pooler that hands out another connection for each transaction: nothing was run yet.
      if (!isUnprepared(error)) throw error;
      this.statements.mayBeNamed = false;
      return await this.send<Row>(statement, values);
    }
  }

  private async send<Row>(statement: string, given: readonly unknown[]): Promise<Row[]> {
    const values = given as unknown[];
    const text = this.statements.prepare(statement);
    const { connection, statements } = this;
    if (connection.exec !== undefined) {
      const result = (await connection.query(text, values)) as Rows;
      // The embedded database never waits for I/O: a chain of calls would keep others from theirs.
      await nextTurn();
      return result.rows as Row[];
    }
    // Prepared once a connection: parsing and planning the call costs as much as a use.
    const name = statements.mayBeNamed ? statements.name(statement) : undefined;
    const query = { name, text, values, query_timeout: this.timeout };
    return ((await connection.query(query)) as Rows).rows as Row[];
  }

  async release(): Promise<void> {
    await this.client.releaseConnection(this.connection);
  }
}

/** Lends a connection of the pool for the time of the work. */
export async function withConnection<T>(
  knex: Knex,
  statements: Statements,
  work: (session: ConnectionSession) => Promise<T>,
): Promise<T> {
  const client = knex.client as KnexClient;
  const connection = await client.acquireConnection();
  try {
    return await work(new ConnectionSession(connection, statements));
  } finally {
    await client.releaseConnection(connection);
  }
}

/** The connection of a caller's knex transaction, and what identifies it. */
export async function connectionOf(
  tx: Knex.Transaction,
  statements: Statements,
): Promise<{ identity: object; session: ConnectionSession }> {
  const connection = await (tx.client as KnexClient).acquireConnection();
  return { identity: connection, session: new ConnectionSession(connection, statements) };
}
