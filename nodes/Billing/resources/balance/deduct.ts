import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { amountParameter, productParameter } from '../../../shared/pickers';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { authorOption, reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  { ...productParameter, description: 'What is taken. It must be a counted product.' },
  { ...amountParameter, description: 'Units to take, all of them or none' },
  { ...reasonOption, required: true },
  idempotencyKeyParameter,
  optionsParameter([authorOption, metadataOption]),
];

export const description = shownFor('balance', 'deduct', properties);

/** A denial is data, `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, author } = readOptions(context, 'options', itemIndex, ['metadata', 'author']);
  return billing.ledger.deduct({
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    reason: readRequired(context, 'reason', 'Reason', itemIndex),
    author: (author ?? undefined) as string | undefined,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
