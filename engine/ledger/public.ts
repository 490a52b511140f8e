/** What callers of the engine can name of this room. */
export { isFailed, type FailedItem } from './access';
export type { Balance } from './balances';
export type { CheckAnswer, CheckRequest } from './check';
export type { ConsumeRequest } from './consume';
export type { DeductAnswer, DeductRequest } from './deducting';
export type { DueDone } from './due';
export type { EntriesRequest, Entry, StatementRequest } from './entries';
export type { ExchangeAnswer, ExchangeRequest } from './exchanging';
export type { BonusRequest, GrantRequest } from './grant';
export type { GrantRecord } from './grant-records';
export type { HoldRecord, HoldStatus, HoldsRequest } from './hold-records';
export type {
  ExtendRequest,
  HoldAnswer,
  HoldRequest,
  ReleaseAnswer,
  ReleaseRequest,
  SettleAnswer,
  SettleRequest,
} from './holding';
export type { EntryKind } from './lines';
export type { Overage, SetOverageRequest } from './overage';
export type { RestoreAnswer, RestoreRequest } from './restore';
export type { StatementPage } from './statement';
export type { AwaitedFields, AwaitedPayment, SuggestedOffer } from './suggestions';
export type { TransferAnswer, TransferRequest } from './transfer';
export type { ConsumeAnswer } from './use-answers';
export type { Problem, Verification, VerifyOptions } from './verify';
