import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { readWhose, whoseParameters } from '../../whose';

const PAGE_SIZE = 100;

const properties: INodeProperties[] = [
  ...whoseParameters('subscriptionsOf', 'Subscriptions Of', 'Whose subscriptions', 'account'),
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
          { name: 'Active', value: 'active' },
          { name: 'Cancelled', value: 'cancelled' },
          { name: 'Ended', value: 'ended' },
          { name: 'Past Due', value: 'past_due', description: 'A payment failed' },
          { name: 'Paused', value: 'paused' },
          { name: 'Trialing', value: 'trialing' },
        ],
        default: 'active',
        description: 'Only subscriptions in this state',
      },
    ],
  },
];

export const description = shownFor('subscription', 'getAll', properties);

type ListRequest = NonNullable<Parameters<Billing['subscriptions']['list']>[0]>;

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { status } = readOptions(context, 'filters', itemIndex) as Pick<ListRequest, 'status'>;
  const account = readWhose(context, 'subscriptionsOf', itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.subscriptions.list({ account, status, ...page }),
  );
}
