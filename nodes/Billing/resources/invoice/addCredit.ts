import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { optionsParameter } from '../../../shared/options';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';
import { currencyParameter } from './currency';

const properties: INodeProperties[] = [
  ...accountParameters,
  currencyParameter,
  {
    displayName: 'Amount',
    name: 'amount',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 10.00',
    description: 'Money that the next invoices use first',
  },
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Paid By',
      name: 'received',
      type: 'options',
      options: [
        { name: 'Bank Transfer', value: 'bank_transfer' },
        { name: 'Card Terminal', value: 'card_terminal' },
        { name: 'Cash', value: 'cash' },
        { name: 'Check', value: 'cheque' },
        { name: 'Other', value: 'other' },
      ],
      default: 'bank_transfer',
      description: 'How the customer paid for it. Without this it is given for nothing.',
    },
    reasonOption,
  ]),
];

export const description = shownFor('invoice', 'addCredit', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.invoicing.addCredit({
    account: readAccount(context, itemIndex),
    currency: readRequired(context, 'currency', 'Currency', itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    ...readOptions(context, 'options', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
