import type { INodeProperties } from 'n8n-workflow';

/** Pickers for what the catalog holds: from a list with search, or by the word that names it. */

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
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select a payment method…',
      typeOptions: { searchListMethod: 'searchPaymentMethods', searchable: true },
    },
    {
      displayName: 'By ID',
      name: 'id',
      type: 'string',
      placeholder: 'e.g. {{ $json.methodId }}',
    },
  ],
};
