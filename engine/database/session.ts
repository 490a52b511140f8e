import { hash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Knex } from 'knex';

import { writtenArray } from './array-literal';
import { isLostConnection } from './failures';
import { limitedQueryOf, type LimitedQueryClass, type WireConnection } from './limited-query';

/**
 * The one file that talks to the drivers directly. Knex opens, pools and hands out connections;
 * statements go to the connection itself, since knex's own way costs a quarter of a round trip.
 * Statements use $1, $2 ... and `{schema}` for the schema's quoted name.
 */

interface Rows {
  rows: unknown[];
}

/** What pg's Client and PGlite have in common, and what they do not. */
interface RawConnection extends WireConnection {
  query(
    statement:
      string | { name?: string; text: string; values: unknown[]; query_timeout: number } | object,
    values?: unknown[],
  ): Promise<Rows | Rows[]>;
  /** PGlite: several statements in one call. pg does that in `query` when there are no values. */
  exec?(text: string): Promise<Rows[]>;
  /** Knex drops a connection from its pool once this is set. */
  __knex__disposed?: unknown;
}

/** Milliseconds. */
export interface Timeouts {
  statement: number;
  lock: number;
}

interface KnexClient {
  config?: { acquireConnectionTimeout?: number };
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
      // By a function: as text, `$$` and `$&` in a name would stand for something else.
      text = statement.replaceAll('{schema}', () => this.quotedSchema);
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

  /** Once more without names where a pooler hands out another connection for each transaction. */
  async namedIfPossible<T>(send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      // Nothing was run yet.
      if (!isUnprepared(error)) throw error;
      this.mayBeNamed = false;
      return send();
    }
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

/** How a statement is to run that is a transaction by itself. */
export interface Alone {
  /** A statement that sets what holds for this one alone. */
  settings: string;
  /** Whether to keep the statement on the connection. */
  isNamed: boolean;
}

export class ConnectionSession implements Session {
  constructor(
    private readonly connection: RawConnection,
    private readonly statements: Statements,
  ) {}

  /** Whether a statement can be run `alone`; the embedded database needs no settings. */
  get canLimit(): boolean {
    return this.connection.exec !== undefined || limitedQueryOf(this.connection) !== null;
  }

  async query<Row>(
    statement: string,
    values: readonly unknown[] = [],
    alone?: Alone,
  ): Promise<Row[]> {
    const { connection, statements } = this;
    const LimitedQuery = alone === undefined ? null : limitedQueryOf(connection);
    try {
      const result =
        LimitedQuery === null
          ? connection.query(statements.prepare(statement), sentValues(connection, values))
          : statements.namedIfPossible(() =>
              this.sendAlone(LimitedQuery, statement, values, alone!),
            );
      return ((await result) as Rows).rows as Row[];
    } catch (error) {
      if (isLostConnection(error)) this.abandon(error);
      throw error;
    }
  }

  /** In one round trip. */
  private sendAlone(
    LimitedQuery: LimitedQueryClass,
    statement: string,
    values: readonly unknown[],
    { settings, isNamed }: Alone,
  ): Promise<Rows> {
    const { connection, statements } = this;
    const named = (text: string): string | undefined =>
      statements.mayBeNamed ? statements.name(text) : undefined;
    return new Promise((resolve, reject) => {
      const query = new LimitedQuery(
        { text: settings, name: named(settings) },
        {
          text: statements.prepare(statement),
          name: isNamed ? named(statement) : undefined,
          values,
        },
        (error, result) => (error === null ? resolve(result) : reject(error)),
      );
      Promise.resolve(connection.query(query)).catch(reject);
    });
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

  /** @param timeouts `statement`: after so long it is given up, and the connection with it */
  static async of(knex: Knex, statements: Statements, timeouts: Timeouts): Promise<Reserved> {
    const client = knex.client as KnexClient;
    const connection = await acquire(client, timeouts.lock);
    return new Reserved(client, connection, statements, timeouts.statement);
  }

  /** @throws the driver's own error; nobody knows what became of a statement that timed out */
  async query<Row>(statement: string, values: readonly unknown[]): Promise<Row[]> {
    try {
      return await this.statements.namedIfPossible(() => this.send<Row>(statement, values));
    } catch (error) {
      if (isLostConnection(error)) this.connection.__knex__disposed ??= error;
      throw error;
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

/**
 * A connection of the pool. A pool of the caller's may let its own calls wait longer than ours.
 *
 * @throws an error of the name TimeoutError
 */
function acquire(client: KnexClient, within: number): Promise<RawConnection> {
  const acquired = client.acquireConnection();
  if ((client.config?.acquireConnectionTimeout ?? Infinity) <= within) return acquired;
  return new Promise((resolve, reject) => {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      reject(Object.assign(new Error('No connection became free.'), { name: 'TimeoutError' }));
    }, within);
    acquired
      .finally(() => clearTimeout(timer))
      .then((connection) => (isLate ? client.releaseConnection(connection) : resolve(connection)))
      .catch(reject);
  });
}

/** Lends a connection of the pool for the time of the work. */
export async function withConnection<T>(
  knex: Knex,
  statements: Statements,
  { lock }: Pick<Timeouts, 'lock'>,
  work: (session: ConnectionSession) => Promise<T>,
): Promise<T> {
  const client = knex.client as KnexClient;
  const connection = await acquire(client, lock);
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
