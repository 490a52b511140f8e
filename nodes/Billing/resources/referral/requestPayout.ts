import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { readAmount, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  {
    displayName: 'Amount',
    name: 'amount',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 25.00',
    description: 'How much of the commissions is wanted',
  },
  {
    displayName: 'Currency',
    name: 'currency',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. USD',
    description: 'Commissions are kept in the currency of the orders that earned them',
  },
  idempotencyKeyParameter,
];

export const description = shownFor('referral', 'requestPayout', properties);

/** A denial, of more than is available, is data: `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.sales.requestPayout({
    account: readAccount(context, itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    currency: readRequired(context, 'currency', 'Currency', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
