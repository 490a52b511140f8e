import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Refund ID',
    name: 'refundId',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.refundId }}',
    description: 'One that "Payment: Get Refunds Due" lists',
  },
  {
    displayName: 'Reference',
    name: 'reference',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. transfer 2027-0042',
    description: 'By what it is found again: the number of the transfer, or the ID of the gateway',
  },
  idempotencyKeyParameter,
];

export const description = shownFor('payment', 'markRefunded', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.payments.markRefunded({
    refundId: readRequired(context, 'refundId', 'Refund ID', itemIndex),
    reference: readRequired(context, 'reference', 'Reference', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
