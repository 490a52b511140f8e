import type { Knex } from 'knex';

import { idsWithAliases, openAccounts, type Accounts, type Room } from './accounts';
import { bookPorts, openBooks, type BooksReader } from './books';
import { openCatalog, type Catalog } from './catalog';
import {
  DEFAULT_KEEP,
  Database,
  keptSecret,
  type Connection,
  type Context,
  type DatabaseStatus,
  type DuePart,
} from './database';
import { openEvents, type Events } from './events';
import {
  awaitedPayments,
  openInvoicing,
  subscriptionPorts,
  moneyTakenBack,
  standingOf,
  type Invoicing,
} from './invoicing';
import {
  openLedger,
  MAX_PROBLEMS,
  type Ledger,
  type Verification,
  type VerifyOptions,
} from './ledger';
import { systemClock } from './kernel';
import { readOptions, type BillingOptions, type ReadOptions } from './options';
import { openPayments, type Payments } from './payments';
import {
  runAllDue,
  runDay,
  type DueCounts,
  type RunDueAnswer,
  type RunDueRequest,
} from './running-due';
import { SandboxClock, followingClock, openSandbox, refuseMeant, type Sandbox } from './sandbox';
import { openSales, type IdentitySecret, type Sales } from './sales';
import {
  openSubscriptions,
  orderSubscriptions,
  useRestored,
  type Subscriptions,
} from './subscriptions';

export interface Billing {
  catalog: Catalog;
  accounts: Accounts;
  ledger: Ledger;
  payments: Payments;
  sales: Sales;
  subscriptions: Subscriptions;
  invoicing: Invoicing;
  books: BooksReader;
  events: Events;
  sandbox: Sandbox;
  /**
   * Recomputes every balance from the entries and reports what does not agree. Reads only, in chunks,
   * while others write; memory stays flat however long the ledger is.
   */
  verify(options?: VerifyOptions): Promise<Verification>;
  /**
   * Does everything whose time has come, but for invoices, which `invoicing.runBillingCycle` makes: opens
   * periods of subscriptions and carries out queued changes, writes expiries of grants and ends of holds,
   * posts what was earned, collects what is to be tried again, tops balances up, sends reminders and
   * webhooks, and deletes answers and events that are kept no longer. For a job that runs now and then,
   * in as many processes as you like: nothing that a customer sees waits for it.
   *
   * @returns how much was done, and in `failed` what could not be
   * @throws invalid_input; clock_ahead; database_unavailable and the like, when nothing could be done
   */
  runDue(request?: RunDueRequest): Promise<RunDueAnswer>;
  /**
   * Runs work in one transaction: pass `tx` to the calls that belong to it. Committed when the work
   * ends, undone when it throws.
   */
  transaction<T>(work: (tx: Knex.Transaction) => Promise<T>): Promise<T>;
  /** Ends what `openBilling` opened. A knex instance of the caller's stays open. */
  close(): Promise<void>;
}

/**
 * Opens the billing engine on a database, and installs or upgrades its tables there.
 *
 * @throws invalid_input, database_unavailable, database_in_use (embedded folder), database_version,
 *   database_newer, forbidden (`sandbox` of a schema that is meant)
 */
export async function openBilling(options: BillingOptions): Promise<Billing> {
  const read = readOptions(options);
  const database = await Database.open(read);
  try {
    const clock = new SandboxClock(read.clock, database);
    await (read.sandbox ? clock.mark() : clock.follow());
    // In a sandbox time passes on command.
    const isReal = read.brake ?? read.clock === systemClock;
    database.isBraked = () => isReal && !clock.isSandbox;
    return openOn(database, clock, read);
  } catch (error) {
    await database.close();
    throw error;
  }
}

/**
 * Looks at the database that `openBilling` would open, and writes nothing: no schema, no folder. For a
 * test of settings, in which a slip of the pen must not make another database.
 *
 * @throws as `openBilling`
 */
export async function lookAtDatabase(options: BillingOptions): Promise<DatabaseStatus> {
  const read = readOptions(options);
  return Database.look(read, async (session) => {
    if (read.sandbox) await refuseMeant(session);
  });
}

function openOn(database: Database, clock: SandboxClock, options: ReadOptions): Billing {
  const { changes, denials } = options.keep;
  const context: Context = {
    database,
    clock,
    keep: { change: changes ?? DEFAULT_KEEP.change, denial: denials ?? DEFAULT_KEEP.denial },
    get isSandbox() {
      return clock.isSandbox;
    },
    get isBraked() {
      return database.isBraked();
    },
    onAccountChange: [],
    onProductChange: [],
  };
  const opened = openRooms(context, options);
  const { events, catalog, accounts, ledger, books, payments, sales, subscriptions, invoicing } =
    opened;
  // What money and units come of first, then what tells of it.
  const dueParts = [subscriptions, ledger, invoicing, books, events].flatMap(
    ({ due }): ReadonlyArray<DuePart<Partial<DueCounts>>> => due ?? [],
  );
  const follow = <Calls extends object>(calls: Calls) => followingClock(calls, clock);
  return {
    catalog: follow(catalog.calls),
    accounts: follow(accounts.calls),
    ledger: follow(ledger.calls),
    payments: follow(payments.calls),
    sales: follow(sales.calls),
    subscriptions: follow(subscriptions.calls),
    invoicing: follow(invoicing.calls),
    books: follow(books.calls),
    events: follow(events.calls),
    sandbox: openSandbox(clock, () => runDay(invoicing.calls, dueParts)),
    ...follow({
      verify: (request?: VerifyOptions) => verifyAll(database, Object.values(opened), request),
      runDue: (request?: RunDueRequest) => runAllDue(context, dueParts, request),
    }),
    transaction: (work) => database.begin(work),
    close: () => database.close(),
  };
}

/**
 * The rooms in order, and the ports of earlier ones that later ones fill: each is opened when there is
 * what it needs.
 */
function openRooms(context: Context, options: ReadOptions) {
  const { gateways, testGateway, keep, rating } = options;
  const events = openEvents(
    context,
    { idsOf: idsWithAliases },
    {
      signedBy: options.secrets.webhooks ?? null,
      addresses: options.webhooks,
      keep: keep.events,
    },
  );
  const catalog = openCatalog(context);
  const books = openBooks(context);
  const payments = openPayments(context, { gateways, testGateway });
  const ports = subscriptionPorts(payments.paying);
  const sales = openSales(payments.paying, {
    identitySecret: identitySecretOf(options.connection, options.secrets.identity),
    keepTrials: keep.trials ?? null,
    subscriptions: orderSubscriptions(ports),
    takenBack: moneyTakenBack,
  });
  const subscriptions = openSubscriptions(payments.paying, sales.trials, ports);
  const ledger = openLedger(context, sales.suggest, {
    ...bookPorts,
    eligible: sales.eligible,
    exchanged: sales.exchanged,
    refresh: subscriptions.refresh,
    restored: useRestored,
    awaited: awaitedPayments,
    // Asked later, when accounts are open, too.
    meet: (identity) => accounts.calls.identify(identity),
  });
  const invoicing = openInvoicing(
    payments.paying,
    { sales: sales.calls, ledger: ledger.calls },
    { rating },
  );
  const accounts = openAccounts(
    context,
    {
      trialEligible: sales.trialEligible,
      onCreated: sales.onCreated,
      onAttached: sales.onAttached,
      standing: standingOf,
      moveUnits: ledger.moveUnits,
    },
    [ledger, books, payments, sales, subscriptions, invoicing, events],
  );
  return { events, catalog, accounts, ledger, books, payments, sales, subscriptions, invoicing };
}

/** The secret given; before it, in time, the one that an embedded database keeps in its folder. */
function identitySecretOf(
  connection: Connection,
  given: IdentitySecret | undefined,
): IdentitySecret | null {
  const kept = keptSecret(connection, given === undefined);
  if (given === undefined) return kept;
  if (kept === null) return given;
  return [...(typeof given === 'string' ? [{ secret: given }] : given), { secret: kept }];
}

/** What the rooms have to say of their tables. */
async function verifyAll(
  database: Database,
  rooms: ReadonlyArray<Room<object>>,
  request?: VerifyOptions,
): Promise<Verification> {
  const checked: Verification['checked'] = {};
  const problems: Verification['problems'] = [];
  for (const part of rooms.flatMap(({ verify }) => verify ?? [])) {
    const found = await part(database.scans, request);
    Object.assign(checked, found.checked);
    problems.push(...found.problems);
  }
  return { ok: problems.length === 0, checked, problems: problems.slice(0, MAX_PROBLEMS) };
}
