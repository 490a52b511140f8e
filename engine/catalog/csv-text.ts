import { isUtf8 } from 'node:buffer';

import { CsvError, parse as parseCsv } from 'csv-parse/sync';
import { decode, encodingExists } from 'iconv-lite';

/** CSV as spreadsheets of all countries write it: in which encoding, separated by what. */

/** What stands for bytes that mean nothing in an encoding, and must never come into a catalog. */
export const UNREADABLE = '\uFFFD';

/** What spreadsheets of the West write where they do not write UTF-8. */
const WESTERN = 'windows-1252';

/** Bytes that are called so were written as its superset, as browsers read them, too. */
const CALLED_WESTERN = /^(latin-?1|iso-?8859-?1|us-?ascii|ascii)$/i;

/** Forms of bytes that are no text. */
const NO_TEXT = /^(base64|hex|binary)$/i;

export const isEncoding = (name: string): boolean => encodingExists(name) && !NO_TEXT.test(name);

/**
 * The text of a file. Without a name of its encoding: what its byte order mark says, else UTF-8, else
 * Windows-1252. Node's own decoder is not asked: it reads the euro sign and quotes of the latter wrongly.
 *
 * @returns with `UNREADABLE` where bytes mean nothing
 */
export function textOf(bytes: Uint8Array, encoding?: string): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (encoding !== undefined) {
    return decode(buffer, CALLED_WESTERN.test(encoding) ? WESTERN : encoding);
  }
  const [first, second] = buffer;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    return decode(buffer, 'utf-16');
  }
  return decode(buffer, isUtf8(buffer) ? 'utf-8' : WESTERN);
}

/** Text that a spreadsheet would run begins with these; an apostrophe ahead makes it text. */
const MADE_TEXT = /^'+[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]/;

/** Text as it stands in a cell: what looks as if an apostrophe had been put ahead gets one more. */
export const cellOf = (text: string): string => (MADE_TEXT.test(text) ? `'${text}` : text);

/** The text of a cell, without the apostrophe that stands ahead of a formula. */
export const textOfCell = (cell: string): string => (MADE_TEXT.test(cell) ? cell.slice(1) : cell);

/** The most columns that a header may have; spreadsheets write empty ones behind the last. */
export const MAX_COLUMNS = 1_000;

/** Characters of one line: no record of a catalog is as long. */
const MAX_LINE = 1_000_000;

/** A text of which is known what separates its cells. */
interface Separated {
  body: string;
  delimiter: string;
  /** How many columns the header has, or an empty line ahead of it. */
  columns: number;
}

/** Lines up to the first on which something stands, the header, without what is between quotes. */
function headOf(csv: string): string[] {
  const lines = csv
    .slice(0, MAX_LINE)
    .replace(/"[^"]*"/g, '""')
    .split(/\r\n|\n|\r/);
  const header = lines.findIndex((line) => /[^\s,;]/.test(line));
  return header < 0 ? lines : lines.slice(0, header + 1);
}

/**
 * What separates the cells: what a first line says, `sep=;`, which a spreadsheet may have filled up with
 * empty cells; else what the header has most of.
 */
export function separated(csv: string): Separated {
  const [line, said] = /^\uFEFF?"?sep=([^\r\n])"?\1*(?:\r\n|\n|\r)/i.exec(csv) ?? [];
  const body = csv.slice(line?.length ?? 0);
  const head = headOf(body);
  const count = (delimiter: string): number => head.at(-1)!.split(delimiter).length;
  const most = [',', ';', '\t'].reduce((best, one) => (count(one) > count(best) ? one : best));
  const delimiter = said ?? most;
  const columns = head.reduce((widest, line) => Math.max(widest, line.split(delimiter).length), 0);
  return { body, delimiter, columns };
}

/**
 * The lines of a CSV text as cells, the header among them; a `sep=` line counts for none.
 *
 * @returns or why it is no CSV
 */
export function linesOf({ body, delimiter }: Separated): string[][] | CsvError {
  // Blanks beside quotes are no part of a cell; a tab beside one would be taken for one, too.
  const trim = delimiter !== '\t';
  try {
    return parseCsv(body, {
      bom: true,
      delimiter,
      record_delimiter: ['\r\n', '\n', '\r'],
      relax_column_count: true,
      trim,
      max_record_size: MAX_LINE,
    });
  } catch (error) {
    if (error instanceof CsvError) return error;
    throw error;
  }
}
