import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { optionalKeyOption } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Provider',
    name: 'provider',
    type: 'string',
    required: true,
    default: 'default',
    placeholder: 'e.g. telegram',
    description: 'The system that the external ID comes from. Use the same word everywhere.',
  },
  {
    displayName: 'External ID',
    name: 'externalId',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.message.from.id }}',
    description:
      'The ID by which that system knows the customer. Upper and lower case count, except for the provider "email".',
  },
  {
    displayName: 'Additional Fields',
    name: 'additionalFields',
    type: 'collection',
    placeholder: 'Add Field',
    default: {},
    options: [
      {
        displayName: 'Email',
        name: 'email',
        type: 'string',
        default: '',
        placeholder: 'e.g. nathan@example.com',
        description:
          'Contact data, never used to find or join accounts. Left blank it stays as it is.',
      },
      optionalKeyOption,
      metadataOption,
      {
        displayName: 'Name',
        name: 'name',
        type: 'string',
        default: '',
        placeholder: 'e.g. Nathan Smith',
        description:
          'Contact data, never used to find or join accounts. Left blank it stays as it is.',
      },
    ],
  },
];

export const description = shownFor('account', 'identify', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  // Many people have no name or address where they come from.
  const { metadata, ...fields } = readOptions(context, 'additionalFields', itemIndex, [
    'name',
    'email',
  ]);
  return billing.accounts.identify({
    provider: readRequired(context, 'provider', 'Provider', itemIndex),
    externalId: readRequired(context, 'externalId', 'External ID', itemIndex),
    ...fields,
    metadata: metadataOf(metadata),
  });
}
