import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { readOptions } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { whose } from '../../whose';

/** Whose book is read: that of all together, or of one paying account. */
export const bookScope = whose(
  'bookOf',
  'Book Of',
  'Whose money',
  'all',
  'A child has none while it has a parent',
);

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
  return {
    ...filters,
    ...bookScope.read(context, itemIndex),
    from: timeOf(context, from),
    to: timeOf(context, to),
  };
}
