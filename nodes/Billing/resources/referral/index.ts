import type { INodeProperties } from 'n8n-workflow';

import * as attach from './attach';
import * as decidePayout from './decidePayout';
import * as getCommissions from './getCommissions';
import * as getPayouts from './getPayouts';
import * as getProgram from './getProgram';
import * as getStatistics from './getStatistics';
import * as requestPayout from './requestPayout';
import * as setProgram from './setProgram';

const operations = {
  attach,
  decidePayout,
  getCommissions,
  getPayouts,
  getProgram,
  getStatistics,
  requestPayout,
  setProgram,
};

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['referral'] } },
    options: [
      {
        name: 'Attach',
        value: 'attach',
        action: 'Attach a referral',
        description: 'Say who brought an account. A denial is an item with "allowed": false',
      },
      {
        name: 'Decide Payout',
        value: 'decidePayout',
        action: 'Decide a payout of commissions',
        description: 'Say that a payout was paid, or rejected',
      },
      {
        name: 'Get Commissions',
        value: 'getCommissions',
        action: 'Get commissions of a referrer',
        description:
          'Get what somebody earned by referrals, what was paid out, and what is available',
      },
      {
        name: 'Get Payouts',
        value: 'getPayouts',
        action: 'Get payouts of commissions',
        description: 'Get a list of the payouts that were asked for, newest first',
      },
      {
        name: 'Get Program',
        value: 'getProgram',
        action: 'Get the referral program',
        description: 'Get what a referral brings to both sides at present',
      },
      {
        name: 'Get Statistics',
        value: 'getStatistics',
        action: 'Get statistics of a referrer',
        description: 'Get how many accounts somebody brought, how many paid, and what it earned',
      },
      {
        name: 'Request Payout',
        value: 'requestPayout',
        action: 'Request a payout of commissions',
        description:
          'Set commissions aside to be paid out. A denial is an item with "allowed": false',
      },
      {
        name: 'Set Program',
        value: 'setProgram',
        action: 'Set the referral program',
        description: 'Say what a referral brings to both sides. What was given stays',
      },
    ],
    default: 'attach',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** Who brought whom, and what they get for it. */
export const referral = { operations, description };
