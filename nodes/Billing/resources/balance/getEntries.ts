import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { accountAndProduct, readAccountAndProduct } from './accountAndProduct';

const PAGE_SIZE = 1000;

export const description = shownFor('balance', 'getEntries', [
  ...accountAndProduct,
  ...pagingParameters,
]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const about = readAccountAndProduct(context, itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.ledger.entries({ ...about, ...page }),
  );
}
