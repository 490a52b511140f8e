import { openRefund, type PaymentContext } from '../payments';
import { tellOfPaid, tellOfRefunded } from './order-events';
import type { OrderHooks, OrderSubscriptions } from './order-hooks';
import { payersToLockForOrder } from './referral-chain';
import { reverseCommission, rewardReferral } from './referral-rewards';
import type { TrialMarks } from './trial-marks';

/** What payments, trials, referrals and subscriptions do when an order is paid or refunded. */
export const orderHooksOf = (
  paying: PaymentContext,
  trials: TrialMarks,
  subscriptions: OrderSubscriptions,
): OrderHooks => ({
  payersToLock: [payersToLockForOrder],
  paid: [rewardReferral, tellOfPaid],
  refunded: [reverseCommission, tellOfRefunded],
  async refundDue(session, { orderId, paymentId, ...refund }, now) {
    const about = { purpose: 'order' as const, purposeId: orderId, attemptId: null };
    await openRefund(paying, session, { ...refund, ...about, charge: paymentId }, now);
  },
  trials,
  subscriptions,
});
