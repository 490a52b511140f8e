import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOption, readMetadata } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { amountParameter, productParameter } from '../../../shared/pickers';
import { readAmount, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { expiresInParameters, readExpiresIn } from './expiresIn';

const properties: INodeProperties[] = [
  ...accountParameters,
  { ...productParameter, description: 'What the work will use. It must be a counted product.' },
  {
    ...amountParameter,
    description:
      'Units to set aside, all of them or none: the most that the work is expected to use',
  },
  ...expiresInParameters,
  idempotencyKeyParameter,
  optionsParameter([metadataOption]),
];

export const description = shownFor('hold', 'create', properties);

/** A denial is data, `allowed: false`: the node has one output, and an If node tells them apart. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.ledger.hold({
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    expiresIn: readExpiresIn(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: readMetadata(context, itemIndex),
  });
}
