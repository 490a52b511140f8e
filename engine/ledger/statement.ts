import { stringify, type Options } from 'csv-stringify/sync';

import type { Entry } from './entries';

/** An account's statement as a file for people: CSV (RFC 4180), one row an entry, newest first. */

export interface StatementPage {
  /** Rows, each ended by CR LF. */
  csv: string;
  /** How many entries are in it. */
  rows: number;
  /** For the next page, whose rows go behind these; null: that was all. */
  nextCursor: string | null;
}

const COLUMNS = [
  'entryId',
  'effectiveAt',
  'recordedAt',
  'account',
  'product',
  'kind',
  'amount',
  'overage',
  'value',
  'currency',
  'source',
  'causeId',
  'metadata',
  'reason',
  'author',
  'pairedEntryId',
] as const satisfies ReadonlyArray<keyof Entry>;

/** What people wrote. The other columns hold what we wrote: a `-5` among them is a number. */
const FREE_TEXT: ReadonlySet<unknown> = new Set(['source', 'metadata', 'reason', 'author']);

const options = (raw: boolean): Options => ({
  columns: [...COLUMNS],
  record_delimiter: 'windows',
  cast: {
    // A spreadsheet would run text that begins like a formula. An apostrophe ahead stops it.
    string: (value, { column, header }) =>
      !raw && !header && FREE_TEXT.has(column) ? { value, escape_formulas: true } : value,
  },
});

/** Entries as rows. */
export const csvOf = (
  entries: readonly Entry[],
  { header, raw }: { header: boolean; raw: boolean },
): string =>
  stringify(
    entries.map((entry) => ({ ...entry, metadata: JSON.stringify(entry.metadata) })),
    { ...options(raw), header },
  );
