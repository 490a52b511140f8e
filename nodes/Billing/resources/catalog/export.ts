import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { fileOption, wantsFile, withFiles } from '../../../shared/files';
import { shownFor } from '../../operation';
import { FILE_NAMES, TABLES } from './tables';

const properties: INodeProperties[] = [
  {
    displayName: 'Format',
    name: 'format',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'CSV', value: 'csv', description: 'A table each for spreadsheets' },
      { name: 'JSON', value: 'json', description: 'One document with everything' },
    ],
    default: 'json',
    description: 'How the catalog is written; "Import" takes both forms',
  },
  {
    displayName: 'Keep Formulas',
    name: 'raw',
    type: 'boolean',
    default: false,
    description:
      'Whether text that a spreadsheet would run as a formula stays as it is. Otherwise an apostrophe is put ahead of it, which "Import" takes away again.',
    displayOptions: { show: { format: ['csv'] } },
  },
  ...fileOption,
];

export const description = shownFor('catalog', 'export', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const asFile = wantsFile(context, itemIndex);
  if (context.getNodeParameter('format', itemIndex) === 'csv') {
    const raw = context.getNodeParameter('raw', itemIndex, false) === true;
    const tables = await billing.catalog.exportCatalog({ format: 'csv', raw });
    if (!asFile) return tables;
    const files = TABLES.map((table) => ({
      field: table,
      fileName: FILE_NAMES[table],
      mimeType: 'text/csv',
      text: tables[table],
    }));
    return withFiles(context, { files: files.map(({ fileName }) => fileName) }, files);
  }
  const { json } = await billing.catalog.exportCatalog({ format: 'json' });
  if (!asFile) return json;
  const fileName = 'catalog.json';
  const text = JSON.stringify(json, null, 2);
  return withFiles(context, { files: [fileName] }, [
    { field: 'data', fileName, mimeType: 'application/json', text },
  ]);
}
