import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { optionalKeyOption } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { emptied, readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { contactField, contactOf, taxField, taxOf } from './details';

const properties: INodeProperties[] = [
  ...accountParameters,
  {
    displayName: 'Update Fields',
    name: 'updateFields',
    type: 'collection',
    placeholder: 'Add Field',
    default: {},
    options: [
      contactField,
      {
        displayName: 'Email',
        name: 'email',
        type: 'string',
        default: '',
        placeholder: 'e.g. nathan@example.com',
        description: 'Leave empty to remove it',
      },
      optionalKeyOption,
      {
        ...metadataOption,
        description: 'Data of your own to keep with it, as a JSON object. Replaces what is there.',
      },
      {
        displayName: 'Name',
        name: 'name',
        type: 'string',
        default: '',
        placeholder: 'e.g. Nathan Smith',
        description: 'Leave empty to remove it',
      },
      {
        displayName: 'Status',
        name: 'status',
        type: 'options',
        options: [
          { name: 'Active', value: 'active', description: 'May use what it has' },
          { name: 'Closed', value: 'closed', description: 'Is denied for good' },
          {
            name: 'Suspended',
            value: 'suspended',
            description: 'Is denied for now, keeps its units',
          },
        ],
        default: 'active',
      },
      taxField,
      {
        displayName: 'Time Zone',
        name: 'timeZone',
        type: 'string',
        default: '',
        placeholder: 'e.g. Europe/Berlin',
        description: 'In which its days and months begin',
      },
    ],
  },
];

export const description = shownFor('account', 'update', properties);

/** Fields that can be empty. */
const REMOVABLE = ['name', 'email'];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const written = context.getNodeParameter('updateFields', itemIndex, {}) as Record<
    string,
    unknown
  >;
  const { metadata, contact, tax, ...filled } = readOptions(context, 'updateFields', itemIndex);
  return billing.accounts.update({
    account: readAccount(context, itemIndex),
    ...filled,
    ...emptied(written, REMOVABLE),
    contact: contactOf(contact),
    tax: taxOf(tax),
    metadata: metadataOf(metadata),
  });
}
