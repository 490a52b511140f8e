import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { productParameter } from '../../../shared/pickers';
import { readAmount, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  {
    ...productParameter,
    description: 'What may be used beyond the grants. It must be a counted product.',
  },
  {
    displayName: 'Overage',
    name: 'overage',
    type: 'options',
    options: [
      { name: 'None', value: 'none', description: 'Denied when the grants are used up' },
      { name: 'Up to a Limit', value: 'limited', description: 'Denied beyond the limit' },
      {
        name: 'Without Limit',
        value: 'unlimited',
        description: 'Never denied for want of units; suspended and closed accounts still are',
      },
    ],
    default: 'limited',
    description: 'How much the account may use beyond what it was granted',
  },
  {
    displayName: 'Limit',
    name: 'limit',
    type: 'number',
    required: true,
    default: '',
    typeOptions: { minValue: 0 },
    placeholder: 'e.g. 1000',
    description: 'Units in all, those that were used beyond the grants before included',
    displayOptions: { show: { overage: ['limited'] } },
  },
  idempotencyKeyParameter,
];

export const description = shownFor('balance', 'allowOverage', properties);

/** The choice may be an expression, such as one on the customer's plan. */
function readLimit(context: IExecuteFunctions, itemIndex: number): string | null {
  const overage = readRequired(context, 'overage', 'Overage', itemIndex);
  switch (overage) {
    case 'none':
      return '0';
    case 'limited':
      return readAmount(context, 'limit', 'Limit', itemIndex);
    case 'unlimited':
      return null;
    default:
      throw new BillingError(
        'invalid_input',
        '"Overage" must be one of none, limited, unlimited.',
        { parameter: 'overage' },
      );
  }
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.ledger.setOverage({
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    limit: readLimit(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
