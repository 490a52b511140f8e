import { asking } from '../../operation';
import { ofAccount } from '../../whose';

export const { description, execute } = asking(
  'referral',
  'getStatistics',
  ofAccount,
  (billing, asked) => billing.sales.referralStats(asked),
);
