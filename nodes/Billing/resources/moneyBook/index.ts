import type { INodeProperties } from 'n8n-workflow';

import * as getBalances from './getBalances';
import * as getPostings from './getPostings';

const operations = { getBalances, getPostings };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['moneyBook'] } },
    options: [
      {
        name: 'Get Balances',
        value: 'getBalances',
        action: 'Get balances of the money book',
        description:
          'Get what was received, earned, taxed and is still owed, an item for each account of the book and currency',
      },
      {
        name: 'Get Postings',
        value: 'getPostings',
        action: 'Get postings of the money book',
        description: 'Get its lines with both sides, newest first',
      },
    ],
    default: 'getBalances',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What was paid, earned and is still owed. */
export const moneyBook = { operations, description };
