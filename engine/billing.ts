import type { Knex } from 'knex';

import { Accounts } from './accounts';
import { openCatalog, type Catalog } from './catalog';
import { Database, type Connection, type Context } from './database';
import { input, integer, parse, systemClock, text, z, type Clock } from './kernel';
import {
  openLedger,
  ownUnitsObstacle,
  verifyLedger,
  type Ledger,
  type Verification,
} from './ledger';
import { openSales, suggestOffers, type Sales } from './sales';

export interface BillingOptions {
  /** A Postgres URL, pg settings, `{ embedded: folder or 'memory' }`, or your own knex instance. */
  connection: Connection;
  /** The schema that holds all tables. Default `billing`. */
  schema?: string;
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
  /** Recomputes every balance from the entries and reports what does not agree. Reads only. */
  verify(): Promise<Verification>;
  /**
   * Runs work in one transaction: pass `tx` to the calls that belong to it. Committed when the work
   * ends, undone when it throws.
   */
  transaction<T>(work: (tx: Knex.Transaction) => Promise<T>): Promise<T>;
  /** Ends what `openBilling` opened. A knex instance of the caller's stays open. */
  close(): Promise<void>;
}

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
  const { clock = systemClock, ...databaseOptions } = parse(optionsInput, options);
  const database = await Database.open(databaseOptions);
  const context: Context = { database, clock };

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
    verify: () => verifyLedger(database),
    transaction: (work) => database.knex.transaction(work),
    close: () => database.close(),
  };
}
