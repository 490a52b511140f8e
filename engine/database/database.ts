import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

import type { Knex } from 'knex';

import { BillingError } from '../kernel';
import { isFolderInUse, openEmbedded, type OpenedKnex } from './embedded';
import { isLostConnection, isRetryable, outcomeUnknown, translate } from './failures';
import { DEFAULT_TIMEOUTS, type Timeouts } from './limits';
import { examine, migrate, type DatabaseStatus } from './migrate';
import { openServer, type ServerConfig } from './server';
import {
  ConnectionSession,
  Reserved,
  Statements,
  connectionOf,
  withConnection,
  type Alone,
  type Session,
} from './session';

/** A Postgres URL, a server's settings, an embedded database, or a knex instance of the caller's. */
export type Connection = string | ServerConfig | { embedded: string } | Knex;

export interface DatabaseOptions {
  connection: Connection;
  /** The schema that holds all tables; the default is `billing`. */
  schema?: string;
  /** False: refuse a schema that is missing or older, rather than install or upgrade it. */
  install?: boolean;
  /** The longest a statement may run, in milliseconds. */
  statementTimeout?: number;
  /** The same, for statements that read whole tables, and for an upgrade. */
  scanTimeout?: number;
  /** The longest to wait for another transaction, or for a connection that others hold. */
  lockTimeout?: number;
  /** The longest that making a connection may take. */
  connectTimeout?: number;
}

/** A worker that stops dead inside a transaction gives its locks back after this. */
const IDLE_TIMEOUT = 60_000;
const MAX_ATTEMPTS = 6;

/** Columns of a select that set what holds until the end of the transaction. */
const setLocally = ({ statement, lock }: Pick<Timeouts, 'statement' | 'lock'>): string =>
  `set_config('statement_timeout', '${statement}', true), set_config('lock_timeout', '${lock}', true),
   set_config('jit', 'off', true)`;

/** A statement that sets what is set now. */
const READ_SETTINGS = `
select 'select ' || string_agg(format('set_config(%L, %L, true)', s, current_setting(s)), ', ')
         as settings
from unnest(array['statement_timeout', 'lock_timeout', 'jit']) as s`;

/** Until the end of the transaction. */
const BRAKE = `SET LOCAL billing.brake = 'on'`;

const isKnex = (connection: unknown): connection is Knex =>
  typeof connection === 'function' && 'client' in connection && 'raw' in connection;

const isEmbedded = (connection: object): connection is { embedded: string } =>
  'embedded' in connection;

const isPlain = (connection: Connection): connection is ServerConfig | { embedded: string } =>
  typeof connection === 'object';

const isTransaction = (tx: unknown): tx is Knex.Transaction =>
  isKnex(tx) && (tx as unknown as Knex.Transaction).isTransaction === true;

const timeoutsOf = (options: DatabaseOptions): Timeouts => ({
  statement: options.statementTimeout ?? DEFAULT_TIMEOUTS.statement,
  scan: options.scanTimeout ?? DEFAULT_TIMEOUTS.scan,
  lock: options.lockTimeout ?? DEFAULT_TIMEOUTS.lock,
  connect: options.connectTimeout ?? DEFAULT_TIMEOUTS.connect,
});

/** One opened database: its statements, its transactions, its end. */
export class Database {
  private readonly opening: string;
  /** For a read by itself, and for one of whole tables. */
  private readonly settings: { read: string; scan: string };
  /** Calls that join one caller's transaction go one after the other, each in its savepoint. */
  private readonly turns = new WeakMap<object, Promise<unknown>>();
  private closing: Promise<void> | null = null;
  /** Whether transactions hold back what was missed for long (subscriptions/brake.ts). */
  isBraked: () => boolean = () => false;

  private constructor(
    readonly knex: Knex,
    private readonly embedded: boolean,
    private readonly statements: Statements,
    private readonly opened: Pick<OpenedKnex, 'close' | 'requireRoom'>,
    private readonly timeouts: Timeouts,
  ) {
    // One round trip. READ COMMITTED whatever the server's default: a statement after a lock must
    // see what the lock's last holder committed. JIT costs 0.8 s a call on set-based statements.
    this.opening = [
      'BEGIN ISOLATION LEVEL READ COMMITTED',
      `SET LOCAL statement_timeout = ${timeouts.statement}`,
      `SET LOCAL lock_timeout = ${timeouts.lock}`,
      `SET LOCAL idle_in_transaction_session_timeout = ${IDLE_TIMEOUT}`,
      'SET LOCAL jit = off',
    ].join('; ');
    this.settings = {
      read: `select ${setLocally(timeouts)}`,
      scan: `select ${setLocally({ ...timeouts, statement: timeouts.scan })}`,
    };
  }

  /**
   * Connects, and brings the schema up to this version of the engine.
   *
   * @throws database_unavailable, database_in_use, database_version, database_newer, invalid_input
   */
  static async open(options: DatabaseOptions): Promise<Database> {
    const asked = timeoutsOf(options);
    const schema = options.schema ?? 'billing';
    const { connection, install = true } = options;
    const opened = await connect(connection, asked, schema);
    const timeouts = { ...asked, connect: opened.connect ?? asked.connect };
    const embedded = 'pglite' in (opened.knex.client as object);
    const statements = new Statements(schema);
    const database = new Database(opened.knex, embedded, statements, opened, timeouts);
    try {
      await database.lend((session) => migrate(session, schema, { install, timeouts }));
      return database;
    } catch (error) {
      await database.close();
      throw translate(error);
    }
  }

  /**
   * Looks whether `open` would find the tables, make or upgrade them. Writes nothing; an embedded
   * database that is not there is not made.
   *
   * @param further what else is to be looked at where the tables are ready
   * @throws as `open`
   */
  static async look(
    options: DatabaseOptions,
    further: (session: Session) => Promise<void>,
  ): Promise<DatabaseStatus> {
    const { connection, schema = 'billing' } = options;
    const timeouts = timeoutsOf(options);
    if (isPlain(connection) && isEmbedded(connection) && !isFolderInUse(connection.embedded)) {
      return { tables: 'missing', schema, elsewhere: [] };
    }
    const opened = await connect(connection, timeouts, schema);
    try {
      const statements = new Statements(schema);
      return await withConnection(opened.knex, statements, timeouts, async (session) => {
        const status = await examine(session, schema);
        if (status.tables === 'ready') await further(session);
        return status;
      });
    } catch (error) {
      throw translate(error);
    } finally {
      await opened.close();
    }
  }

  /** One statement outside any transaction. For reads. */
  query<Row>(statement: string, values?: readonly unknown[]): Promise<Row[]> {
    return this.read(statement, values, { settings: this.settings.read, isNamed: false });
  }

  /** Reads that only call functions, which plan by themselves: prepared once a connection. */
  get prepared(): Session {
    const alone = { settings: this.settings.read, isNamed: true };
    return { query: (statement, values) => this.read(statement, values, alone) };
  }

  /** Statements that read whole tables: they wait no longer than others, and have more time. */
  get scans(): Session {
    const alone = { settings: this.settings.scan, isNamed: false, running: this.timeouts.scan };
    return { query: (statement, values) => this.read(statement, values, alone) };
  }

  /** How many connections it may open. */
  get connections(): number {
    const { pool } = this.knex.client as { pool?: { max?: number } };
    return this.embedded ? 1 : (pool?.max ?? 1);
  }

  /** The longest to wait for another transaction, in milliseconds. */
  get lockTimeout(): number {
    return this.timeouts.lock;
  }

  /**
   * A connection to keep for a while; the caller releases it.
   *
   * @throws database_unavailable, lock_timeout (none was free in time)
   */
  async reserve(): Promise<Reserved> {
    await this.letOthersGo();
    this.opened.requireRoom?.();
    try {
      return await Reserved.of(this.knex, this.statements, this.timeouts);
    } catch (error) {
      throw translate(error);
    }
  }

  /**
   * Runs work in a transaction of its own, or joined to the caller's.
   *
   * On its own: committed when the work ends, undone when it throws; run again a bounded number of
   * times when the database asked for that (serialization failure, deadlock), and only then.
   * Joined: inside a savepoint, so that an error leaves the caller's transaction usable; nothing is
   * run again (`retry_transaction` comes out), locks last until the caller ends it.
   */
  async transaction<T>(tx: unknown, work: (session: Session) => Promise<T>): Promise<T> {
    try {
      if (tx === undefined || tx === null) return await this.ownTransaction(work);
      if (!isTransaction(tx)) {
        throw new BillingError('invalid_input', '"tx" must be an open transaction.', {
          parameter: 'tx',
          advice: 'Pass what billing.transaction() or knex.transaction() handed you.',
        });
      }
      return await this.joinTransaction(tx, work);
    } catch (error) {
      throw translate(error);
    }
  }

  private async read<Row>(
    statement: string,
    values: readonly unknown[] | undefined,
    alone: Alone,
  ): Promise<Row[]> {
    await this.letOthersGo();
    try {
      return await this.lend((session) =>
        session.canLimit
          ? session.query<Row>(statement, values, alone)
          : this.attempt(session, async (opened) => {
              await opened.query(alone.settings);
              return opened.query<Row>(statement, values);
            }),
      );
    } catch (error) {
      throw translate(error);
    }
  }

  private lend<T>(
    work: (session: ConnectionSession, connection: object) => Promise<T>,
  ): Promise<T> {
    return withConnection(this.knex, this.statements, this.timeouts, work);
  }

  /**
   * The embedded database answers without ever waiting for I/O, so that a chain of calls would keep
   * the process from everything else: timers, signals, other requests.
   */
  private async letOthersGo(): Promise<void> {
    if (this.embedded) await nextTurn();
  }

  private async ownTransaction<T>(work: (session: Session) => Promise<T>): Promise<T> {
    await this.letOthersGo();
    this.opened.requireRoom?.();
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.lend((session) => this.attempt(session, work));
      } catch (error) {
        if (!isRetryable(error) || attempt === MAX_ATTEMPTS) throw error;
        await sleep(Math.random() * 5 * 2 ** attempt);
      }
    }
  }

  private async attempt<T>(
    session: ConnectionSession,
    work: (session: Session) => Promise<T>,
  ): Promise<T> {
    await session.script(this.isBraked() ? `${this.opening}; ${BRAKE}` : this.opening);
    let result: T;
    try {
      result = await work(session);
    } catch (error) {
      await undo(session, 'ROLLBACK');
      throw error;
    }
    try {
      await session.script('COMMIT');
    } catch (error) {
      // The answer was lost on its way, and perhaps the question.
      if (session.isLost) throw outcomeUnknown(error);
      await undo(session, 'ROLLBACK');
      throw error;
    }
    return result;
  }

  private async joinTransaction<T>(
    tx: Knex.Transaction,
    work: (session: Session) => Promise<T>,
  ): Promise<T> {
    if (tx.isCompleted()) {
      throw new BillingError('invalid_input', '"tx" has already ended.', { parameter: 'tx' });
    }
    const { identity, session } = await connectionOf(tx, this.statements, this.timeouts);
    const before = this.turns.get(identity) ?? Promise.resolve();
    const turn = before.then(async () => {
      const brake = this.isBraked() ? `; ${BRAKE}` : '';
      // A call of ours never waits without end, whatever the caller's transaction would do.
      const [, [before]] = (await session.script(
        `SAVEPOINT billing_call; ${READ_SETTINGS}; ${this.settings.read}${brake}`,
      )) as [unknown, Array<{ settings: string }>];
      try {
        const result = await work(session);
        await session.script(`RELEASE SAVEPOINT billing_call; ${before!.settings}`);
        return result;
      } catch (error) {
        await undo(session, 'ROLLBACK TO SAVEPOINT billing_call; RELEASE SAVEPOINT billing_call');
        throw error;
      }
    });
    // The next in line goes on whatever became of this one; its own caller hears of the error.
    this.turns.set(
      identity,
      turn.catch(() => undefined),
    );
    return turn;
  }

  /**
   * Opens a transaction for a caller, who passes it to the calls that belong to it.
   *
   * @throws lock_timeout (no connection was free in time), database_unavailable, and whatever the work
   *   throws
   */
  async begin<T>(work: (tx: Knex.Transaction) => Promise<T>): Promise<T> {
    this.opened.requireRoom?.();
    let own: { error: unknown } | null = null;
    let isDone = false;
    /** Such an error is not looked into: whatever it says, it says nothing of the connection. */
    const isOwn = (error: unknown): boolean => own !== null && own.error === error;
    try {
      return await this.lend(async (session, connection) => {
        // What the caller does between takes the caller's time.
        let stopWaiting = session.awaitAnswer();
        try {
          return await this.knex.transaction(
            async (tx) => {
              stopWaiting();
              try {
                const result = await work(tx);
                isDone = true;
                return result;
              } catch (error) {
                own = { error };
                throw error;
              } finally {
                stopWaiting = session.awaitAnswer();
              }
            },
            { connection },
          );
        } catch (error) {
          if (isOwn(error) || !isLostConnection(error)) throw error;
          session.abandon(error);
          throw isDone ? outcomeUnknown(error) : error;
        } finally {
          stopWaiting();
        }
      });
    } catch (error) {
      throw isOwn(error) ? error : translate(error);
    }
  }

  close(): Promise<void> {
    this.closing ??= this.opened.close();
    return this.closing;
  }
}

/** What cannot be undone is undone by the server once the connection has ended. */
async function undo(session: ConnectionSession, how: string): Promise<void> {
  if (session.isLost) return;
  await session.script(how).catch((failure: unknown) => session.abandon(failure));
}

async function connect(
  connection: Connection,
  timeouts: Timeouts,
  schema: string,
): Promise<OpenedKnex> {
  if (isKnex(connection)) return { knex: connection, close: () => Promise.resolve() };
  if (typeof connection === 'string') {
    return openServer({ connectionString: connection }, timeouts);
  }
  if (isEmbedded(connection)) {
    return openEmbedded(connection.embedded, timeouts.lock + timeouts.connect, schema);
  }
  return openServer(connection, timeouts);
}
