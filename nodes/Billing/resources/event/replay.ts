import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { missing, readRequired } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { shownFor } from '../../operation';
import { readerNameParameter } from './readerName';

const properties: INodeProperties[] = [
  readerNameParameter,
  {
    displayName: 'From',
    name: 'replayFrom',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'A Time', value: 'time' },
      { name: 'Now', value: 'now', description: 'Skip all that was not read yet' },
      { name: 'The Beginning', value: 'beginning', description: 'Everything that is still kept' },
    ],
    default: 'time',
    description: 'Where it reads on',
  },
  {
    displayName: 'Time',
    name: 'replayTime',
    type: 'dateTime',
    required: true,
    default: '',
    description: 'Events recorded at this time or later are given again',
    displayOptions: { show: { replayFrom: ['time'] } },
  },
];

export const description = shownFor('event', 'replay', properties);

function readFrom(context: IExecuteFunctions, itemIndex: number): string {
  const from = context.getNodeParameter('replayFrom', itemIndex) as string;
  if (from !== 'time') return from;
  const time = timeOf(context, context.getNodeParameter('replayTime', itemIndex));
  if (time === undefined) throw missing('Time', 'replayTime');
  return time;
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.events.replay({
    reader: readRequired(context, 'reader', 'Reader Name', itemIndex),
    from: readFrom(context, itemIndex),
  });
}
