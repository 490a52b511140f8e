import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit } from '../../paging';
import { accountAndProduct, readAccountAndProduct } from './accountAndProduct';

export const description = shownFor('balance', 'getGrants', [
  ...accountAndProduct,
  ...pagingParameters,
]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const limit = readLimit(context, itemIndex);
  const grants = await billing.ledger.grants(readAccountAndProduct(context, itemIndex));
  return grants.slice(0, limit);
}
