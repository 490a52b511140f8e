import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { accountAndProduct, readAccountAndProduct } from '../balance/accountAndProduct';

const properties: INodeProperties[] = [
  ...accountAndProduct,
  ...pagingParameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [
      {
        displayName: 'Include Ended',
        name: 'includeEnded',
        type: 'boolean',
        default: true,
        description: 'Whether to include holds that were settled or released, or have expired',
      },
    ],
  },
];

export const description = shownFor('hold', 'getAll', properties);

const PAGE_SIZE = 1000;

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { includeEnded } = readOptions(context, 'filters', itemIndex);
  const about = { ...readAccountAndProduct(context, itemIndex), open: includeEnded !== true };
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, async (page) => {
    const items = await billing.ledger.holds({ ...about, ...page });
    return { items, nextCursor: items.length < page.limit ? null : items.at(-1)!.holdId };
  });
}
