import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { shownFor } from '../../operation';

export const description = shownFor('invoice', 'preview', accountParameters);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const account = readAccount(context, itemIndex);
  return (await billing.invoicing.previewInvoice({ account })) ?? { nothingDue: true };
}
