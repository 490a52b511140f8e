import { change } from './subscriptionChange';

export const { description, execute } = change('undo', 'Subscription: Undo', (billing, asked) =>
  billing.subscriptions.undo(asked),
);
