import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { shownFor } from '../../operation';

export const description = shownFor('referral', 'getCommissions', accountParameters);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.sales.commissions({ account: readAccount(context, itemIndex) });
}
