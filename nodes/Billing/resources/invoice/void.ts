import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { reasonOption } from '../../../shared/reasons';
import { refuseAgents } from '../../../shared/toolMode';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './invoiceChange';

const options: INodeProperties[] = [
  { ...reasonOption, placeholder: 'e.g. Issued to the wrong customer' },
  {
    displayName: 'Bill Again',
    name: 'rebill',
    type: 'boolean',
    default: false,
    description: 'Whether what stood on it comes on the next invoice',
  },
];

export const description = shownFor('invoice', 'void', changeParameters([], options));

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  refuseAgents(context, 'Invoice: Void');
  return billing.invoicing.voidInvoice(readChange(context, itemIndex));
}
