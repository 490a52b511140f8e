import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readRequired } from '../../../shared/reading';
import { reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './invoiceChange';
import { readWhat, whatParameters } from './toCredit';

const own: INodeProperties[] = [
  ...whatParameters('creditWhat', 'Credit'),
  {
    displayName: 'Money Goes',
    name: 'creditTo',
    type: 'options',
    options: [
      { name: 'Back to the Customer', value: 'refund', description: 'By the gateway' },
      { name: 'Off What Is Due', value: 'due', description: 'Of an invoice that is not paid' },
      { name: 'To Account Credit', value: 'credit', description: 'For the next invoices' },
    ],
    default: 'due',
    description: 'What becomes of the amount',
  },
];

const properties = changeParameters(own, [reasonOption]);

export const description = shownFor('invoice', 'createCreditNote', properties);

type CreditNoteRequest = Parameters<Billing['invoicing']['createCreditNote']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { position, amount } = readWhat(context, 'creditWhat', 'Credit', itemIndex);
  return billing.invoicing.createCreditNote({
    ...readChange(context, itemIndex),
    ...(position === undefined ? { amount } : { lines: [{ position, amount }] }),
    to: readRequired<CreditNoteRequest['to']>(context, 'creditTo', 'Money Goes', itemIndex),
  } as CreditNoteRequest);
}
