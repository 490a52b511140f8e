import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { optionsParameter } from '../../../shared/options';
import { offerParameter, offerQuantityParameter, productParameter } from '../../../shared/pickers';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  { ...productParameter, description: 'What runs low' },
  {
    displayName: 'Below',
    name: 'below',
    type: 'number',
    required: true,
    default: '',
    typeOptions: { minValue: 0 },
    placeholder: 'e.g. 100',
    description: 'More is bought as soon as fewer units than this are left',
  },
  { ...offerParameter, description: 'What is bought then, and charged to the default method' },
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Active',
      name: 'active',
      type: 'boolean',
      default: true,
      description: 'Whether it is in force',
    },
    {
      displayName: 'Max per Period',
      name: 'maxPerPeriod',
      type: 'number',
      default: 5,
      typeOptions: { minValue: 1, numberPrecision: 0 },
      description: 'How often at most within a period, which is a calendar month',
    },
    { ...offerQuantityParameter, description: 'How many of the offer each time' },
  ]),
];

export const description = shownFor('payment', 'setTopUp', properties);

type SetTopUpRequest = Parameters<Billing['invoicing']['setTopUp']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.invoicing.setTopUp({
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    below: readAmount(context, 'below', 'Below', itemIndex),
    sku: readRequired(context, 'offer', 'Offer', itemIndex),
    ...readOptions(context, 'options', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  } as SetTopUpRequest);
}
