import { listing } from '../../listing';

export const { description, execute } = listing('product', 'getAll', {
  all: (billing) => billing.catalog.listProducts(),
});
