import { change } from './subscriptionChange';

export const { description, execute } = change('undo', (billing, asked) =>
  billing.subscriptions.undo(asked),
);
