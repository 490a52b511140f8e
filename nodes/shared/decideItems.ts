import type {
  IDataObject,
  IExecuteFunctions,
  INodeExecutionData,
  INodeProperties,
} from 'n8n-workflow';

import { LIMITS, isFailed, type Billing, type FailedItem } from '../../engine';
import {
  errorItem,
  inputsOfFailed,
  itemError,
  nodeError,
  reportedError,
  type ItemError,
} from './itemErrors';
import { nearestIn } from './nearest';
import { givenAs, readOutput, type Output } from './output';
import { parameterOf } from './parameters';
import { isToolCall, refuseModelsChoice } from './toolMode';
import { withBilling } from './withBilling';

/** A question to the engine that each item asks, and whose answer is yes or no. */
export interface Question<Request, Answer extends { allowed: boolean }> {
  /** What an item asks. */
  read(context: IExecuteFunctions, itemIndex: number): Request;
  /** Asks for all items in one call. */
  ask(billing: Billing, requests: Request[]): Promise<Array<Answer | FailedItem>>;
  /** The field under which an item carries its answer on. */
  field: string;
}

/** For the options of a node that decides. */
export const includeInputOption = (field: string): INodeProperties => ({
  displayName: 'Include Input',
  name: 'includeInput',
  type: 'boolean',
  default: true,
  description: `Whether items keep their fields and carry the answer under "${field}", or become the answer`,
});

/** For the options of a node that may be the first to meet a customer. */
export const createIfNewOption: INodeProperties = {
  displayName: 'Create If New',
  name: 'createIfNew',
  type: 'boolean',
  // Whoever adds it wants it.
  default: true,
  description:
    'Whether a customer who was never met gets an account first, as by "Account: Identify", with every offer that has "Free Tier" on. Needs an External ID.',
};

export const readCreateIfNew = (context: IExecuteFunctions, itemIndex: number): boolean =>
  parameterOf(context, 'options.createIfNew', itemIndex, false) as boolean;

/** An item that could be read. */
interface Asking<Request> {
  request: Request;
  includeInput: boolean;
  output: Output;
}

type Outcome<T> = T | { error: ItemError };

const hasFailed = (outcome: object): outcome is { error: ItemError } => 'error' in outcome;

/**
 * Runs a node with two outputs: yes and no. All items are asked in one call of the engine; an item
 * that cannot be asked fails alone.
 *
 * An item that failed is never on the first output, whatever the node's "On Error" says: what comes
 * out there was granted. That is also why everything that can throw for an item is caught: when a
 * node that shall continue throws, n8n passes all its items on to the first output as they came.
 */
export async function decideItems<Request, Answer extends { allowed: boolean }>(
  context: IExecuteFunctions,
  question: Question<Request, Answer>,
): Promise<INodeExecutionData[][]> {
  const asking = readItems(context, question);
  // Nothing is taken for anybody when the node stops the workflow anyway.
  stopAtFailure(context, asking);
  const outcomes = await askAll(context, question, asking);
  stopAtFailure(context, outcomes);

  const asTool = isToolCall(context);
  const granted: INodeExecutionData[] = [];
  const denied: INodeExecutionData[] = [];
  const failed = asTool ? [] : inputsOfFailed(context);
  outcomes.forEach((outcome, index) => {
    const yes = !hasFailed(outcome) && outcome.answer.allowed;
    // An agent reads the first output only; to it a no is data like a yes.
    const output = yes || asTool ? granted : denied;
    if (hasFailed(outcome)) {
      output.push(errorItem(outcome.error, index, failed[index]));
      return;
    }
    const { accountId, ...said } = givenAs(outcome.output, outcome.answer) as IDataObject;
    // Of no use to a model, and no business of who talks to it.
    const answer = asTool ? said : { accountId, ...said };
    const item = context.getInputData()[index]!;
    output.push(
      outcome.includeInput && !asTool
        ? {
            ...carriedOn(item),
            json: { ...item.json, [question.field]: answer },
            ...pairedWith(index),
          }
        : { json: answer, ...pairedWith(index) },
    );
  });
  return asTool ? [granted] : [granted, denied];
}

const pairedWith = (item: number) => ({ pairedItem: { item } });

/** What an item has beside its fields. */
const carriedOn = ({ binary }: INodeExecutionData) => (binary === undefined ? {} : { binary });

function readItems<Request, Answer extends { allowed: boolean }>(
  context: IExecuteFunctions,
  question: Question<Request, Answer>,
): Array<Outcome<Asking<Request>>> {
  return context.getInputData().map((_, index) => {
    try {
      refuseModelsChoice(context);
      return {
        request: question.read(context, index),
        includeInput: parameterOf(context, 'options.includeInput', index, true) !== false,
        output: readOutput(context, index),
      };
    } catch (error) {
      return { error: itemError(error) };
    }
  });
}

async function askAll<Request, Answer extends { allowed: boolean }>(
  context: IExecuteFunctions,
  question: Question<Request, Answer>,
  asking: Array<Outcome<Asking<Request>>>,
): Promise<Array<Outcome<Asking<Request> & { answer: Answer }>>> {
  const requests = asking.flatMap((item) => (hasFailed(item) ? [] : [item.request]));
  const answers = await answersTo(context, question, requests);
  let next = 0;
  return asking.map((item) => {
    if (hasFailed(item)) return item;
    const answer = answers[next++]!;
    return hasFailed(answer) ? answer : { ...item, answer: answer.value };
  });
}

async function answersTo<Request, Answer extends { allowed: boolean }>(
  context: IExecuteFunctions,
  question: Question<Request, Answer>,
  requests: Request[],
): Promise<Array<Outcome<{ value: Answer }>>> {
  if (requests.length === 0) return [];
  try {
    return await withBilling(context, async (billing) => {
      const nearest = nearestIn(billing);
      const all: Array<Outcome<{ value: Answer }>> = [];
      for (let start = 0; start < requests.length; start += LIMITS.requests) {
        const some = requests.slice(start, start + LIMITS.requests);
        for (const answer of await question.ask(billing, some)) {
          all.push(
            isFailed(answer)
              ? { error: await nearest(reportedError(answer.error)) }
              : { value: answer },
          );
        }
      }
      return all;
    });
  } catch (failure) {
    const error = itemError(failure);
    if (!context.continueOnFail()) throw nodeError(context, error);
    return requests.map(() => ({ error }));
  }
}

/** Stops the workflow at the first item that failed, unless it shall continue. */
function stopAtFailure(context: IExecuteFunctions, outcomes: object[]): void {
  if (context.continueOnFail()) return;
  const index = outcomes.findIndex(hasFailed);
  if (index >= 0) throw nodeError(context, (outcomes[index] as { error: ItemError }).error, index);
}
