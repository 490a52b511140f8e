import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { subscriptionParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

export const description = shownFor('subscription', 'get', [subscriptionParameter]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const subscriptionId = readRequired(context, 'subscription', 'Subscription', itemIndex);
  return billing.subscriptions.get({ subscriptionId });
}
