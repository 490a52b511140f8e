import { resolveAccount, type AccountPorts, type Room } from '../accounts';
import { bound, readClock } from '../kernel';
import type { LedgerPorts, Suggester } from '../ledger';
import { openRefund, type PaymentContext } from '../payments';
import { Commissions } from './commissions';
import { Confirmations } from './confirming';
import { reasonAgainst, takePlaceOf } from './eligibility';
import { grantFreeTier } from './free-tier';
import { GrantedOffers } from './granted-offers';
import { IdentityHashing, type IdentitySecret } from './identity-hash';
import { tellOfPaid, tellOfRefunded } from './order-events';
import {
  NO_CREDITS,
  NO_SUBSCRIPTIONS,
  type MoneyTakenBack,
  type OrderHooks,
  type OrderSubscriptions,
} from './order-hooks';
import { eraseOrders, exportOrders, mergeOrders, openOrdersObstacle } from './order-parts';
import { orderPayments } from './order-payments';
import { Orders } from './orders';
import { Payouts } from './payouts';
import { payersToLockForOrder } from './referral-chain';
import { copyPlaces } from './purchase-marks';
import { eraseReferrals, exportReferrals, mergeReferrals, shareTrial } from './referral-parts';
import { ReferralPrograms } from './referral-program';
import { reverseCommission, rewardReferral } from './referral-rewards';
import { Referrals } from './referrals';
import { Refunds } from './refunding';
import { suggester } from './suggesting';
import { TrialMarks, type Trying } from './trial-marks';
import { Trials } from './trials';
import { verifyOrders } from './verify-orders';
import { verifyReferrals } from './verify-referrals';

export * from './public';
export { statusReason } from './eligibility';
export type { LineGrants, MoneyTakenBack, OrderSubscriptions, RecurringLine } from './order-hooks';
export { ORDER_STATUSES } from './order-state';
export { refusalOf } from './order-lines';
export type { Trying } from './trial-marks';
export {
  freePlaceWithoutOrder,
  placesOf,
  takePlaces,
  takenPlaces,
  type Place,
} from './purchase-marks';
export { USED_RULES } from './refund-plan';

/** `billing.sales`: how units come to accounts. */
export interface Sales
  extends
    Pick<GrantedOffers, 'grantOffer'>,
    Pick<Orders, 'createOrder' | 'cancelOrder' | 'getOrder' | 'listOrders'>,
    Pick<Confirmations, 'confirmOrder'>,
    Pick<Refunds, 'refundOrder'>,
    Pick<Trials, 'claimTrial'>,
    Pick<ReferralPrograms, 'referralProgram' | 'setReferralProgram'>,
    Pick<Referrals, 'attachReferral' | 'referralStats'>,
    Pick<Commissions, 'commissions'>,
    Pick<Payouts, 'requestPayout' | 'decidePayout' | 'listPayouts'> {}

export interface SalesOptions {
  /** By which identities are hashed; null: trials cannot be claimed. */
  identitySecret: IdentitySecret | null;
  /** For how long a trial is remembered of an identity, in milliseconds; null: for ever. */
  keepTrials: number | null;
  /** What orders of recurring offers begin. */
  subscriptions?: OrderSubscriptions;
  /** What becomes of credits when a gateway takes money back. */
  takenBack?: MoneyTakenBack;
}

/** The room, and what it fills of the ports of earlier ones. */
export interface OpenedSales extends Room<Sales> {
  trialEligible: AccountPorts['trialEligible'];
  onCreated: NonNullable<AccountPorts['onCreated']>;
  onAttached: NonNullable<AccountPorts['onAttached']>;
  eligible: LedgerPorts['eligible'];
  exchanged: LedgerPorts['exchanged'];
  suggest: Suggester;
  /** Who has had a trial. */
  trials: Trying;
}

/** Opens the room, and tells the one of payments what it has to do with them. */
export function openSales(context: PaymentContext, options: SalesOptions): OpenedSales {
  const { clock } = context;
  const hashing =
    options.identitySecret === null ? null : new IdentityHashing(options.identitySecret);
  const marks = new TrialMarks(hashing, options.keepTrials);
  const { subscriptions = NO_SUBSCRIPTIONS } = options;
  const suggest = suggester(marks, clock, subscriptions);
  const hooks: OrderHooks = {
    payersToLock: [payersToLockForOrder],
    paid: [rewardReferral, tellOfPaid],
    refunded: [reverseCommission, tellOfRefunded],
    async refundDue(session, { orderId, paymentId, ...refund }, now) {
      const about = { purpose: 'order' as const, purposeId: orderId, attemptId: null };
      await openRefund(context, session, { ...refund, ...about, charge: paymentId }, now);
    },
    trials: marks,
    subscriptions,
    takenBack: options.takenBack ?? NO_CREDITS,
  };
  const confirmations = new Confirmations(context, hooks);
  const refunds = new Refunds(context, hooks);
  context.purposes.set('order', orderPayments(hooks, confirmations, refunds));
  const calls: Sales = {
    ...bound(new GrantedOffers(context), 'grantOffer'),
    ...bound(new Orders(context, hooks), 'createOrder', 'cancelOrder', 'getOrder', 'listOrders'),
    ...bound(confirmations, 'confirmOrder'),
    ...bound(refunds, 'refundOrder'),
    ...bound(new Trials(context, marks, suggest), 'claimTrial'),
    ...bound(new ReferralPrograms(context), 'referralProgram', 'setReferralProgram'),
    ...bound(new Referrals(context), 'attachReferral', 'referralStats'),
    ...bound(new Commissions(context), 'commissions'),
    ...bound(new Payouts(context), 'requestPayout', 'decidePayout', 'listPayouts'),
  };
  return {
    calls,
    async trialEligible(session, accountId) {
      const account = await resolveAccount(session, { accountId });
      return !(await marks.trialSpent(session, account, readClock(clock)));
    },
    onCreated: grantFreeTier,
    async onAttached(session, join) {
      await copyPlaces(session, join);
      await shareTrial(session, join);
    },
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
