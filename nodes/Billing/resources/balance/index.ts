import type { INodeProperties } from 'n8n-workflow';

import * as allowOverage from './allowOverage';
import * as bonus from './bonus';
import * as deduct from './deduct';
import * as exchange from './exchange';
import * as get from './get';
import * as getEntries from './getEntries';
import * as getGrants from './getGrants';
import * as getOverage from './getOverage';
import * as getStatement from './getStatement';
import * as grant from './grant';
import * as restore from './restore';
import * as transfer from './transfer';

const operations = {
  allowOverage,
  bonus,
  deduct,
  exchange,
  get,
  getEntries,
  getGrants,
  getOverage,
  getStatement,
  grant,
  restore,
  transfer,
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
      },
      {
        name: 'Deduct Units',
        value: 'deduct',
        action: 'Deduct units of a balance',
        description:
          'Take units away by hand, with a reason. A denial is an item with "allowed": false',
      },
      {
        name: 'Exchange',
        value: 'exchange',
        action: 'Exchange units of a balance',
        description:
          'Spend units of a currency product on an offer that is priced in it. A denial is an item with "allowed": false',
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
        name: 'Give Bonus',
        value: 'bonus',
        action: 'Give a bonus to a balance',
        description: 'Give units that nobody paid for; they are worth nothing and never paid out',
      },
      {
        name: 'Grant Units',
        value: 'grant',
        action: 'Grant units to a balance',
        description: 'Give units of a product by hand, also such as were paid for elsewhere',
      },
      {
        name: 'Restore Units',
        value: 'restore',
        action: 'Restore units of a balance',
        description: 'Take a use back: its units return to the grants they came from',
      },
      {
        name: 'Transfer',
        value: 'transfer',
        action: 'Transfer units of a balance',
        description:
          'Move units into another product or account, at the same worth. A denial is an item with "allowed": false',
      },
    ],
    default: 'get',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What an account has. */
export const balance = { operations, description };
