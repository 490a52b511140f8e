import { orderParameter } from '../../../shared/pickers';
import { asking, named } from '../../operation';

export const { description, execute } = asking(
  'order',
  'get',
  named(orderParameter, 'orderId'),
  (billing, asked) => billing.sales.getOrder(asked),
);
