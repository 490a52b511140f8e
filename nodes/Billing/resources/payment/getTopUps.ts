import { asking } from '../../operation';
import { ofAccount } from '../../whose';

export const { description, execute } = asking(
  'payment',
  'getTopUps',
  ofAccount,
  (billing, asked) => billing.invoicing.topUps(asked),
);
