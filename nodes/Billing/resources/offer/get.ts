import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { offerParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

export const description = shownFor('offer', 'get', [offerParameter]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.catalog.getOffer({ sku: readRequired(context, 'offer', 'Offer', itemIndex) });
}
