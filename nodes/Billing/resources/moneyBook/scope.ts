import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { readOptions } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { shownWhen } from '../../operation';

/** Whose book is read: that of all together, or of one paying account. */
export const bookScope: INodeProperties[] = [
  {
    displayName: 'Book Of',
    name: 'bookOf',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'All Accounts', value: 'all' },
      { name: 'One Account', value: 'account', description: "A child's is its parent's" },
    ],
    default: 'all',
    description: 'Whose money',
  },
  ...shownWhen({ bookOf: ['account'] }, accountParameters),
];

export const bookFilters: INodeProperties[] = [
  {
    displayName: 'Currency',
    name: 'currency',
    type: 'string',
    default: '',
    placeholder: 'e.g. USD',
    description: 'Only amounts in this currency',
  },
  {
    displayName: 'From',
    name: 'from',
    type: 'dateTime',
    default: '',
    description: 'Only what counts from this moment on',
  },
];

/** "To" stands last in every list of filters. */
export const toFilter: INodeProperties = {
  displayName: 'To',
  name: 'to',
  type: 'dateTime',
  default: '',
  description: 'Only what counts before this moment',
};

export function readBookScope(context: IExecuteFunctions, itemIndex: number) {
  const { from, to, ...filters } = readOptions(context, 'filters', itemIndex);
  const one = context.getNodeParameter('bookOf', itemIndex) === 'account';
  return {
    ...filters,
    account: one ? readAccount(context, itemIndex) : undefined,
    from: timeOf(context, from),
    to: timeOf(context, to),
  };
}
