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
    displayOptions: { show: { resource: ['offer'] } },
    options: [
      {
        name: 'Create or Update',
        value: 'upsert',
        action: 'Create or update an offer',
        description: 'Create an offer, or write a new version of the one that has the SKU',
      },
      {
        name: 'Get',
        value: 'get',
        action: 'Get an offer',
        description: 'Get the present version of one offer',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many offers',
        description: 'Get a list of offers by SKU',
      },
    ],
    default: 'upsert',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What is sold. */
export const offer = { operations, description };
