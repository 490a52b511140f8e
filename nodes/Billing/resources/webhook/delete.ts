import { asking, named } from '../../operation';
import { webhookParameter } from './webhookId';

export const { description, execute } = asking(
  'webhook',
  'delete',
  named(webhookParameter, 'webhookId'),
  (billing, asked) => billing.events.deleteWebhook(asked),
);
