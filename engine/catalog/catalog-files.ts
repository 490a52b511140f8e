import { BillingError, LIMITS, UNITS_PER_CHARACTER, foldCase } from '../kernel';
import {
  COLUMNS,
  FILE_NAMES,
  NAME_COLUMNS,
  TABLES,
  columnOf,
  differingColumns,
  hasItem,
  isEmpty,
  itemOfRow,
  withPoint,
  offerOfRow,
  recordOf,
  type Cells,
  type Column,
  type Table,
} from './catalog-tables';
import { MAX_COLUMNS, UNREADABLE, linesOf, separated, textOf, textOfCell } from './csv-text';

/** Reads a catalog that somebody wrote, as JSON, CSV or rows, into requests to save its records. */

export const DOCUMENT_FORMAT = 'n8n-nodes-billing/catalog';
export const DOCUMENT_VERSION = 1;

/** Rows, or records of JSON, of all tables of one import. */
const MAX_ROWS = 10_000;

/** Characters of a CSV or JSON text, or bytes of a file. */
const MAX_LENGTH = 50_000_000;

/** A record as it was written, and where. */
export interface Written {
  table: Table;
  /** Its key, sku or code as it was written; '' when there is none. */
  name: string;
  /** What the call that saves it takes, unchecked. @throws invalid_input when it cannot be read */
  request(): unknown;
  /** Where a parameter of the request stands: `offers.csv row 731, price`. */
  where(parameter: string | null): string;
}

export type GivenTables = Partial<Record<Table, unknown>>;

/** How tables are written. */
export interface TableOptions {
  /** Of CSV that comes as bytes; left out, it is found out. */
  encoding?: string | undefined;
  /** Whether numbers have a comma where others have a point. */
  decimalComma: boolean;
}

export function importInvalid(where: string, message: string, cause?: unknown): BillingError {
  const said = cause instanceof BillingError ? cause.advice : null;
  return new BillingError('import_invalid', `${where}: ${message}`, {
    parameter: where,
    advice: `${said ?? 'Correct it and import again.'} Nothing was imported.`,
    cause,
  });
}

/** @throws import_invalid when records of a table have one name */
function requireOnce(written: readonly Written[]): void {
  const seen = new Map<string, Written>();
  for (const record of written) {
    const { table, name } = record;
    if (name === '') continue;
    const column = NAME_COLUMNS[table];
    if (name.length > LIMITS.key * UNITS_PER_CHARACTER) {
      throw importInvalid(
        record.where(column),
        `must not be longer than ${LIMITS.key} characters.`,
      );
    }
    const id = `${table} ${foldCase(name.normalize('NFC').trim())}`;
    const first = seen.get(id);
    if (first !== undefined) {
      throw importInvalid(record.where(column), `${name} was already in ${first.where(column)}.`);
    }
    seen.set(id, record);
  }
}

function requireShort(where: string, length: number, most: number, of: string): void {
  if (length > most) throw importInvalid(where, `must not have more than ${most} ${of}.`);
}

function requireFewEnough(count: number): void {
  if (count <= MAX_ROWS) return;
  throw new BillingError(
    'import_invalid',
    `The import has ${count} rows, and ${MAX_ROWS} is the most for one.`,
    { advice: 'Import in parts: products first, then offers, then coupons.' },
  );
}

/** What a record has that nobody writes: an exported or listed one may be given as it is. */
const NOT_WRITTEN = ['version', 'createdAt', 'updatedAt', 'redeemed', 'replayed'];

export const withoutDerived = (record: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !NOT_WRITTEN.includes(name)));

/** What a call takes beside the record. */
const NOT_RECORDS = ['idempotencyKey', 'tx'];

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function listOf(given: unknown, where: string): unknown[] {
  if (given === undefined || given === null) return [];
  if (Array.isArray(given)) return given as unknown[];
  throw importInvalid(where, 'must be a list.');
}

/**
 * A document as `exportCatalog` writes it, or a part of one.
 *
 * @param given the document, or its JSON text
 * @throws import_invalid
 */
export function readDocument(given: unknown): Written[] {
  let document = given;
  if (typeof given === 'string') {
    requireShort('json', given.length, MAX_LENGTH, 'characters');
    try {
      document = JSON.parse(given.replace(/^\uFEFF/, '')) as unknown;
    } catch (error) {
      throw importInvalid('json', `must be JSON: ${(error as Error).message}.`);
    }
  }
  if (!isObject(document)) throw importInvalid('json', 'must be an object with the tables.');
  const { format = DOCUMENT_FORMAT, version = DOCUMENT_VERSION, ...tables } = document;
  if (format !== DOCUMENT_FORMAT) {
    throw importInvalid('format', `must be "${DOCUMENT_FORMAT}".`);
  }
  if (version !== DOCUMENT_VERSION) {
    throw importInvalid('version', `must be ${DOCUMENT_VERSION}, which this engine reads.`);
  }
  const unknown = Object.keys(tables).find((name) => !TABLES.includes(name as Table));
  if (unknown !== undefined) {
    throw importInvalid(unknown.slice(0, 80), `is no table; there are ${TABLES.join(', ')}.`);
  }
  const written = TABLES.flatMap((table) =>
    listOf(tables[table], table).map((record, index) => writtenInJson(table, record, index)),
  );
  requireFewEnough(written.length);
  requireOnce(written);
  return written;
}

function writtenInJson(table: Table, record: unknown, index: number): Written {
  const where = (parameter: string | null): string =>
    parameter === null ? `${table}[${index}]` : `${table}[${index}].${parameter}`;
  if (!isObject(record)) throw importInvalid(where(null), 'must be an object.');
  const misplaced = NOT_RECORDS.find((name) => name in record);
  if (misplaced !== undefined) {
    throw importInvalid(where(misplaced), 'belongs to the import, not to a record of it.');
  }
  const request = withoutDerived(record);
  const name = record[NAME_COLUMNS[table]];
  return { table, name: typeof name === 'string' ? name : '', request: () => request, where };
}

/** A row of a table, and its number as a person counts. */
interface Row {
  number: number;
  cells: Cells;
}

interface TableOfRows {
  table: Table;
  /** What the table is called in messages: its file, or itself. */
  title: string;
  rows: Row[];
}

/** Names of columns are compared without case, blanks and lines: "List Price", list_price. */
const foldColumn = (name: string): string => foldCase(name.replace(/[\s_-]/g, ''));

/** The table's columns by the names that are written; null for one without a name. */
function columnsNamed(
  table: Table,
  title: string,
  written: readonly string[],
): Array<Column | null> {
  const known = new Map(COLUMNS[table].map((column) => [foldColumn(column.name), column]));
  const columns = written.map((name, index) => {
    if (name.trim() === '') return null;
    const found = known.get(foldColumn(name));
    if (found !== undefined) return found;
    throw importInvalid(
      `${title}, column ${index + 1}`,
      `there is no column "${name.trim().slice(0, 80)}"; there are ${COLUMNS[table].map((one) => one.name).join(', ')}.`,
    );
  });
  const twice = columns.find((one, index) => one !== null && columns.indexOf(one) !== index);
  if (twice) throw importInvalid(`${title}, ${twice.name}`, 'the column is there twice.');
  return columns;
}

/** Blanks around what a cell says are not meant; a character that nobody could read is refused. */
function cellsOf(
  where: string,
  columns: ReadonlyArray<Column | null>,
  line: readonly unknown[],
  { decimalComma }: TableOptions,
): Cells {
  const cells = new Map<string, unknown>();
  columns.forEach((column, at) => {
    if (column === null) return;
    const { name } = column;
    const cell = line[at];
    if (typeof cell !== 'string') {
      cells.set(name, typeof cell === 'number' ? `${cell}` : cell);
      return;
    }
    if (cell.includes(UNREADABLE)) {
      const how = 'Name its encoding, such as windows-1252, where the bytes of the file are read.';
      throw importInvalid(`${where}, ${name}`, `holds a character that could not be read. ${how}`);
    }
    const written = textOfCell(cell.trim());
    const said = decimalComma ? withPoint(column, written) : written;
    if (said === null) {
      throw importInvalid(
        `${where}, ${name}`,
        `${written.slice(0, 80)} is no number such as 9,50: decimals come behind a comma here, and nothing comes between thousands.`,
      );
    }
    cells.set(name, said);
  });
  return cells;
}

function readCsv(table: Table, csv: unknown, options: TableOptions): TableOfRows {
  const title = FILE_NAMES[table];
  if (typeof csv !== 'string' && !(csv instanceof Uint8Array)) {
    throw importInvalid(title, 'must be text, or the bytes of a file.');
  }
  requireShort(title, csv.length, MAX_LENGTH, 'characters');
  const text = typeof csv === 'string' ? csv : textOf(csv, options.encoding);
  const separate = separated(text);
  requireShort(title, separate.columns, MAX_COLUMNS, 'columns');
  const lines = linesOf(separate);
  if (!Array.isArray(lines)) throw importInvalid(title, `is not CSV: ${lines.message}.`, lines);
  const first = Math.max(
    lines.findIndex((line) => line.some((cell) => cell.trim() !== '')),
    0,
  );
  const columns = columnsNamed(table, title, lines[first] ?? []);
  const rows = lines.slice(first + 1).map((line, index): Row => {
    const number = first + index + 2;
    const stray = line.findIndex((cell, at) => cell.trim() !== '' && !columns[at]);
    if (stray >= 0) {
      throw importInvalid(
        `${title} row ${number}`,
        `cell ${stray + 1} stands in a column without a name.`,
      );
    }
    const where = `${title} row ${number}`;
    return { number, cells: cellsOf(where, columns, line, options) };
  });
  return { table, title, rows };
}

/** Rows as n8n's items and tables give them: columns by name, cells of text, numbers, true or false. */
function readRows(table: Table, given: unknown, options: TableOptions): TableOfRows {
  const rows = listOf(given, table).map((row, index): Row => {
    const number = index + 1;
    if (!isObject(row)) throw importInvalid(`${table} row ${number}`, 'must be an object.');
    const where = `${table} row ${number}`;
    const columns = columnsNamed(table, where, Object.keys(row));
    return { number, cells: cellsOf(where, columns, Object.values(row), options) };
  });
  return { table, title: table, rows };
}

/**
 * Tables of CSV text, or of rows.
 *
 * @throws import_invalid
 */
export function readTables(
  form: 'csv' | 'rows',
  given: GivenTables,
  options: TableOptions,
): Written[] {
  const read = form === 'csv' ? readCsv : readRows;
  const tables = TABLES.filter((table) => given[table] !== undefined && given[table] !== null).map(
    (table) => read(table, given[table], options),
  );
  requireFewEnough(tables.reduce((sum, { rows }) => sum + rows.length, 0));
  const written = tables.flatMap((table) => {
    const rows = table.rows.filter(({ cells }) => [...cells.values()].some((one) => !isEmpty(one)));
    return table.table === 'offers' ? writtenOffers(table.title, rows) : writtenRows(table, rows);
  });
  requireOnce(written);
  return written;
}

const nameIn = (cells: Cells, column: string): string => {
  const name = cells.get(column);
  return typeof name === 'string' ? name.trim() : '';
};

function writtenRows({ table, title }: TableOfRows, rows: readonly Row[]): Written[] {
  return rows.map(({ number, cells }) => ({
    table,
    name: nameIn(cells, NAME_COLUMNS[table]),
    request: () => recordOf(table as Exclude<Table, 'offers'>, cells),
    where: (parameter) =>
      `${title} row ${number}${parameter === null ? '' : `, ${columnOf(parameter)}`}`,
  }));
}

/** Rows that follow each other and name one sku, or none, are one offer; each is one of its items. */
function writtenOffers(title: string, rows: readonly Row[]): Written[] {
  const groups: Array<{ sku: string; rows: Row[] }> = [];
  for (const row of rows) {
    const sku = nameIn(row.cells, 'sku');
    const last = groups.at(-1);
    if (last === undefined && sku === '') {
      throw importInvalid(`${title} row ${row.number}, sku`, 'the first row must name its offer.');
    }
    if (last === undefined || (sku !== '' && sku !== last.sku)) groups.push({ sku, rows: [row] });
    else last.rows.push(row);
  }
  return groups.map(({ sku, rows: own }) => writtenOffer(title, sku, own));
}

function writtenOffer(title: string, sku: string, rows: readonly Row[]): Written {
  const [first, ...further] = rows as [Row, ...Row[]];
  for (const row of further) {
    const [differing] = differingColumns(first.cells, row.cells);
    if (differing === undefined) continue;
    throw importInvalid(
      `${title} row ${row.number}, ${differing}`,
      `it differs from row ${first.number}, where the offer ${sku} begins. Further items leave it empty.`,
    );
  }
  const items = rows.filter(({ cells }) => hasItem(cells));
  /** The row of an item, and what is left of the parameter. */
  const placeOf = (parameter: string): [Row, string] => {
    const [, index, rest] = /^items\[(\d+)\](?:\.(.*))?$/.exec(parameter) ?? [];
    const row = index === undefined ? undefined : items[Number.parseInt(index, 10)];
    return row === undefined ? [first, parameter] : [row, rest ?? 'items'];
  };
  return {
    table: 'offers',
    name: sku,
    request: () => ({
      ...offerOfRow(first.cells),
      items: items.map(({ cells }, index) => inItem(index, () => itemOfRow(cells))),
    }),
    where(parameter) {
      if (parameter === null) return `${title} row ${first.number}`;
      const [row, inRow] = placeOf(parameter);
      return `${title} row ${row.number}, ${columnOf(inRow)}`;
    },
  };
}

/** What is wrong with an item is named as one of the offer's. */
function inItem<T>(index: number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof BillingError) || error.parameter === null) throw error;
    const { code, message, parameter } = error;
    throw new BillingError(code, message, { parameter: `items[${index}].${parameter}` });
  }
}
