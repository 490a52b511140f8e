import type {
  IBinaryKeyData,
  IDataObject,
  IExecuteFunctions,
  INodeExecutionData,
} from 'n8n-workflow';

import type { Billing } from '../../engine';
import { errorItem, itemError, nodeError, type ItemError } from './itemErrors';
import { withBilling } from './withBilling';

/** A record that comes out with a file. */
export class RecordWithFile {
  constructor(
    readonly record: object,
    readonly files: IBinaryKeyData,
  ) {}
}

const outputItem = (record: object, itemIndex: number): INodeExecutionData =>
  record instanceof RecordWithFile
    ? { ...outputItem(record.record, itemIndex), binary: record.files }
    : { json: record as IDataObject, pairedItem: { item: itemIndex } };

/** Does something for an item and gives what comes out of the node for it: one record or several. */
export type ItemWork = (billing: Billing, itemIndex: number) => Promise<object | object[]>;

interface Done {
  output: INodeExecutionData[];
  /** The item at which the workflow has to stop. */
  stoppedAt?: { itemIndex: number; error: ItemError };
}

/** Runs a node with one output, item by item, on one engine. */
export async function forEachItem(
  context: IExecuteFunctions,
  work: ItemWork,
): Promise<INodeExecutionData[][]> {
  const { output, stoppedAt } = await onEngine(context, work);
  if (stoppedAt !== undefined) throw nodeError(context, stoppedAt.error, stoppedAt.itemIndex);
  return [output];
}

async function onEngine(context: IExecuteFunctions, work: ItemWork): Promise<Done> {
  try {
    return await withBilling(context, (billing) => eachOf(context, billing, work));
  } catch (failure) {
    // No item's fault: the engine could not be opened.
    const error = itemError(failure);
    if (!context.continueOnFail()) throw nodeError(context, error);
    return { output: context.getInputData().map((_, index) => errorItem(error, index)) };
  }
}

async function eachOf(context: IExecuteFunctions, billing: Billing, work: ItemWork): Promise<Done> {
  const output: INodeExecutionData[] = [];
  for (let itemIndex = 0; itemIndex < context.getInputData().length; itemIndex += 1) {
    try {
      const records = [await work(billing, itemIndex)].flat();
      output.push(...records.map((record) => outputItem(record, itemIndex)));
    } catch (failure) {
      const error = itemError(failure);
      if (!context.continueOnFail()) return { output, stoppedAt: { itemIndex, error } };
      output.push(errorItem(error, itemIndex));
    }
  }
  return { output };
}
