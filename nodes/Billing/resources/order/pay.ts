import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { optionsParameter } from '../../../shared/options';
import { orderParameter } from '../../../shared/pickers';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  orderParameter,
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Payment Method ID',
      name: 'methodId',
      type: 'string',
      default: '',
      placeholder: 'e.g. {{ $json.methodId }}',
      description:
        'Which one to charge, as "Payment: Get Methods" gives it. Without it, the default one of who pays.',
    },
  ]),
];

export const description = shownFor('order', 'pay', properties);

/** A decline is data, the attempt's status. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { methodId } = readOptions(context, 'options', itemIndex) as { methodId?: string };
  return billing.payments.payOrder({
    orderId: readRequired(context, 'order', 'Order', itemIndex),
    methodId,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
