import type { Room } from '../accounts';
import type { Context } from '../database';
import { bound } from '../kernel';
import { manualGateway } from './adapters/manual';
import { testGateway } from './adapters/test';
import { Checkouts } from './checkouts';
import type { Gateway } from './gateway';
import { Gateways, type GatewayInfo } from './gateways';
import { Methods } from './methods';
import { Notices } from './notices';
import { OrderCharges } from './order-charges';
import { erasePayments, exportPayments, mergePayments } from './payment-parts';
import { PaymentRecords } from './payments';
import type { PaymentContext } from './ports';
import { verifyPayments } from './verify-payments';

export * from './public';
export { attemptRecord, findUndecided, listAttempts, type Attempt } from './attempts';
export { NO_METHOD, collectPayment, type CollectRequest, type Plan } from './charging';
export type { LookedUp } from './in-hand';
export { NOT_SENT, attemptsElsewhere, resumeAttempts } from './looking-up';
export {
  defaultGateways,
  defaultMethod,
  findMethod,
  listMethods,
  type StoredMethod,
} from './method-records';
export { unknownOrder } from './order-charges';
export type { Payable, PaymentContext, PurposeHandlers, Settlement } from './ports';
export { refundsOf, type NewRefund, type StoredRefund } from './refund-records';
export { refundableCharges, type RefundableCharge } from './refundable';
export { executeRefunds, openRefund, recordMadeRefund } from './refunding';
export type { Purpose } from './transfers';
export { usualCollections, type Collection } from './usual-collection';

/** Names that gateways of the caller's own cannot have. */
export const BUILT_IN_GATEWAYS: readonly string[] = ['manual', 'test'];

/** `billing.payments`: how money comes in through gateways, and goes back. */
export interface Payments
  extends
    Pick<Methods, 'saveMethod' | 'methods' | 'removeMethod' | 'setDefaultMethod'>,
    Pick<OrderCharges, 'payOrder'>,
    Pick<PaymentRecords, 'attempts' | 'attempt' | 'refundsDue' | 'markRefunded'>,
    Pick<Checkouts, 'checkoutLink'>,
    Pick<Notices, 'handleWebhook'> {
  /** The gateways that can be named here. */
  gateways(): Promise<GatewayInfo[]>;
}

export interface PaymentOptions {
  /** Gateways of the caller's own; `manual` and `test` are there already. */
  gateways?: readonly Gateway[];
  /** Lets the test gateway be used outside a sandbox; its secret makes its notices believed. */
  testGateway?: boolean | { webhookSecret: string };
}

export interface OpenedPayments extends Room<Payments> {
  /** What the rooms after this one are opened with. */
  paying: PaymentContext;
}

/** Opens the room. */
export function openPayments(
  context: Context,
  { gateways = [], testGateway: test = false }: PaymentOptions = {},
): OpenedPayments {
  const secret = typeof test === 'object' ? test.webhookSecret : null;
  const known = new Gateways(
    [manualGateway, testGateway(context.database, secret), ...gateways],
    () => context.isSandbox || test !== false,
  );
  // What the context shows may change while the engine is open: it is asked, not copied.
  const paying: PaymentContext = Object.assign(Object.create(context) as Context, {
    gateways: known,
    purposes: new Map(),
    onMethodSaved: [],
  });
  const calls: Payments = {
    gateways: () => Promise.resolve(known.list()),
    ...bound(new Methods(paying), 'saveMethod', 'methods', 'removeMethod', 'setDefaultMethod'),
    ...bound(new OrderCharges(paying), 'payOrder'),
    ...bound(new PaymentRecords(paying), 'attempts', 'attempt', 'refundsDue', 'markRefunded'),
    ...bound(new Checkouts(paying), 'checkoutLink'),
    ...bound(new Notices(paying), 'handleWebhook'),
  };
  return {
    calls,
    paying,
    verify: [verifyPayments],
    merge: [mergePayments],
    export: [exportPayments],
    erase: [erasePayments],
  };
}
