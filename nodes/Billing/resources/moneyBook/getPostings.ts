import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { bookFilters, bookScope, readBookScope, toFilter } from './scope';

const PAGE_SIZE = 1000;

const properties: INodeProperties[] = [
  ...bookScope,
  ...pagingParameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [
      ...bookFilters,
      {
        displayName: 'Kind',
        name: 'kind',
        type: 'options',
        options: [
          { name: 'Commission', value: 'commission', description: 'Promised for a referral' },
          { name: 'Credit', value: 'credit', description: 'Kept for orders to come' },
          { name: 'Earned', value: 'earned', description: 'Units that were used or expired' },
          { name: 'Fee', value: 'fee', description: 'Taken by a gateway' },
          { name: 'Opening', value: 'opening', description: 'What was there before the book' },
          { name: 'Outside Grant', value: 'outside_grant', description: 'Units paid elsewhere' },
          { name: 'Payment', value: 'payment', description: 'Money that came in' },
          { name: 'Payout', value: 'payout', description: 'Commissions that were paid out' },
          { name: 'Refund', value: 'refund', description: 'Money that was given back' },
          { name: 'Rounding', value: 'rounding', description: 'What rounding left over' },
          { name: 'Sale', value: 'sale', description: 'An order that was paid' },
          { name: 'Transfer', value: 'transfer', description: 'Value moved between accounts' },
          { name: 'Write-Off', value: 'write_off', description: 'Given up' },
        ],
        default: 'sale',
        description: 'Only postings of this kind',
      },
      toFilter,
    ],
  },
];

export const description = shownFor('moneyBook', 'getPostings', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const scope = readBookScope(context, itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.books.postings({ ...scope, ...page }),
  );
}
