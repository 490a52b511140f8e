import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { invoiceParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { lineParameter } from './line';

export const description = shownFor('invoice', 'removeItem', [
  invoiceParameter,
  lineParameter,
  idempotencyKeyParameter,
]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.invoicing.removeItem({
    invoiceId: readRequired(context, 'invoice', 'Invoice', itemIndex),
    lineId: readRequired(context, 'lineId', 'Line ID', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
