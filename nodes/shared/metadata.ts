import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { jsonOf } from './json';
import { parameterOf } from './parameters';

/** Data of the user's own on a record. */
export const metadataOption: INodeProperties = {
  displayName: 'Metadata',
  name: 'metadata',
  type: 'json',
  default: '{}',
  placeholder: 'e.g. { "messageId": 42 }',
  description: 'Data of your own to keep with it, as a JSON object',
};

/** JSON out of a field or an expression: text, or the object itself. Undefined when blank. */
export const metadataOf = (value: unknown): Record<string, unknown> | undefined =>
  jsonOf(value, {
    displayName: 'Metadata',
    parameter: 'metadata',
    example: 'an object: { "messageId": 42 }',
  });

/** The metadata among a node's options. */
export function readMetadata(
  context: IExecuteFunctions,
  itemIndex: number,
): Record<string, unknown> | undefined {
  return metadataOf(parameterOf(context, 'options.metadata', itemIndex, null));
}
