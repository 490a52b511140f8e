import { types } from 'node:util';

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
    return { status: 'Error', message: withoutSecrets(explain(error), settings) };
  }
}

function explain(error: unknown): string {
  if (isBillingError(error)) return [error.message, error.advice].filter(Boolean).join(' ');
  return types.isNativeError(error) ? error.message : String(error);
}

/** Messages of drivers and systems may repeat what they were given. */
function withoutSecrets(text: string, { url, password }: BillingDatabaseCredential): string {
  const inUrl = /^[^:]+:\/\/[^:@/]*:([^@/]*)@/.exec(url ?? '')?.[1];
  return [url, password, inUrl, inUrl === undefined ? undefined : decoded(inUrl)]
    .filter((secret): secret is string => secret !== undefined && secret !== '')
    .reduce((safe, secret) => safe.replaceAll(secret, '***'), text);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Not percent-encoding, so it stands for itself.
  }
}
