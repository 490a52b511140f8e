export { arrayLiteral } from './array-literal';
export {
  DEFAULT_KEEP,
  NO_ACCOUNT,
  fingerprint,
  fingerprintDigest,
  hashKey,
  idempotencyConflict,
  keyDigest,
  once,
  serializationFailure,
  type Keep,
} from './answers';
export { Database, type Connection, type DatabaseOptions } from './database';
export { isRetryable, isUniqueViolation, translate } from './failures';
export { MAX_LOCKED_ACCOUNTS, lockAccounts, tryLockAccounts } from './locks';
export type { ServerConfig } from './server';
export type { Context } from './context';
export type { Reserved, Session } from './session';
export { atTime, readTime, toInstant } from './times';
