import { randomBytes, randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';

import { BillingError } from '../kernel';
import type { Connection } from './database';

/** In the folder of an embedded database, so that it goes wherever the data goes. */
const FILE = 'billing-identity.secret';
const BYTES = 32;
/** What was written is longer; anything shorter was not written by us. */
const SHORTEST = 16;

function unusable(file: string, why: string, cause?: unknown): BillingError {
  return new BillingError('database_unavailable', `The file ${file} cannot be used: ${why}.`, {
    parameter: 'connection.embedded',
    advice:
      'It holds the secret by which trial identities are hashed: bring it back from a backup, or remove it, and people can claim a trial anew.',
    cause,
  });
}

function readSecret(file: string): string | null {
  let written: string;
  try {
    written = fs.readFileSync(file, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw unusable(file, 'it cannot be read', error);
  }
  if (written.length < SHORTEST) throw unusable(file, 'it is cut short');
  return written;
}

/** Whole or not at all: written beside it and then named, so that no crash leaves half a secret. */
function writeSecret(file: string, secret: string): void {
  const draft = `${file}.${randomUUID()}`;
  try {
    fs.writeFileSync(draft, `${secret}\n`, { mode: 0o600, flag: 'wx', flush: true });
    fs.renameSync(draft, file);
  } catch (error) {
    fs.rmSync(draft, { force: true });
    throw unusable(file, 'it cannot be written', error);
  }
}

/**
 * The secret that an embedded database keeps in its folder (mode 0600), made when it is first asked
 * for; in memory a new one each time. Null for a server, which has no place that is the seller's
 * alone. To be called by who holds the folder's lock.
 *
 * @param make false: only one that is there already
 */
export function keptSecret(connection: Connection, make: boolean): string | null {
  if (typeof connection !== 'object' || !('embedded' in connection)) return null;
  const { embedded: folder } = connection as { embedded: string };
  if (folder === 'memory') return make ? randomBytes(BYTES).toString('hex') : null;
  const file = path.join(path.resolve(folder), FILE);
  const kept = readSecret(file);
  if (kept !== null || !make) return kept;
  const secret = randomBytes(BYTES).toString('hex');
  writeSecret(file, secret);
  return secret;
}
