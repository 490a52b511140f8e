import type { Knex } from 'knex';

import {
  openAccounts,
  verifyAccounts,
  type AccountParts,
  type AccountPorts,
  type Accounts,
  type MergePart,
} from './accounts';
import {
  bookPorts,
  exportBook,
  openBooks,
  postEarned,
  verifyBooks,
  type BooksReader,
  type EarnedDone,
} from './books';
import { openCatalog, type Catalog } from './catalog';
import {
  DEFAULT_KEEP,
  Database,
  keptSecret,
  type Connection,
  type Context,
  type Keep,
  type VerifyPart,
} from './database';
import {
  addDuration,
  duration,
  flag,
  input,
  integer,
  list,
  parse,
  systemClock,
  text,
  z,
  type Clock,
  type Duration,
} from './kernel';
import {
  eraseLedger,
  exportLedger,
  moveAllUnits,
  openLedger,
  MAX_PROBLEMS,
  ownUnitsObstacle,
  runDue,
  verifyLedger,
  type DueDone,
  type Ledger,
  type RunDueRequest,
  type Verification,
  type VerifyOptions,
} from './ledger';
import {
  eraseOrders,
  eraseReferrals,
  exportOrders,
  exportReferrals,
  mergeOrders,
  mergeReferrals,
  openOrdersObstacle,
  openSales,
  verifyOrders,
  verifyReferrals,
  type IdentitySecret,
  type Sales,
} from './sales';

export interface BillingOptions {
  /** A Postgres URL, pg settings, `{ embedded: folder or 'memory' }`, or your own knex instance. */
  connection: Connection;
  /** The schema that holds all tables. Default `billing`. */
  schema?: string;
  /** Default true. False: refuse tables that are missing or older, rather than install or upgrade them. */
  install?: boolean;
  /**
   * How long first answers to idempotency keys are kept, in units up to weeks: longer than anybody
   * repeats a call. Default: those of changes 90 days, denials 24 hours. And how long it is remembered
   * of an identity that it had a trial: by default for ever.
   */
  keep?: { changes?: Duration; denials?: Duration; trials?: Duration };
  /**
   * `identity`: the key of the hashes by which people are recognised who had a trial: 16 characters or
   * more, kept for good. While it is changed, a list with the newest first. An embedded database that
   * is given none makes one and keeps it in its folder; on a server no trial can be claimed without.
   */
  secrets?: { identity?: IdentitySecret };
  /** Where the engine gets its time. Default: the system's. */
  clock?: Clock;
  /** The longest a statement may run, in milliseconds. Default 30,000. */
  statementTimeout?: number;
  /** The longest to wait for another transaction or a free connection, in milliseconds. Default 10,000. */
  lockTimeout?: number;
}

export interface Billing {
  catalog: Catalog;
  accounts: Accounts;
  ledger: Ledger;
  sales: Sales;
  books: BooksReader;
  /**
   * Recomputes every balance from the entries and reports what does not agree. Reads only, in chunks,
   * while others write; memory stays flat however long the ledger is.
   */
  verify(options?: VerifyOptions): Promise<Verification>;
  /**
   * Writes expiries of grants and ends of holds that are due and that nobody wrote yet, deletes first
   * answers that are kept no longer, and posts what was earned, each account once a day. For a job
   * that runs now and then; balances, holds and the money book's reader are right without it.
   */
  runDue(request?: RunDueRequest): Promise<DueDone & EarnedDone>;
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

/** Never echoed: the messages of these name the parameter alone. */
const secret = () =>
  text(1_000).refine((value) => value.length >= 16, {
    error: 'must have 16 characters or more',
  });

const areDistinct = (ids: readonly string[]): boolean => new Set(ids).size === ids.length;

const identitySecret = z.union([
  secret(),
  list(input({ id: text(64).optional(), secret: secret() }), 10)
    .min(1, { error: 'must have at least one entry' })
    .refine((keys) => areDistinct(keys.flatMap(({ id }) => id ?? [])), {
      error: 'must not name one id twice',
    }),
]);

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
  keep: input({
    changes: keepTime().optional(),
    denials: keepTime().optional(),
    trials: keepTime().optional(),
  }).optional(),
  secrets: input({ identity: identitySecret.optional() }).optional(),
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
  const {
    clock = systemClock,
    keep: kept,
    secrets,
    ...databaseOptions
  } = parse(optionsInput, options);
  const database = await Database.open(databaseOptions);
  const keep: Keep = {
    change: kept?.changes ?? DEFAULT_KEEP.change,
    denial: kept?.denials ?? DEFAULT_KEEP.denial,
  };
  const context: Context = { database, clock, keep, onAccountChange: [] };

  const opened = openSales(context, {
    identitySecret: await identitySecretOf(database, options.connection, secrets?.identity),
    keepTrials: kept?.trials ?? null,
  });

  // The ports of earlier rooms, filled by later ones.
  const moveUnits: MergePart = (session, merge) => moveAllUnits(session, merge, bookPorts);
  const accountPorts: AccountPorts = {
    trialEligible: opened.trialEligible,
    onCreated: opened.onCreated,
    obstaclesToAttach: [ownUnitsObstacle, openOrdersObstacle],
    moveUnits,
  };
  const ledger = openLedger(context, opened.suggest, {
    ...bookPorts,
    eligible: opened.eligible,
    exchanged: opened.exchanged,
  });
  const books = openBooks(context);
  const accountParts: AccountParts = {
    merge: [moveUnits, mergeOrders, mergeReferrals],
    export: [exportLedger(ledger), exportBook(books), exportOrders, exportReferrals],
    erase: [eraseLedger, eraseOrders, eraseReferrals],
  };
  const accounts = openAccounts(context, accountPorts, accountParts);
  const verifyParts: VerifyPart[] = [
    verifyAccounts,
    verifyBooks(database),
    verifyOrders,
    verifyReferrals,
  ];

  return {
    catalog: openCatalog(context),
    accounts,
    ledger,
    sales: opened.sales,
    books,
    verify: (options) => verifyAll(database, verifyParts, options),
    runDue: async (request) => ({
      ...(await runDue(context, request)),
      ...(await postEarned(context, request)),
    }),
    transaction: (work) => database.begin(work),
    close: () => database.close(),
  };
}

/** The secret given; before it, in time, the one that an embedded database keeps in its folder. */
async function identitySecretOf(
  database: Database,
  connection: Connection,
  given: IdentitySecret | undefined,
): Promise<IdentitySecret | null> {
  try {
    const kept = keptSecret(connection, given === undefined);
    if (given === undefined) return kept;
    if (kept === null) return given;
    return [...(typeof given === 'string' ? [{ secret: given }] : given), { secret: kept }];
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** The ledger's own verification, then what the other rooms have to say. */
async function verifyAll(
  database: Database,
  parts: readonly VerifyPart[],
  options?: VerifyOptions,
): Promise<Verification> {
  const { checked, problems } = await verifyLedger(database, options);
  for (const part of parts) {
    const found = await part(database);
    Object.assign(checked, found.checked);
    problems.push(...found.problems);
  }
  return { ok: problems.length === 0, checked, problems: problems.slice(0, MAX_PROBLEMS) };
}
