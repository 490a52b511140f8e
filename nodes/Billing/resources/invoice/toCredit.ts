import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError } from '../../../../engine';
import { readAmount, readRequired } from '../../../shared/reading';
import { positionParameter } from './line';

/** How much of an invoice is taken back: all that is left, an amount, or one line. */
export const whatParameters = (name: string, displayName: string): INodeProperties[] => [
  {
    displayName,
    name,
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'An Amount', value: 'amount', description: 'Tax included' },
      { name: 'Everything', value: 'all', description: 'All that was not taken back yet' },
      { name: 'One Line', value: 'line', description: 'All of it, or an amount' },
    ],
    default: 'all',
    description: 'How much of the invoice',
  },
  {
    displayName: 'Amount',
    name: 'amount',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 9.99',
    description: "In the invoice's currency, tax included",
    displayOptions: { show: { [name]: ['amount'] } },
  },
  { ...positionParameter, displayOptions: { show: { [name]: ['line'] } } },
  {
    displayName: 'Amount of the Line',
    name: 'lineAmount',
    type: 'string',
    default: '',
    placeholder: 'e.g. 4.99',
    description: 'Tax included. Left blank, all that is left of the line.',
    displayOptions: { show: { [name]: ['line'] } },
  },
];

export type WhatToCredit =
  | { amount?: undefined; position?: undefined }
  | { amount: string; position?: undefined }
  | { amount?: string; position: number };

/** Never less asked for than meant: an empty amount is an error, not everything. */
export function readWhat(
  context: IExecuteFunctions,
  name: string,
  displayName: string,
  itemIndex: number,
): WhatToCredit {
  switch (context.getNodeParameter(name, itemIndex)) {
    case 'all':
      return {};
    case 'amount':
      return { amount: readAmount(context, 'amount', 'Amount', itemIndex) };
    case 'line': {
      const position = readRequired<number>(context, 'position', 'Position', itemIndex);
      const written = context.getNodeParameter('lineAmount', itemIndex, '');
      if (written === '') return { position };
      return {
        position,
        amount: readAmount(context, 'lineAmount', 'Amount of the Line', itemIndex),
      };
    }
    default:
      throw new BillingError(
        'invalid_input',
        `"${displayName}" must be one of all, amount, line.`,
        { parameter: name },
      );
  }
}
