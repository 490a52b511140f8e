import type { Knex } from 'knex';

import {
  idsWithAliases,
  openAccounts,
  verifyAccounts,
  type AccountParts,
  type AccountPorts,
  type Accounts,
  type ErasePart,
  type ExportPart,
  type MergePart,
} from './accounts';
import {
  bookPorts,
  exportBook,
  moveFees,
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
  deleteOldEvents,
  deliverWebhooks,
  forgetTextsOf,
  openEvents,
  readEventsOf,
  verifyEvents,
  webhookSecret,
  type DeliveriesDone,
  type Events,
  type RetentionDone,
  type WebhookSecret,
} from './events';
import {
  addDuration,
  duration,
  flag,
  input,
  integer,
  list,
  parse,
  readClock,
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
  type Verification,
  type VerifyOptions,
} from './ledger';
import {
  BUILT_IN_GATEWAYS,
  erasePayments,
  exportPayments,
  mergePayments,
  openPayments,
  verifyPayments,
  type Gateway,
  type Payments,
} from './payments';
import {
  collectDue,
  eraseInvoices,
  exportInvoices,
  forgetInvoices,
  invoicedPeriods,
  mergeInvoices,
  openInvoicesObstacle,
  openInvoicing,
  standingOf,
  verifyInvoices,
  type CollectDueDone,
  type ForgottenPapers,
  type Invoicing,
  type OwnRating,
  type TopUpsDone,
} from './invoicing';
import { runParts, type DuePart, type FailedPart, type RunDueRequest } from './running-due';
import { SandboxClock, followingClock, openSandbox, type Sandbox } from './sandbox';
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
import {
  advanceSubscriptions,
  eraseSubscriptions,
  exportSubscriptions,
  mergeSubscriptions,
  openSubscriptions,
  openSubscriptionsObstacle,
  orderSubscriptions,
  verifySubscriptions,
  type AdvanceDone,
  type Subscriptions,
} from './subscriptions';

export interface BillingOptions {
  /** A Postgres URL, pg settings, `{ embedded: folder or 'memory' }`, or your own knex instance. */
  connection: Connection;
  /** The schema that holds all tables. Default `billing`. */
  schema?: string;
  /** Default true. False: refuse tables that are missing or older, rather than install or upgrade them. */
  install?: boolean;
  /**
   * How long first answers to idempotency keys are kept, in units up to weeks: longer than anybody
   * repeats a call. Default: those of changes 90 days, denials 24 hours. How long it is remembered of an
   * identity that it had a trial: by default for ever. And how long events are kept that all readers
   * have passed: 90 days.
   */
  keep?: { changes?: Duration; denials?: Duration; trials?: Duration; events?: Duration };
  /**
   * `identity`: the key of the hashes by which people are recognised who had a trial: 16 characters or
   * more, kept for good. While it is changed, a list with the newest first. An embedded database that
   * is given none makes one and keeps it in its folder; on a server no trial can be claimed without.
   *
   * `webhooks`: what signs outgoing webhooks, `whsec_` and 24 to 64 random bytes in base64; while it is
   * changed, a list with the newest first. It is never stored; without it there are no webhooks.
   */
  secrets?: { identity?: IdentitySecret; webhooks?: WebhookSecret };
  /** Where the engine gets its time. Default: the system's. */
  clock?: Clock;
  /**
   * True: mark this schema as a sandbox, whose clock can be moved. Refused when there are accounts in it
   * and it is none yet.
   */
  sandbox?: boolean;
  /** Gateways of your own (docs/payments.md); `manual` and `test` are there. */
  gateways?: Gateway[];
  /**
   * Lets the test gateway, which moves no money, be used outside a sandbox; its secret makes the notices
   * believed that are said to come from it.
   */
  testGateway?: boolean | { webhookSecret: string };
  /**
   * What use beyond grants costs, by product, in place of the overage pricing of offers: functions that
   * answer at once (docs/invoicing.md).
   */
  rating?: OwnRating;
  /** The longest a statement may run, in milliseconds. Default 30,000. */
  statementTimeout?: number;
  /** The longest to wait for another transaction or a free connection, in milliseconds. Default 10,000. */
  lockTimeout?: number;
}

/** How much was done of what was due. */
export type RunDueAnswer = DueCounts & {
  /** Parts that could not be done; the others were. */
  failed: FailedPart[];
};

type DueCounts = Omit<AdvanceDone, 'left'> &
  DueDone &
  EarnedDone &
  CollectDueDone &
  TopUpsDone &
  DeliveriesDone &
  RetentionDone &
  ForgottenPapers;

const NOTHING_DUE: DueCounts = {
  subscriptions: 0,
  periods: 0,
  expiries: 0,
  holds: 0,
  answers: 0,
  postings: 0,
  attempts: 0,
  invoicesPaid: 0,
  paymentsFailed: 0,
  dunningSteps: 0,
  refundsSent: 0,
  topUpsBought: 0,
  topUpsFailed: 0,
  papersForgotten: 0,
  webhooksSent: 0,
  webhooksFailed: 0,
  webhooksGivenUp: 0,
  eventsDeleted: 0,
};

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
   * @throws invalid_input; database_unavailable and the like, when nothing could be done
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
    events: keepTime().optional(),
  }).optional(),
  secrets: input({
    identity: identitySecret.optional(),
    webhooks: webhookSecret().optional(),
  }).optional(),
  sandbox: flag().optional(),
  gateways: list(
    z.custom<Gateway>((value) => typeof (value as Gateway | null)?.name === 'string', {
      error: 'must be a gateway: an object with a name and the calls of one',
    }),
    20,
  )
    .refine(
      (gateways) => areDistinct([...BUILT_IN_GATEWAYS, ...gateways.map(({ name }) => name)]),
      { error: 'must each have a name of their own, and none of manual and test' },
    )
    .optional(),
  testGateway: z
    .union([flag(), input({ webhookSecret: secret() })], {
      error: 'must be true, false or { webhookSecret }',
    })
    .optional(),
  clock: z
    .custom<Clock>((value) => typeof (value as Clock | undefined)?.now === 'function', {
      error: 'must have a function now()',
    })
    .optional(),
  rating: z
    .record(
      z.string(),
      z.custom<OwnRating[string]>((value) => typeof value === 'function', {
        error: 'must be a function',
      }),
    )
    .optional(),
  statementTimeout: milliseconds(),
  lockTimeout: milliseconds(),
});

/** Longer than a workflow may stand still. */
const KEEP_EVENTS = addDuration(0, { unit: 'day', count: 90 }, 'UTC');

/**
 * Opens the billing engine on a database, and installs or upgrades its tables there.
 *
 * @throws invalid_input, database_unavailable, database_in_use (embedded folder), database_version,
 *   database_newer, forbidden (`sandbox` of a schema that is meant)
 */
export async function openBilling(options: BillingOptions): Promise<Billing> {
  const {
    clock: outerClock = systemClock,
    keep: kept,
    secrets,
    sandbox: toBeSandbox = false,
    gateways,
    testGateway,
    rating,
    ...databaseOptions
  } = parse(optionsInput, options);
  const database = await Database.open(databaseOptions);
  const keep: Keep = {
    change: kept?.changes ?? DEFAULT_KEEP.change,
    denial: kept?.denials ?? DEFAULT_KEEP.denial,
  };
  const clock = new SandboxClock(outerClock, database);
  await openClock(clock, database, toBeSandbox);
  const context: Context = {
    database,
    clock,
    keep,
    get isSandbox() {
      return clock.isSandbox;
    },
    onAccountChange: [],
    onProductChange: [],
  };

  const { payments, paying } = openPayments(context, { gateways, testGateway });

  const opened = openSales(paying, {
    identitySecret: await identitySecretOf(database, options.connection, secrets?.identity),
    keepTrials: kept?.trials ?? null,
    subscriptions: orderSubscriptions,
  });
  paying.purposes.set('order', opened.orderPayments);

  const { subscriptions, refresh } = openSubscriptions(context, opened.trials, invoicedPeriods);

  // The ports of earlier rooms, filled by later ones.
  const moveLedger: MergePart = async (session, merge) => ({
    ...(await moveAllUnits(session, merge, bookPorts)),
    ...(await moveFees(session, merge)),
  });
  const accountPorts: AccountPorts = {
    trialEligible: opened.trialEligible,
    standing: standingOf,
    onCreated: opened.onCreated,
    obstaclesToAttach: [
      ownUnitsObstacle,
      openOrdersObstacle,
      openSubscriptionsObstacle,
      openInvoicesObstacle,
    ],
    moveUnits: (session, move) => moveAllUnits(session, move, bookPorts, 'units'),
  };
  const ledger = openLedger(context, opened.suggest, {
    ...bookPorts,
    eligible: opened.eligible,
    refresh,
    exchanged: opened.exchanged,
  });
  const { invoicing, runTopUps } = openInvoicing(
    paying,
    { sales: opened.sales, ledger },
    { rating },
  );
  const books = openBooks(context);
  const accountParts: AccountParts = {
    merge: [
      moveLedger,
      mergeOrders,
      mergeReferrals,
      mergeSubscriptions,
      mergePayments,
      mergeInvoices,
    ],
    export: [
      exportLedger(ledger),
      exportBook(books),
      exportOrders,
      exportReferrals,
      exportSubscriptions,
      exportPayments,
      exportInvoices,
      exportEvents,
    ],
    erase: [
      eraseLedger,
      eraseOrders,
      eraseReferrals,
      eraseSubscriptions,
      erasePayments,
      eraseInvoices,
      eraseEvents,
    ],
  };
  const accounts = openAccounts(context, accountPorts, accountParts);
  const verifyParts: VerifyPart[] = [
    verifyAccounts,
    verifyBooks(database),
    verifyOrders,
    verifyReferrals,
    verifySubscriptions,
    verifyPayments,
    verifyInvoices,
    verifyEvents,
  ];
  const signedBy = secrets?.webhooks ?? null;
  const events = openEvents(context, { idsOf: idsWithAliases }, signedBy !== null);

  // What money and units come of first, then what tells of it, then what is old.
  const dueParts: Array<DuePart<Partial<DueCounts>>> = [
    {
      part: 'subscriptions',
      run: async (limit) => {
        const { subscriptions, periods } = await advanceSubscriptions(context, { limit });
        return { subscriptions, periods };
      },
    },
    { part: 'ledger', run: (limit) => runDue(context, { limit }) },
    { part: 'collecting', run: (limit) => collectDue(paying, { limit }) },
    { part: 'top-ups', run: (limit) => runTopUps({ limit }) },
    { part: 'books', run: (limit) => postEarned(context, { limit }) },
    ...(signedBy === null
      ? []
      : [
          {
            part: 'webhooks',
            run: (limit: number) => deliverWebhooks(context, signedBy, { limit }),
          },
        ]),
    { part: 'papers', run: (limit) => forgetInvoices(context, { limit }) },
    {
      part: 'events',
      run: (limit) =>
        deleteOldEvents(context, {
          now: readClock(clock),
          keep: kept?.events ?? KEEP_EVENTS,
          limit,
        }),
    },
  ];
  const runAllDue = (request?: RunDueRequest): Promise<RunDueAnswer> =>
    runParts(dueParts, NOTHING_DUE, request);

  return {
    catalog: followingClock(openCatalog(context), clock),
    accounts: followingClock(accounts, clock),
    ledger: followingClock(ledger, clock),
    payments: followingClock(payments, clock),
    sales: followingClock(opened.sales, clock),
    subscriptions: followingClock(subscriptions, clock),
    invoicing: followingClock(invoicing, clock),
    books: followingClock(books, clock),
    events: followingClock(events, clock),
    sandbox: openSandbox(clock, async () => {
      const problems: FailedPart[] = [];
      const cycle = { part: 'invoices', run: () => invoicesOfDay(invoicing, problems) };
      const { failed, ...done } = await runParts<DueCounts & typeof NO_INVOICES>(
        [cycle, ...dueParts],
        { ...NOTHING_DUE, ...NO_INVOICES },
        { limit: MOST_DUE },
      );
      return { done, failed: [...problems, ...failed] };
    }),
    ...followingClock(
      {
        verify: (options?: VerifyOptions) => verifyAll(database, verifyParts, options),
        runDue: runAllDue,
      },
      clock,
    ),
    transaction: (work) => database.begin(work),
    close: () => database.close(),
  };
}

/** On a day of a sandbox everything that is due is done. */
const MOST_DUE = 1_000_000;

const NO_INVOICES = { invoicesIssued: 0, invoicesSent: 0, periodsOpened: 0, chargesFailed: 0 };

/**
 * The billing cycle on a day of a sandbox, under names that say what was done.
 *
 * @param problems where drafts are added that could not be reckoned
 */
async function invoicesOfDay(
  invoicing: Invoicing,
  problems: FailedPart[],
): Promise<typeof NO_INVOICES> {
  const { created, dispatched, failed } = await invoicing.runBillingCycle();
  for (const { invoiceId, code, message } of dispatched.problems) {
    problems.push({ part: 'invoices', code, message: `${invoiceId}: ${message}` });
  }
  return {
    invoicesIssued: dispatched.issued,
    invoicesSent: dispatched.sent,
    periodsOpened: created.periods,
    chargesFailed: dispatched.failed + failed,
  };
}

const exportEvents: ExportPart = async (session, { accountId, aliases }, { entries }) => ({
  events: await readEventsOf(session, [accountId, ...aliases], entries),
});

const eraseEvents: ErasePart = (session, { accountId, aliases }) =>
  forgetTextsOf(session, [accountId, ...aliases]);

/** @throws forbidden */
async function openClock(clock: SandboxClock, database: Database, mark: boolean): Promise<void> {
  try {
    await (mark ? clock.mark() : clock.follow());
  } catch (error) {
    await database.close();
    throw error;
  }
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
