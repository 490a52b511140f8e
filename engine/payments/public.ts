/** What callers of the engine can name of this room. */
export { TEST_TOKENS, signTestNotice, type TestToken } from './adapters/test';
export type { AttemptStatus, PaymentAttempt } from './attempts';
export type { CheckoutLink, CheckoutLinkRequest } from './checkouts';
export type {
  AttachedMethod,
  ChargeOutcome,
  ChargeStatus,
  Gateway,
  GatewayCharge,
  GatewayCheckout,
  GatewayCustomer,
  GatewayNotice,
  GatewayRefund,
  RefundOutcome,
} from './gateway';
export type { GatewayInfo } from './gateways';
export { GATEWAYS_VARIABLE, namedGateways, type OpensGateway } from './named-gateways';
export type { PaymentMethod } from './method-records';
export type { MethodRequest, SaveMethodRequest } from './methods';
export type { HandledWebhook, HandleWebhookRequest } from './notices';
export type { PayOrderRequest } from './order-charges';
export type { AttemptsRequest, MarkRefundedRequest, RefundsDueRequest } from './payments';
export type { PaymentRefund, RefundStatus } from './refund-records';
