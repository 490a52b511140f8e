import type { INodeProperties } from 'n8n-workflow';

import * as allowOverage from './allowOverage';
import * as get from './get';
import * as getEntries from './getEntries';
import * as getGrants from './getGrants';
import * as getOverage from './getOverage';
import * as getStatement from './getStatement';
import * as restore from './restore';

const operations = {
  allowOverage,
  get,
  getEntries,
  getGrants,
  getOverage,
  getStatement,
  restore,
};

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['balance'] } },
    options: [
      {
        name: 'Allow Overage',
        value: 'allowOverage',
        action: 'Allow overage of a balance',
        description:
          'Say how much an account may use beyond what it was granted, or forbid it again',
        displayOptions: { hide: { '@tool': [true] } },
      },
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
      {
        name: 'Get Overage',
        value: 'getOverage',
        action: 'Get overage of a balance',
        description:
          'Get how much an account may use beyond what it was granted, and what it has used of that',
      },
      {
        name: 'Get Statement',
        value: 'getStatement',
        action: 'Get a statement of a balance',
        description: 'Get the lines of the ledger that made it as a CSV file, newest first',
      },
      {
        name: 'Restore Units',
        value: 'restore',
        action: 'Restore units of a balance',
        description: 'Take a use back: its units return to the grants they came from',
        displayOptions: { hide: { '@tool': [true] } },
      },
    ],
    default: 'get',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What an account has. */
export const balance = { operations, description };
