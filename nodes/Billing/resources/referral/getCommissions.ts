import { asking } from '../../operation';
import { ofAccount } from '../../whose';

export const { description, execute } = asking(
  'referral',
  'getCommissions',
  ofAccount,
  (billing, asked) => billing.sales.commissions(asked),
);
