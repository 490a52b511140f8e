export * from './public';
export { arrayLiteral } from './array-literal';
export {
  DEFAULT_KEEP,
  NO_ACCOUNT,
  askedOf,
  fingerprint,
  fingerprintDigest,
  hashKey,
  idempotencyConflict,
  keyDigest,
  moveAnswers,
  once,
  serializationFailure,
  type Keep,
  type OfMerged,
} from './answers';
export { verifyTables, type Check } from './checks';
export { Database, type DatabaseOptions } from './database';
export {
  isOutOfLocks,
  isRetryable,
  isCheckViolation,
  isUniqueViolation,
  lockTimeout,
  translate,
  waitingFor,
} from './failures';
export { packed, payersOf, problemOf, readFound } from './found';
export { keptSecret } from './kept-secret';
export { MAX_LOCKED_ACCOUNTS, lockAccounts, tryLockAccounts } from './locks';
export { rehearse } from './rehearse';
export { sharedChange } from './shared-change';
export type { Context, DuePart, VerifyPart } from './context';
export type { Reserved, Session } from './session';
export { concernsAll, grouped, pages, sweep, type FailedPayer, type Swept } from './sweep';
export { Table, column, table, type RowOf } from './table';
export { atTime, readTime, toInstant } from './times';
