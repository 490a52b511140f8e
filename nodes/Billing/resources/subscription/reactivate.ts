import { change } from './subscriptionChange';

export const { description, execute } = change('reactivate', (billing, asked) =>
  billing.subscriptions.reactivate(asked),
);
