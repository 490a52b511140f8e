import type { INodeProperties } from 'n8n-workflow';

import * as get from './get';
import * as getAll from './getAll';
import * as upsert from './upsert';

const operations = { get, getAll, upsert };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['product'] } },
    options: [
      {
        name: 'Create or Update',
        value: 'upsert',
        action: 'Create or update a product',
        description: 'Create a product, or update the one that has the key',
      },
      {
        name: 'Get',
        value: 'get',
        action: 'Get a product',
        description: 'Get one product',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many products',
        description: 'Get a list of products by key',
      },
    ],
    default: 'upsert',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What can be granted and used. */
export const product = { operations, description };
