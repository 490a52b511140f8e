import type { Knex } from 'knex';

import { isLostConnection } from './failures';

/**
 * The one file that talks to the drivers directly. Knex opens, pools and hands out connections;
 * statements go to the connection itself, since knex's own way costs a quarter of a round trip.
 * Statements use $1, $2 ... and `{schema}` for the schema's quoted name.
 */

/** What pg's Client and PGlite have in common, and the one thing they do not. */
interface RawConnection {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
  /** PGlite: several statements in one call. pg does that in `query` when there are no values. */
  exec?(text: string): Promise<unknown>;
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
  private readonly prepared = new Map<string, string>();
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
}

export class ConnectionSession implements Session {
  constructor(
    private readonly connection: RawConnection,
    private readonly statements: Statements,
  ) {}

  async query<Row>(statement: string, values: readonly unknown[] = []): Promise<Row[]> {
    const text = this.statements.prepare(statement);
    try {
      const result = await this.connection.query(text, values as unknown[]);
      return result.rows as Row[];
    } catch (error) {
      if (isLostConnection(error)) this.connection.__knex__disposed ??= error;
      throw error;
    }
  }

  /** Several statements without values in one round trip. */
  async script(text: string): Promise<void> {
    const prepared = this.statements.prepare(text);
    if (this.connection.exec !== undefined) await this.connection.exec(prepared);
    else await this.connection.query(prepared);
  }

  /** Takes the connection out of the pool: nobody knows any more what state it is in. */
  abandon(reason: unknown): void {
    this.connection.__knex__disposed ??= reason;
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
