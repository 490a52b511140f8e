import type { INodeProperties } from 'n8n-workflow';

import * as deleteWebhook from './delete';
import * as getAll from './getAll';
import * as getFailures from './getFailures';
import * as upsert from './upsert';

const operations = { delete: deleteWebhook, getAll, getFailures, upsert };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['webhook'] } },
    options: [
      {
        name: 'Create or Update',
        value: 'upsert',
        action: 'Create or update a webhook',
        description: 'Have events sent to an address by HTTP, signed',
      },
      {
        name: 'Delete',
        value: 'delete',
        action: 'Delete a webhook',
        description: 'Send no more to an address, nor what still waits for it',
      },
      {
        name: 'Get Failures',
        value: 'getFailures',
        action: 'Get failures of a webhook',
        description: 'Get the events that an address never took, newest first',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many webhooks',
        description: 'Get all addresses that events are sent to, and how each stands',
      },
    ],
    default: 'getAll',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** Where events are sent. */
export const webhook = { operations, description };
