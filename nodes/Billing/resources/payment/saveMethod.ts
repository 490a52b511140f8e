import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { gatewayParameter } from './gateway';

const properties: INodeProperties[] = [
  ...accountParameters,
  gatewayParameter,
  {
    displayName: 'Payment Token',
    name: 'paymentToken',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.paymentMethodToken }}',
    description:
      'What the gateway gave for the card that the customer entered there. Never the number of a card.',
  },
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Make Default',
      name: 'makeDefault',
      type: 'boolean',
      default: true,
      description: 'Whether it is charged from now on. The first one of an account is anyway.',
    },
    metadataOption,
  ]),
];

export const description = shownFor('payment', 'saveMethod', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, ...options } = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.payments.saveMethod({
    account: readAccount(context, itemIndex),
    gateway: readRequired(context, 'gateway', 'Gateway', itemIndex),
    token: readRequired(context, 'paymentToken', 'Payment Token', itemIndex),
    ...options,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
