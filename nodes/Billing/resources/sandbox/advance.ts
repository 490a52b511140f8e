import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { durationFields, durationOf } from '../../../shared/durations';
import { missing } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { shownFor, shownWhen } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Advance',
    name: 'advanceBy',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'By a Length of Time', value: 'duration' },
      { name: 'To a Time', value: 'time' },
    ],
    default: 'duration',
    description: 'How far. A clock never goes back.',
  },
  ...shownWhen(
    { advanceBy: ['duration'] },
    durationFields({
      count: 'How Many',
      unit: 'Unit',
      description: 'How many days, months and so on',
    }).map((field) =>
      field.name === 'unit' ? { ...field, description: 'What is counted' } : field,
    ),
  ),
  {
    displayName: 'Time',
    name: 'advanceTo',
    type: 'dateTime',
    required: true,
    default: '',
    description: 'What time it is then',
    displayOptions: { show: { advanceBy: ['time'] } },
  },
  {
    displayName: 'Run the Billing Cycle',
    name: 'runCycle',
    type: 'boolean',
    default: true,
    description:
      'Whether invoices are made, sent and collected on each day that passes, and all else that is due is done',
  },
];

export const description = shownFor('sandbox', 'advance', properties);

function readHowFar(context: IExecuteFunctions, itemIndex: number) {
  const parameter = (name: string): unknown => context.getNodeParameter(name, itemIndex);
  if (parameter('advanceBy') === 'time') {
    const to = timeOf(context, parameter('advanceTo'));
    if (to === undefined) throw missing('Time', 'advanceTo');
    return { to };
  }
  return { by: durationOf({ count: parameter('count'), unit: parameter('unit') }) };
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.sandbox.advance({
    ...readHowFar(context, itemIndex),
    runCycle: context.getNodeParameter('runCycle', itemIndex) === true,
  });
}
