/** What callers of the engine can name of this room. */
export type { Commission, CommissionBalance } from './commissions';
export type { ConfirmOrderAnswer, ConfirmOrderRequest } from './confirming';
export type { GrantOfferRequest } from './granted-offers';
export type { IdentitySecret } from './identity-hash';
export type { Order, OrderLine } from './order-records';
export type { OrderStatus } from './order-state';
export type { CreateOrderAnswer, CreateOrderRequest, DeniedOrder } from './orders';
export type {
  DecidePayoutRequest,
  Payout,
  PayoutStatus,
  RequestPayoutAnswer,
  RequestPayoutRequest,
} from './payouts';
export type { ReferralBonus, ReferralProgram, SetReferralProgramRequest } from './referral-program';
export type { AttachReferralAnswer, AttachReferralRequest, ReferralStats } from './referrals';
export type { UsedRule } from './refund-plan';
export type { Refund } from './refund-records';
export type { RefundOrderAnswer, RefundOrderRequest } from './refunding';
export type { ClaimTrialAnswer, ClaimTrialRequest } from './trials';
