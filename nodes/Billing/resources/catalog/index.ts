import type { INodeProperties } from 'n8n-workflow';

import * as exportCatalog from './export';
import * as importCatalog from './import';

const operations = { export: exportCatalog, import: importCatalog };

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['catalog'] } },
    options: [
      {
        name: 'Export',
        value: 'export',
        action: 'Export the catalog',
        description: 'Get all products, offers, coupons and tax rates as JSON or CSV',
      },
      {
        name: 'Import',
        value: 'import',
        action: 'Import a catalog',
        description:
          'Create or update products, offers, coupons and tax rates from a table, a file or a text: all of it or nothing',
      },
    ],
    default: 'import',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** Everything that is sold, as a whole. */
export const catalog = { operations, description };
