import type { INodeProperties } from 'n8n-workflow';

import * as attachChild from './attachChild';
import * as detachChild from './detachChild';
import * as erase from './erase';
import * as exportAccount from './export';
import * as get from './get';
import * as getAll from './getAll';
import * as identify from './identify';
import * as merge from './merge';
import * as migrateIdentities from './migrateIdentities';
import * as update from './update';

const operations = {
  attachChild,
  detachChild,
  erase,
  export: exportAccount,
  get,
  getAll,
  identify,
  merge,
  migrateIdentities,
  update,
};

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['account'] } },
    options: [
      {
        name: 'Attach Child',
        value: 'attachChild',
        action: 'Attach a child to an account',
        description: 'Let one account use what another has, which is billed for it',
      },
      {
        name: 'Detach Child',
        value: 'detachChild',
        action: 'Detach a child from an account',
        description: 'Let a child pay for itself again; what it used stays with its parent',
      },
      {
        name: 'Erase',
        value: 'erase',
        action: 'Erase an account',
        description: 'Take away everything personal for good; the ledger keeps IDs and amounts',
      },
      {
        name: 'Export',
        value: 'export',
        action: 'Export an account',
        description: 'Get everything there is about one account',
      },
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
        name: 'Merge',
        value: 'merge',
        action: 'Merge two accounts',
        description:
          'Join an account into another: it has the units and identities of both, and answers for both',
      },
      {
        name: 'Migrate Identities',
        value: 'migrateIdentities',
        action: 'Migrate identities of accounts',
        description: 'Give accounts external IDs of another system, from what is known of them',
      },
      {
        name: 'Update',
        value: 'update',
        action: 'Update an account',
        description: 'Change contact data, tax details, time zone or status of an account',
      },
    ],
    default: 'identify',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** Who is billed. */
export const account = { operations, description };
