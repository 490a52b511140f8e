import { stringify, type Options } from 'csv-stringify/sync';

import { flag, parse, z } from '../kernel';
import type { EntriesRequest, Entry, Statements } from './reading';

/** An account's statement as a file for people: CSV (RFC 4180), one row an entry, newest first. */

export interface StatementRequest extends EntriesRequest {
  /** Whether the first row names the columns. Default: on the first page only. */
  header?: boolean;
}

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

const options: Options = {
  columns: [...COLUMNS],
  record_delimiter: 'windows',
  cast: {
    // A spreadsheet would run text that begins like a formula. An apostrophe ahead stops it.
    string: (value, { column, header }) =>
      !header && FREE_TEXT.has(column) ? { value, escape_formulas: true } : value,
  },
};

/** The rest is for `entries` to read. */
const headerInput = z.looseObject({ header: flag().optional() }, { error: 'must be an object' });

/**
 * A page of an account's statement. What is taken and refused is what `entries` takes and refuses.
 *
 * @throws unknown_account, unknown_product, invalid_input
 */
export async function readStatement(
  statements: Statements,
  request: StatementRequest,
): Promise<StatementPage> {
  const { header, ...wanted } = parse(headerInput, request);
  const { items, nextCursor } = await statements.entries(wanted as unknown as EntriesRequest);
  const rows = items.map((entry) => ({ ...entry, metadata: JSON.stringify(entry.metadata) }));
  const csv = stringify(rows, {
    ...options,
    header: header ?? wanted.cursor === undefined,
  });
  return { csv, rows: items.length, nextCursor };
}
