import { isUtf8 } from 'node:buffer';

import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError } from '../../engine';
import { RecordWithFile } from './forEachItem';
import { readRequired } from './reading';
import { isToolCall } from './toolMode';

/** For operations whose answer may be wanted as a file. */
export const fileOption: INodeProperties[] = [
  {
    displayName: 'Put Output In',
    name: 'putOutputIn',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'Fields', value: 'fields', description: 'Of the item' },
      { name: 'File', value: 'file', description: 'In a binary field of the item' },
    ],
    default: 'fields',
    description: 'Where the data goes',
  },
];

/** A file as it is to be put beside an item. */
export interface TextFile {
  /** The binary field. */
  field: string;
  fileName: string;
  mimeType: string;
  text: string;
}

/** An agent cannot open a file: it gets fields whatever is asked. */
export const wantsFile = (context: IExecuteFunctions, itemIndex: number): boolean =>
  !isToolCall(context) && context.getNodeParameter('putOutputIn', itemIndex) === 'file';

/** A record with files beside it. */
export async function withFiles(
  context: IExecuteFunctions,
  record: object,
  files: readonly TextFile[],
): Promise<RecordWithFile> {
  const prepared = await Promise.all(
    files.map(async ({ field, fileName, mimeType, text }) => [
      field,
      await context.helpers.prepareBinaryData(Buffer.from(text), fileName, mimeType),
    ]),
  );
  return new RecordWithFile(record, Object.fromEntries(prepared) as RecordWithFile['files']);
}

/** The text of a file that came with an item. */
export async function readTextFile(
  context: IExecuteFunctions,
  parameter: string,
  displayName: string,
  itemIndex: number,
): Promise<string> {
  const field = readRequired(context, parameter, displayName, itemIndex);
  const content = await context.helpers.getBinaryDataBuffer(itemIndex, field);
  if (!isUtf8(content)) {
    throw new BillingError('invalid_input', `The file in "${field}" is not written in UTF-8.`, {
      parameter,
      advice: 'Save it as UTF-8.',
    });
  }
  // Some write a byte order mark.
  return content.toString('utf8').replace(/^\uFEFF/, '');
}

/** A file as it is, in whatever encoding. */
export const bytesOfFile = (
  context: IExecuteFunctions,
  field: string,
  itemIndex: number,
): Promise<Uint8Array> => context.helpers.getBinaryDataBuffer(itemIndex, field);
