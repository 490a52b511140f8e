import { asking } from '../../operation';
import { ofAccount } from '../../whose';

export const { description, execute } = asking(
  'invoice',
  'getCredit',
  ofAccount,
  (billing, asked) => billing.invoicing.accountCredit(asked),
);
