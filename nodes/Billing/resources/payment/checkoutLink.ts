import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { invoiceParameter, orderParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { gatewayParameter } from './gateway';

const properties: INodeProperties[] = [
  ...accountParameters,
  {
    displayName: 'Pay',
    name: 'payWhat',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'Invoice', value: 'invoice' },
      { name: 'Order', value: 'order' },
    ],
    default: 'invoice',
    description: 'What is to be paid on that page',
  },
  { ...invoiceParameter, displayOptions: { show: { payWhat: ['invoice'] } } },
  { ...orderParameter, displayOptions: { show: { payWhat: ['order'] } } },
  gatewayParameter,
  {
    displayName: 'Return URL',
    name: 'returnUrl',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. https://example.com/thanks',
    description: 'Where the gateway sends the customer afterwards. It proves nothing by itself.',
  },
];

export const description = shownFor('payment', 'checkoutLink', properties);

type CheckoutLinkRequest = Parameters<Billing['payments']['checkoutLink']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const isOrder = context.getNodeParameter('payWhat', itemIndex) === 'order';
  return billing.payments.checkoutLink({
    account: readAccount(context, itemIndex),
    ...(isOrder
      ? { orderId: readRequired(context, 'order', 'Order', itemIndex) }
      : { invoiceId: readRequired(context, 'invoice', 'Invoice', itemIndex) }),
    gateway: readRequired(context, 'gateway', 'Gateway', itemIndex),
    returnUrl: readRequired(context, 'returnUrl', 'Return URL', itemIndex),
  } as CheckoutLinkRequest);
}
