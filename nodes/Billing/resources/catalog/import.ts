import type { IDataObject, IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import { bytesOfFile, readTextFile } from '../../../shared/files';
import { jsonOf } from '../../../shared/json';
import { missing, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { TABLES, TABLE_NAMES, type Table } from './tables';

type ImportRequest = Parameters<Billing['catalog']['importCatalog']>[0];

/** A column of the items that says which table they belong to. */
const TABLE_FIELD = 'table';

/** Google Sheets gives each row its number, which is no column of ours. */
const ROW_NUMBER_FIELD = 'row_number';

const decimalComma: INodeProperties = {
  displayName: 'Decimal Comma',
  name: 'decimalComma',
  type: 'boolean',
  default: false,
  description: 'Whether numbers are written with a comma for a point, such as 9,50',
};

const properties: INodeProperties[] = [
  {
    displayName: 'From',
    name: 'importFrom',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'File', value: 'file', description: 'In a binary field of the item' },
      {
        name: 'Input Items',
        value: 'items',
        description: 'A row each, as Google Sheets or a table node gives them, all in one import',
      },
      { name: 'Text', value: 'text', description: 'In the fields below' },
    ],
    default: 'items',
    description: 'Where the catalog comes from',
  },
  {
    displayName: 'Table',
    name: 'table',
    type: 'options',
    options: [
      ...TABLES.map((table) => ({ name: TABLE_NAMES[table], value: table as string })),
      {
        name: 'Named in Field "table"',
        value: 'field',
        description: 'Rows of several tables in one import',
      },
    ].sort((one, other) => one.name.localeCompare(other.name)),
    default: 'offers',
    description: 'What the rows are',
    hint: 'An offer with several items has a row for each; only the first one needs the columns of the offer',
    displayOptions: { show: { importFrom: ['items'] } },
  },
  {
    displayName: 'Format',
    name: 'format',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'CSV', value: 'csv', description: 'A file for each table' },
      { name: 'JSON', value: 'json', description: 'One document, as "Export" writes it' },
    ],
    default: 'json',
    description: 'What is imported',
    displayOptions: { show: { importFrom: ['file', 'text'] } },
  },
  {
    displayName: 'JSON',
    name: 'json',
    type: 'json',
    required: true,
    default: '',
    description: 'The whole catalog, or a part of it',
    displayOptions: { show: { importFrom: ['text'], format: ['json'] } },
  },
  {
    displayName: 'Input Binary Field',
    name: 'binaryPropertyName',
    type: 'string',
    required: true,
    default: 'data',
    placeholder: 'e.g. data',
    hint: 'The name of the input binary field that holds the file',
    displayOptions: { show: { importFrom: ['file'], format: ['json'] } },
  },
  {
    displayName: 'CSV Texts',
    name: 'csvTexts',
    type: 'collection',
    placeholder: 'Add Table',
    default: {},
    description: 'One text for each table, with a line of column names',
    displayOptions: { show: { importFrom: ['text'], format: ['csv'] } },
    options: TABLES.map((table) => ({
      displayName: TABLE_NAMES[table],
      name: table,
      type: 'string',
      typeOptions: { rows: 6 },
      default: '',
      placeholder: 'e.g. {{ $json.csv }}',
      description: 'The text, beginning with the line of column names',
    })),
  },
  {
    displayName: 'CSV Files',
    name: 'csvFiles',
    type: 'collection',
    placeholder: 'Add Table',
    default: {},
    description: 'One file for each table, with a line of column names',
    displayOptions: { show: { importFrom: ['file'], format: ['csv'] } },
    options: TABLES.map((table) => ({
      displayName: TABLE_NAMES[table],
      name: table,
      type: 'string',
      default: table,
      placeholder: 'e.g. data',
      description: 'The name of the input binary field that holds the file',
    })),
  },
  {
    displayName: 'Encoding',
    name: 'encoding',
    type: 'options',
    options: [
      {
        name: 'Detect',
        value: 'detect',
        description: 'By the mark of the file, else UTF-8, else Windows-1252',
      },
      { name: 'Mac OS Roman', value: 'macintosh' },
      { name: 'UTF-16', value: 'utf-16' },
      { name: 'UTF-8', value: 'utf-8' },
      { name: 'Windows-1250 (Central Europe)', value: 'windows-1250' },
      { name: 'Windows-1251 (Cyrillic)', value: 'windows-1251' },
      { name: 'Windows-1252 (Latin-1)', value: 'windows-1252' },
    ],
    default: 'detect',
    description: 'In which encoding the files were saved',
    displayOptions: { show: { importFrom: ['file'], format: ['csv'] } },
  },
  { ...decimalComma, displayOptions: { show: { importFrom: ['items'] } } },
  {
    ...decimalComma,
    displayOptions: { show: { importFrom: ['file', 'text'], format: ['csv'] } },
  },
  {
    displayName: 'Dry Run',
    name: 'dryRun',
    type: 'boolean',
    default: false,
    description: 'Whether to say only what would change. Nothing is changed.',
  },
];

export const description = shownFor('catalog', 'import', properties);

type Tables<T> = Partial<Record<Table, T>>;

const isEmpty = (cell: unknown): boolean => cell === undefined || cell === null || cell === '';

/** The rows of all items, by table. What spreadsheets add is left out. */
function rowsOfItems(context: IExecuteFunctions): Tables<IDataObject[]> {
  const rows: Tables<IDataObject[]> = {};
  context.getInputData().forEach(({ json }, index) => {
    const chosen = readRequired(context, 'table', 'Table', index);
    const { [ROW_NUMBER_FIELD]: _number, ...row } = json;
    const table = chosen === 'field' ? row[TABLE_FIELD] : chosen;
    if (!TABLES.includes(table as Table)) {
      throw new BillingError(
        'import_invalid',
        `The item ${index + 1} belongs to no table: "${String(table ?? '')}" is not one of ${TABLES.join(', ')}.`,
        { parameter: 'table', advice: `Name the table in its field "${TABLE_FIELD}".` },
      );
    }
    (rows[table as Table] ??= []).push(chosen === 'field' ? withoutOthers(row) : row);
  });
  return rows;
}

/** Where one sheet holds several tables, a row has the columns of the others too, empty. */
const withoutOthers = ({ [TABLE_FIELD]: _table, ...row }: IDataObject): IDataObject =>
  Object.fromEntries(Object.entries(row).filter(([, cell]) => !isEmpty(cell)));

async function csvOf(
  context: IExecuteFunctions,
  itemIndex: number,
): Promise<Tables<string | Uint8Array>> {
  const fromFile = context.getNodeParameter('importFrom', itemIndex) === 'file';
  const parameter = fromFile ? 'csvFiles' : 'csvTexts';
  const written = readOptions(context, parameter, itemIndex) as Tables<string>;
  if (Object.keys(written).length === 0) {
    throw missing(fromFile ? 'CSV Files' : 'CSV Texts', parameter);
  }
  if (!fromFile) return written;
  const texts = await Promise.all(
    Object.entries(written).map(async ([table, field]) => [
      table,
      await bytesOfFile(context, field, itemIndex),
    ]),
  );
  return Object.fromEntries(texts) as Tables<Uint8Array>;
}

async function jsonDocument(context: IExecuteFunctions, itemIndex: number): Promise<unknown> {
  const fromFile = context.getNodeParameter('importFrom', itemIndex) === 'file';
  const written: unknown = fromFile
    ? await readTextFile(context, 'binaryPropertyName', 'Input Binary Field', itemIndex)
    : readRequired(context, 'json', 'JSON', itemIndex);
  return jsonOf(written, {
    displayName: fromFile ? 'Input Binary Field' : 'JSON',
    parameter: 'json',
    example: '"Catalog: Export" gives it',
  });
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const importFrom = context.getNodeParameter('importFrom', itemIndex);
  const dryRun = context.getNodeParameter('dryRun', itemIndex) === true;
  const isJson = importFrom !== 'items' && context.getNodeParameter('format', itemIndex) === 'json';
  const hasComma = !isJson && context.getNodeParameter('decimalComma', itemIndex, false) === true;
  const importing = (request: object) =>
    billing.catalog.importCatalog({ ...request, decimalComma: hasComma, dryRun } as ImportRequest);
  if (isJson) return importing({ format: 'json', json: await jsonDocument(context, itemIndex) });
  if (importFrom === 'items') {
    // All of them at once, when the first one is at hand: an import holds or fails as a whole.
    return itemIndex > 0 ? [] : importing({ format: 'rows', ...rowsOfItems(context) });
  }
  const encoding = importFrom === 'file' ? encodingOf(context, itemIndex) : undefined;
  return importing({ format: 'csv', ...(await csvOf(context, itemIndex)), encoding });
}

/** Undefined: the engine finds it out. */
function encodingOf(context: IExecuteFunctions, itemIndex: number): string | undefined {
  const encoding = String(context.getNodeParameter('encoding', itemIndex, 'detect'));
  return encoding === 'detect' ? undefined : encoding;
}
