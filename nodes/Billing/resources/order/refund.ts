import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { keepSubscriptionOption } from '../../../shared/keepSubscription';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { orderParameter } from '../../../shared/pickers';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';

const itemField: Omit<INodeProperties, 'displayOptions'> = {
  displayName: 'Item',
  name: 'item',
  type: 'string',
  default: '',
  placeholder: 'e.g. pack-100',
  description:
    'The SKU of the line, or its position in the order. An SKU that stands in the order twice needs the position.',
};

const properties: INodeProperties[] = [
  orderParameter,
  {
    displayName: 'Refund',
    name: 'refundWhat',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'An Amount', value: 'amount', description: 'With the units that it stands for' },
      { name: 'Everything', value: 'all', description: 'All that was not refunded yet' },
      { name: 'One Item', value: 'item', description: 'One line of the order, whole' },
    ],
    default: 'all',
    description: 'What is given back',
  },
  {
    displayName: 'Amount',
    name: 'amount',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 19.98',
    description: "In the order's currency, tax included",
    displayOptions: { show: { refundWhat: ['amount'] } },
  },
  { ...itemField, required: true, displayOptions: { show: { refundWhat: ['item'] } } },
  idempotencyKeyParameter,
  optionsParameter([
    { ...itemField, displayOptions: { show: { '/refundWhat': ['amount'] } } },
    keepSubscriptionOption,
    metadataOption,
    reasonOption,
    {
      displayName: 'Refund ID',
      name: 'refundId',
      type: 'string',
      default: '',
      placeholder: 'e.g. {{ $json.data.object.id }}',
      description:
        'The ID that the refund has where it was paid out. The same one again changes nothing.',
    },
    {
      displayName: 'Used Units',
      name: 'used',
      type: 'options',
      options: [
        {
          name: 'Charge',
          value: 'charge',
          description: 'What was used stays paid: the refund is smaller by its value',
        },
        {
          name: 'Forgive',
          value: 'forgive',
          description: 'What was used is a gift: the whole price goes back',
        },
        {
          name: 'Owe',
          value: 'negative',
          description: 'What was used is owed, and the next units of the product pay it first',
        },
      ],
      default: 'forgive',
      description: 'What becomes of the units that were used before the refund',
    },
  ]),
];

export const description = shownFor('order', 'refund', properties);

type RefundRequest = Parameters<Billing['sales']['refundOrder']>[0];

/** A position is written as a whole number; an SKU that looks like one needs its position. */
const itemOf = (written: unknown): RefundRequest['item'] =>
  typeof written === 'string' && /^\d{1,3}$/.test(written)
    ? Number.parseInt(written, 10)
    : (written as RefundRequest['item']);

/** Never less asked for than meant: an empty amount is an error, not everything. */
function readWhat(
  context: IExecuteFunctions,
  itemIndex: number,
  item: unknown,
): Pick<RefundRequest, 'amount' | 'item'> {
  const what: unknown = context.getNodeParameter('refundWhat', itemIndex);
  switch (what) {
    case 'all':
      return {};
    case 'amount':
      return { amount: readAmount(context, 'amount', 'Amount', itemIndex), item: itemOf(item) };
    case 'item':
      return { item: itemOf(readRequired(context, 'item', 'Item', itemIndex)) };
    default:
      throw new BillingError('invalid_input', '"Refund" must be one of all, amount, item.', {
        parameter: 'refundWhat',
      });
  }
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, item, ...options } = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.sales.refundOrder({
    orderId: readRequired(context, 'order', 'Order', itemIndex),
    ...readWhat(context, itemIndex, item),
    ...options,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
