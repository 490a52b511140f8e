import type { INodeProperties, INodePropertyOptions } from 'n8n-workflow';

import * as erase from './erase';
import * as exportAccount from './export';
import * as merge from './merge';

const operations = { erase, export: exportAccount, merge };

const options: INodePropertyOptions[] = [
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
    name: 'Merge',
    value: 'merge',
    action: 'Merge two accounts',
    description:
      'Join an account into another: it has the units and identities of both, and answers for both',
  },
];

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['personalData'] } },
    options,
    default: 'export',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What is known of a person: to give out, to join, to forget. */
export const personalData = { operations, description, options };
