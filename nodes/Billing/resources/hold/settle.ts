import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { readAmount, readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { holdParameters, readHold } from './holdReference';

const properties: INodeProperties[] = [
  ...holdParameters,
  {
    displayName: 'Amount',
    name: 'amount',
    type: 'number',
    required: true,
    // No number to start with: whoever forgets it would sell the work for one unit.
    default: '',
    typeOptions: { minValue: 0 },
    placeholder: 'e.g. {{ $json.tokensUsed }}',
    description:
      'Units that were really used, fewer or more than are on hold. With 0 all of it goes back.',
  },
  idempotencyKeyParameter,
  optionsParameter([
    metadataOption,
    {
      displayName: 'Strict',
      name: 'strict',
      type: 'boolean',
      default: false,
      description:
        'Whether to deny, and keep the hold, when more was used than is there. Without it the account pays what it has, and the rest is kept on record as "uncovered".',
    },
  ]),
];

export const description = shownFor('hold', 'settle', properties);

/** The denial of a strict one is data, `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, ...options } = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.ledger.settle({
    ...readHold(context, itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    ...options,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
