import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';

export const description: INodeProperties[] = [];

/** Nothing comes out while no program was ever set. */
export async function execute(_context: IExecuteFunctions, billing: Billing) {
  return (await billing.sales.referralProgram()) ?? [];
}
