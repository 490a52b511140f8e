import { listing } from '../../listing';
import { named } from '../../operation';
import { webhookParameter } from './webhookId';

/** The most that the engine gives. */
const MOST = 1_000;

export const { description, execute } = listing('webhook', 'getFailures', {
  about: named(webhookParameter, 'webhookId'),
  all: (billing, asked) => billing.events.webhookFailures({ ...asked, limit: MOST }),
});
