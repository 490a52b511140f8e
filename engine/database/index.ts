export {
  KEEP,
  NO_ACCOUNT,
  fingerprint,
  hashKey,
  idempotencyConflict,
  once,
  serializationFailure,
} from './answers';
export { Database, type Connection, type DatabaseOptions } from './database';
export { isUniqueViolation } from './failures';
export { MAX_LOCKED_ACCOUNTS, lockAccounts } from './locks';
export type { ServerConfig } from './server';
export type { Context } from './context';
export type { Session } from './session';
export { atTime, readTime, toInstant } from './times';
