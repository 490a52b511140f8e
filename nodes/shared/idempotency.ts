import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { readRequired } from './reading';
import { isToolCall } from './toolMode';

/**
 * Names one piece of work: n8n's execution, the node in it, the round of a loop, the item. Stays
 * the same when n8n tries a node again (Retry On Fail), differs for everything else.
 */
export const DEFAULT_KEY = '={{ $execution.id }}:{{ $nodeId }}:{{ $runIndex }}:{{ $itemIndex }}';

/** As an agent's tool the call takes the item's place: an agent may call twice for one item. */
const TOOL_CALL_KEY = '{{ $execution.id }}:{{ $nodeId }}:{{ $runIndex }}:{{ $json.toolCallId }}';

export const idempotencyKeyParameter: INodeProperties = {
  displayName: 'Idempotency Key',
  name: 'idempotencyKey',
  type: 'string',
  required: true,
  default: DEFAULT_KEY,
  placeholder: 'e.g. {{ $json.update_id }}',
  description:
    "What makes this happen once: the same key gives the first answer again and takes nothing more. The expression set here holds within one execution, also for n8n's Retry On Fail.",
  hint: 'Better: the ID of the message or order, where it has one. It also holds when it is delivered twice, and for "Retry execution", which is a new execution',
};

/** Where doing it again changes nothing anyway, a key is for those who want the first answer again. */
export const optionalKeyOption: INodeProperties = {
  displayName: 'Idempotency Key',
  name: 'idempotencyKey',
  type: 'string',
  default: '',
  placeholder: 'e.g. {{ $json.update_id }}',
  description: 'The same key gives the first answer again and changes nothing more',
};

export function readIdempotencyKey(context: IExecuteFunctions, itemIndex: number): string {
  // The same for all items, so that only an agent's own need be looked at one by one.
  const written = isToolCall(context)
    ? context.getNodeParameter('idempotencyKey', itemIndex, '', { rawExpressions: true })
    : null;
  const { toolCallId } = context.getInputData()[itemIndex]?.json ?? {};
  if (written === DEFAULT_KEY && toolCallId) {
    return context.evaluateExpression(TOOL_CALL_KEY, itemIndex) as string;
  }
  return readRequired(context, 'idempotencyKey', 'Idempotency Key', itemIndex);
}
