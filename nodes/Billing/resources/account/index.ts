import type { INodeProperties } from 'n8n-workflow';

import * as get from './get';
import * as getAll from './getAll';
import * as identify from './identify';
import * as update from './update';

const operations = { get, getAll, identify, update };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['account'] } },
    options: [
      {
        name: 'Get',
        value: 'get',
        action: 'Get an account',
        description: 'Get one account with its identities',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many accounts',
        description: 'Get a list of accounts, newest first',
      },
      {
        name: 'Identify',
        value: 'identify',
        action: 'Identify an account',
        description: 'Find the account of a customer, or create it at the first contact',
      },
      {
        name: 'Update',
        value: 'update',
        action: 'Update an account',
        description: 'Change contact data, time zone or status of an account',
      },
    ],
    default: 'identify',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** Who is billed. */
export const account = { operations, description };
