import { asking } from '../../operation';
import { ofAccount } from '../../whose';

export const { description, execute } = asking(
  'payment',
  'getMethods',
  ofAccount,
  (billing, asked) => billing.payments.methods(asked),
);
