/**
 * The door for whoever writes a gateway (docs/gateways.md): the port, and the trial that every gateway
 * passes before it moves anybody's money.
 *
 *     import { describeGateway, type Gateway } from 'n8n-nodes-billing/gateway';
 */
export {
  BillingError,
  isBillingError,
  type AttachedMethod,
  type ChargeOutcome,
  type ChargeStatus,
  type Gateway,
  type GatewayCharge,
  type GatewayCheckout,
  type GatewayCustomer,
  type GatewayNotice,
  type GatewayRefund,
  type OpensGateway,
  type RefundOutcome,
} from '../engine';
export { describeGateway, type TestRunner } from './describe-gateway';
export type { Booked, ChargeThere, GatewayTrial, Happenings, TokenKind, Webhook } from './trial';
