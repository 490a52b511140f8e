import { offerParameter } from '../../../shared/pickers';
import { asking, named } from '../../operation';

export const { description, execute } = asking(
  'offer',
  'get',
  named(offerParameter, 'sku'),
  (billing, asked) => billing.catalog.getOffer(asked),
);
