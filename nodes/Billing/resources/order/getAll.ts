import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { readOptions } from '../../../shared/reading';
import { shownFor, shownWhen } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';

const PAGE_SIZE = 100;

const properties: INodeProperties[] = [
  {
    displayName: 'Orders Of',
    name: 'ordersOf',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'All Accounts', value: 'all' },
      { name: 'One Account', value: 'account' },
    ],
    default: 'account',
    description: 'Whose orders',
  },
  ...shownWhen({ ordersOf: ['account'] }, accountParameters),
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
          { name: 'Cancelled', value: 'cancelled' },
          { name: 'Paid', value: 'paid' },
          { name: 'Partly Refunded', value: 'partly_refunded' },
          { name: 'Pending', value: 'pending', description: 'Not paid; lapsed ones too' },
          { name: 'Refunded', value: 'refunded' },
        ],
        default: 'paid',
        description: 'Only orders in this state',
      },
    ],
  },
];

export const description = shownFor('order', 'getAll', properties);

type ListOrdersRequest = Parameters<Billing['sales']['listOrders']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { status } = readOptions(context, 'filters', itemIndex) as Pick<
    NonNullable<ListOrdersRequest>,
    'status'
  >;
  const one = context.getNodeParameter('ordersOf', itemIndex) === 'account';
  const account = one ? readAccount(context, itemIndex) : undefined;
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.sales.listOrders({ account, status, ...page }),
  );
}
