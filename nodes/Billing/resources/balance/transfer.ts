import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import {
  accountParameters,
  otherAccountParameters,
  readAccount,
  readOtherAccount,
} from '../../../shared/accountParameters';
import { plainAmount } from '../../../shared/amounts';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { amountParameter, productParameter } from '../../../shared/pickers';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { reasonOption } from '../../../shared/reasons';
import { shownFor, shownWhen } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  { ...productParameter, description: 'What moves. It must be a counted product.' },
  { ...amountParameter, description: 'Units to move, all of them or none' },
  {
    displayName: 'Into',
    name: 'into',
    type: 'options',
    noDataExpression: true,
    options: [
      {
        name: 'Another Account',
        value: 'account',
        description: 'As many units of the same product, with their end and priority',
      },
      {
        name: 'Another Product',
        value: 'product',
        description: 'Units of the same worth, of another product of the same account',
      },
      {
        name: 'Another Product of Another Account',
        value: 'both',
        description: 'Both at once',
      },
    ],
    default: 'product',
    description: 'Where the units go',
  },
  ...shownWhen({ into: ['account', 'both'] }, otherAccountParameters('to', 'Target Account')),
  {
    ...productParameter,
    displayName: 'Target Product',
    name: 'toProduct',
    description: 'What the units become',
    displayOptions: { show: { into: ['product', 'both'] } },
  },
  idempotencyKeyParameter,
  optionsParameter([
    metadataOption,
    {
      displayName: 'Quantity',
      name: 'quantity',
      type: 'string',
      default: '',
      placeholder: 'e.g. 200',
      description:
        'How many units of the target product it gives. Needed where what moves is worth nothing, such as a bonus.',
    },
    reasonOption,
    {
      displayName: 'Unit Value',
      name: 'unitValue',
      type: 'string',
      default: '',
      placeholder: 'e.g. 0.25',
      description:
        'What one unit of the target product is worth. Without it: what the account last paid for one.',
    },
  ]),
];

export const description = shownFor('balance', 'transfer', properties);

function readTarget(context: IExecuteFunctions, itemIndex: number) {
  const toAccount = () => readOtherAccount(context, 'to', 'Target Account', itemIndex);
  const toProduct = () => readRequired(context, 'toProduct', 'Target Product', itemIndex);
  switch (context.getNodeParameter('into', itemIndex)) {
    case 'account':
      return { toAccount: toAccount() };
    case 'product':
      return { toProduct: toProduct() };
    case 'both':
      return { toAccount: toAccount(), toProduct: toProduct() };
    default:
      throw new BillingError('invalid_input', '"Into" must be one of account, product, both.', {
        parameter: 'into',
      });
  }
}

/** A denial is data, `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const options = readOptions(context, 'options', itemIndex, ['metadata', 'reason']);
  return billing.ledger.transfer({
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    ...readTarget(context, itemIndex),
    quantity: plainAmount(options.quantity) as string | undefined,
    unitValue: plainAmount(options.unitValue) as string | undefined,
    reason: (options.reason ?? undefined) as string | undefined,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(options.metadata),
  });
}
