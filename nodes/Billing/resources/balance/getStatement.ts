import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing, StatementRequest } from '../../../../engine';
import { RecordWithFile } from '../../../shared/forEachItem';
import { optionsParameter } from '../../../shared/options';
import { readOptions, readRequired } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { isToolCall } from '../../../shared/toolMode';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit } from '../../paging';
import { accountAndProduct } from './accountAndProduct';

const PAGE_SIZE = 1000;

const properties: INodeProperties[] = [
  ...accountAndProduct.parameters,
  ...pagingParameters,
  {
    displayName: 'Put Output File in Field',
    name: 'binaryPropertyName',
    type: 'string',
    default: 'data',
    required: true,
    placeholder: 'e.g. data',
    hint: 'The name of the output binary field to put the file in',
  },
  optionsParameter([
    {
      displayName: 'File Name',
      name: 'fileName',
      type: 'string',
      default: 'statement.csv',
      placeholder: 'e.g. statement.csv',
      description: 'The name of the file',
    },
    {
      displayName: 'From',
      name: 'from',
      type: 'dateTime',
      default: '',
      description: 'Only lines that count from this moment on',
    },
    {
      displayName: 'Keep Formulas',
      name: 'raw',
      type: 'boolean',
      default: false,
      description:
        'Whether text that a spreadsheet would run as a formula stays as it is. Otherwise an apostrophe is put ahead of it.',
    },
    {
      displayName: 'Kind',
      name: 'kind',
      type: 'options',
      default: 'use',
      description: 'Only lines of this kind',
      options: [
        { name: 'Debt', value: 'debt' },
        { name: 'Deduction', value: 'deduction' },
        { name: 'Exchange', value: 'exchange' },
        { name: 'Expiry', value: 'expiry' },
        { name: 'Grant', value: 'grant' },
        { name: 'Hold', value: 'hold' },
        { name: 'Owed', value: 'owed' },
        { name: 'Refund', value: 'refund' },
        { name: 'Release', value: 'release' },
        { name: 'Restore', value: 'restore' },
        { name: 'Transfer', value: 'transfer' },
        { name: 'Uncovered', value: 'uncovered' },
        { name: 'Use', value: 'use' },
      ],
    },
    {
      displayName: 'To',
      name: 'to',
      type: 'dateTime',
      default: '',
      description: 'Only lines that count before this moment',
    },
  ]),
];

export const description = shownFor('balance', 'getStatement', properties);

type Filters = Pick<StatementRequest, 'from' | 'to' | 'kind' | 'raw'>;

/** All pages in one file. An agent gets the text instead: it cannot open a file. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const about = accountAndProduct.read(context, itemIndex);
  const options = readOptions(context, 'options', itemIndex) as {
    fileName?: string;
  } & Filters;
  const { fileName = 'statement.csv', kind, raw } = options;
  const filters = {
    kind,
    raw,
    from: timeOf(context, options.from),
    to: timeOf(context, options.to),
  };
  const limit = readLimit(context, itemIndex);
  let csv = '';
  let rows = 0;
  let cursor: string | undefined;
  do {
    const page = { limit: Math.min(PAGE_SIZE, limit - rows), cursor };
    const read = await billing.ledger.statement({ ...about, ...filters, ...page });
    csv += read.csv;
    rows += read.rows;
    cursor = read.nextCursor ?? undefined;
  } while (cursor !== undefined && rows < limit);
  if (isToolCall(context)) return { rows, csv };
  const field = readRequired(context, 'binaryPropertyName', 'Put Output File in Field', itemIndex);
  const file = await context.helpers.prepareBinaryData(Buffer.from(csv), fileName, 'text/csv');
  return new RecordWithFile({ rows, fileName }, { [field]: file });
}
