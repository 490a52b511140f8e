import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError } from '../../engine';
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
export function metadataOf(value: unknown): Record<string, unknown> | undefined {
  if (value === undefined || value === null) return undefined;
  // What is no object goes through, so that the engine refuses it by name.
  if (typeof value !== 'string') return value as Record<string, unknown>;
  return value.trim() === '' ? undefined : parsed(value);
}

/** The metadata among a node's options. */
export function readMetadata(
  context: IExecuteFunctions,
  itemIndex: number,
): Record<string, unknown> | undefined {
  return metadataOf(parameterOf(context, 'options.metadata', itemIndex, null));
}

function parsed(json: string): Record<string, unknown> {
  try {
    return JSON.parse(json) as Record<string, unknown>;
  } catch {
    return refuse();
  }
}

function refuse(): never {
  throw new BillingError('invalid_input', '"Metadata" is not valid JSON.', {
    parameter: 'metadata',
    advice: 'Write an object, such as { "messageId": 42 }.',
  });
}
