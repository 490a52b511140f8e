import { listing } from '../../listing';
import { accountAndProduct } from './accountAndProduct';

export const { description, execute } = listing('balance', 'getGrants', {
  about: accountAndProduct,
  all: (billing, asked) => billing.ledger.grants(asked),
});
