import { resolveAccount, type AccountPorts, type Room } from '../accounts';
import { readClock } from '../kernel';
import type { LedgerPorts, Suggester } from '../ledger';
import { openRefund, type PaymentContext } from '../payments';
import { Commissions } from './commissions';
import { Confirmations } from './confirming';
import { reasonAgainst, takePlaceOf } from './eligibility';
import { grantFreeTier } from './free-tier';
import { GrantedOffers } from './granted-offers';
import { IdentityHashing, type IdentitySecret } from './identity-hash';
import { tellOfPaid, tellOfRefunded } from './order-events';
import { NO_SUBSCRIPTIONS, type OrderHooks, type OrderSubscriptions } from './order-hooks';
import { eraseOrders, exportOrders, mergeOrders, openOrdersObstacle } from './order-parts';
import { orderPayments } from './order-payments';
import { Orders } from './orders';
import { Payouts } from './payouts';
import { payersToLockForOrder } from './referral-chain';
import { eraseReferrals, exportReferrals, mergeReferrals } from './referral-parts';
import { ReferralPrograms } from './referral-program';
import { reverseCommission, rewardReferral } from './referral-rewards';
import { Referrals } from './referrals';
import { Refunds } from './refunding';
import { suggester } from './suggesting';
import { TrialMarks } from './trial-marks';
import { Trials } from './trials';
import { verifyOrders } from './verify-orders';
import { verifyReferrals } from './verify-referrals';

export * from './public';
export type { LineGrants, OrderSubscriptions, RecurringLine } from './order-hooks';
export { ORDER_STATUSES } from './order-state';
export { refusalOf } from './order-lines';
export { freePlaceWithoutOrder, takePlaces, takenPlaces, type Place } from './purchase-marks';
export { USED_RULES } from './refund-plan';

/** `billing.sales`: how units come to accounts. */
export interface Sales {
  grantOffer: GrantedOffers['grantOffer'];
  createOrder: Orders['createOrder'];
  confirmOrder: Confirmations['confirmOrder'];
  cancelOrder: Orders['cancelOrder'];
  refundOrder: Refunds['refundOrder'];
  getOrder: Orders['getOrder'];
  listOrders: Orders['listOrders'];
  claimTrial: Trials['claimTrial'];
  referralProgram: ReferralPrograms['referralProgram'];
  setReferralProgram: ReferralPrograms['setReferralProgram'];
  attachReferral: Referrals['attachReferral'];
  referralStats: Referrals['referralStats'];
  commissions: Commissions['commissions'];
  requestPayout: Payouts['requestPayout'];
  decidePayout: Payouts['decidePayout'];
  listPayouts: Payouts['listPayouts'];
}

export interface SalesOptions {
  /** By which identities are hashed; null: trials cannot be claimed. */
  identitySecret: IdentitySecret | null;
  /** For how long a trial is remembered of an identity, in milliseconds; null: for ever. */
  keepTrials: number | null;
  /** What orders of recurring offers begin. */
  subscriptions?: OrderSubscriptions;
}

/** The room, and what it fills of the ports of earlier ones. */
export interface OpenedSales extends Room<Sales> {
  trialEligible: AccountPorts['trialEligible'];
  onCreated: NonNullable<AccountPorts['onCreated']>;
  eligible: LedgerPorts['eligible'];
  exchanged: LedgerPorts['exchanged'];
  suggest: Suggester;
  /** Who has had a trial. */
  trials: Trying;
}

/** Marks of trials, for what begins with a trial phase without an order. */
export type Trying = Pick<TrialMarks, 'trialSpent' | 'spendTrial'>;

/** Opens the room, and tells the one of payments what it has to do with them. */
export function openSales(context: PaymentContext, options: SalesOptions): OpenedSales {
  const { clock } = context;
  const hashing =
    options.identitySecret === null ? null : new IdentityHashing(options.identitySecret);
  const marks = new TrialMarks(hashing, options.keepTrials);
  const suggest = suggester(marks, clock);
  const hooks: OrderHooks = {
    payersToLock: [payersToLockForOrder],
    paid: [rewardReferral, tellOfPaid],
    refunded: [reverseCommission, tellOfRefunded],
    async refundDue(session, { orderId, paymentId, ...refund }, now) {
      const about = { purpose: 'order' as const, purposeId: orderId, attemptId: null };
      await openRefund(context, session, { ...refund, ...about, charge: paymentId }, now);
    },
    trials: marks,
    subscriptions: options.subscriptions ?? NO_SUBSCRIPTIONS,
  };
  const grantedOffers = new GrantedOffers(context);
  const orders = new Orders(context, hooks);
  const confirmations = new Confirmations(context, hooks);
  const refunds = new Refunds(context, hooks);
  const trials = new Trials(context, marks, suggest);
  const programs = new ReferralPrograms(context);
  const referrals = new Referrals(context);
  const commissions = new Commissions(context);
  const payouts = new Payouts(context);
  context.purposes.set('order', orderPayments(hooks, confirmations, refunds));
  const calls: Sales = {
    grantOffer: grantedOffers.grantOffer.bind(grantedOffers),
    createOrder: orders.createOrder.bind(orders),
    confirmOrder: confirmations.confirmOrder.bind(confirmations),
    cancelOrder: orders.cancelOrder.bind(orders),
    refundOrder: refunds.refundOrder.bind(refunds),
    getOrder: orders.getOrder.bind(orders),
    listOrders: orders.listOrders.bind(orders),
    claimTrial: trials.claimTrial.bind(trials),
    referralProgram: programs.referralProgram.bind(programs),
    setReferralProgram: programs.setReferralProgram.bind(programs),
    attachReferral: referrals.attachReferral.bind(referrals),
    referralStats: referrals.referralStats.bind(referrals),
    commissions: commissions.commissions.bind(commissions),
    requestPayout: payouts.requestPayout.bind(payouts),
    decidePayout: payouts.decidePayout.bind(payouts),
    listPayouts: payouts.listPayouts.bind(payouts),
  };
  return {
    calls,
    trialEligible: async (session, accountId) =>
      !(await marks.trialSpent(
        session,
        await resolveAccount(session, { accountId }),
        readClock(clock),
      )),
    onCreated: grantFreeTier,
    eligible: reasonAgainst,
    exchanged: takePlaceOf,
    suggest,
    trials: marks,
    verify: [verifyOrders, verifyReferrals],
    merge: [mergeOrders, mergeReferrals],
    export: [exportOrders, exportReferrals],
    erase: [eraseOrders, eraseReferrals],
    obstacles: [openOrdersObstacle],
  };
}
