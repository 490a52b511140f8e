import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readIdempotencyKey } from '../../../shared/idempotency';
import { shownFor } from '../../operation';
import { methodParameters, readMethod } from './methodReference';

export const description = shownFor('payment', 'removeMethod', methodParameters);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.payments.removeMethod({
    methodId: await readMethod(context, billing, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
