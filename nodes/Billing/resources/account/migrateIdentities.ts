import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { jsonOf } from '../../../shared/json';
import { optionsParameter } from '../../../shared/options';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const MAP_EXAMPLE = '[{ "externalId": "17", "to": "42" }]';

const properties: INodeProperties[] = [
  {
    displayName: 'Take From',
    name: 'takeFrom',
    type: 'options',
    noDataExpression: true,
    options: [
      {
        name: 'Email Address',
        value: 'contact',
        description: 'Whoever has the address is led to the account from then on: be sure of it',
      },
      { name: 'Identities of a Provider', value: 'provider' },
      { name: 'Metadata', value: 'metadata', description: 'A field of the metadata of accounts' },
    ],
    default: 'provider',
    description: 'What the accounts are known by so far',
  },
  {
    displayName: 'From Provider',
    name: 'fromProvider',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. wordpress',
    description: 'Whose external IDs are taken',
    displayOptions: { show: { takeFrom: ['provider'] } },
  },
  {
    displayName: 'From Metadata Field',
    name: 'fromMetadata',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. chat',
    description: 'The field that holds the new external ID',
    displayOptions: { show: { takeFrom: ['metadata'] } },
  },
  {
    displayName: 'To Provider',
    name: 'toProvider',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. telegram',
    description:
      'Which provider the new identities are of. Accounts that have one there already stay as they are.',
  },
  {
    displayName: 'Dry Run',
    name: 'dryRun',
    type: 'boolean',
    default: false,
    description: 'Whether to say only what would happen. Nothing is changed.',
  },
  optionsParameter([
    {
      displayName: 'Map',
      name: 'map',
      type: 'json',
      default: '[]',
      placeholder: `e.g. ${MAP_EXAMPLE}`,
      description:
        'What becomes of which external ID of the provider, as a JSON list. Those not in it are left out.',
    },
    {
      displayName: 'Most',
      name: 'limit',
      type: 'number',
      default: 10_000,
      typeOptions: { minValue: 1, maxValue: 1_000_000 },
      description: 'Identities given at once. Run it again while "more" is true.',
    },
  ]),
];

export const description = shownFor('account', 'migrateIdentities', properties);

type Request = Parameters<Billing['accounts']['migrateIdentities']>[0];

function readFrom(context: IExecuteFunctions, itemIndex: number): Request['from'] {
  switch (context.getNodeParameter('takeFrom', itemIndex)) {
    case 'contact':
      return { contact: 'email' };
    case 'metadata':
      return {
        metadata: readRequired(context, 'fromMetadata', 'From Metadata Field', itemIndex),
      };
    default:
      return { provider: readRequired(context, 'fromProvider', 'From Provider', itemIndex) };
  }
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { map, ...options } = readOptions(context, 'options', itemIndex);
  return billing.accounts.migrateIdentities({
    from: readFrom(context, itemIndex),
    to: readRequired(context, 'toProvider', 'To Provider', itemIndex),
    dryRun: context.getNodeParameter('dryRun', itemIndex) === true,
    ...options,
    map: jsonOf<NonNullable<Request['map']>>(map, {
      displayName: 'Map',
      parameter: 'map',
      example: MAP_EXAMPLE,
    }),
  });
}
