import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readRequired } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './invoiceChange';

const own: INodeProperties[] = [
  {
    displayName: 'Paid By',
    name: 'method',
    type: 'options',
    options: [
      { name: 'Bank Transfer', value: 'bank_transfer' },
      { name: 'Card Terminal', value: 'card_terminal' },
      { name: 'Cash', value: 'cash' },
      { name: 'Check', value: 'cheque' },
      { name: 'Other', value: 'other' },
    ],
    default: 'bank_transfer',
    description: 'How the money came',
  },
  {
    displayName: 'Reference',
    name: 'reference',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.transactionId }}',
    description: 'The ID of the payment at the bank. The same one counts once.',
  },
];

const options: INodeProperties[] = [
  {
    displayName: 'Amount',
    name: 'amount',
    type: 'string',
    default: '',
    placeholder: 'e.g. 34.51',
    description:
      'What came. Without it, all that is left to pay; more than that becomes account credit.',
  },
  {
    displayName: 'Paid At',
    name: 'paidAt',
    type: 'dateTime',
    default: '',
    description: 'When it came. Without it, now.',
  },
];

export const description = shownFor('invoice', 'markPaid', changeParameters(own, options));

type MarkPaidRequest = Parameters<Billing['invoicing']['markPaid']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const change = readChange(context, itemIndex) as ReturnType<typeof readChange> &
    Record<string, unknown>;
  return billing.invoicing.markPaid({
    ...change,
    method: readRequired<MarkPaidRequest['method']>(context, 'method', 'Paid By', itemIndex),
    reference: readRequired(context, 'reference', 'Reference', itemIndex),
    paidAt: timeOf(context, change.paidAt),
  });
}
