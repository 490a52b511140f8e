import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit } from '../../paging';

const properties: INodeProperties[] = [
  ...pagingParameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [
      {
        displayName: 'Custom Plans For',
        name: 'accountId',
        type: 'string',
        default: '',
        placeholder: 'e.g. 0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11',
        description: 'The ID of an account whose custom plans are included',
      },
      {
        displayName: 'Include Inactive',
        name: 'includeInactive',
        type: 'boolean',
        default: true,
        description: 'Whether to include offers that are not on sale',
      },
      {
        displayName: 'Include Private',
        name: 'includePrivate',
        type: 'boolean',
        default: true,
        description: 'Whether to include offers that not everybody may see',
      },
    ],
  },
];

export const description = shownFor('offer', 'getAll', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const limit = readLimit(context, itemIndex);
  const filters = readOptions(context, 'filters', itemIndex);
  return (await billing.catalog.listOffers(filters)).slice(0, limit);
}
