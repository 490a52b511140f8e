import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeProperties,
  type INodePropertyOptions,
  type INodeType,
  type INodeTypeDescription,
} from 'n8n-workflow';

import { billingDatabaseTest } from '../shared/credentialTest';
import {
  getOffers,
  searchAccounts,
  searchCoupons,
  searchGateways,
  searchHolds,
  searchInvoices,
  searchOffers,
  searchOrders,
  searchPaymentMethods,
  searchPaymentMethodsOfOrder,
  searchProducts,
  searchSubscriptions,
  searchTaxRates,
} from '../shared/listSearch';
import { actionSubtitle } from '../shared/options';
import { outputOptions, simplifyParameter } from '../shared/output';
import { toolNotice } from '../shared/toolMode';
import { NEWEST, VERSIONS } from '../shared/versions';
import { withReadsForAgents } from './forAgents';
import { inOneList } from './oneList';
import { account } from './resources/account';
import { balance } from './resources/balance';
import { catalog } from './resources/catalog';
import { coupon } from './resources/coupon';
import { event } from './resources/event';
import { hold } from './resources/hold';
import { invoice } from './resources/invoice';
import { ledger } from './resources/ledger';
import { moneyBook } from './resources/moneyBook';
import { offer } from './resources/offer';
import { order } from './resources/order';
import { payment } from './resources/payment';
import { personalData } from './resources/personalData';
import { product } from './resources/product';
import { referral } from './resources/referral';
import { sandbox } from './resources/sandbox';
import { subscription } from './resources/subscription';
import { taxRate } from './resources/taxRate';
import { trial } from './resources/trial';
import { webhook } from './resources/webhook';
import { router } from './router';

/** An operation that is chosen unasked comes first: the editor lists actions as they stand here. */
const withUsualFirst = (property: INodeProperties): INodeProperties => {
  if (property.name !== 'operation') return property;
  const options = property.options as INodePropertyOptions[];
  const isUsual = ({ value }: INodePropertyOptions) => value === property.default;
  return {
    ...property,
    options: [...options.filter(isUsual), ...options.filter((option) => !isUsual(option))],
  };
};

export const ofResources = withReadsForAgents([
  ...account.description,
  ...product.description,
  ...offer.description,
  ...order.description,
  ...subscription.description,
  ...invoice.description,
  ...payment.description,
  ...balance.description,
  ...hold.description,
  ...trial.description,
  ...coupon.description,
  ...taxRate.description,
  ...referral.description,
  ...event.description,
  ...webhook.description,
  ...catalog.description,
  ...ledger.description,
  ...moneyBook.description,
  ...sandbox.description,
  ...personalData.description,
]).map(withUsualFirst);

const properties = inOneList(ofResources);

/** What is exported is whole, whatever for; of a paper the file matters. */
const asItIs = { operation: ['export', 'render'] };
const outputParameters = [simplifyParameter, outputOptions].map((property) => ({
  ...property,
  displayOptions: { ...property.displayOptions, hide: asItIs },
}));

export class Billing implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Billing',
    name: 'billing',
    icon: { light: 'file:billing.svg', dark: 'file:billing.dark.svg' },
    group: ['transform'],
    version: VERSIONS,
    defaultVersion: NEWEST,
    subtitle: actionSubtitle(ofResources),
    description:
      'Recognize customers, set up what is sold, take orders, run subscriptions and invoices, hold and move units, read balances and check the books',
    defaults: { name: 'Billing' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main],
    usableAsTool: true,
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    properties: [
      toolNotice,
      {
        displayName: 'Resource',
        name: 'resource',
        type: 'options',
        noDataExpression: true,
        // In the order in which a seller comes to need them, which is that of the list of actions.
        options: [
          { name: 'Account', value: 'account', description: 'Who is billed' },
          { name: 'Product', value: 'product', description: 'What can be granted and used' },
          { name: 'Offer', value: 'offer', description: 'What is sold' },
          { name: 'Order', value: 'order', description: 'What an account buys' },
          {
            name: 'Subscription',
            value: 'subscription',
            description: 'A recurring offer in force',
          },
          { name: 'Invoice', value: 'invoice', description: 'What customers owe and have paid' },
          { name: 'Payment', value: 'payment', description: 'How customers pay' },
          { name: 'Balance', value: 'balance', description: 'What an account has' },
          {
            name: 'Hold',
            value: 'hold',
            description: 'Units set aside before the work, settled for what it really used',
          },
          {
            name: 'Trial',
            value: 'trial',
            description: 'What a new customer may try',
            // Nothing of it is for agents.
            displayOptions: { hide: { '@tool': [true] } },
          },
          { name: 'Coupon', value: 'coupon', description: 'A code that lowers a price' },
          { name: 'Tax Rate', value: 'taxRate', description: 'What is due on a sale' },
          { name: 'Referral', value: 'referral', description: 'Who brought whom' },
          { name: 'Event', value: 'event', description: 'What happened' },
          {
            name: 'Webhook',
            value: 'webhook',
            description: 'Where events are sent by HTTP',
          },
          {
            name: 'Catalog',
            value: 'catalog',
            description: 'Everything that is sold, from and to a table or file',
          },
          {
            name: 'Ledger',
            value: 'ledger',
            description: 'The record of everything granted and used',
          },
          {
            name: 'Money Book',
            value: 'moneyBook',
            description: 'What was paid, earned and is still owed, in double entry',
          },
          {
            name: 'Sandbox',
            value: 'sandbox',
            description: 'A schema to try things in, where time can be moved',
          },
          {
            name: 'Personal Data',
            value: 'personalData',
            description: 'What is known of a person: export, erase, merge',
            // Nothing of it is for agents.
            displayOptions: { hide: { '@tool': [true] } },
          },
        ],
        default: 'account',
      },
      ...properties,
      ...outputParameters,
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: {
      searchAccounts,
      searchCoupons,
      searchGateways,
      searchHolds,
      searchInvoices,
      searchOffers,
      searchOrders,
      searchPaymentMethods,
      searchPaymentMethodsOfOrder,
      searchProducts,
      searchSubscriptions,
      searchTaxRates,
    },
    loadOptions: { getOffers },
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return router.call(this);
  }
}
