import { change } from './subscriptionChange';

export const { description, execute } = change('resume', 'Subscription: Resume', (billing, asked) =>
  billing.subscriptions.resume(asked),
);
