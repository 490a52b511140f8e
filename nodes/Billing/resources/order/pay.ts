import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { optionsParameter } from '../../../shared/options';
import { methodOfOrderField, orderParameter } from '../../../shared/pickers';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  orderParameter,
  idempotencyKeyParameter,
  optionsParameter(methodOfOrderField),
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
