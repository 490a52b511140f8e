import type { INodeProperties } from 'n8n-workflow';

import * as cancel from './cancel';
import * as confirm from './confirm';
import * as create from './create';
import * as get from './get';
import * as getAll from './getAll';
import * as pay from './pay';
import * as refund from './refund';

const operations = { cancel, confirm, create, get, getAll, pay, refund };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['order'] } },
    options: [
      {
        name: 'Cancel',
        value: 'cancel',
        action: 'Cancel an order',
        description: 'Give up an order that is not paid',
      },
      {
        name: 'Confirm',
        value: 'confirm',
        action: 'Confirm an order',
        description:
          'Record its payment and give what was bought, once however often the payment is reported',
      },
      {
        name: 'Create',
        value: 'create',
        action: 'Create an order',
        description:
          'Keep prices, coupon and tax of what an account wants to buy until it is paid. A denial is an item with "allowed": false',
      },
      {
        name: 'Get',
        value: 'get',
        action: 'Get an order',
        description: 'Get one order with its items',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many orders',
        description: 'Get a list of orders, newest first',
      },
      {
        name: 'Pay',
        value: 'pay',
        action: 'Pay an order with a saved card',
        description:
          'Charge a payment method on file. A success confirms the order; a decline is an item with the status failed',
      },
      {
        name: 'Refund',
        value: 'refund',
        action: 'Refund an order',
        description: 'Record money that is given back, and take back the units that it paid for',
      },
    ],
    default: 'create',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** What an account wants to buy, and has bought. */
export const order = { operations, description };
