import type { IExecuteFunctions } from 'n8n-workflow';

import { BillingError } from '../../engine';

/**
 * Whether an AI agent called the node as its tool. n8n runs it under the type's name with "Tool"
 * at the end, in the newer agents as a node of its own, where `isToolExecution` is false; in the
 * older ones inside the agent, where it is true (and older versions of n8n do not have it).
 */
export function isToolCall(context: IExecuteFunctions): boolean {
  let answer = toolCalls.get(context);
  if (answer === undefined) {
    answer =
      context.getNode().type.endsWith('Tool') ||
      (context.isToolExecution as (() => boolean) | undefined)?.call(context) === true;
    toolCalls.set(context, answer);
  }
  return answer;
}

/** Asked for every item, and n8n copies the whole node for it. */
const toolCalls = new WeakMap<object, boolean>();

/** For operations that give something away: whoever talks to a model could talk it into them. */
export function refuseAgents(context: IExecuteFunctions, operation: string): void {
  if (!isToolCall(context)) return;
  throw new BillingError('forbidden', `"${operation}" is not for AI agents.`, {
    advice: 'Put it into the workflow, where no customer decides whether it runs.',
  });
}
