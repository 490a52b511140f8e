import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';

const PAGE_SIZE = 500;

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
        displayName: 'Search',
        name: 'search',
        type: 'string',
        default: '',
        placeholder: 'e.g. nathan',
        description: 'Part of a name, an email address or an external ID, or a whole account ID',
      },
    ],
  },
];

export const description = shownFor('account', 'getAll', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const filters = readOptions(context, 'filters', itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.accounts.list({ ...filters, ...page }),
  );
}
