import type { IExecuteFunctions } from 'n8n-workflow';

/**
 * Whether an AI agent called the node as its tool. n8n runs it under the type's name with "Tool"
 * at the end, in the newer agents as a node of its own, where `isToolExecution` is false; in the
 * older ones inside the agent, where it is true (and older versions of n8n do not have it).
 */
export function isToolCall(context: IExecuteFunctions): boolean {
  return (
    context.getNode().type.endsWith('Tool') ||
    (context.isToolExecution as (() => boolean) | undefined)?.call(context) === true
  );
}
