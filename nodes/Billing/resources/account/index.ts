import type { INodeProperties, INodePropertyOptions } from 'n8n-workflow';

import { personalData } from '../personalData';
import * as attachChild from './attachChild';
import * as detachChild from './detachChild';
import * as get from './get';
import * as getAll from './getAll';
import * as identify from './identify';
import * as migrateIdentities from './migrateIdentities';
import * as update from './update';

const operations = {
  attachChild,
  detachChild,
  get,
  getAll,
  identify,
  migrateIdentities,
  update,
};

const options: INodePropertyOptions[] = [
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
];

const choice: INodeProperties = {
  displayName: 'Operation',
  name: 'operation',
  type: 'options',
  noDataExpression: true,
  displayOptions: { show: { resource: ['account'] }, hide: { '@version': [1] } },
  options,
  default: 'identify',
};

/** As the first version has it: what is "Personal Data" now was there, too. */
const choiceOfBefore: INodeProperties = {
  ...choice,
  displayOptions: { show: { resource: ['account'], '@version': [1] } },
  options: [...options, ...personalData.options].sort((one, other) =>
    one.name.localeCompare(other.name),
  ),
};

const description: INodeProperties[] = [
  // The editor lists the actions of the first one that it finds.
  choice,
  choiceOfBefore,
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** Who is billed. */
export const account = {
  operations: { ...operations, ...personalData.operations },
  description,
};
