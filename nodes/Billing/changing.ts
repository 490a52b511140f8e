import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../shared/idempotency';
import { metadataOf, metadataOption } from '../shared/metadata';
import { optionsParameter } from '../shared/options';
import { readOptions } from '../shared/reading';
import { named, shownFor, type Operation } from './operation';

/**
 * The form of all changes of one kind of record: which one, what the change itself asks, a key, options.
 *
 * @param record the parameter that names it
 * @param id what the engine calls its id
 */
export function changesOf<Id extends string>(resource: string, record: INodeProperties, id: Id) {
  const which = named(record, id);

  const changeParameters = (
    own: INodeProperties[] = [],
    options: INodeProperties[] = [],
  ): INodeProperties[] => [
    ...which.parameters,
    ...own,
    idempotencyKeyParameter,
    optionsParameter(
      [...options, metadataOption].sort((one, other) =>
        one.displayName.localeCompare(other.displayName),
      ),
    ),
  ];

  /** Which one, and what else was chosen. */
  const readChange = (context: IExecuteFunctions, itemIndex: number) => {
    const { metadata, ...options } = readOptions(context, 'options', itemIndex, ['metadata']);
    return {
      ...which.read(context, itemIndex),
      ...options,
      idempotencyKey: readIdempotencyKey(context, itemIndex),
      metadata: metadataOf(metadata),
    };
  };

  /** A change that asks nothing of its own. */
  const change = (
    operation: string,
    call: (billing: Billing, change: ReturnType<typeof readChange>) => Promise<object>,
    options?: INodeProperties[],
  ): Operation => ({
    description: shownFor(resource, operation, changeParameters([], options)),
    execute: async (context, billing, itemIndex) => call(billing, readChange(context, itemIndex)),
  });

  return { changeParameters, readChange, change };
}
