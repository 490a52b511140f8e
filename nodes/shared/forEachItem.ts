import type {
  IBinaryKeyData,
  IDataObject,
  IExecuteFunctions,
  INodeExecutionData,
} from 'n8n-workflow';

import type { Billing } from '../../engine';
import { errorItem, inputsOfFailed, itemError, nodeError, type ItemError } from './itemErrors';
import { nearestIn } from './nearest';
import { givenAs, readOutput, type Output } from './output';
import { refuseModelsChoice } from './toolMode';
import { withBilling } from './withBilling';

/** A record that comes out with a file. */
export class RecordWithFile {
  constructor(
    readonly record: object,
    readonly files: IBinaryKeyData,
  ) {}
}

/** What leaves by the second output of a node that has one: a no. */
export class Refusal {
  constructor(readonly record: object) {}
}

const outputItem = (record: object, itemIndex: number, output: Output): INodeExecutionData =>
  record instanceof RecordWithFile
    ? { ...outputItem(record.record, itemIndex, output), binary: record.files }
    : { json: givenAs(output, record) as IDataObject, pairedItem: { item: itemIndex } };

/**
 * Does something for an item and gives what comes out of the node for it: one record or several, or
 * a refusal where the node has an output for it.
 */
export type ItemWork = (billing: Billing, itemIndex: number) => Promise<object | object[]>;

interface Done {
  output: INodeExecutionData[];
  refused: INodeExecutionData[];
  /** The item at which the workflow has to stop. */
  stoppedAt?: { itemIndex: number; error: ItemError };
}

/** Runs a node with one output, item by item, on one engine. */
export async function forEachItem(
  context: IExecuteFunctions,
  work: ItemWork,
): Promise<INodeExecutionData[][]> {
  const { output } = await finished(context, work, 'output');
  return [output];
}

/**
 * The same with two outputs: done and refused. An item that failed is never on the first one, as in
 * every node that decides.
 */
export async function forEachItemOrRefusal(
  context: IExecuteFunctions,
  work: ItemWork,
): Promise<INodeExecutionData[][]> {
  const { output, refused } = await finished(context, work, 'refused');
  return [output, refused];
}

/** Where items go that failed, when the node shall continue. */
type FailuresTo = 'output' | 'refused';

async function finished(
  context: IExecuteFunctions,
  work: ItemWork,
  failuresTo: FailuresTo,
): Promise<Done> {
  const done = await onEngine(context, work, failuresTo);
  const { stoppedAt } = done;
  if (stoppedAt !== undefined) throw nodeError(context, stoppedAt.error, stoppedAt.itemIndex);
  return done;
}

/** What items that fail keep of what they were. */
const keptOf = (context: IExecuteFunctions, failuresTo: FailuresTo): INodeExecutionData[] =>
  failuresTo === 'refused' ? inputsOfFailed(context) : [];

const nothingDone = (): Done => ({ output: [], refused: [] });

async function onEngine(
  context: IExecuteFunctions,
  work: ItemWork,
  failuresTo: FailuresTo,
): Promise<Done> {
  try {
    return await withBilling(context, (billing) => eachOf(context, billing, work, failuresTo));
  } catch (failure) {
    // No item's fault: the engine could not be opened.
    const error = itemError(failure);
    if (!context.continueOnFail()) throw nodeError(context, error);
    const inputs = keptOf(context, failuresTo);
    const failed = context.getInputData().map((_, index) => errorItem(error, index, inputs[index]));
    return { ...nothingDone(), [failuresTo]: failed };
  }
}

async function eachOf(
  context: IExecuteFunctions,
  billing: Billing,
  work: ItemWork,
  failuresTo: FailuresTo,
): Promise<Done> {
  const done = nothingDone();
  const inputs = keptOf(context, failuresTo);
  const nearest = nearestIn(billing);
  for (let itemIndex = 0; itemIndex < context.getInputData().length; itemIndex += 1) {
    try {
      refuseModelsChoice(context);
      const output = readOutput(context, itemIndex);
      for (const record of [await work(billing, itemIndex)].flat()) {
        const isRefused = record instanceof Refusal;
        const item = outputItem(isRefused ? record.record : record, itemIndex, output);
        (isRefused ? done.refused : done.output).push(item);
      }
    } catch (failure) {
      const error = await nearest(itemError(failure));
      if (!context.continueOnFail()) return { ...done, stoppedAt: { itemIndex, error } };
      done[failuresTo].push(errorItem(error, itemIndex, inputs[itemIndex]));
    }
  }
  return done;
}
