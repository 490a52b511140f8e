import * as fs from 'node:fs';
import * as path from 'node:path';

import { PGlite } from '@electric-sql/pglite';
import knexFactory, { type Knex } from 'knex';
import ClientPGLite from 'knex-pglite';

import { BillingError, refused } from '../kernel';
import { requireRoom } from './disk-room';
import { lockFolder, type FolderLock } from './folder-lock';
import { IMAGE_SCHEMA, holdsDatabase, moveIntoPlace, readImage, unpackImage } from './image';

/** The Postgres version inside PGlite; a test holds it equal to what the database says. */
export const EMBEDDED_POSTGRES_MAJOR = 18;

export interface OpenedKnex {
  knex: Knex;
  /** How long making a connection may take, in milliseconds, where the connection says so. */
  connect?: number;
  /** Of an embedded database: throws while its disk has no room for what may be written. */
  requireRoom?(): void;
  close(): Promise<void>;
}

const silent = (): void => undefined;
/** Knex would print lost connections to the console; they reach the caller as errors. */
export const QUIET = { warn: silent, error: silent, debug: silent, deprecate: silent };

/** The folder's data is in the format of one Postgres major version; another one cannot read it. */
function checkVersion(folder: string): void {
  const file = path.join(folder, 'PG_VERSION');
  if (!fs.existsSync(file)) return;
  const version = fs.readFileSync(file, 'utf8').trim();
  if (version === String(EMBEDDED_POSTGRES_MAJOR)) return;
  throw new BillingError(
    'database_version',
    `The folder ${folder} holds a database of Postgres ${version}, but this version of n8n-nodes-billing embeds Postgres ${EMBEDDED_POSTGRES_MAJOR}.`,
    {
      parameter: 'connection.embedded',
      advice:
        'Run the version of n8n-nodes-billing that wrote it until its data is moved (docs/operations.md), or name another folder.',
    },
  );
}

/** One level after the other: Node's recursive mkdir spins for ever below a folder such as /proc. */
function makeFolders(folder: string): void {
  if (fs.existsSync(folder)) return;
  makeFolders(path.dirname(folder));
  try {
    fs.mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    // Another process made it first.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** @returns the folder itself, where links lead to it */
function prepareFolder(place: string): string {
  try {
    makeFolders(place);
    const folder = fs.realpathSync(place);
    if (!fs.statSync(folder).isDirectory()) throw new Error('it is a file');
    fs.accessSync(folder, fs.constants.R_OK | fs.constants.W_OK);
    return folder;
  } catch (error) {
    throw cannotBeUsed(place, error);
  }
}

/**
 * Whether a database is in the folder; where none is, that one could be made there. Writes nothing.
 *
 * @throws database_unavailable
 */
export function isFolderInUse(place: string): boolean {
  if (place === 'memory') return false;
  const folder = path.resolve(place);
  if (holdsDatabase(folder)) return true;
  let above = folder;
  while (!fs.existsSync(above)) above = path.dirname(above);
  try {
    if (!fs.statSync(above).isDirectory()) throw new Error(`${above} is a file`);
    fs.accessSync(above, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  } catch (error) {
    throw cannotBeUsed(folder, error);
  }
  return false;
}

const cannotBeUsed = (folder: string, cause: unknown): BillingError =>
  new BillingError(
    'database_unavailable',
    `The folder ${folder} cannot be used: ${(cause as Error).message}.`,
    {
      parameter: 'connection.embedded',
      advice: 'Name a folder that this process may create and write to.',
      cause,
    },
  );

/** Whatever others have in it would be closed to them. */
const isOursAlone = (folder: string, uid: number): boolean => {
  const names = fs.readdirSync(folder);
  const isDatabase = names.includes('PG_VERSION');
  return (
    uid === process.getuid?.() && (isDatabase || names.every((name) => name.startsWith('billing')))
  );
};

/**
 * Files of the database may be read and written by whoever gets into its folder: that is its owner
 * alone. A folder that we made is so; one that was there is closed if it is ours.
 */
function closeToOthers(folder: string): void {
  // Windows has no such modes.
  if (process.getuid === undefined) return;
  const isOpen = (): boolean => (fs.statSync(folder).mode & 0o077) !== 0;
  if (!isOpen()) return;
  try {
    if (isOursAlone(folder, fs.statSync(folder).uid)) fs.chmodSync(folder, 0o700);
  } catch {
    // Not every disk lets us: it is open still.
  }
  if (!isOpen()) return;
  throw new BillingError(
    'database_unavailable',
    `Other users of this machine can get into the folder ${folder}, where data of customers would be.`,
    {
      parameter: 'connection.embedded',
      advice: `Name a folder of its own, or close this one: as its owner, chmod 700 ${folder} (on a mounted disk, by an option of the mount).`,
    },
  );
}

/**
 * Postgres' own 128 MB would be filled with zeros at each opening, and stay. A page that is read again
 * comes from the system's cache, some microseconds later.
 */
const BUFFERS = ['-c', 'shared_buffers=32MB'];

async function startDatabase(folder: string | null, image: Buffer | null): Promise<PGlite> {
  // PGlite's own list has -F, which turns fsync off: an answer given must survive a power cut.
  const own = PGlite.defaultStartParams.filter((parameter) => parameter !== '-F');
  const startParams = [...own, ...BUFFERS];
  const loaded = image !== null &&
    folder === null && { loadDataDir: new Blob([image as Uint8Array<ArrayBuffer>]) };
  const database = new PGlite(folder ?? 'memory://', { startParams, ...loaded });
  await database.waitReady;
  if (image !== null) await database.exec(MADE_NOW);
  return database;
}

/** The image's own time is that of the package. */
const MADE_NOW = `update ${IMAGE_SCHEMA}.migrations set applied_at = clock_timestamp()`;

/** What every database has, and what nothing is put over. */
const PARTS = ['base', 'global', 'pg_wal'];

/** @throws where a database has lost what names its version, which initdb would not look for */
function refuseRemains(folder: string): void {
  const part = PARTS.find((name) => fs.existsSync(path.join(folder, name)));
  if (part !== undefined) throw new Error(`"${part}" of a database is there, but no PG_VERSION`);
}

/** Where no database is yet, one begins: as a copy of the image, or as PGlite begins it. */
async function beginOrStart(folder: string | null, schema?: string): Promise<PGlite> {
  try {
    if (folder !== null) moveIntoPlace(folder);
    const isNew = folder === null || !holdsDatabase(folder);
    if (isNew && folder !== null) refuseRemains(folder);
    const image = isNew && schema === IMAGE_SCHEMA ? await readImage() : null;
    if (image !== null && folder !== null) await unpackImage(image, folder);
    return await startDatabase(folder, image);
  } catch (error) {
    throw new BillingError(
      'database_unavailable',
      `The embedded database ${folder ?? 'in memory'} did not start: ${(error as Error).message}.`,
      {
        parameter: 'connection.embedded',
        advice: 'If the folder holds other files, name another one; else restore it from a backup.',
        cause: error,
      },
    );
  }
}

/**
 * Opens the embedded database (Postgres in WebAssembly, one connection) in a folder or in memory.
 *
 * @param place a folder, created when missing, or 'memory'; one that is not absolute lies below the
 *   working directory of the process
 * @param schema the one that will be opened: one that begins may be there already
 * @throws invalid_input, database_in_use when another process has the folder, database_version when another
 *   Postgres version wrote it, database_unavailable when it cannot be used
 */
export async function openEmbedded(
  place: string,
  acquireTimeout: number,
  schema?: string,
): Promise<OpenedKnex> {
  if (typeof place !== 'string' || place.trim() === '') {
    throw refused('connection.embedded', 'must name a folder, or say "memory"');
  }
  const folder = place === 'memory' ? null : prepareFolder(path.resolve(place));
  let lock: FolderLock | null = null;
  if (folder !== null) {
    checkVersion(folder);
    closeToOthers(folder);
    lock = await lockFolder(folder);
  }
  try {
    if (folder !== null) requireRoom(folder);
    const database = await beginOrStart(folder, schema);
    const knex = knexFactory({
      client: ClientPGLite,
      connection: () => ({ pglite: database }) as unknown as Knex.StaticConnectionConfig,
      acquireConnectionTimeout: acquireTimeout,
      log: QUIET,
    });
    return {
      knex,
      requireRoom: () => {
        if (folder !== null) requireRoom(folder);
      },
      async close() {
        await knex.destroy();
        if (!database.closed) await database.close();
        await lock?.release();
      },
    };
  } catch (error) {
    await lock?.release();
    throw error;
  }
}
