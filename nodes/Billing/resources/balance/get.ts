import { asking } from '../../operation';
import { accountAndProduct } from './accountAndProduct';

export const { description, execute } = asking(
  'balance',
  'get',
  accountAndProduct,
  (billing, asked) => billing.ledger.balance(asked),
);
