import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

import { IMAGE_SCHEMA, imageName } from '../engine/database/image';

/**
 * Part of `npm run compile`: writes the image of the embedded database beside what reads it
 * (engine/database/image.ts). Kept in the cache too, since making it takes some ten seconds.
 */
const root = path.resolve(__dirname, '..');
const place = path.join(root, 'dist/engine/database');
const cache = path.join(root, 'node_modules/.cache/n8n-nodes-billing');

/** Nobody can ever connect to these, and they are half of all files. */
const DROP_OTHERS = ['template0', 'template1'].map(
  (name) => `alter database ${name} is_template false; drop database ${name}`,
);
/** Leaves what was written behind: only what follows the last checkpoint is needed. */
const LEAVE_LOG = 'select pg_switch_wal(); checkpoint';

async function begin(folder: string): Promise<void> {
  const { PGlite } = await import('@electric-sql/pglite');
  const { openBilling } = await import('../engine/index.js');
  await (await openBilling({ connection: { embedded: folder }, schema: IMAGE_SCHEMA })).close();
  // Without recycling, the log that is left behind is deleted.
  const startParams = [...PGlite.defaultStartParams, '-c', 'wal_recycle=off'];
  const database = await PGlite.create(folder, { startParams });
  for (const statement of [...DROP_OTHERS, LEAVE_LOG].flatMap((text) => text.split('; '))) {
    await database.query(statement);
  }
  await database.close();
}

const FILE = '0';
const FOLDER = '5';
const BLOCK = 512;

/** A file or folder in a tar, in the form ustar. Always the same bytes: without times and owners. */
function entry(name: string, type: string, data: Buffer): Buffer {
  if (name.length > 99) throw new RangeError(`too long a name for a tar: ${name}`);
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number): void =>
    void header.write(value.toString(8).padStart(length - 1, '0'), at);
  header.write(name, 0);
  octal(type === FOLDER ? 0o700 : 0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(data.length, 124, 12);
  octal(0, 136, 12);
  header.write('        ', 148);
  header.write(type, 156);
  header.write('ustar\0' + '00', 257);
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  const rest = (BLOCK - (data.length % BLOCK)) % BLOCK;
  return Buffer.concat([header, data, Buffer.alloc(rest)]);
}

function tarOf(folder: string): Buffer {
  const entries = (fs.readdirSync(folder, { recursive: true }) as string[])
    .filter((name) => !name.startsWith('billing'))
    .sort()
    .map((name) => {
      const file = path.join(folder, name);
      const written = name.split(path.sep).join('/');
      return fs.statSync(file).isDirectory()
        ? entry(written, FOLDER, Buffer.alloc(0))
        : entry(written, FILE, fs.readFileSync(file));
    });
  return Buffer.concat([...entries, Buffer.alloc(2 * BLOCK)]);
}

async function make(): Promise<Buffer> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-image-'));
  try {
    await begin(folder);
    return brotliCompressSync(tarOf(folder), {
      params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 },
    });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Under its name only when it is whole. */
function write(file: string, content: Buffer): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}`;
  fs.writeFileSync(draft, content);
  fs.renameSync(draft, file);
}

async function run(): Promise<void> {
  const file = path.join(place, imageName());
  for (const name of fs.readdirSync(place)) {
    if (name.startsWith('image-') && name !== imageName()) fs.rmSync(path.join(place, name));
  }
  if (fs.existsSync(file)) return;
  const pglite = path.join(root, 'node_modules/@electric-sql/pglite/package.json');
  const made = createHash('sha256').update(imageName());
  for (const part of [pglite, __filename]) made.update(fs.readFileSync(part));
  const kept = path.join(cache, `image-${made.digest('hex').slice(0, 16)}.tar.br`);
  if (!fs.existsSync(kept)) write(kept, await make());
  write(file, fs.readFileSync(kept));
}

void run();
