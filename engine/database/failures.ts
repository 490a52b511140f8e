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

interface DriverError extends Error {
  code?: string;
  /** What the server was doing, where it says so. */
  where?: string;
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

/** Codes of pg, Node and the system that mean: the server is not there, or the connection broke. */
const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT', // a Unix socket that is not there
]);

function isConnectionFailure(error: DriverError): boolean {
  const code = error.code ?? '';
  return (
    NETWORK_CODES.has(code) ||
    code.startsWith('08') ||
    code.startsWith('57P') ||
    code.startsWith('53') ||
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

/** Passwords in a connection URL must not reach a message. */
function withoutPassword(text: string): string {
  return text.replace(/(\w+:\/\/[^:@/\s]*):[^@/\s]*@/g, '$1:***@');
}

function unavailable(message: string, advice: string, cause: unknown): BillingError {
  return new BillingError('database_unavailable', message, { advice, cause });
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
    cause,
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
    throw codeOf(error) === LOCK_NOT_AVAILABLE ? lockTimeout(what, error) : error;
  }
}

/** What the server says that was waited for: functions of ours lock accounts, all else locks rows. */
function heldThing({ where = '' }: DriverError): string {
  if (where.includes('pg_advisory_xact_lock')) return 'this account';
  const table = /in relation "([^"]+)"/.exec(where)?.[1];
  return table === undefined ? 'what this call needs' : `rows of ${table}`;
}

/** Turns a driver's error into one a person can act on. Errors that are ours pass through. */
export function translate(error: unknown): unknown {
  if (error instanceof BillingError || !isError(error)) return error;
  const failure = 'errors' in error ? firstOf(error) : error;
  const said = withoutPassword(failure.message);
  if (isRetryable(failure)) {
    return new BillingError(
      'retry_transaction',
      `The transaction met another one and was undone by the database: ${said}.`,
      { advice: 'Run the whole transaction again.', cause: error },
    );
  }
  if (failure.code === LOCK_NOT_AVAILABLE) {
    return lockTimeout(heldThing(failure), error);
  }
  if (isPoolTimeout(failure)) {
    return new BillingError('lock_timeout', 'No database connection became free in time.', {
      advice:
        'If a transaction of your own is open, pass it as tx, or end it before the call; else raise the pool size.',
      cause: error,
    });
  }
  switch (failure.code) {
    case DISK_FULL:
      return unavailable(
        `The disk of the database is full: ${said}.`,
        'Make room on it; then all goes on by itself. What was under way is undone.',
        error,
      );
    case QUERY_CANCELED:
      return unavailable(
        `The database stopped a statement: ${said}.`,
        'It was over its time limit or was cancelled by hand; try again.',
        error,
      );
    case '28P01':
    case '28000':
      return unavailable(
        `The database refused the log-in: ${said}.`,
        'Check user, password and database name, and whether the server demands TLS.',
        error,
      );
    case '3D000':
      return unavailable(
        `The database server answers, but ${said}.`,
        'Create that database, or correct its name.',
        error,
      );
    case '42501':
      return unavailable(
        `The database user lacks a right: ${said}.`,
        'Grant it as docs/operations.md describes, or let an owner of the schema open the engine once to install it.',
        error,
      );
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return unavailable(
        `The database host was not found: ${said}.`,
        'Check the host name.',
        error,
      );
    case 'ECONNREFUSED':
      return unavailable(
        `No database server answers: ${said}.`,
        'Check host and port, and that the server is running and reachable from here.',
        error,
      );
  }
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
    return unavailable(
      `The database cannot be reached: ${said}.`,
      'What was under way is undone unless it was already answered; try again with the same idempotency key.',
      error,
    );
  }
  return error;
}
