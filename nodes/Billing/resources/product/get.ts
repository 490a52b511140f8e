import { productParameter } from '../../../shared/pickers';
import { asking, named } from '../../operation';

export const { description, execute } = asking(
  'product',
  'get',
  named(productParameter, 'key'),
  (billing, asked) => billing.catalog.getProduct(asked),
);
