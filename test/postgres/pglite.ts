import * as fs from 'node:fs';
import * as path from 'node:path';

import {
  PGlite as Original,
  type PGliteOptions,
} from '../../node_modules/@electric-sql/pglite/dist/index.cjs';

/**
 * PGlite as the suites get it (jest.config.js maps it here): a database in memory, or in a folder
 * that has none yet, begins as a copy of the one that was begun and migrated before all tests. What
 * child processes open, and what suites open after `beginEmpty`, begins as everybody's does.
 */
export class PGlite extends Original {
  constructor(place: string, options: PGliteOptions) {
    const file = isNew(place) ? process.env.BILLING_TEST_DUMP : undefined;
    super(place, file === undefined ? options : { loadDataDir: read(file), ...options });
  }
}

const isNew = (place: string): boolean =>
  place === 'memory://' || !fs.existsSync(path.join(place, 'PG_VERSION'));

/** As much of a Blob as PGlite asks for: a real one would copy it all twice. */
const read = (file: string): Blob => {
  const { buffer } = (dump ??= fs.readFileSync(file));
  return { type: '', arrayBuffer: () => Promise.resolve(buffer) } as Blob;
};
let dump: Buffer | undefined;
