import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import { BillingError, type BillingOptions, type ServerConfig } from '../../engine';
import { isQueueMode } from './queueMode';

/** What a credential of the type `billingDatabaseApi` holds. */
export interface BillingDatabaseCredential {
  database?: 'embedded' | 'postgres';
  folder?: string;
  connectBy?: 'fields' | 'url';
  url?: string;
  host?: string;
  port?: number;
  databaseName?: string;
  user?: string;
  password?: string;
  tls?: 'disable' | 'verify' | 'unverified';
  ca?: string;
  poolSize?: number;
  schema?: string;
  identitySecret?: string;
  previousIdentitySecret?: string;
  webhookSecret?: string;
  previousWebhookSecret?: string;
  sandbox?: boolean;
}

export const CREDENTIAL_TYPE = 'billingDatabaseApi';

/** Beside n8n's own data, found the way n8n finds it. */
export function defaultFolder(): string {
  return path.join(process.env.N8N_USER_FOLDER || os.homedir(), '.n8n', 'billing');
}

/**
 * The folder as it is written, below n8n's own if it is not absolute: where a process happens to be
 * started says nothing. A database that is there from before stays.
 */
function folderOf(written: string): string {
  if (written === '') return defaultFolder();
  const before = path.resolve(written);
  const isThere = fs.existsSync(path.join(before, 'PG_VERSION'));
  return isThere ? before : path.resolve(path.dirname(defaultFolder()), written);
}

/** Text of a credential field, or an error that names the field as people see it. */
function filled(value: string | undefined, displayName: string): string {
  const written = (value ?? '').trim();
  if (written !== '') return written;
  throw new BillingError('invalid_input', `"${displayName}" of the credential is empty.`, {
    parameter: displayName,
    advice: 'Fill it in.',
  });
}

/** A port or a pool size; n8n gives a cleared number field as text or null. */
function wholeNumber(value: unknown, displayName: string, otherwise: number, maximum: number) {
  if (value === undefined || value === null || value === '') return otherwise;
  const number = Number(value);
  if (Number.isInteger(number) && number >= 1 && number <= maximum) return number;
  throw new BillingError(
    'invalid_input',
    `"${displayName}" of the credential must be a whole number from 1 to ${maximum}.`,
    { parameter: displayName },
  );
}

function tlsOf({ tls, ca }: BillingDatabaseCredential): ServerConfig['ssl'] {
  switch (tls) {
    case 'verify':
      return { rejectUnauthorized: true, ca: ca?.trim() ? ca : undefined };
    case 'unverified':
      return { rejectUnauthorized: false };
    default:
      return false;
  }
}

/** What pg takes for a place: all else it would look for on this machine. */
const IS_URL = /^(?:postgres(?:ql)?:\/\/.|socket:.|\/)/i;
/** A name, an address of either kind, or the folder of a socket. */
const IS_HOST = /^(?:\/.*|[^\s/:]+|[^\s/:]*:[^\s/]*:[^\s/]*)$/;

/** The value is not repeated: what was pasted may hold a password. */
function wellFormed(
  value: string,
  displayName: string,
  isSo: RegExp,
  must: string,
  advice: string,
) {
  if (isSo.test(value)) return value;
  throw new BillingError('invalid_input', `"${displayName}" of the credential must ${must}.`, {
    parameter: displayName,
    advice,
  });
}

const urlOf = ({ url }: BillingDatabaseCredential): string =>
  wellFormed(
    filled(url, 'Connection URL'),
    'Connection URL',
    IS_URL,
    'begin with postgresql:// and name a host',
    'Write postgresql://user:password@host:5432/database.',
  );

const hostOf = ({ host }: BillingDatabaseCredential): string =>
  wellFormed(
    filled(host, 'Host'),
    'Host',
    IS_HOST,
    'be a name or an address alone, such as db.example.com',
    'Port and database have fields of their own; choose "Connection URL" under "Connect By" to give all in one.',
  );

function serverOf(credential: BillingDatabaseCredential): ServerConfig {
  const poolSize = wholeNumber(credential.poolSize, 'Pool Size', 4, 100);
  // Left empty, pg would silently turn to the environment and the user of the n8n process.
  if (credential.connectBy === 'url') {
    return { connectionString: urlOf(credential), poolSize };
  }
  return {
    host: hostOf(credential),
    port: wholeNumber(credential.port, 'Port', 5432, 65_535),
    database: filled(credential.databaseName, 'Database Name'),
    user: filled(credential.user, 'User'),
    password: credential.password ?? '',
    ssl: tlsOf(credential),
    poolSize,
  };
}

/** The shortest secret that the engine takes. */
const SECRET_LENGTH = 16;

function secretOf(value: string | undefined, displayName: string): string | null {
  const written = (value ?? '').trim();
  if (written === '') return null;
  if (written.length >= SECRET_LENGTH) return written;
  throw new BillingError(
    'invalid_input',
    `"${displayName}" of the credential must have ${SECRET_LENGTH} characters or more.`,
    { parameter: displayName, advice: 'Have a password manager make a long one.' },
  );
}

/** A secret and the one before it, while it is being changed: the newest first, null when there is none. */
function withPrevious(
  present: string | null,
  previous: string | null,
  displayName: string,
): [string, ...string[]] | null {
  if (present === null && previous !== null) {
    throw new BillingError('invalid_input', `"${displayName}" of the credential is empty.`, {
      parameter: displayName,
      advice:
        'A previous one counts beside a present one: fill in both, or clear the previous one.',
    });
  }
  if (present === null) return null;
  return previous === null ? [present] : [present, previous];
}

/** What people are recognised by who had a trial, and what signs webhooks. */
function secretsOf(credential: BillingDatabaseCredential): Pick<BillingOptions, 'secrets'> {
  const identity = withPrevious(
    secretOf(credential.identitySecret, 'Identity Secret'),
    secretOf(credential.previousIdentitySecret, 'Previous Identity Secret'),
    'Identity Secret',
  );
  const webhooks = withPrevious(
    secretOf(credential.webhookSecret, 'Webhook Secret'),
    secretOf(credential.previousWebhookSecret, 'Previous Webhook Secret'),
    'Webhook Secret',
  );
  if (identity === null && webhooks === null) return {};
  return {
    secrets: {
      ...(identity !== null && {
        identity: identity.length === 1 ? identity[0] : identity.map((secret) => ({ secret })),
      }),
      ...(webhooks !== null && { webhooks: webhooks.length === 1 ? webhooks[0] : webhooks }),
    },
  };
}

/** Each process would have a database of its own: a customer with 10 free messages would have 10 in each. */
function refuseInQueueMode(): void {
  if (!isQueueMode()) return;
  throw new BillingError(
    'invalid_input',
    'n8n runs in queue mode, whose processes cannot share an embedded database: choose "Postgres Server" under "Database" of the credential.',
    { parameter: 'Database' },
  );
}

/**
 * How the engine is to be opened for a credential. Two spellings of one place give equal options
 * (an empty folder and the default one), since the embedded database can be opened only once.
 */
export function optionsOf(credential: BillingDatabaseCredential): BillingOptions {
  const schema = (credential.schema ?? '').trim() || 'billing';
  const common = {
    schema,
    ...secretsOf(credential),
    ...(credential.sandbox === true && { sandbox: true }),
  };
  if (credential.database === 'postgres') return { connection: serverOf(credential), ...common };
  refuseInQueueMode();
  const folder = (credential.folder ?? '').trim();
  if (folder === 'memory') return { connection: { embedded: 'memory' }, ...common };
  return { connection: { embedded: folderOf(folder) }, ...common };
}
