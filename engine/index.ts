/**
 * The engine's only door. Knows nothing of n8n:
 *
 *     import { openBilling } from 'n8n-nodes-billing/engine';
 *     const billing = await openBilling({ connection: { embedded: './billing' } });
 */
export { lookAtDatabase, openBilling, type Billing } from './billing';
export type { BillingOptions } from './options';
export type { FailedPart, RunDueAnswer, RunDueRequest } from './running-due';
export type { AdvanceAnswer, AdvanceRequest, Sandbox, SandboxStatus } from './sandbox';

export {
  BillingError,
  DENIAL_REASONS,
  DURATION_UNITS,
  ERROR_CODES,
  LIMITS,
  TestClock,
  isBillingError,
  systemClock,
  type AccountReference,
  type Amount,
  type BillingErrorData,
  type BillingErrorDetails,
  type ChangeOptions,
  type Clock,
  type DenialReason,
  type Duration,
  type DurationRequest,
  type DurationUnit,
  type ErrorCode,
  type PageRequest,
} from './kernel';
export * from './database/public';
export * from './events/public';
export type { Events } from './events';
export * from './catalog/public';
export type { Catalog } from './catalog';
export * from './accounts/public';
export * from './books/public';
export type { BooksReader } from './books';
export * from './ledger/public';
export type { Ledger } from './ledger';
export * from './sales/public';
export type { Sales } from './sales';
export * from './invoicing/public';
export type { Invoicing } from './invoicing';
export * from './payments/public';
export type { Payments } from './payments';
export * from './subscriptions/public';
export type { Subscriptions } from './subscriptions';
