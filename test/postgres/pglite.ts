import * as fs from 'node:fs';

import {
  PGlite as Original,
  type PGliteOptions,
} from '../../node_modules/@electric-sql/pglite/dist/index.cjs';

/**
 * PGlite as the suites get it (jest.config.js maps it here): a database in memory begins as a copy
 * of the one that was begun and migrated before all tests. Folders, and what child processes open,
 * begin as everybody's do.
 */
export class PGlite extends Original {
  constructor(place: string, options: PGliteOptions) {
    super(place, place === 'memory://' ? { loadDataDir: dump(), ...options } : options);
  }
}

const dump = (): Blob => new Blob([fs.readFileSync(process.env.BILLING_TEST_DUMP!)]);
