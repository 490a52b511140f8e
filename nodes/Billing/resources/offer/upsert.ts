import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing, SaveOfferRequest } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { optionalKeyOption } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { missing, readAmount, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const itemProperties: INodeProperties[] = [
  {
    displayName: 'Product',
    name: 'product',
    type: 'string',
    default: '',
    placeholder: 'e.g. messages',
    description: 'The key of the product',
  },
  {
    displayName: 'Quantity',
    name: 'quantity',
    type: 'string',
    default: '',
    placeholder: 'e.g. 100',
    description: 'Units of the product that one of the offer brings',
  },
  {
    displayName: 'Expires',
    name: 'expiresUnit',
    type: 'options',
    options: [
      { name: 'After Days', value: 'day' },
      { name: 'After Hours', value: 'hour' },
      { name: 'After Minutes', value: 'minute' },
      { name: 'After Months', value: 'month' },
      { name: 'After Seconds', value: 'second' },
      { name: 'After Weeks', value: 'week' },
      { name: 'After Years', value: 'year' },
      { name: 'Never', value: 'never' },
    ],
    default: 'never',
    description: 'When units that are left over end, counted from the grant',
  },
  {
    displayName: 'How Many',
    name: 'expiresCount',
    type: 'number',
    default: 1,
    typeOptions: { minValue: 1, numberPrecision: 0 },
    description: 'How many days, months and so on until then',
    displayOptions: { hide: { expiresUnit: ['never'] } },
  },
  {
    displayName: 'Priority',
    name: 'priority',
    type: 'number',
    default: 50,
    typeOptions: { numberPrecision: 0 },
    description:
      'Units with a smaller number are used first; among equal ones those that end first',
  },
];

const properties: INodeProperties[] = [
  {
    displayName: 'SKU',
    name: 'sku',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. messages-100',
    description: 'The word that names it everywhere. It never changes.',
  },
  {
    displayName: 'Name',
    name: 'name',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 100 chat messages',
    description: 'What customers read',
  },
  {
    displayName: 'Price',
    name: 'price',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 4.99',
    description: 'In the currency, as a plain decimal number',
  },
  {
    displayName: 'Currency',
    name: 'currency',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. USD',
    description: 'An ISO 4217 code, or the key of a product that is a currency',
  },
  {
    displayName: 'Items',
    name: 'items',
    type: 'fixedCollection',
    typeOptions: { multipleValues: true },
    placeholder: 'Add Item',
    default: {},
    description: 'What a customer gets. An update replaces all items.',
    options: [{ displayName: 'Item', name: 'item', values: itemProperties }],
  },
  {
    displayName: 'Additional Fields',
    name: 'additionalFields',
    type: 'collection',
    placeholder: 'Add Field',
    default: {},
    description: 'What is left out stays as it is',
    options: [
      {
        displayName: 'Active',
        name: 'active',
        type: 'boolean',
        default: true,
        description: 'Whether it is on sale',
      },
      optionalKeyOption,
      {
        displayName: 'List Price',
        name: 'listPrice',
        type: 'string',
        default: '',
        placeholder: 'e.g. 9.99',
        description: 'The price to strike through',
      },
      metadataOption,
      {
        displayName: 'Public',
        name: 'public',
        type: 'boolean',
        default: true,
        description:
          'Whether everybody may see it. Only public offers are suggested after a denial.',
      },
    ],
  },
];

export const description = shownFor('offer', 'upsert', properties);

/** An item as the editor's collection gives it. */
interface WrittenItem {
  product?: unknown;
  quantity?: unknown;
  expiresUnit?: unknown;
  expiresCount?: unknown;
  priority?: unknown;
}

const orUndefined = (value: unknown) => (value === '' || value === null ? undefined : value);

/** What stands in the fields; the engine judges it. */
function itemOf(written: WrittenItem): SaveOfferRequest['items'][number] {
  const { product, quantity, expiresUnit, expiresCount, priority } = written;
  const ends = orUndefined(expiresUnit) !== undefined && expiresUnit !== 'never';
  return {
    product,
    quantity: orUndefined(plainAmount(quantity)),
    expiresAfter: ends ? { unit: expiresUnit, count: expiresCount ?? 1 } : null,
    priority: orUndefined(priority),
  } as SaveOfferRequest['items'][number];
}

function readItems(context: IExecuteFunctions, itemIndex: number): SaveOfferRequest['items'] {
  const written = context.getNodeParameter('items.item', itemIndex, []) as WrittenItem[];
  if (written.length === 0) throw missing('Items', 'items');
  return written.map(itemOf);
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata, listPrice, ...fields } = readOptions(context, 'additionalFields', itemIndex);
  return billing.catalog.saveOffer({
    sku: readRequired(context, 'sku', 'SKU', itemIndex),
    name: readRequired(context, 'name', 'Name', itemIndex),
    price: readAmount(context, 'price', 'Price', itemIndex),
    currency: readRequired(context, 'currency', 'Currency', itemIndex),
    items: readItems(context, itemIndex),
    ...fields,
    listPrice: plainAmount(listPrice) as string | undefined,
    metadata: metadataOf(metadata),
  });
}
