import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { shownFor } from '../../operation';
import { bookFilters, bookScope, readBookScope, toFilter } from './scope';

const properties: INodeProperties[] = [
  ...bookScope.parameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [...bookFilters, toFilter],
  },
];

export const description = shownFor('moneyBook', 'getBalances', properties);

/** An item for each account of the book and currency. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.books.balances(readBookScope(context, itemIndex));
}
