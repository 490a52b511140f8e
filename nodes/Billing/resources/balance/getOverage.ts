import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { shownFor } from '../../operation';
import { accountAndProduct, readAccountAndProduct } from './accountAndProduct';

export const description = shownFor('balance', 'getOverage', accountAndProduct);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.ledger.overage(readAccountAndProduct(context, itemIndex));
}
