import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { durationFields, durationOf, durationUnits } from '../../../shared/durations';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { jsonOf } from '../../../shared/json';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { groupField, optionsParameter } from '../../../shared/options';
import { noItems, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { currencyParameter } from './currency';
import { itemOf, itemValues } from './itemFields';

const properties: INodeProperties[] = [
  ...accountParameters,
  currencyParameter,
  {
    displayName: 'Specify Items',
    name: 'specifyItems',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'Using Fields Below', value: 'fields' },
      { name: 'Using JSON', value: 'json', description: 'For lists that may have any length' },
    ],
    default: 'fields',
    description: 'How the lines of the invoice are written',
  },
  {
    displayName: 'Items',
    name: 'items',
    type: 'fixedCollection',
    typeOptions: { multipleValues: true },
    placeholder: 'Add Item',
    default: {},
    description: 'What is billed. More can be added while it is a draft.',
    displayOptions: { show: { specifyItems: ['fields'] } },
    options: [{ displayName: 'Item', name: 'item', values: itemValues }],
  },
  {
    displayName: 'Items (JSON)',
    name: 'itemsJson',
    type: 'json',
    default: '[]',
    description: 'A list of texts with quantity and price, or of SKUs with quantity',
    hint: 'For example [{ "description": "Consulting", "quantity": 2, "unitPrice": "80.00" }]',
    displayOptions: { show: { specifyItems: ['json'] } },
  },
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Collection',
      name: 'collection',
      type: 'options',
      options: [
        { name: 'Charge', value: 'charge', description: 'The payment method on file' },
        { name: 'Send', value: 'send', description: 'The customer pays the invoice' },
      ],
      default: 'charge',
      description: 'How it is paid. Left out, it is charged; where nothing can charge, it is sent.',
    },
    groupField(
      {
        displayName: 'Due In',
        name: 'dueIn',
        description: 'How long the customer has to pay, from the day of issue',
      },
      {
        displayName: 'Time',
        name: 'time',
        values: durationFields({
          count: 'How Many',
          unit: 'Unit',
          description: 'How many days or weeks',
          units: durationUnits.filter(({ value }) => ['day', 'week'].includes(value)),
          defaultUnit: 'day',
        }),
      },
    ),
    {
      displayName: 'Memo',
      name: 'memo',
      type: 'string',
      default: '',
      placeholder: 'e.g. Agreed by phone in May',
      description: 'For yourself: it does not stand on the invoice',
    },
    metadataOption,
  ]),
];

export const description = shownFor('invoice', 'create', properties);

type CreateRequest = Parameters<Billing['invoicing']['createInvoice']>[0];

function readItems(context: IExecuteFunctions, itemIndex: number): CreateRequest['items'] {
  if (context.getNodeParameter('specifyItems', itemIndex) === 'json') {
    return jsonOf<CreateRequest['items']>(context.getNodeParameter('itemsJson', itemIndex), {
      displayName: 'Items (JSON)',
      parameter: 'items',
      example: '[{ "description": "Consulting", "quantity": 2, "unitPrice": "80.00" }]',
    });
  }
  const written = context.getNodeParameter('items.item', itemIndex, []) as Array<
    Record<string, unknown>
  >;
  if (written.length === 0) throw noItems('items');
  return written.map((item, index) => itemOf(item, `items[${index}].`)) as CreateRequest['items'];
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, dueIn, ...options } = readOptions(context, 'options', itemIndex, ['metadata']);
  const { time } = (dueIn ?? {}) as { time?: unknown };
  return billing.invoicing.createInvoice({
    account: readAccount(context, itemIndex),
    currency: readRequired(context, 'currency', 'Currency', itemIndex),
    items: readItems(context, itemIndex),
    ...options,
    dueIn: time === undefined ? undefined : durationOf(time),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  } as CreateRequest);
}
