import type { INodeProperties } from 'n8n-workflow';

import type { SaveOfferRequest } from '../../../../engine';
import { amountOf, entriesOf, filled } from './written';

type Pricing = NonNullable<SaveOfferRequest['pricing']>;

const tierFields: INodeProperties = {
  displayName: 'Tiers',
  name: 'tiers',
  type: 'fixedCollection',
  typeOptions: { multipleValues: true, sortable: true },
  placeholder: 'Add Tier',
  default: {},
  description: 'From the first unit on, without a gap. The last tier has no end.',
  displayOptions: { show: { model: ['graduated', 'volume'] } },
  options: [
    {
      displayName: 'Tier',
      name: 'tier',
      values: [
        {
          displayName: 'Up To',
          name: 'upTo',
          type: 'string',
          default: '',
          placeholder: 'e.g. 1000',
          description: 'The last quantity of the tier. Leave it empty in the last one.',
        },
        {
          displayName: 'Unit Price',
          name: 'unitPrice',
          type: 'string',
          default: '0',
          placeholder: 'e.g. 0.008',
          description: 'It may be finer than the currency',
        },
        {
          displayName: 'Flat Price',
          name: 'flatPrice',
          type: 'string',
          default: '0',
          placeholder: 'e.g. 5.00',
          description: 'Added once when the quantity reaches the tier',
        },
      ],
    },
  ],
};

/** How a quantity makes a price. Offers have a price of their own already; overage has not. */
export const pricingFields = (ownPrice: boolean): INodeProperties[] => [
  {
    displayName: 'Model',
    name: 'model',
    type: 'options',
    options: [
      { name: 'Flat', value: 'flat', description: 'One price, whatever the quantity' },
      { name: 'Graduated', value: 'graduated', description: 'Each tier at its own price' },
      { name: 'Package', value: 'package', description: 'A price for each started package' },
      { name: 'Per Unit', value: 'per_unit', description: 'Price times quantity' },
      { name: 'Volume', value: 'volume', description: 'All at the price of the tier reached' },
    ],
    default: 'per_unit',
    description: 'How the quantity makes the price',
  },
  ...(ownPrice
    ? []
    : [
        {
          displayName: 'Price',
          name: 'price',
          type: 'string',
          default: '',
          placeholder: 'e.g. 0.02',
          description: 'Of one unit, of one package, or for all',
          displayOptions: { show: { model: ['flat', 'package', 'per_unit'] } },
        } satisfies INodeProperties,
      ]),
  {
    displayName: 'Package Size',
    name: 'size',
    type: 'string',
    default: '',
    placeholder: 'e.g. 100',
    description: 'How many are in a package',
    displayOptions: { show: { model: ['package'] } },
  },
  tierFields,
];

/** In an offer the price of the model is the one that the offer has. */
export function pricingOf(written: Record<string, unknown>): Pricing {
  const { model, price, size, tiers } = written;
  const tiered = model === 'graduated' || model === 'volume';
  return filled({
    model,
    ...(model === 'per_unit' ? { unitPrice: amountOf(price) } : { price: amountOf(price) }),
    size: model === 'package' ? amountOf(size) : undefined,
    tiers: tiered
      ? entriesOf(tiers, 'tier').map(({ upTo, unitPrice, flatPrice }) => ({
          upTo: amountOf(upTo) ?? null,
          unitPrice: amountOf(unitPrice) ?? '0',
          flatPrice: amountOf(flatPrice) ?? '0',
        }))
      : undefined,
  }) as unknown as Pricing;
}
