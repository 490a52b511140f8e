import { subscriptionParameter } from '../../../shared/pickers';
import { asking, named } from '../../operation';

export const { description, execute } = asking(
  'subscription',
  'get',
  named(subscriptionParameter, 'subscriptionId'),
  (billing, asked) => billing.subscriptions.get(asked),
);
