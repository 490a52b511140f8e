import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit } from '../../paging';

export const description = shownFor('coupon', 'getAll', pagingParameters);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const limit = readLimit(context, itemIndex);
  return (await billing.catalog.listCoupons()).slice(0, limit);
}
