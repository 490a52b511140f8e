import type { INodeProperties } from 'n8n-workflow';

import * as get from './get';
import * as getEntries from './getEntries';
import * as getGrants from './getGrants';

const operations = { get, getEntries, getGrants };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['balance'] } },
    options: [
      {
        name: 'Get',
        value: 'get',
        action: 'Get a balance',
        description: 'Get what an account has now, one item for each product',
      },
      {
        name: 'Get Entries',
        value: 'getEntries',
        action: 'Get entries of a balance',
        description: 'Get the lines of the ledger that made it, newest first',
      },
      {
        name: 'Get Grants',
        value: 'getGrants',
        action: 'Get grants of a balance',
        description: 'Get the batches of units an account was given, and what is left of each',
      },
    ],
    default: 'get',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What an account has. */
export const balance = { operations, description };
