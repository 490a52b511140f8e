import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';

export const description: INodeProperties[] = [];

export async function execute(_context: IExecuteFunctions, billing: Billing) {
  return billing.sandbox.mark();
}
