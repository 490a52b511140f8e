import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { orderParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

export const description = shownFor('order', 'get', [orderParameter]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.sales.getOrder({ orderId: readRequired(context, 'order', 'Order', itemIndex) });
}
