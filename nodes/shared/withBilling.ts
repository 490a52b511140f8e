import type { IExecuteFunctions, ILoadOptionsFunctions } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { CREDENTIAL_TYPE, optionsOf, type BillingDatabaseCredential } from './connection';
import { engines } from './engines';

/** Does work on the engine of the node's credential. */
export async function withBilling<T>(
  context: IExecuteFunctions | ILoadOptionsFunctions,
  work: (billing: Billing) => Promise<T>,
): Promise<T> {
  const credential = await context.getCredentials<BillingDatabaseCredential>(CREDENTIAL_TYPE);
  return engines.use(optionsOf(credential), work);
}
