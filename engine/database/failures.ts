import { BillingError } from '../kernel';

/** Postgres error codes that the engine acts on. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const SERIALIZATION_FAILURE = '40001';
const DEADLOCK_DETECTED = '40P01';
const LOCK_NOT_AVAILABLE = '55P03';
const QUERY_CANCELED = '57014';
const UNIQUE_VIOLATION = '23505';
const CHECK_VIOLATION = '23514';
const DISK_FULL = '53100';
const OUT_OF_MEMORY = '53200';
const READ_ONLY = '25006';
const FAILED_TRANSACTION = '25P02';

interface DriverError extends Error {
  code?: string;
  /** What the server was doing, where it says so. */
  where?: string;
  severity?: string;
  schema?: string;
  table?: string;
  column?: string;
  constraint?: string;
  routine?: string;
}

/** Not `instanceof`: an error of Node's own may come from outside the context that our code runs in. */
const isError = (error: unknown): error is DriverError =>
  typeof error === 'object' && error !== null && 'message' in error;

const codeOf = (error: unknown): string | undefined => (isError(error) ? error.code : undefined);

/** Whether running the whole transaction again can succeed: only these two, never "anything". */
export function isRetryable(error: unknown): boolean {
  const code = codeOf(error);
  return code === SERIALIZATION_FAILURE || code === DEADLOCK_DETECTED;
}

/** No connection of the pool became free in time. */
function isPoolTimeout(error: unknown): boolean {
  return isError(error) && (error.name === 'KnexTimeoutError' || error.name === 'TimeoutError');
}

/** Another transaction wrote the same unique key first. */
export function isUniqueViolation(error: unknown): boolean {
  return codeOf(error) === UNIQUE_VIOLATION;
}

/** The tables do not allow it. */
export function isCheckViolation(error: unknown): boolean {
  return codeOf(error) === CHECK_VIOLATION;
}

/**
 * More locks than the server has room for: whoever took them tries with fewer. Also once the error was
 * translated, as it comes out of a transaction.
 */
export function isOutOfLocks(error: unknown): boolean {
  const { cause } = (error as { cause?: unknown } | null) ?? {};
  return codeOf(error) === OUT_OF_MEMORY || codeOf(cause) === OUT_OF_MEMORY;
}

/** Somebody held a lock for longer than is waited. */
export const isLocked = (error: unknown): boolean => codeOf(error) === LOCK_NOT_AVAILABLE;

/** As after a failover: the server, or the user's session, takes no changes. */
export const isReadOnly = (error: unknown): boolean => codeOf(error) === READ_ONLY;

/** Codes of pg, Node and the system that mean: the server is not there, or the connection broke. */
const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'EPROTO',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENETRESET',
  'ENOTCONN',
  'EADDRNOTAVAIL',
  'EACCES', // a firewall of this machine, or a Unix socket
  'EPERM',
  'EMFILE',
  'ENFILE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_FAIL',
  'EAI_NODATA',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_WRITE_AFTER_END',
  'ERR_SOCKET_CLOSED',
  'ENOENT', // a Unix socket that is not there
]);

/** Classes of what the server says that mean: it is not there for us, or ended the connection. */
const GONE_CLASSES = new Set(['08', '53', '58']);
const GONE_CODES = new Set(['25P03', '25P04']); // a transaction was too long

const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/;

/** Of a statement's error that a database gave: these alone tell no row, and nothing that was sent. */
const isFromDatabase = (error: DriverError): boolean =>
  SQLSTATE.test(error.code ?? '') || typeof error.severity === 'string';

function isConnectionFailure(error: DriverError): boolean {
  const code = error.code ?? '';
  if (isFromDatabase(error)) {
    return GONE_CLASSES.has(code.slice(0, 2)) || GONE_CODES.has(code) || code.startsWith('57P');
  }
  return (
    NETWORK_CODES.has(code) ||
    /connection terminated|connection ended|not queryable|timeout expired|query read timeout|connection error|PGlite is closed|server does not support SSL/i.test(
      error.message,
    )
  );
}

/** No room on disk or in memory undoes a transaction; the connection goes on. */
const isOutOfRoom = ({ code }: DriverError): boolean =>
  code === DISK_FULL || code === OUT_OF_MEMORY;

export function isLostConnection(error: unknown): boolean {
  return isError(error) && isConnectionFailure(error) && !isOutOfRoom(error);
}

/**
 * What looks like a connection URL is shown by its kind alone. Always, and not where it holds the right
 * password: that would tell who tries one that it is right.
 */
const withoutUrls = (text: string): string => text.replace(/(\w+:\/\/)\S*/g, '$1***');

/**
 * What is kept as the cause. Of what a database says, neither its text nor its detail: they hold rows,
 * and values that were sent, and whoever prints an error prints its causes.
 */
function shown(error: unknown): unknown {
  if (!isError(error) || !isFromDatabase(error)) return error;
  const { code, severity, schema, table, column, constraint, routine } = error;
  const known = { code, severity, schema, table, column, constraint, routine };
  const given = Object.entries(known).filter(([, value]) => value !== undefined);
  return Object.assign(new Error(`SQLSTATE ${code}`), Object.fromEntries(given));
}

function unavailable(message: string, advice: string, cause: unknown): BillingError {
  return new BillingError('database_unavailable', message, { advice, cause: shown(cause) });
}

/** Node tries every address of a host and reports all failures; the first says enough. */
function firstOf(error: DriverError & { errors?: unknown }): DriverError {
  const [first] = Array.isArray(error.errors) ? (error.errors as unknown[]) : [];
  return isError(first) ? first : error;
}

/** Somebody held it for longer than is waited. */
export const lockTimeout = (what: string, cause?: unknown): BillingError =>
  new BillingError('lock_timeout', `Another transaction holds ${what} for too long.`, {
    advice:
      'Try again. If it is a transaction of your own, pass it as tx, or end it before the call.',
    cause: shown(cause),
  });

/**
 * Runs a statement of which it is known what it may have to wait for.
 *
 * @throws lock_timeout that names it; whatever else the statement throws
 */
export async function waitingFor<T>(what: string, statement: Promise<T>): Promise<T> {
  try {
    return await statement;
  } catch (error) {
    throw isLocked(error) ? lockTimeout(what, error) : error;
  }
}

/** What the server says that was waited for: functions of ours lock accounts, all else locks rows. */
function heldThing({ where = '' }: DriverError): string {
  if (where.includes('pg_advisory_xact_lock')) return 'this account';
  const table = /in relation "([^"]+)"/.exec(where)?.[1];
  return table === undefined ? 'what this call needs' : `rows of ${table}`;
}

/** The connection broke between the order to make a change and the answer to it. */
export const outcomeUnknown = (cause: unknown): BillingError =>
  unavailable(
    'The connection was lost before the database had answered: whether the change was made is not known.',
    'Repeat the call with the same idempotency key: it is done once, whichever it was. Without a key look first.',
    cause,
  );

/** What is said in words of our own, by what the server or the system says. */
const KNOWN: ReadonlyArray<{
  is: (code: string) => boolean;
  message: (said: string) => string;
  advice: string;
}> = [
  {
    is: (code) => code === DISK_FULL,
    message: (said) => `The disk of the database is full: ${said}.`,
    advice: 'Make room on it; then all goes on by itself. What was under way is undone.',
  },
  {
    is: (code) => code === QUERY_CANCELED,
    message: (said) => `The database stopped a statement: ${said}.`,
    advice: 'It was over its time limit or was cancelled by hand; try again.',
  },
  {
    is: (code) => code === READ_ONLY,
    message: () =>
      'The database takes no changes: it is read-only, as a server is after a failover.',
    advice:
      'Name the server that takes changes; where a name leads to it by itself, try again with the same idempotency key.',
  },
  {
    is: (code) => code.startsWith('28'),
    message: (said) => `The database refused the log-in: ${said}.`,
    advice: 'Check user, password and database name, and whether the server demands TLS.',
  },
  {
    is: (code) => code === '3D000',
    message: (said) => `The database server answers, but ${said}.`,
    advice: 'Create that database, or correct its name.',
  },
  {
    is: (code) => code === '42501',
    message: (said) => `The database user lacks a right: ${said}.`,
    advice:
      'Grant it as docs/operations.md describes, or let an owner of the schema open the engine once to install it.',
  },
  {
    is: (code) => code === 'ENOTFOUND' || code.startsWith('EAI_'),
    message: (said) => `The database host was not found: ${said}.`,
    advice: 'Check the host name.',
  },
  {
    is: (code) => code === 'ECONNREFUSED',
    message: (said) => `No database server answers: ${said}.`,
    advice: 'Check host and port, and that the server is running and reachable from here.',
  },
];

const UNDONE = 'What was under way is undone; try again with the same idempotency key.';

/** Turns a driver's error into one a person can act on. Errors that are ours pass through. */
export function translate(error: unknown): unknown {
  if (error instanceof BillingError || !isError(error)) return error;
  const failure = 'errors' in error ? firstOf(error) : error;
  const { code = '' } = failure;
  const said = withoutUrls(failure.message);
  if (isRetryable(failure)) {
    return new BillingError(
      'retry_transaction',
      `The transaction met another one and was undone by the database: ${said}.`,
      { advice: 'Run the whole transaction again.', cause: shown(error) },
    );
  }
  if (isLocked(failure)) return lockTimeout(heldThing(failure), error);
  if (isPoolTimeout(failure)) return noFreeConnection(error);
  const known = KNOWN.find(({ is }) => is(code));
  if (known !== undefined) return unavailable(known.message(said), known.advice, error);
  if (code === FAILED_TRANSACTION) return failedTransaction(error);
  if (isConnectionFailure(failure) && isFromDatabase(failure)) {
    return unavailable(`The database cannot be used now: ${said}.`, UNDONE, error);
  }
  if (isFromDatabase(failure)) return refusedStatement(failure);
  if (/certificate|self.signed|SSL|TLS/i.test(failure.message)) {
    return unavailable(
      `No secure connection to the database: ${said}.`,
      'Check the TLS choice: whether the server offers TLS, and whether its certificate can be verified.',
      error,
    );
  }
  if (/password must be a string|client password/i.test(failure.message)) {
    return unavailable(
      'The database server asks for a password, and none was given.',
      'Enter the password.',
      error,
    );
  }
  if (isConnectionFailure(failure)) {
    return unavailable(`The database cannot be reached: ${said}.`, UNDONE, error);
  }
  return error;
}

const noFreeConnection = (cause: unknown): BillingError =>
  new BillingError('lock_timeout', 'No database connection became free in time.', {
    advice:
      'If a transaction of your own is open, pass it as tx, or end it before the call; else raise the pool size.',
    cause,
  });

const failedTransaction = (cause: unknown): BillingError =>
  new BillingError('invalid_input', 'The transaction in "tx" failed before this call.', {
    parameter: 'tx',
    advice: 'End it and begin another one; inside it, run what may fail in a savepoint of its own.',
    cause: shown(cause),
  });

/** Raised by our own triggers, in words that tell no row. */
const STAYS = '23001';

/** What nobody foresaw: named by what tells no row. */
function refusedStatement(error: DriverError): BillingError {
  const { code, table, constraint } = error;
  const where = [constraint, table].filter((name) => name !== undefined).join(' of ');
  const what = code === STAYS ? `: ${error.message}` : '';
  return new BillingError(
    'internal_error',
    `The database refused a statement (SQLSTATE ${code}${where === '' ? '' : `, ${where}`})${what}.`,
    {
      advice:
        'Nobody foresaw that, and nothing was changed. If nobody has changed the tables by hand, please report it with this text; the log of the server has the details.',
      cause: shown(error),
    },
  );
}

/** Whatever keeps a connection from being made is an error of ours. */
export function cannotConnect(error: unknown): BillingError {
  const told = translate(error);
  if (told instanceof BillingError && told.code !== 'internal_error') return told;
  return unavailable(
    'No connection to the database could be made.',
    'Check the settings of the connection; the cause of this error says more.',
    error,
  );
}
