import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { RecordWithFile } from '../../../shared/forEachItem';
import { optionsParameter } from '../../../shared/options';
import { paperFile } from '../../../shared/papers';
import { invoiceParameter } from '../../../shared/pickers';
import { readOptions, readRequired } from '../../../shared/reading';
import { isToolCall } from '../../../shared/toolMode';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Paper',
    name: 'paper',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'Credit Note', value: 'creditNote' },
      { name: 'Invoice', value: 'invoice', description: 'Or a draft, which says so' },
    ],
    default: 'invoice',
    description: 'What is wanted',
  },
  { ...invoiceParameter, displayOptions: { show: { paper: ['invoice'] } } },
  {
    displayName: 'Credit Note ID',
    name: 'creditNoteId',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.creditNoteId }}',
    description: 'As "Create Credit Note" gave it',
    displayOptions: { show: { paper: ['creditNote'] } },
  },
  {
    displayName: 'Format',
    name: 'format',
    type: 'options',
    options: [
      { name: 'HTML', value: 'html', description: 'A page, or the body of an email' },
      { name: 'PDF', value: 'pdf' },
    ],
    default: 'pdf',
    description: 'In which form',
  },
  {
    displayName: 'Put Output File in Field',
    name: 'binaryPropertyName',
    type: 'string',
    required: true,
    default: 'data',
    placeholder: 'e.g. data',
    hint: 'The name of the output binary field to put the file in',
  },
  optionsParameter([
    {
      displayName: 'Locale',
      name: 'locale',
      type: 'string',
      default: '',
      placeholder: 'e.g. de-AT',
      description: 'Language, dates and numbers. Without it as the settings say.',
    },
  ]),
];

export const description = shownFor('invoice', 'render', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const isInvoice = context.getNodeParameter('paper', itemIndex) !== 'creditNote';
  const which = isInvoice
    ? { invoiceId: readRequired(context, 'invoice', 'Invoice', itemIndex) }
    : { creditNoteId: readRequired(context, 'creditNoteId', 'Credit Note ID', itemIndex) };
  const format = readRequired<'pdf' | 'html'>(context, 'format', 'Format', itemIndex);
  const { fileName, mimeType, content, problems } = await billing.invoicing.renderInvoice({
    ...which,
    ...readOptions(context, 'options', itemIndex),
    format,
  } as Parameters<Billing['invoicing']['renderInvoice']>[0]);
  const record = { ...which, fileName, mimeType, ...(problems.length > 0 && { problems }) };
  // An agent cannot open a file; a page it can read.
  if (isToolCall(context)) return format === 'html' ? { ...record, html: content } : record;
  const field = readRequired(context, 'binaryPropertyName', 'Put Output File in Field', itemIndex);
  const file = await paperFile(context, { fileName, mimeType, content });
  return new RecordWithFile(record, { [field]: file });
}
