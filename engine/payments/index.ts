import type { Room } from '../accounts';
import type { Context } from '../database';
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
export { resumeAttempts } from './looking-up';
export { defaultMethod, findMethod, listMethods, type StoredMethod } from './method-records';
export type { Payable, PaymentContext, PurposeHandlers, Settlement } from './ports';
export { refundsOf, type NewRefund, type StoredRefund } from './refund-records';
export { refundableCharges, type RefundableCharge } from './refundable';
export { executeRefunds, openRefund } from './refunding';
export type { Purpose } from './transfers';

/** Names that gateways of the caller's own cannot have. */
export const BUILT_IN_GATEWAYS: readonly string[] = ['manual', 'test'];

/** `billing.payments`: how money comes in through gateways, and goes back. */
export interface Payments {
  /** The gateways that can be named here. */
  gateways(): Promise<GatewayInfo[]>;
  saveMethod: Methods['saveMethod'];
  methods: Methods['methods'];
  removeMethod: Methods['removeMethod'];
  setDefaultMethod: Methods['setDefaultMethod'];
  payOrder: OrderCharges['payOrder'];
  attempts: PaymentRecords['attempts'];
  attempt: PaymentRecords['attempt'];
  checkoutLink: Checkouts['checkoutLink'];
  handleWebhook: Notices['handleWebhook'];
  refundsDue: PaymentRecords['refundsDue'];
  markRefunded: PaymentRecords['markRefunded'];
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
  const methods = new Methods(paying);
  const charges = new OrderCharges(paying);
  const records = new PaymentRecords(paying);
  const checkouts = new Checkouts(paying);
  const notices = new Notices(paying);
  const calls: Payments = {
    gateways: () => Promise.resolve(known.list()),
    saveMethod: methods.saveMethod.bind(methods),
    methods: methods.methods.bind(methods),
    removeMethod: methods.removeMethod.bind(methods),
    setDefaultMethod: methods.setDefaultMethod.bind(methods),
    payOrder: charges.payOrder.bind(charges),
    attempts: records.attempts.bind(records),
    attempt: records.attempt.bind(records),
    checkoutLink: checkouts.checkoutLink.bind(checkouts),
    handleWebhook: notices.handleWebhook.bind(notices),
    refundsDue: records.refundsDue.bind(records),
    markRefunded: records.markRefunded.bind(records),
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
