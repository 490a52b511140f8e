import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { keepSubscriptionOption } from '../../../shared/keepSubscription';
import { reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './invoiceChange';
import { readWhat, whatParameters } from './toCredit';

const properties = changeParameters(whatParameters('refundWhat', 'Refund'), [
  keepSubscriptionOption,
  reasonOption,
]);

export const description = shownFor('invoice', 'refund', properties);

type RefundRequest = Parameters<Billing['invoicing']['refundInvoice']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { position, amount } = readWhat(context, 'refundWhat', 'Refund', itemIndex);
  return billing.invoicing.refundInvoice({
    ...readChange(context, itemIndex),
    amount,
    line: position,
  } as RefundRequest);
}
