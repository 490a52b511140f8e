import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { idempotencyKeyParameter } from '../../../shared/idempotency';
import { metadataOption } from '../../../shared/metadata';
import { groupField, optionsParameter } from '../../../shared/options';
import { missing, readOptions } from '../../../shared/reading';
import { authorOption, reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';
import { endOptions, givenUnits, priorityOption, readGivenUnits } from './grantFields';

const properties: INodeProperties[] = [
  ...givenUnits,
  idempotencyKeyParameter,
  optionsParameter([
    authorOption,
    ...endOptions,
    metadataOption,
    groupField(
      {
        displayName: 'Paid',
        name: 'paid',
        description: 'What the customer paid for it elsewhere, without tax',
      },
      {
        displayName: 'Money',
        name: 'money',
        values: [
          {
            displayName: 'Amount',
            name: 'amount',
            type: 'string',
            default: '',
            placeholder: 'e.g. 40.00',
            description: 'For all the units together',
          },
          {
            displayName: 'Currency',
            name: 'currency',
            type: 'string',
            default: '',
            placeholder: 'e.g. USD',
            description: 'An ISO 4217 code',
          },
        ],
      },
    ),
    priorityOption,
    reasonOption,
  ]),
];

export const description = shownFor('balance', 'grant', properties);

type Paid = Parameters<Billing['ledger']['grant']>[0]['paid'];

function paidOf(written: unknown): Paid {
  if (written === undefined) return undefined;
  const { amount, currency } = (written as { money?: Record<string, unknown> }).money ?? {};
  if (amount === undefined || amount === null || amount === '')
    throw missing('Paid', 'paid.amount');
  return { amount: plainAmount(amount), currency } as Paid;
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const options = readOptions(context, 'options', itemIndex, ['metadata', 'reason', 'author']);
  return billing.ledger.grant({
    ...readGivenUnits(context, itemIndex, options),
    paid: paidOf(options.paid),
    reason: (options.reason ?? undefined) as string | undefined,
    author: (options.author ?? undefined) as string | undefined,
  });
}
