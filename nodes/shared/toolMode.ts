import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError } from '../../engine';
import { fieldName } from './itemErrors';

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

/** Who pays, and what makes a call happen once: never a model's to say, at whatever depth it stands. */
const BOUND =
  /^(account|accountBy|accountId|provider|externalId|idempotencyKey)$|(Account|AccountBy|ExternalId|Provider)$/;

/**
 * Where the model's words come in. In a tool the item too, and what reads it: n8n lays what the
 * model wrote over the agent's item, also fields that nobody asked it for. Other parameters of the
 * node may hold them.
 */
const FROM_MODEL = /\$(fromai|tool|json|data|input|items?|parameter|rawparameter|self)\b/i;

/**
 * Refuses a tool in which the model can say whose account it is. By the parameters as they are
 * written: what the model says is not even looked at.
 */
export function refuseModelsChoice(context: IExecuteFunctions): void {
  if (!isToolCall(context)) return;
  const parameter = leftToModel(context.getNode().parameters);
  if (parameter !== undefined) throw modelsChoice(parameter);
}

/** The refusal of a parameter that is the model's to say. */
export function modelsChoice(parameter: string): BillingError {
  const example = "{{ $('Telegram Trigger').item.json.message.from.id }}";
  return new BillingError('forbidden', `"${fieldName(parameter)}" is left to the AI model.`, {
    parameter,
    advice: `Whoever talks to the model could use another customer's account. Take it from the node where the message came in, by its name, such as ${example}. In a tool, $fromAI, $json and $input hold what the model wrote.`,
  });
}

/** The name of a parameter that must be bound and is not. */
function leftToModel(parameters: object): string | undefined {
  for (const [name, value] of Object.entries(parameters)) {
    if (BOUND.test(name) && holdsModelsWords(value)) return name;
    const deeper = typeof value === 'object' && value !== null ? leftToModel(value) : undefined;
    if (deeper !== undefined) return deeper;
  }
  return undefined;
}

function holdsModelsWords(value: unknown): boolean {
  if (typeof value === 'string') return value.startsWith('=') && FROM_MODEL.test(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsModelsWords);
}

const inTools = { show: { '@tool': [true] } };

/** Said where a tool is set up. */
export const toolNotice: INodeProperties = {
  displayName:
    "Whose account it is you choose, never the model: take External ID, Provider, Account and Idempotency Key from the node where the message came in, by its name, such as <code>{{ $('Telegram Trigger').item.json.message.from.id }}</code>. <code>$fromAI</code> and <code>$json</code> are refused there.",
  name: 'toolNotice',
  type: 'notice',
  default: '',
  displayOptions: inTools,
};

/**
 * What the model reads of a tool: with the product and its unit, so that two tools differ for it.
 * The list's label holds the unit; beside the parameter's value only its raw form has the label.
 */
export const toolDescription = (before: string, after: string): INodeProperties => ({
  displayName: 'Description',
  name: 'toolDescription',
  type: 'string',
  typeOptions: { rows: 3 },
  required: true,
  default: `=${before} {{ ((product) => String(product.value ?? product).startsWith("=") ? "a product" : product.cachedResultName || product.value || product)($parameter.toJSON().product) }}${after}`,
  placeholder: 'e.g. Takes messages from what this customer may use',
  description: 'What the model is told of this tool, and when to use it',
  displayOptions: inTools,
});

/** Only where no tool is set up: those have no second output, and n8n gives hints no other sign. */
export const outsideTools = '={{ $parameter["toolDescription"] === undefined }}';
