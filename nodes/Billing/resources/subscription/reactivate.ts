import { change } from './subscriptionChange';

export const { description, execute } = change(
  'reactivate',
  'Subscription: Reactivate',
  (billing, asked) => billing.subscriptions.reactivate(asked),
);
