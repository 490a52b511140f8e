import type { INodeProperties } from 'n8n-workflow';

import * as runDue from './runDue';
import * as verify from './verify';

const operations = { runDue, verify };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['ledger'] } },
    options: [
      {
        name: 'Verify',
        value: 'verify',
        action: 'Verify the ledger',
        description:
          'Compute every balance, grant and hold again from the entries, and name what does not agree',
      },
      {
        name: 'Write What Is Due',
        value: 'runDue',
        action: 'Write what is due in the ledger',
        description:
          'Put expiries and ends of holds on record for accounts that nobody uses, and delete answers to idempotency keys that are kept no longer. Balances are right without it',
      },
    ],
    default: 'verify',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** The record of everything that was granted and used. */
export const ledger = { operations, description };
