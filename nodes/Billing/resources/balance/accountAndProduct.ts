import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { AccountReference } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { productParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';

/** Whose balance, and of which product; left empty, of all. */
export const accountAndProduct: INodeProperties[] = [
  ...accountParameters,
  {
    ...productParameter,
    required: false,
    description: 'Leave empty for all products',
  },
];

export function readAccountAndProduct(
  context: IExecuteFunctions,
  itemIndex: number,
): { account: AccountReference; product?: string } {
  const account = readAccount(context, itemIndex);
  const product: unknown = context.getNodeParameter('product', itemIndex, '', {
    extractValue: true,
  });
  return product === ''
    ? { account }
    : { account, product: readRequired(context, 'product', 'Product', itemIndex) };
}
