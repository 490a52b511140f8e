import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing, RestoreRequest } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { plainAmount } from '../../../shared/amounts';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { amountParameter, productParameter } from '../../../shared/pickers';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  {
    displayName: 'Restore By',
    name: 'restoreBy',
    type: 'options',
    noDataExpression: true,
    options: [
      {
        name: 'Entry',
        value: 'entry',
        description: 'One use, by the ID that Consume or "Hold: Settle" gave it',
      },
      {
        name: 'Product',
        value: 'product',
        description: 'An amount of a product, from the latest uses',
      },
    ],
    default: 'entry',
    description: 'What is taken back',
  },
  {
    displayName: 'Entry ID',
    name: 'entryId',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.usage.entryId }}',
    description: 'The use, which must be one of this account',
    displayOptions: { show: { restoreBy: ['entry'] } },
  },
  { ...productParameter, displayOptions: { show: { restoreBy: ['product'] } } },
  {
    ...amountParameter,
    description: 'Units to give back. The latest uses come first.',
    displayOptions: { show: { restoreBy: ['product'] } },
  },
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Amount',
      name: 'amount',
      type: 'number',
      default: 1,
      typeOptions: { minValue: 0 },
      description:
        'Units to give back of the entry. Left out it is all of it that was not restored yet.',
      displayOptions: { show: { '/restoreBy': ['entry'] } },
    },
    metadataOption,
  ]),
];

export const description = shownFor('balance', 'restore', properties);

function readUses(
  context: IExecuteFunctions,
  itemIndex: number,
  amount: unknown,
): Pick<RestoreRequest, 'entryId' | 'product' | 'amount'> {
  if (context.getNodeParameter('restoreBy', itemIndex) === 'product') {
    return {
      product: readRequired(context, 'product', 'Product', itemIndex),
      amount: readAmount(context, 'amount', 'Amount', itemIndex),
    };
  }
  return {
    entryId: readRequired(context, 'entryId', 'Entry ID', itemIndex),
    amount: plainAmount(amount) as string | undefined,
  };
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, amount } = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.ledger.restore({
    account: readAccount(context, itemIndex),
    ...readUses(context, itemIndex, amount),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
