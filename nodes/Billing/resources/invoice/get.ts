import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { invoiceParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

export const description = shownFor('invoice', 'get', [invoiceParameter]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const invoiceId = readRequired(context, 'invoice', 'Invoice', itemIndex);
  return billing.invoicing.getInvoice({ invoiceId });
}
