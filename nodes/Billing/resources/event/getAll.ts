import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { eventOptions } from '../../../shared/eventParameters';
import { readOptions } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { readWhose, whoseParameters } from '../../whose';

const PAGE_SIZE = 1000;

const properties: INodeProperties[] = [
  ...whoseParameters('eventsOf', 'Events Of', 'Whose events', 'all', 'And its child accounts'),
  ...pagingParameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [
      {
        displayName: 'Events',
        name: 'types',
        type: 'multiOptions',
        options: eventOptions,
        default: [],
        description: 'Only these',
      },
      {
        displayName: 'Since',
        name: 'since',
        type: 'dateTime',
        default: '',
        description: 'Only events recorded at this time or later',
      },
      {
        displayName: 'Until',
        name: 'until',
        type: 'dateTime',
        default: '',
        description: 'Only events recorded before this time',
      },
    ],
  },
];

export const description = shownFor('event', 'getAll', properties);

type ListRequest = NonNullable<Parameters<Billing['events']['list']>[0]>;

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { since, until, types } = readOptions(context, 'filters', itemIndex);
  const filters: Pick<ListRequest, 'account' | 'types' | 'since' | 'until'> = {
    account: readWhose(context, 'eventsOf', itemIndex),
    types: types as ListRequest['types'],
    since: timeOf(context, since),
    until: timeOf(context, until),
  };
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.events.list({ ...filters, ...page }),
  );
}
