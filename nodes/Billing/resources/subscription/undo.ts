import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { refuseAgents } from '../../../shared/toolMode';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './subscriptionChange';

export const description = shownFor('subscription', 'undo', changeParameters([]));

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  refuseAgents(context, 'Subscription: Undo');
  return billing.subscriptions.undo(readChange(context, itemIndex));
}
