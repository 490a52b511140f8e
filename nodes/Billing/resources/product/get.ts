import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { productParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

export const description = shownFor('product', 'get', [productParameter]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.catalog.getProduct({
    key: readRequired(context, 'product', 'Product', itemIndex),
  });
}
