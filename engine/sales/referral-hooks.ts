import type { OrderHooks } from './order-hooks';
import { payersToLockForOrder } from './referral-chain';
import { reverseCommission, rewardReferral } from './referral-rewards';
import type { TrialMarks } from './trial-marks';

/** What trials and referrals do when an order is paid or refunded. */
export const orderHooksOf = (trials: TrialMarks): OrderHooks => ({
  payersToLock: [payersToLockForOrder],
  paid: [rewardReferral],
  refunded: [reverseCommission],
  trials,
});
