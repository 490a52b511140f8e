import { listing } from '../../listing';
import { accountAndProduct } from './accountAndProduct';

export const { description, execute } = listing('balance', 'getEntries', {
  about: accountAndProduct,
  pageSize: 1000,
  page: (billing, asked) => billing.ledger.entries(asked),
});
