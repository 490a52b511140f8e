import { listing } from '../../listing';

export const { description, execute } = listing('taxRate', 'getAll', {
  all: (billing) => billing.catalog.listTaxRates(),
});
