import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { refuseAgents } from '../../../shared/toolMode';

export const description: INodeProperties[] = [];

export async function execute(context: IExecuteFunctions, billing: Billing) {
  refuseAgents(context, 'Sandbox: Mark');
  return billing.sandbox.mark();
}
