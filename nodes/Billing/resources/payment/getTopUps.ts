import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { shownFor } from '../../operation';

export const description = shownFor('payment', 'getTopUps', accountParameters);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.invoicing.topUps({ account: readAccount(context, itemIndex) });
}
