import type { INodeProperties } from 'n8n-workflow';

import { renewed } from './versions';

/** Pickers for what there is: from a list with search, or by the word that names it. */

/** The picker of an account, whatever for. */
export const accountPicker = {
  type: 'resourceLocator',
  default: { mode: 'list', value: '' },
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select an account…',
      typeOptions: { searchListMethod: 'searchAccounts', searchable: true },
    },
    {
      displayName: 'By ID',
      name: 'id',
      type: 'string',
      placeholder: 'e.g. 0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11',
    },
  ],
} satisfies Pick<INodeProperties, 'type' | 'default' | 'modes'>;

export const productParameter: INodeProperties = {
  displayName: 'Product',
  name: 'product',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'list', value: '' },
  description: 'What is used. The Billing node creates products.',
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select a product…',
      typeOptions: { searchListMethod: 'searchProducts', searchable: true },
    },
    {
      displayName: 'By Key',
      // Not "id": the editor would call that "By ID", whatever is written here.
      name: 'key',
      type: 'string',
      placeholder: 'e.g. MESSAGES',
    },
  ],
};

export const offerParameter: INodeProperties = {
  displayName: 'Offer',
  name: 'offer',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'list', value: '' },
  description: 'What is sold. The Billing node creates offers.',
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select an offer…',
      typeOptions: { searchListMethod: 'searchOffers', searchable: true },
    },
    {
      displayName: 'By SKU',
      name: 'sku',
      type: 'string',
      placeholder: 'e.g. pack-100',
    },
  ],
};

type Field = Pick<INodeProperties, 'displayName' | 'name' | 'description'>;

/** Any number of offers. Before, their SKUs were typed, with commas between them. */
export const offersField = (field: Field): INodeProperties[] =>
  renewed(
    1.2,
    {
      ...field,
      type: 'string',
      default: '',
      placeholder: 'e.g. pack-1000, pro-monthly',
      hint: 'SKUs with commas between them',
    },
    {
      ...field,
      type: 'multiOptions',
      default: [],
      typeOptions: { loadOptionsMethod: 'getOffers' },
      hint: 'Choose from the list, or give a list of SKUs by an expression',
    },
  );

/** One account in a field that can be added. Before, its ID was typed. */
export const accountField = (field: Field): INodeProperties[] =>
  renewed(
    1.2,
    {
      ...field,
      type: 'string',
      default: '',
      placeholder: 'e.g. 0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11',
    },
    { ...field, ...accountPicker },
  );

export const offerQuantityParameter: INodeProperties = {
  displayName: 'Quantity',
  name: 'quantity',
  type: 'number',
  default: 1,
  typeOptions: { minValue: 1, numberPrecision: 0 },
  description: 'How many of the offer',
};

export const amountParameter: INodeProperties = {
  displayName: 'Amount',
  name: 'amount',
  type: 'number',
  required: true,
  default: 1,
  // No precision here: the editor would show 1 as 1.000000000000.
  typeOptions: { minValue: 0 },
  description: 'Units of the product. Fractions only where the product has decimals.',
};

export const couponParameter: INodeProperties = {
  displayName: 'Coupon',
  name: 'coupon',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'list', value: '' },
  description: 'The code that lowers a price. Upper and lower case do not count.',
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select a coupon…',
      typeOptions: { searchListMethod: 'searchCoupons', searchable: true },
    },
    {
      displayName: 'By Code',
      name: 'code',
      type: 'string',
      placeholder: 'e.g. SUMMER20',
    },
  ],
};

export const orderParameter: INodeProperties = {
  displayName: 'Order',
  name: 'order',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'id', value: '' },
  description: 'An order, as "Order: Create" made it',
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select an order…',
      typeOptions: { searchListMethod: 'searchOrders', searchable: true },
    },
    {
      displayName: 'By ID',
      name: 'id',
      type: 'string',
      placeholder: 'e.g. {{ $json.orderId }}',
    },
  ],
};

export const subscriptionParameter: INodeProperties = {
  displayName: 'Subscription',
  name: 'subscription',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'id', value: '' },
  description: 'A subscription, as "Subscription: Start" made it',
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select a subscription…',
      typeOptions: { searchListMethod: 'searchSubscriptions', searchable: true },
    },
    {
      displayName: 'By ID',
      name: 'id',
      type: 'string',
      placeholder: 'e.g. {{ $json.subscriptionId }}',
    },
  ],
};

export const invoiceParameter: INodeProperties = {
  displayName: 'Invoice',
  name: 'invoice',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'id', value: '' },
  description: 'An invoice or a draft of one, by its ID, which is not the number printed on it',
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select an invoice…',
      typeOptions: { searchListMethod: 'searchInvoices', searchable: true },
    },
    {
      displayName: 'By ID',
      name: 'id',
      type: 'string',
      placeholder: 'e.g. {{ $json.invoiceId }}',
    },
  ],
};

const paymentMethodModes = (searchListMethod: string): INodeProperties['modes'] => [
  {
    displayName: 'From List',
    name: 'list',
    type: 'list',
    placeholder: 'Select a payment method…',
    typeOptions: { searchListMethod, searchable: true },
  },
  {
    displayName: 'By ID',
    name: 'id',
    type: 'string',
    placeholder: 'e.g. {{ $json.methodId }}',
  },
];

/** Of who pays the order chosen in the same node. */
export const methodOfOrderField: INodeProperties[] = renewed(
  1.2,
  {
    displayName: 'Payment Method ID',
    name: 'methodId',
    type: 'string',
    default: '',
    placeholder: 'e.g. {{ $json.methodId }}',
    description:
      'Which one to charge, as "Payment: Get Methods" gives it. Without it, the default one of who pays.',
  },
  {
    displayName: 'Payment Method',
    name: 'methodId',
    type: 'resourceLocator',
    default: { mode: 'list', value: '' },
    description: 'Which one to charge. Without it, the default one of who pays the order.',
    typeOptions: { loadOptionsDependsOn: ['order.value'] },
    modes: paymentMethodModes('searchPaymentMethodsOfOrder'),
  },
);

/** Of the account chosen in the same node. */
export const paymentMethodParameter: INodeProperties = {
  displayName: 'Payment Method',
  name: 'paymentMethod',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'id', value: '' },
  description: 'A card or other method of this account, as "Payment: Save Method" kept it',
  typeOptions: {
    loadOptionsDependsOn: ['accountBy', 'provider', 'externalId', 'account.value'],
  },
  modes: paymentMethodModes('searchPaymentMethods'),
};

/** The key of a tax rate, where one is to count that nothing else says. Before, it was typed. */
export const taxRateField = (description: string): INodeProperties[] =>
  renewed(
    1.2,
    {
      displayName: 'Tax Rate Key',
      name: 'taxRate',
      type: 'string',
      default: '',
      placeholder: 'e.g. de-standard',
      description,
    },
    {
      displayName: 'Tax Rate',
      name: 'taxRate',
      type: 'resourceLocator',
      default: { mode: 'list', value: '' },
      description,
      modes: [
        {
          displayName: 'From List',
          name: 'list',
          type: 'list',
          placeholder: 'Select a tax rate…',
          typeOptions: { searchListMethod: 'searchTaxRates', searchable: true },
        },
        {
          displayName: 'By Key',
          name: 'key',
          type: 'string',
          placeholder: 'e.g. de-standard',
        },
      ],
    },
  );
