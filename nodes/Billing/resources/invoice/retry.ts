import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { invoiceParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

export const description = shownFor('invoice', 'retry', [
  invoiceParameter,
  idempotencyKeyParameter,
]);

/** A decline is data, the attempt's status. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.invoicing.retryInvoice({
    invoiceId: readRequired(context, 'invoice', 'Invoice', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
