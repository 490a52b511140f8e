import type { INodeProperties } from 'n8n-workflow';

import * as claim from './claim';

const operations = { claim };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['trial'] } },
    options: [
      {
        name: 'Claim',
        value: 'claim',
        action: 'Claim a trial',
        description:
          'Give a new customer what a free offer holds, once per person. A denial is an item with "allowed": false',
      },
    ],
    default: 'claim',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What a new customer may try. */
export const trial = { operations, description };
