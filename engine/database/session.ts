import { hash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Knex } from 'knex';

import { acquire, type KnexClient } from './acquiring';
import { writtenArray } from './array-literal';
import { isLostConnection, isReadOnly, outcomeUnknown } from './failures';
import { limitedQueryOf, type LimitedQueryClass, type WireConnection } from './limited-query';
import { answerLimit, answerWithin, cutOffAfter, type Cuttable, type Timeouts } from './limits';

/**
 * The one file that talks to the drivers directly. Knex opens, pools and hands out connections;
 * statements go to the connection itself, since knex's own way costs a quarter of a round trip.
 * Statements use $1, $2 ... and `{schema}` for the schema's quoted name.
 */

interface Rows {
  rows: unknown[];
}

/** What pg's Client and PGlite have in common, and what they do not. */
interface RawConnection extends WireConnection, Omit<Cuttable, 'connection'> {
  query(
    statement: string | { name?: string; text: string; values: unknown[] } | object,
    values?: unknown[],
  ): Promise<Rows | Rows[]>;
  /** PGlite: several statements in one call. pg does that in `query` when there are no values. */
  exec?(text: string): Promise<Rows[]>;
}

const clientOf = (knex: Knex): KnexClient<RawConnection> =>
  knex.client as KnexClient<RawConnection>;

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

/**
 * Waits for what was sent, as long as it may take; the embedded database runs in this process, and there
 * is nothing between that could lose an answer. What is not fit for use any more leaves the pool.
 */
async function answered<T>(
  connection: RawConnection,
  limit: number,
  send: () => Promise<T>,
): Promise<T> {
  try {
    return await (connection.exec === undefined ? answerWithin(limit, connection, send()) : send());
  } catch (error) {
    if (isLostConnection(error) || isReadOnly(error)) connection.__knex__disposed ??= error;
    throw error;
  }
}

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
  /** How long it may run, in milliseconds, if not as long as others. */
  running?: number;
}

export class ConnectionSession implements Session {
  constructor(
    private readonly connection: RawConnection,
    private readonly statements: Statements,
    /** How long a statement may run, in milliseconds. */
    private readonly limit: number,
  ) {}

  /** The same, where a statement may run so long. */
  running(milliseconds: number): ConnectionSession {
    return new ConnectionSession(this.connection, this.statements, milliseconds);
  }

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
    const send = (): Promise<unknown> =>
      LimitedQuery === null
        ? connection.query(statements.prepare(statement), sentValues(connection, values))
        : statements.namedIfPossible(() => this.sendAlone(LimitedQuery, statement, values, alone!));
    const limit = answerLimit(alone?.running ?? this.limit);
    return ((await answered(connection, limit, send)) as Rows).rows as Row[];
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
    const results = await answered<Rows | Rows[]>(connection, answerLimit(this.limit), () =>
      connection.exec === undefined ? connection.query(prepared) : connection.exec(prepared),
    );
    return [results].flat().map(({ rows }) => rows);
  }

  /** Whether nothing can be asked of the connection any more. */
  get isLost(): boolean {
    const { __knex__disposed: reason } = this.connection;
    return reason !== undefined && !isReadOnly(reason);
  }

  /** Ends the connection unless the function that it gives is called in time. */
  awaitAnswer(): () => void {
    if (this.connection.exec !== undefined) return () => undefined;
    return cutOffAfter(answerLimit(this.limit), this.connection);
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
    private readonly client: KnexClient<RawConnection>,
    private readonly connection: RawConnection,
    private readonly statements: Statements,
    private readonly running: number,
  ) {}

  static async of(knex: Knex, statements: Statements, timeouts: Timeouts): Promise<Reserved> {
    const client = clientOf(knex);
    const connection = await acquire(client, timeouts);
    return new Reserved(client, connection, statements, timeouts.statement);
  }

  /** @throws the driver's own error; database_unavailable when nobody knows what became of it */
  async query<Row>(statement: string, values: readonly unknown[]): Promise<Row[]> {
    const { connection, statements } = this;
    try {
      return await answered(connection, answerLimit(this.running), () =>
        statements.namedIfPossible(() => this.send<Row>(statement, values)),
      );
    } catch (error) {
      throw isLostConnection(error) ? outcomeUnknown(error) : error;
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
    return ((await connection.query({ name, text, values })) as Rows).rows as Row[];
  }

  async release(): Promise<void> {
    await this.client.releaseConnection(this.connection);
  }
}

/** Lends a connection of the pool for the time of the work. */
export async function withConnection<T>(
  knex: Knex,
  statements: Statements,
  timeouts: Timeouts,
  work: (session: ConnectionSession, connection: object) => Promise<T>,
): Promise<T> {
  const client = clientOf(knex);
  const connection = await acquire(client, timeouts);
  try {
    return await work(
      new ConnectionSession(connection, statements, timeouts.statement),
      connection,
    );
  } finally {
    await client.releaseConnection(connection);
  }
}

/** The connection of a caller's knex transaction, and what identifies it. */
export async function connectionOf(
  tx: Knex.Transaction,
  statements: Statements,
  { statement }: Pick<Timeouts, 'statement'>,
): Promise<{ identity: object; session: ConnectionSession }> {
  const connection = await (tx.client as KnexClient<RawConnection>).acquireConnection();
  return {
    identity: connection,
    session: new ConnectionSession(connection, statements, statement),
  };
}
