import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter } from '../../../shared/idempotency';
import { paymentMethodParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';

/** Which method, and whose it must be: the ID alone may have come from anywhere. */
export const methodParameters: INodeProperties[] = [
  ...accountParameters,
  paymentMethodParameter,
  idempotencyKeyParameter,
];

export async function readMethod(
  context: IExecuteFunctions,
  billing: Billing,
  itemIndex: number,
): Promise<string> {
  const wanted = readRequired(context, 'paymentMethod', 'Payment Method', itemIndex);
  const methods = await billing.payments.methods({ account: readAccount(context, itemIndex) });
  if (methods.some(({ methodId }) => methodId === wanted)) return wanted;
  throw new BillingError('invalid_input', `The account has no payment method "${wanted}".`, {
    parameter: 'paymentMethod',
    advice: 'Pick it from the list, or take the ID that "Payment: Get Methods" gives.',
  });
}
