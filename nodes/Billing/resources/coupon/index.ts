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
    displayOptions: { show: { resource: ['coupon'] } },
    options: [
      {
        name: 'Create or Update',
        value: 'upsert',
        action: 'Create or update a coupon',
        description: 'Create a coupon, or change the one that has the code',
      },
      {
        name: 'Get',
        value: 'get',
        action: 'Get a coupon',
        description: 'Get one coupon, and how often it was used',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many coupons',
        description: 'Get a list of coupons by code',
      },
    ],
    default: 'upsert',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What lowers a price. */
export const coupon = { operations, description };
