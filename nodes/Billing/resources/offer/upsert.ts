import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing, type SaveOfferRequest } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { durationOf, longDurationUnits } from '../../../shared/durations';
import { optionalKeyOption } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { chosenOf, noItems, readAmount, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { itemOptions, itemOptionsOf } from './itemOptions';
import { termsFields, termsOf } from './terms';
import { expiryFields, expiryOf, priorityField, productField, quantityField } from './units';
import { amountOf, orUndefined } from './written';

const itemProperties: INodeProperties[] = [
  productField,
  { ...quantityField, description: 'Units of the product that one of the offer brings' },
  ...expiryFields,
  priorityField,
  itemOptions,
];

/** Such as 1 month, 2 weeks or 1 year. */
const soldEvery: INodeProperties[] = [
  {
    displayName: 'Every',
    name: 'everyCount',
    type: 'number',
    required: true,
    default: 1,
    typeOptions: { minValue: 1, numberPrecision: 0 },
    description: 'How many of the unit a period has, such as 1 for monthly and 3 for quarterly',
  },
  {
    displayName: 'Unit',
    name: 'everyUnit',
    type: 'options',
    options: longDurationUnits,
    default: 'month',
    description: "Counted in the account's time zone",
  },
];

const sorted = (fields: INodeProperties[]): INodeProperties[] =>
  [...fields].sort((one, other) => one.displayName.localeCompare(other.displayName));

const properties: INodeProperties[] = [
  {
    displayName: 'SKU',
    name: 'sku',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. pack-100',
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
    displayName: 'Sold',
    name: 'sold',
    type: 'options',
    options: [
      { name: 'Once', value: 'once', description: 'A pack, a gift, a free tier' },
      { name: 'Recurring', value: 'recurring', description: 'A plan, as a subscription' },
    ],
    default: 'once',
    description: 'Whether it is paid once or for each period',
  },
  ...soldEvery.map((field) => ({ ...field, displayOptions: { show: { sold: ['recurring'] } } })),
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
    options: sorted([
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
      ...termsFields,
    ]),
  },
];

export const description = shownFor('offer', 'upsert', properties);

/** An item as the editor's collection gives it. */
type WrittenItem = Record<string, unknown>;

/** What stands in the fields; the engine judges it. */
function itemOf(written: WrittenItem): SaveOfferRequest['items'][number] {
  const { product, quantity, priority, more } = written;
  return {
    product: orUndefined(chosenOf(product)),
    quantity: amountOf(quantity),
    expiresAfter: expiryOf(written),
    priority: orUndefined(priority),
    ...itemOptionsOf(more),
  } as SaveOfferRequest['items'][number];
}

function readItems(context: IExecuteFunctions, itemIndex: number): SaveOfferRequest['items'] {
  const written = context.getNodeParameter('items.item', itemIndex, []) as WrittenItem[];
  if (written.length === 0) throw noItems('items');
  return written.map(itemOf);
}

function readSold(
  context: IExecuteFunctions,
  itemIndex: number,
): Pick<SaveOfferRequest, 'billing' | 'interval'> {
  const sold = readRequired(context, 'sold', 'Sold', itemIndex);
  if (sold === 'once') return { billing: 'one_time', interval: null };
  if (sold !== 'recurring') {
    throw new BillingError('invalid_input', '"Sold" must be one of once, recurring.', {
      parameter: 'sold',
    });
  }
  const count = readRequired<unknown>(context, 'everyCount', 'Every', itemIndex);
  const unit = readRequired(context, 'everyUnit', 'Unit', itemIndex);
  return { billing: 'recurring', interval: durationOf({ count, unit }) };
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const written = context.getNodeParameter('additionalFields', itemIndex, {}) as Record<
    string,
    unknown
  >;
  const given = readOptions(context, 'additionalFields', itemIndex);
  return billing.catalog.saveOffer({
    sku: readRequired(context, 'sku', 'SKU', itemIndex),
    name: readRequired(context, 'name', 'Name', itemIndex),
    price: readAmount(context, 'price', 'Price', itemIndex),
    currency: readRequired(context, 'currency', 'Currency', itemIndex),
    ...readSold(context, itemIndex),
    items: readItems(context, itemIndex),
    active: given.active as boolean | undefined,
    public: given.public as boolean | undefined,
    idempotencyKey: given.idempotencyKey as string | undefined,
    listPrice: plainAmount(given.listPrice) as string | undefined,
    metadata: metadataOf(given.metadata),
    ...termsOf(written, given),
  });
}
