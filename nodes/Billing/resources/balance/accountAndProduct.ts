import type { AccountReference } from '../../../../engine';
import { productParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import type { Question } from '../../operation';
import { ofAccount } from '../../whose';

/** Whose balance, and of which product; left empty, of all. */
export const accountAndProduct: Question<{ account: AccountReference; product?: string }> = {
  parameters: [
    ...ofAccount.parameters,
    { ...productParameter, required: false, description: 'Leave empty for all products' },
  ],
  read(context, itemIndex) {
    const account = ofAccount.read(context, itemIndex);
    const product: unknown = context.getNodeParameter('product', itemIndex, '', {
      extractValue: true,
    });
    return product === ''
      ? account
      : { ...account, product: readRequired(context, 'product', 'Product', itemIndex) };
  },
};
