import type { INodeProperties } from 'n8n-workflow';

import * as checkoutLink from './checkoutLink';
import * as getAttempts from './getAttempts';
import * as getMethods from './getMethods';
import * as getRefundsDue from './getRefundsDue';
import * as getTopUps from './getTopUps';
import * as markRefunded from './markRefunded';
import * as removeMethod from './removeMethod';
import * as saveMethod from './saveMethod';
import * as setDefaultMethod from './setDefaultMethod';
import * as setTopUp from './setTopUp';

const operations = {
  checkoutLink,
  getAttempts,
  getMethods,
  getRefundsDue,
  getTopUps,
  markRefunded,
  removeMethod,
  saveMethod,
  setDefaultMethod,
  setTopUp,
};

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['payment'] } },
    options: [
      {
        name: 'Get Attempts',
        value: 'getAttempts',
        action: 'Get attempts to charge',
        description: 'Get a list of the attempts to charge somebody, newest first',
      },
      {
        name: 'Get Checkout Link',
        value: 'checkoutLink',
        action: 'Get a checkout link',
        description: 'Get a page of the gateway on which the customer pays an order or invoice',
      },
      {
        name: 'Get Methods',
        value: 'getMethods',
        action: 'Get payment methods of an account',
        description: 'Get what an account can be charged by, as far as it is kept here',
      },
      {
        name: 'Get Refunds Due',
        value: 'getRefundsDue',
        action: 'Get refunds due',
        description: 'Get the money that is to be given back by hand, oldest first',
      },
      {
        name: 'Get Top-Ups',
        value: 'getTopUps',
        action: 'Get automatic top ups of an account',
        description: 'Get what is bought for an account when its balance runs low',
      },
      {
        name: 'Mark Refunded',
        value: 'markRefunded',
        action: 'Mark a refund as done',
        description: 'Record that money on the list of refunds due was given back',
      },
      {
        name: 'Remove Method',
        value: 'removeMethod',
        action: 'Remove a payment method',
        description: 'Forget a card or other method: it is not charged any more',
      },
      {
        name: 'Save Method',
        value: 'saveMethod',
        action: 'Save a payment method',
        description: 'Keep the token of a card or other method that a gateway gave',
      },
      {
        name: 'Set Default Method',
        value: 'setDefaultMethod',
        action: 'Set the default payment method',
        description: 'Say which method is charged',
      },
      {
        name: 'Set Top-Up',
        value: 'setTopUp',
        action: 'Set an automatic top up of an account',
        description: 'Have an offer bought whenever a balance falls below a limit',
      },
    ],
    default: 'getMethods',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** How people pay. */
export const payment = { operations, description };
