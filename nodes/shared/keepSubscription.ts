import type { INodeProperties } from 'n8n-workflow';

/** A refund of what pays the present period ends the subscription, unless it is kept. */
export const keepSubscriptionOption: INodeProperties = {
  displayName: 'Keep Subscription',
  name: 'keepSubscription',
  type: 'boolean',
  default: true,
  description:
    'Whether a subscription goes on although all that was paid for its present period is refunded. Without this option it ends.',
};
