import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { optionalKeyOption } from '../../../shared/idempotency';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Key',
    name: 'key',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. de-standard',
    description: 'The word that names it everywhere. It never changes.',
  },
  {
    displayName: 'Name',
    name: 'name',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. VAT 19 %',
    description: 'What customers read',
  },
  {
    displayName: 'Percent',
    name: 'percent',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 19',
    description: 'From 0 to 100, with up to four decimals',
  },
  {
    displayName: 'Additional Fields',
    name: 'additionalFields',
    type: 'collection',
    placeholder: 'Add Field',
    default: {},
    description: 'What is left out stays as it is',
    options: [
      {
        displayName: 'Active',
        name: 'active',
        type: 'boolean',
        default: true,
        description: 'Whether new orders may use it',
      },
      {
        displayName: 'Country',
        name: 'country',
        type: 'string',
        default: '',
        placeholder: 'e.g. DE',
        description:
          'The ISO 3166 code of the country whose customers pay it, unless their account says otherwise',
      },
      optionalKeyOption,
      {
        displayName: 'Included in Prices',
        name: 'inclusive',
        type: 'boolean',
        default: false,
        description: 'Whether prices are meant with it, rather than it being added to them',
      },
    ],
  },
];

export const description = shownFor('taxRate', 'upsert', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.catalog.saveTaxRate({
    key: readRequired(context, 'key', 'Key', itemIndex),
    name: readRequired(context, 'name', 'Name', itemIndex),
    percent: readAmount(context, 'percent', 'Percent', itemIndex),
    ...readOptions(context, 'additionalFields', itemIndex),
  });
}
