import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { orderParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  { ...orderParameter, description: 'One that is not paid. A paid one is refunded.' },
  idempotencyKeyParameter,
];

export const description = shownFor('order', 'cancel', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.sales.cancelOrder({
    orderId: readRequired(context, 'order', 'Order', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
