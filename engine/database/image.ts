import { createHash } from 'node:crypto';
import fs from 'node:fs';
import * as path from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';

import { MIGRATIONS } from './migrations';

/** The schema that is in the image: the one that an engine opens when none is named. */
export const IMAGE_SCHEMA = 'billing';

/**
 * The image: an embedded database as its first opening leaves it, made when the package is built
 * (scripts/image.ts), since initdb and all migrations take seconds. A tar, compressed.
 *
 * Its name says of which migrations it is. PGlite's version need not be in it: what an older one began
 * a newer one opens, as with everybody's folder.
 */
export function imageName(): string {
  const migrations = createHash('sha256').update(JSON.stringify(MIGRATIONS)).digest('hex');
  return `image-${migrations.slice(0, 16)}.tar.br`;
}

/** @returns the tar; null where none of these migrations is there, as when run from the sources */
export async function readImage(): Promise<Buffer | null> {
  let packed: Buffer;
  try {
    packed = await fs.promises.readFile(path.join(__dirname, imageName()));
  } catch {
    return null;
  }
  return promisify(brotliDecompress)(packed);
}

const FOLDER = '5';
const BLOCK = 512;

interface Entry {
  name: string;
  isFolder: boolean;
  data: Buffer;
}

/** What scripts/image.ts has put into a tar: folders and files with short names, and nothing else. */
function* entriesOf(tar: Buffer): Generator<Entry> {
  const text = (from: number, to: number): string =>
    tar.toString('latin1', from, to).split('\0')[0]!;
  for (let at = 0; tar[at] !== 0;) {
    const size = parseInt(text(at + 124, at + 136), 8);
    const data = tar.subarray(at + BLOCK, at + BLOCK + size);
    if (data.length !== size || !(size >= 0)) throw new Error('the image is cut off');
    yield { name: text(at, at + 100), isFolder: text(at + 156, at + 157) === FOLDER, data };
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
}

/** How many files are written at once: waiting for the disk is most of it. */
const AT_ONCE = 8;

/** Everything is on the disk when it ends, and for the owner alone. */
async function unpack(tar: Buffer, folder: string): Promise<void> {
  const files: Entry[] = [];
  for (const entry of entriesOf(tar)) {
    if (!entry.isFolder) files.push(entry);
    else fs.mkdirSync(path.join(folder, entry.name), { mode: 0o700 });
  }
  const rest = files.values();
  const writeRest = async (): Promise<void> => {
    for (const { name, data } of rest) {
      const file = path.join(folder, name);
      await fs.promises.writeFile(file, data, { flag: 'wx', mode: 0o600, flush: true });
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, writeRest));
  const failed = ended.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** What makes a folder a database; it gets there last. */
const VERSION = 'PG_VERSION';

const isThere = (...names: string[]): boolean => fs.existsSync(path.join(...names));

/** Whether the folder holds a database, whole. */
export const holdsDatabase = (folder: string): boolean => isThere(folder, VERSION);

const unfinishedIn = (folder: string): string => path.join(folder, 'billing-unfinished');
const unpackedIn = (folder: string): string => path.join(folder, 'billing-unpacked');

/** Moves what was unpacked to its place. Begun again by whoever opens the folder after a kill. */
export function moveIntoPlace(folder: string): void {
  const unpacked = unpackedIn(folder);
  if (!fs.existsSync(unpacked)) return;
  const names = fs.readdirSync(unpacked).filter((name) => name !== VERSION);
  for (const name of isThere(unpacked, VERSION) ? [...names, VERSION] : names) {
    fs.renameSync(path.join(unpacked, name), path.join(folder, name));
  }
  fs.rmdirSync(unpacked);
}

/**
 * Puts the image's database into a folder that holds none; the caller has its lock. The process may be
 * killed at any time: files are written to one place, which gets another name once they are all on the
 * disk, and only from there they move to where a database is looked for.
 */
export async function unpackImage(image: Buffer, folder: string): Promise<void> {
  const unfinished = unfinishedIn(folder);
  const remove = (): void => fs.rmSync(unfinished, { recursive: true, force: true });
  remove();
  try {
    fs.mkdirSync(unfinished, { mode: 0o700 });
    await unpack(image, unfinished);
    fs.renameSync(unfinished, unpackedIn(folder));
  } catch (error) {
    // A full disk gets its room back.
    remove();
    throw error;
  }
  moveIntoPlace(folder);
}
