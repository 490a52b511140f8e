import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { readOptions } from '../../../shared/reading';
import { shownFor, shownWhen } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';

const PAGE_SIZE = 100;

const properties: INodeProperties[] = [
  {
    displayName: 'Payouts Of',
    name: 'payoutsOf',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'All Accounts', value: 'all' },
      { name: 'One Account', value: 'account' },
    ],
    default: 'all',
    description: 'Whose payouts',
  },
  ...shownWhen({ payoutsOf: ['account'] }, accountParameters),
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
  const one = context.getNodeParameter('payoutsOf', itemIndex) === 'account';
  const account = one ? readAccount(context, itemIndex) : undefined;
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.sales.listPayouts({ account, status, ...page }),
  );
}
