import type { INodeProperties } from 'n8n-workflow';

import * as getAll from './getAll';
import * as upsert from './upsert';

const operations = { getAll, upsert };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['taxRate'] } },
    options: [
      {
        name: 'Create or Update',
        value: 'upsert',
        action: 'Create or update a tax rate',
        description:
          'Create a tax rate, or change the one that has the key. Orders keep the rate they were made with',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many tax rates',
        description: 'Get a list of tax rates by key',
      },
    ],
    default: 'upsert',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What is due to the state on a sale. */
export const taxRate = { operations, description };
