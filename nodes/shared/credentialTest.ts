import type {
  ICredentialsDecrypted,
  ICredentialTestFunctions,
  INodeCredentialTestResult,
} from 'n8n-workflow';

import { isBillingError } from '../../engine';
import { optionsOf, type BillingDatabaseCredential } from './connection';
import { engines } from './engines';

/**
 * Opens the engine as the nodes will, tables and all, and asks it something. Says what failed and
 * what to do about it.
 */
export async function billingDatabaseTest(
  this: ICredentialTestFunctions,
  credential: ICredentialsDecrypted,
): Promise<INodeCredentialTestResult> {
  const settings = (credential.data ?? {}) as BillingDatabaseCredential;
  try {
    const options = optionsOf(settings);
    // An engine that is already open must still answer: its server may have gone meanwhile.
    await engines.use(options, (billing) => billing.catalog.listProducts({ keys: [] }));
    return { status: 'OK', message: 'Connected; the billing tables are ready' };
  } catch (error) {
    return { status: 'Error', message: explain(error) };
  }
}

/**
 * In words that do not depend on the secrets: where the right password were masked, and no other, whoever
 * tries one would see that it is right. The engine's hold none, and those of others are not shown.
 */
function explain(error: unknown): string {
  if (isBillingError(error)) return [error.message, error.advice].filter(Boolean).join(' ');
  return 'The billing engine could not be opened, for a reason that nobody foresaw.';
}
