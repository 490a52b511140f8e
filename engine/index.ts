/**
 * The engine's only door. Knows nothing of n8n:
 *
 *     import { openBilling } from 'n8n-nodes-billing/engine';
 *     const billing = await openBilling({ connection: { embedded: './billing' } });
 */
export { openBilling, type Billing, type BillingOptions } from './billing';

export {
  BillingError,
  DENIAL_REASONS,
  DURATION_UNITS,
  ERROR_CODES,
  TestClock,
  isBillingError,
  systemClock,
  type AccountReference,
  type BillingErrorData,
  type ChangeOptions,
  type Clock,
  type DenialReason,
  type Duration,
  type DurationUnit,
  type ErrorCode,
} from './kernel';
export type { Connection, ServerConfig } from './database';
export type {
  Catalog,
  Offer,
  OfferItem,
  Product,
  ProductKind,
  SaveOfferRequest,
  SaveProductRequest,
} from './catalog';
export type {
  Account,
  AccountStatus,
  AttachChildRequest,
  DetachChildRequest,
  IdentifyAnswer,
  IdentifyRequest,
  Identity,
  UpdateAccountRequest,
} from './accounts';
export { isFailed } from './ledger';
export type {
  Balance,
  CheckAnswer,
  CheckRequest,
  ConsumeAnswer,
  ConsumeRequest,
  DueDone,
  EntriesRequest,
  Entry,
  EntryKind,
  ExtendRequest,
  FailedItem,
  GrantRecord,
  GrantRequest,
  HoldAnswer,
  HoldRecord,
  HoldRequest,
  HoldStatus,
  HoldsRequest,
  Ledger,
  Overage,
  Problem,
  ReleaseAnswer,
  ReleaseRequest,
  RestoreAnswer,
  RestoreRequest,
  RunDueRequest,
  SetOverageRequest,
  SettleAnswer,
  SettleRequest,
  StatementPage,
  StatementRequest,
  SuggestedOffer,
  Verification,
  VerifyOptions,
} from './ledger';
export type { GrantOfferRequest, Sales } from './sales';
