import {
  z,
  addDuration,
  duration,
  flag,
  input,
  integer,
  list,
  parse,
  systemClock,
  text,
  type Clock,
  type Duration,
} from './kernel';
import type { Connection } from './database';
import { webhookSecret, type WebhookLookup, type WebhookSecret } from './events';
import type { OwnRating } from './invoicing';
import { BUILT_IN_GATEWAYS, type Gateway } from './payments';
import type { IdentitySecret } from './sales';

export interface BillingOptions {
  /**
   * A Postgres URL, pg settings, `{ embedded: folder or 'memory' }`, or your own knex instance. A folder
   * that is not absolute lies below the working directory of the process.
   */
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
  /**
   * Where outgoing webhooks may go. `allowPrivate`: also to this machine and to private networks; false
   * when left out. `lookup`: what finds the addresses of a name; the system when left out.
   */
  webhooks?: { allowPrivate?: boolean; lookup?: WebhookLookup };
  /** Where the engine gets its time. Default: the system's. */
  clock?: Clock;
  /**
   * Whether a clock that is wrong is kept from doing at once what should come with the time: where it is
   * more than a day ahead of the database's own, and of what missed many periods, until a run is told to
   * `catchUp` (docs/operations.md). Default: with the system's clock yes, with a `clock` of yours no.
   */
  brake?: boolean;
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
  /**
   * The same for the statements of `verify()`, which read whole tables, and for the steps of an upgrade.
   * Default 600,000.
   */
  scanTimeout?: number;
  /**
   * The longest to wait for another transaction, or for a connection that others hold, in milliseconds.
   * Default 10,000.
   */
  lockTimeout?: number;
  /**
   * The longest that making a connection may take, in milliseconds. Default 10,000, or what the
   * connection itself says.
   */
  connectTimeout?: number;
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
  list(input({ id: text(64).optional(), secret: secret() }), 10, 1).refine(
    (keys) => areDistinct(keys.flatMap(({ id }) => id ?? [])),
    {
      error: 'must not name one id twice',
    },
  ),
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
    .refine((value) => !/^pg_|^information_schema$/i.test(value), {
      error: "must be none of Postgres's own: pg_... or information_schema",
    })
    .optional(),
  install: flag().optional(),
  keep: input({
    changes: keepTime().optional(),
    denials: keepTime().optional(),
    trials: keepTime().optional(),
    events: keepTime().optional(),
  }).default({}),
  secrets: input({
    identity: identitySecret.optional(),
    webhooks: webhookSecret().optional(),
  }).default({}),
  webhooks: input({
    allowPrivate: flag().default(false),
    lookup: z
      .custom<WebhookLookup>((value) => typeof value === 'function', {
        error: 'must be a function',
      })
      .optional(),
  }).prefault({}),
  brake: flag().optional(),
  sandbox: flag().default(false),
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
    .default(systemClock),
  rating: z
    .record(
      z.string(),
      z.custom<OwnRating[string]>((value) => typeof value === 'function', {
        error: 'must be a function',
      }),
    )
    .optional(),
  statementTimeout: milliseconds(),
  scanTimeout: milliseconds(),
  lockTimeout: milliseconds(),
  connectTimeout: milliseconds(),
});

export type ReadOptions = z.output<typeof optionsInput>;

/** @throws invalid_input */
export const readOptions = (options: BillingOptions): ReadOptions => parse(optionsInput, options);
