import type { INodeProperties } from 'n8n-workflow';

import { productParameter } from '../../../shared/pickers';
import { orUndefined } from './written';

/** Units of a product in an item, a bonus or a trial phase: how many, until when, used when. */

export const productField: INodeProperties = {
  ...productParameter,
  description: 'What it brings. The Billing node creates products.',
};

export const quantityField: INodeProperties = {
  displayName: 'Quantity',
  name: 'quantity',
  type: 'string',
  default: '',
  placeholder: 'e.g. 100',
  description: 'Units of the product',
};

/** When units end, as item and bonus offer it. */
export const expiryFields: INodeProperties[] = [
  {
    displayName: 'Expires',
    name: 'expiresUnit',
    type: 'options',
    options: [
      { name: 'After Days', value: 'day' },
      { name: 'After Hours', value: 'hour' },
      { name: 'After Minutes', value: 'minute' },
      { name: 'After Months', value: 'month' },
      { name: 'After Seconds', value: 'second' },
      { name: 'After Weeks', value: 'week' },
      { name: 'After Years', value: 'year' },
      { name: 'Never', value: 'never' },
    ],
    default: 'never',
    description: 'When units that are left over end, counted from the grant',
  },
  {
    displayName: 'How Many',
    name: 'expiresCount',
    type: 'number',
    default: 1,
    typeOptions: { minValue: 1, numberPrecision: 0 },
    description: 'How many days, months and so on until then',
    displayOptions: { hide: { expiresUnit: ['never'] } },
  },
];

export const priorityField: INodeProperties = {
  displayName: 'Priority',
  name: 'priority',
  type: 'number',
  default: 50,
  typeOptions: { numberPrecision: 0 },
  description: 'Units with a smaller number are used first; among equal ones those that end first',
};

/** What stands in the expiry fields. */
export function expiryOf({ expiresUnit, expiresCount }: Record<string, unknown>) {
  const ends = orUndefined(expiresUnit) !== undefined && expiresUnit !== 'never';
  return ends ? { unit: expiresUnit, count: expiresCount ?? 1 } : null;
}
