import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Duration } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { durationFields, durationOf } from '../../../shared/durations';
import { readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf } from '../../../shared/metadata';
import { groupField } from '../../../shared/options';
import { amountParameter, productParameter } from '../../../shared/pickers';
import { readAmount, readRequired } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';

/** What "Grant Units" and "Give Bonus" ask alike. */
export const givenUnits: INodeProperties[] = [
  ...accountParameters,
  { ...productParameter, description: 'What is given' },
  { ...amountParameter, displayName: 'Quantity', name: 'quantity' },
  {
    displayName: 'Source',
    name: 'source',
    type: 'string',
    required: true,
    default: 'manual',
    placeholder: 'e.g. survey in May',
    description: 'Where it comes from, kept with the grant',
  },
];

export const endOptions: INodeProperties[] = [
  groupField(
    {
      displayName: 'Ends After',
      name: 'expiresAfter',
      description: 'When what is left over ends, counted from now',
    },
    {
      displayName: 'Time',
      name: 'time',
      values: durationFields({
        count: 'How Many',
        unit: 'Unit',
        description: 'How many days, months and so on',
      }),
    },
  ),
  {
    displayName: 'Ends At',
    name: 'expiresAt',
    type: 'dateTime',
    default: '',
    description: 'When what is left over ends',
  },
];

export const priorityOption: INodeProperties = {
  displayName: 'Priority',
  name: 'priority',
  type: 'number',
  default: 50,
  typeOptions: { numberPrecision: 0 },
  description: 'Units with a smaller number are used first; among equal ones those that end first',
};

interface WrittenOptions {
  expiresAfter?: { time?: unknown };
  expiresAt?: unknown;
  metadata?: unknown;
  priority?: unknown;
}

export function readGivenUnits(
  context: IExecuteFunctions,
  itemIndex: number,
  options: Record<string, unknown>,
) {
  const { expiresAfter, expiresAt, metadata, priority } = options as WrittenOptions;
  if (expiresAfter !== undefined && expiresAt !== undefined) {
    throw new BillingError('invalid_input', '"Ends After" and "Ends At" say two things.', {
      parameter: 'expiresAt',
      advice: 'Remove one of them.',
    });
  }
  return {
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    quantity: readAmount(context, 'quantity', 'Quantity', itemIndex),
    source: readRequired(context, 'source', 'Source', itemIndex),
    expiresAfter: (expiresAfter?.time === undefined ? undefined : durationOf(expiresAfter.time)) as
      Duration | undefined,
    expiresAt: timeOf(context, expiresAt),
    priority: priority as number | undefined,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  };
}
