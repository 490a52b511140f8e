import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeType,
  type INodeTypeDescription,
} from 'n8n-workflow';

import { billingDatabaseTest } from '../shared/credentialTest';
import { searchAccounts, searchHolds, searchOffers, searchProducts } from '../shared/listSearch';
import { account } from './resources/account';
import { balance } from './resources/balance';
import { hold } from './resources/hold';
import { ledger } from './resources/ledger';
import { offer } from './resources/offer';
import { product } from './resources/product';
import { router } from './router';

export class Billing implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Billing',
    name: 'billing',
    icon: { light: 'file:billing.svg', dark: 'file:billing.dark.svg' },
    group: ['transform'],
    version: 1,
    subtitle: '={{ $parameter["resource"] + ": " + $parameter["operation"] }}',
    description:
      'Recognize customers, set up products and offers, hold units, read balances and check the ledger',
    defaults: { name: 'Billing' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main],
    usableAsTool: true,
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    properties: [
      {
        displayName: 'Resource',
        name: 'resource',
        type: 'options',
        noDataExpression: true,
        options: [
          { name: 'Account', value: 'account', description: 'Who is billed' },
          { name: 'Balance', value: 'balance', description: 'What an account has' },
          {
            name: 'Hold',
            value: 'hold',
            description: 'Units set aside before the work, settled for what it really used',
          },
          {
            name: 'Ledger',
            value: 'ledger',
            description: 'The record of everything granted and used',
          },
          { name: 'Offer', value: 'offer', description: 'What is sold' },
          { name: 'Product', value: 'product', description: 'What can be granted and used' },
        ],
        default: 'account',
      },
      ...account.description,
      ...balance.description,
      ...hold.description,
      ...ledger.description,
      ...offer.description,
      ...product.description,
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts, searchHolds, searchOffers, searchProducts },
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return router.call(this);
  }
}
