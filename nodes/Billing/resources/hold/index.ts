import type { INodeProperties } from 'n8n-workflow';

import * as create from './create';
import * as extend from './extend';
import * as getAll from './getAll';
import * as release from './release';
import * as settle from './settle';

const operations = { create, extend, getAll, release, settle };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['hold'] } },
    options: [
      {
        name: 'Create',
        value: 'create',
        action: 'Create a hold',
        description:
          'Set units aside before the work, so that nobody else uses them meanwhile. A denial is an item with "allowed": false',
      },
      {
        name: 'Extend',
        value: 'extend',
        action: 'Extend a hold',
        description: 'Give work that takes longer more time, while the hold is open',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many holds',
        description: 'Get the open holds of an account, newest first',
      },
      {
        name: 'Release',
        value: 'release',
        action: 'Release a hold',
        description: 'End a hold whose work failed or used nothing: all its units go back',
      },
      {
        name: 'Settle',
        value: 'settle',
        action: 'Settle a hold',
        description:
          'End a hold with what the work really used. What is left over goes back, what is missing is taken from the balance',
      },
    ],
    default: 'create',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** Units set aside before the work, and what becomes of them. */
export const hold = { operations, description };
