import type { Knex } from 'knex';

import { Accounts } from './accounts';
import { openCatalog, type Catalog } from './catalog';
import { DEFAULT_KEEP, Database, type Connection, type Context, type Keep } from './database';
import {
  addDuration,
  duration,
  flag,
  input,
  integer,
  parse,
  systemClock,
  text,
  z,
  type Clock,
  type Duration,
} from './kernel';
import {
  openLedger,
  ownUnitsObstacle,
  runDue,
  verifyLedger,
  type DueDone,
  type Ledger,
  type RunDueRequest,
  type Verification,
  type VerifyOptions,
} from './ledger';
import { openSales, suggestOffers, type Sales } from './sales';

export interface BillingOptions {
  /** A Postgres URL, pg settings, `{ embedded: folder or 'memory' }`, or your own knex instance. */
  connection: Connection;
  /** The schema that holds all tables. Default `billing`. */
  schema?: string;
  /** Default true. False: refuse tables that are missing or older, rather than install or upgrade them. */
  install?: boolean;
  /**
   * How long first answers to idempotency keys are kept, in units up to weeks: longer than anybody
   * repeats a call. Default: those of changes 90 days, denials 24 hours.
   */
  keep?: { changes?: Duration; denials?: Duration };
  /** Where the engine gets its time. Default: the system's. */
  clock?: Clock;
  /** The longest a statement may run, in milliseconds. Default 30,000. */
  statementTimeout?: number;
  /** The longest to wait for another transaction or a free connection, in milliseconds. Default 10,000. */
  lockTimeout?: number;
}

export interface Billing {
  catalog: Catalog;
  accounts: Pick<Accounts, 'identify' | 'get' | 'list' | 'update' | 'attachChild' | 'detachChild'>;
  ledger: Ledger;
  sales: Sales;
  /**
   * Recomputes every balance from the entries and reports what does not agree. Reads only, in chunks,
   * while others write; memory stays flat however long the ledger is.
   */
  verify(options?: VerifyOptions): Promise<Verification>;
  /**
   * Writes expiries of grants and ends of holds that are due and that nobody wrote yet, and deletes
   * first answers that are kept no longer. For a job that runs now and then; balances and holds are
   * right without it.
   */
  runDue(request?: RunDueRequest): Promise<DueDone>;
  /**
   * Runs work in one transaction: pass `tx` to the calls that belong to it. Committed when the work
   * ends, undone when it throws.
   */
  transaction<T>(work: (tx: Knex.Transaction) => Promise<T>): Promise<T>;
  /** Ends what `openBilling` opened. A knex instance of the caller's stays open. */
  close(): Promise<void>;
}

/** A time for which something is kept; a month would be longer or shorter by when it is counted. */
const keepTime = () =>
  duration()
    .refine(({ unit }) => unit !== 'month' && unit !== 'year', {
      error: 'must be in seconds, minutes, hours, days or weeks',
    })
    .transform((time) => addDuration(0, time, 'UTC'));

const milliseconds = () => integer(1, 3_600_000).optional();

const optionsInput = input({
  connection: z.custom<Connection>(
    (value) =>
      typeof value === 'function' ||
      (typeof value === 'string' && value.length > 0) ||
      (typeof value === 'object' && value !== null && !Array.isArray(value)),
    { error: 'must be a Postgres URL, pg settings, { embedded: folder } or a knex instance' },
  ),
  schema: text(63)
    .refine((value) => Buffer.byteLength(value) <= 63, {
      error: 'must not be longer than 63 bytes, as Postgres would cut it',
    })
    .refine((value) => !/^pg_/i.test(value), { error: 'must not begin with pg_' })
    .optional(),
  install: flag().optional(),
  keep: input({ changes: keepTime().optional(), denials: keepTime().optional() }).optional(),
  clock: z
    .custom<Clock>((value) => typeof (value as Clock | undefined)?.now === 'function', {
      error: 'must have a function now()',
    })
    .optional(),
  statementTimeout: milliseconds(),
  lockTimeout: milliseconds(),
});

/**
 * Opens the billing engine on a database, and installs or upgrades its tables there.
 *
 * @throws invalid_input, database_unavailable, database_in_use (embedded folder), database_version,
 *   database_newer
 */
export async function openBilling(options: BillingOptions): Promise<Billing> {
  const { clock = systemClock, keep: kept, ...databaseOptions } = parse(optionsInput, options);
  const database = await Database.open(databaseOptions);
  const keep: Keep = {
    change: kept?.changes ?? DEFAULT_KEEP.change,
    denial: kept?.denials ?? DEFAULT_KEEP.denial,
  };
  const context: Context = { database, clock, keep, onAccountChange: [] };

  // The ports of earlier rooms, filled by later ones.
  const accounts = new Accounts(context, {
    // No trial can have been claimed yet: trials come with the sales room's orders.
    trialEligible: () => Promise.resolve(true),
    obstaclesToAttach: [ownUnitsObstacle],
  });

  return {
    catalog: openCatalog(context),
    accounts: {
      identify: accounts.identify.bind(accounts),
      get: accounts.get.bind(accounts),
      list: accounts.list.bind(accounts),
      update: accounts.update.bind(accounts),
      attachChild: accounts.attachChild.bind(accounts),
      detachChild: accounts.detachChild.bind(accounts),
    },
    ledger: openLedger(context, suggestOffers),
    sales: openSales(context),
    verify: (options) => verifyLedger(database, options),
    runDue: (request) => runDue(context, request),
    transaction: (work) => database.begin(work),
    close: () => database.close(),
  };
}
