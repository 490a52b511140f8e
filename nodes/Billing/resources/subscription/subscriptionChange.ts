import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { subscriptionParameter } from '../../../shared/pickers';
import { readOptions, readRequired } from '../../../shared/reading';

/** What every change of a subscription asks, around its own questions. */
export const changeParameters = (
  own: INodeProperties[],
  options: INodeProperties[] = [],
): INodeProperties[] => [
  subscriptionParameter,
  ...own,
  idempotencyKeyParameter,
  {
    displayName: 'Options',
    name: 'options',
    type: 'collection',
    placeholder: 'Add Option',
    default: {},
    options: [...options, metadataOption].sort((one, other) =>
      one.displayName.localeCompare(other.displayName),
    ),
  },
];

/** Which subscription, and what else was chosen. */
export function readChange(context: IExecuteFunctions, itemIndex: number) {
  const { metadata, ...options } = readOptions(context, 'options', itemIndex, ['metadata']);
  return {
    subscriptionId: readRequired(context, 'subscription', 'Subscription', itemIndex),
    ...options,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  };
}
