import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit } from '../../paging';
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

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const limit = readLimit(context, itemIndex);
  const { includeEnded } = readOptions(context, 'filters', itemIndex);
  const holds = await billing.ledger.holds({
    ...readAccountAndProduct(context, itemIndex),
    open: includeEnded !== true,
  });
  return holds.slice(0, limit);
}
