import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { refuseAgents } from '../../../shared/toolMode';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './invoiceChange';

export const description = shownFor('invoice', 'delete', changeParameters());

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  refuseAgents(context, 'Invoice: Delete Draft');
  return billing.invoicing.deleteDraft(readChange(context, itemIndex));
}
