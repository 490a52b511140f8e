import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { HoldRequest } from '../../../../engine';
import { durationUnits } from '../../../shared/durations';
import { readRequired } from '../../../shared/reading';

/** How long a hold lasts. */
export const expiresInParameters: INodeProperties[] = [
  {
    displayName: 'Expires In',
    name: 'expiresIn',
    type: 'number',
    required: true,
    default: 15,
    typeOptions: { minValue: 1, numberPrecision: 0 },
    description:
      'How long the units stay set aside, counted from now. Longer than the work can take: a hold that is over cannot be settled.',
  },
  {
    displayName: 'Unit',
    name: 'expiresUnit',
    type: 'options',
    options: durationUnits,
    default: 'minute',
    description: 'What "Expires In" counts. Days and longer are of the account\'s time zone.',
  },
];

export function readExpiresIn(
  context: IExecuteFunctions,
  itemIndex: number,
): HoldRequest['expiresIn'] {
  return {
    count: readRequired<number>(context, 'expiresIn', 'Expires In', itemIndex),
    unit: readRequired<HoldRequest['expiresIn']['unit']>(context, 'expiresUnit', 'Unit', itemIndex),
  };
}
