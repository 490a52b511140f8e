import type { INodeProperties } from 'n8n-workflow';

import { reasonOption } from '../../../shared/reasons';
import { change } from './invoiceChange';

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

export const { description, execute } = change(
  'void',
  (billing, asked) => billing.invoicing.voidInvoice(asked),
  options,
);
