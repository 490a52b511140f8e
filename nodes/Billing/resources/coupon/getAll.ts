import { listing } from '../../listing';

export const { description, execute } = listing('coupon', 'getAll', {
  all: (billing) => billing.catalog.listCoupons(),
});
