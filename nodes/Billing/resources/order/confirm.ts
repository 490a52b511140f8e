import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { orderParameter } from '../../../shared/pickers';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { gatewayParameter } from '../payment/gateway';

const properties: INodeProperties[] = [
  orderParameter,
  {
    displayName: 'Payment ID',
    name: 'paymentId',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.data.object.payment_intent }}',
    description:
      'The ID that the payment has where it was made. The same one again changes nothing; another one is refused.',
  },
  {
    ...gatewayParameter,
    default: { mode: 'name', value: 'manual' },
    description: 'Where it was paid. Payment IDs count per gateway.',
  },
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Amount',
      name: 'amount',
      type: 'string',
      default: '',
      placeholder: 'e.g. 40.00',
      description: 'What was paid. It is refused unless it is the total of the order.',
    },
    {
      displayName: 'Currency',
      name: 'currency',
      type: 'string',
      default: '',
      placeholder: 'e.g. USD',
      description: 'The currency that was paid in. It is refused unless it is that of the order.',
    },
    metadataOption,
  ]),
];

export const description = shownFor('order', 'confirm', properties);

/** A denial, of an order that lapsed and whose place is taken, is data: `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, amount, currency } = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.sales.confirmOrder({
    orderId: readRequired(context, 'order', 'Order', itemIndex),
    paymentId: readRequired(context, 'paymentId', 'Payment ID', itemIndex),
    gateway: readRequired(context, 'gateway', 'Gateway', itemIndex),
    amount: plainAmount(amount) as string | undefined,
    currency: currency as string | undefined,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
