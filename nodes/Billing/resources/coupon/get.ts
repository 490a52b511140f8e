import { couponParameter } from '../../../shared/pickers';
import { asking, named } from '../../operation';

export const { description, execute } = asking(
  'coupon',
  'get',
  named(couponParameter, 'code'),
  (billing, asked) => billing.catalog.getCoupon(asked),
);
