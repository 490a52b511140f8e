import { subscriptionParameter } from '../../../shared/pickers';
import { gettingCollection } from '../../collection';

export const { description, execute } = gettingCollection(
  'subscription',
  subscriptionParameter,
  'subscriptionId',
);
