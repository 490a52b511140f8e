import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { readWhose, whoseParameters } from '../../whose';

const PAGE_SIZE = 100;

const properties: INodeProperties[] = [
  ...whoseParameters('payoutsOf', 'Payouts Of', 'Whose payouts', 'all'),
  ...pagingParameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [
      {
        displayName: 'Status',
        name: 'status',
        type: 'options',
        options: [
          { name: 'Paid', value: 'paid' },
          { name: 'Rejected', value: 'rejected' },
          { name: 'Requested', value: 'requested', description: 'Not decided yet' },
        ],
        default: 'requested',
        description: 'Only payouts in this state',
      },
    ],
  },
];

export const description = shownFor('referral', 'getPayouts', properties);

type ListPayoutsRequest = NonNullable<Parameters<Billing['sales']['listPayouts']>[0]>;

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { status } = readOptions(context, 'filters', itemIndex) as Pick<
    ListPayoutsRequest,
    'status'
  >;
  const account = readWhose(context, 'payoutsOf', itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.sales.listPayouts({ account, status, ...page }),
  );
}
