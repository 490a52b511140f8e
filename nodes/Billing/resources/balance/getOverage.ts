import { asking } from '../../operation';
import { accountAndProduct } from './accountAndProduct';

export const { description, execute } = asking(
  'balance',
  'getOverage',
  accountAndProduct,
  (billing, asked) => billing.ledger.overage(asked),
);
