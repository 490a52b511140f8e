import { listing } from '../../listing';

export const { description, execute } = listing('webhook', 'getAll', {
  all: (billing) => billing.events.listWebhooks(),
});
