import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { optionsParameter } from '../../../shared/options';
import { readOptions, readRequired } from '../../../shared/reading';
import { reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Payout ID',
    name: 'payoutId',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.payoutId }}',
    description: 'As "Referral: Request Payout" gave it',
  },
  {
    displayName: 'Decision',
    name: 'decision',
    type: 'options',
    options: [
      { name: 'Paid', value: 'paid', description: 'The money went out' },
      { name: 'Rejected', value: 'rejected', description: 'It did not, and is available again' },
    ],
    default: 'paid',
    description: 'What came of it. It is final.',
  },
  idempotencyKeyParameter,
  optionsParameter([
    reasonOption,
    {
      displayName: 'Reference',
      name: 'reference',
      type: 'string',
      default: '',
      placeholder: 'e.g. {{ $json.transferId }}',
      description: 'The ID of the transfer at the bank or gateway',
    },
  ]),
];

export const description = shownFor('referral', 'decidePayout', properties);

type DecidePayoutRequest = Parameters<Billing['sales']['decidePayout']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.sales.decidePayout({
    payoutId: readRequired(context, 'payoutId', 'Payout ID', itemIndex),
    decision: readRequired<DecidePayoutRequest['decision']>(
      context,
      'decision',
      'Decision',
      itemIndex,
    ),
    ...readOptions(context, 'options', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
