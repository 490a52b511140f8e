import type { INodeProperties } from 'n8n-workflow';

import * as advance from './advance';
import * as get from './get';
import * as mark from './mark';

const operations = { advance, get, mark };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['sandbox'] } },
    options: [
      {
        name: 'Advance Clock',
        value: 'advance',
        action: 'Advance the clock of the sandbox',
        description: 'Let days or months pass in a moment, with all that happens in them',
      },
      {
        name: 'Get',
        value: 'get',
        action: 'Get the sandbox',
        description:
          'Get whether the schema of the credential is a sandbox, and what time it is there',
      },
      {
        name: 'Mark',
        value: 'mark',
        action: 'Mark the sandbox',
        description:
          'Make the schema of the credential a sandbox, for good. It must not have accounts yet',
      },
    ],
    default: 'get',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** A schema to try things in, where time can be moved. */
export const sandbox = { operations, description };
