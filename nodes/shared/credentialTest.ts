import type {
  ICredentialsDecrypted,
  ICredentialTestFunctions,
  INodeCredentialTestResult,
} from 'n8n-workflow';

import { isBillingError, type BillingOptions, type DatabaseStatus } from '../../engine';
import { optionsOf, type BillingDatabaseCredential } from './connection';
import { engines } from './engines';

/**
 * Looks at the database as the nodes will open it, and says what failed and what to do about it.
 * Writes nothing: a mistyped schema or folder is not made.
 */
export async function billingDatabaseTest(
  this: ICredentialTestFunctions,
  credential: ICredentialsDecrypted,
): Promise<INodeCredentialTestResult> {
  const settings = (credential.data ?? {}) as BillingDatabaseCredential;
  try {
    const options = optionsOf(settings);
    return { status: 'OK', message: told(await engines.look(options), options) };
  } catch (error) {
    return { status: 'Error', message: explain(error) };
  }
}

/** What is there, and where: a folder that is no whole path lies below n8n's own. */
function told({ tables, schema, elsewhere }: DatabaseStatus, { connection }: BillingOptions) {
  const folder =
    typeof connection === 'object' && 'embedded' in connection ? connection.embedded : null;
  const place = folder === null ? `schema "${schema}"` : `schema "${schema}" in ${folder}`;
  if (tables === 'ready') return `Connected; the billing tables are ready: ${place}`;
  if (tables === 'older') {
    return `Connected; the first node that runs upgrades the billing tables: ${place}`;
  }
  const others = elsewhere.map((other) => `"${other}"`).join(', ');
  const remark = others === '' ? '' : `. There are billing tables already in ${others}`;
  return `Connected; the first node that runs makes the billing tables: ${place}${remark}`;
}

/**
 * In words that do not depend on the secrets: where the right password were masked, and no other, whoever
 * tries one would see that it is right. The engine's hold none, and those of others are not shown.
 */
function explain(error: unknown): string {
  if (isBillingError(error)) return [error.message, error.advice].filter(Boolean).join(' ');
  return 'The billing engine could not be opened, for a reason that nobody foresaw.';
}
