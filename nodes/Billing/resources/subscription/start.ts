import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { plainAmount } from '../../../shared/amounts';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { accessOption } from '../../../shared/periodTerms';
import { offerParameter, offerQuantityParameter } from '../../../shared/pickers';
import { readOptions, readRequired } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  { ...offerParameter, description: 'A recurring offer. The Billing node creates offers.' },
  idempotencyKeyParameter,
  optionsParameter([
    {
      ...accessOption,
      default: 'at_once',
      description:
        'When the units of a first period come that is paid in advance. Default: as the offer says.',
    },
    {
      displayName: 'Collected By',
      name: 'collectedBy',
      type: 'options',
      options: [
        { name: 'Engine', value: 'engine', description: 'The dispatch of invoices' },
        {
          name: 'Provider',
          value: 'provider',
          description: 'A payment provider charges by itself; its notice pays the invoice',
        },
      ],
      default: 'engine',
      description: 'Who takes the money',
    },
    {
      displayName: 'Collection',
      name: 'collection',
      type: 'options',
      options: [
        { name: 'Charge', value: 'charge', description: 'The payment method on file' },
        { name: 'Send', value: 'send', description: 'The customer pays the invoice' },
      ],
      default: 'charge',
      description:
        'How its invoices are paid. Left out, they are charged; where nothing can charge, they are sent until the account has a payment method.',
    },
    {
      displayName: 'Coupon Code',
      name: 'coupon',
      type: 'string',
      default: '',
      placeholder: 'e.g. SUMMER20',
      description:
        'What the customer typed, which lowers the price. Left blank, or without a value in the item, there is none.',
    },
    metadataOption,
    offerQuantityParameter,
    {
      displayName: 'Renew',
      name: 'renew',
      type: 'boolean',
      default: true,
      description: 'Whether a period follows a period until it is cancelled',
    },
    {
      displayName: 'Start At',
      name: 'startAt',
      type: 'dateTime',
      default: '',
      description: 'When the first period begins. Without it, now.',
    },
    {
      displayName: 'Trial',
      name: 'trial',
      type: 'boolean',
      default: true,
      description:
        'Whether it must begin with the trial phases of the offer: then it is denied to who had them. Without this option those begin with them who can still have them.',
    },
  ]),
];

export const description = shownFor('subscription', 'start', properties);

type StartRequest = Parameters<Billing['subscriptions']['start']>[0];

/** A denial is data, `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, startAt, quantity, coupon, ...options } = readOptions(
    context,
    'options',
    itemIndex,
    ['coupon', 'metadata'],
  );
  return billing.subscriptions.start({
    account: readAccount(context, itemIndex),
    sku: readRequired(context, 'offer', 'Offer', itemIndex),
    ...options,
    coupon: coupon ?? undefined,
    startAt: timeOf(context, startAt),
    quantity: plainAmount(quantity),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  } as StartRequest);
}
