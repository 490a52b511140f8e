import type { INodeProperties } from 'n8n-workflow';

/** Of everything that does what has come due by time. */
export const catchUpOption: INodeProperties = {
  displayName: 'Catch Up',
  name: 'catchUp',
  type: 'boolean',
  default: false,
  description:
    "Whether to make up for all that was missed: also where this machine's clock is more than a day ahead of the database's, and for subscriptions that have missed more than three periods and 31 days. Without it those are left alone, and told of.",
};
