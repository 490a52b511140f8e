import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { readWhose, whoseParameters } from '../../whose';

const PAGE_SIZE = 100;

const properties: INodeProperties[] = [
  ...whoseParameters('ordersOf', 'Orders Of', 'Whose orders', 'account'),
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
  const account = readWhose(context, 'ordersOf', itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.sales.listOrders({ account, status, ...page }),
  );
}
