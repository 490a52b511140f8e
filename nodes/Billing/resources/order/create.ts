import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { durationFields, durationOf } from '../../../shared/durations';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { groupField, optionsParameter } from '../../../shared/options';
import { taxRateField } from '../../../shared/pickers';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { linesParameters, readLines } from './lines';

const properties: INodeProperties[] = [
  ...accountParameters,
  ...linesParameters,
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Coupon Code',
      name: 'coupon',
      type: 'string',
      default: '',
      placeholder: 'e.g. SUMMER20',
      description:
        'What the customer typed, which lowers the price. Left blank, or without a value in the item, there is none.',
    },
    groupField(
      {
        displayName: 'Expires In',
        name: 'expiresIn',
        description:
          'How long prices and places are kept for the payment. After that the order lapses; without this it is 24 hours.',
      },
      {
        displayName: 'Time',
        name: 'time',
        values: durationFields({
          count: 'How Many',
          unit: 'Unit',
          description: 'How many hours, days and so on',
          defaultUnit: 'hour',
        }),
      },
    ),
    metadataOption,
    ...taxRateField(
      "One that counts for this order. Left blank it follows from the account's tax details and country.",
    ),
  ]),
];

export const description = shownFor('order', 'create', properties);

/** A denial is data, `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, expiresIn, ...options } = readOptions(context, 'options', itemIndex, [
    'coupon',
    'metadata',
  ]);
  const { time } = (expiresIn ?? {}) as { time?: unknown };
  return billing.sales.createOrder({
    account: readAccount(context, itemIndex),
    items: readLines(context, itemIndex),
    ...options,
    coupon: (options.coupon ?? undefined) as string | undefined,
    expiresIn: time === undefined ? undefined : durationOf(time),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
