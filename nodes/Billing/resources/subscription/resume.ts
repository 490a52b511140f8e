import { change } from './subscriptionChange';

export const { description, execute } = change('resume', (billing, asked) =>
  billing.subscriptions.resume(asked),
);
