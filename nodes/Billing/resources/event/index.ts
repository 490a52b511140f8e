import type { INodeProperties } from 'n8n-workflow';

import * as getAll from './getAll';
import * as getReaders from './getReaders';
import * as removeReader from './removeReader';
import * as replay from './replay';

const operations = { getAll, getReaders, removeReader, replay };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['event'] } },
    options: [
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many events',
        description: 'Get a list of events, newest first',
      },
      {
        name: 'Get Readers',
        value: 'getReaders',
        action: 'Get readers of events',
        description: 'Get who reads events, and how far behind they are',
      },
      {
        name: 'Remove Reader',
        value: 'removeReader',
        action: 'Remove a reader of events',
        description:
          'Forget a reader that nobody uses any more, so that events need not be kept for it',
      },
      {
        name: 'Replay',
        value: 'replay',
        action: 'Replay events for a reader',
        description: 'Have a trigger get events again that it got before',
      },
    ],
    default: 'getAll',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What happened. */
export const event = { operations, description };
