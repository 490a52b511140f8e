import type { INodeProperties } from 'n8n-workflow';

import { plainAmount } from '../../../shared/amounts';
import { offerParameter, taxRateField } from '../../../shared/pickers';
import { chosenOf, missing } from '../../../shared/reading';

/** What a line of an invoice says. */
const quantity: INodeProperties = {
  displayName: 'Quantity',
  name: 'quantity',
  type: 'string',
  default: '1',
  placeholder: 'e.g. 2.5',
  description: 'How many',
};

const text: INodeProperties = {
  displayName: 'Description',
  name: 'description',
  type: 'string',
  default: '',
  placeholder: 'e.g. Consulting in January',
  description: 'What stands on the line',
};

const unitPrice: INodeProperties = {
  displayName: 'Unit Price',
  name: 'unitPrice',
  type: 'string',
  default: '',
  placeholder: 'e.g. 80.00',
  description: 'For one, in the currency of the invoice',
};

const taxRate = taxRateField(
  "One that counts for this line. Left blank it follows from the account's tax details and country.",
);

const discount: INodeProperties = {
  displayName: 'Discount',
  name: 'discount',
  type: 'string',
  default: '',
  placeholder: 'e.g. 10.00',
  description: 'Off the whole line, in the currency of the invoice',
};

/** A line, where it may be one of text or an offer. */
export const itemValues: INodeProperties[] = [
  {
    displayName: 'Item Is',
    name: 'itemIs',
    type: 'options',
    options: [
      { name: 'An Offer', value: 'offer', description: 'At its price. Nothing is granted.' },
      { name: 'Written Here', value: 'text', description: 'With a text and a price of its own' },
    ],
    default: 'text',
    description: 'Where text and price come from',
  },
  { ...offerParameter, required: false, displayOptions: { show: { itemIs: ['offer'] } } },
  { ...text, displayOptions: { show: { itemIs: ['text'] } } },
  quantity,
  { ...unitPrice, displayOptions: { show: { itemIs: ['text'] } } },
  discount,
  ...taxRate,
];

/** Fields of a line that can be changed. */
export const itemChanges: INodeProperties[] = [
  text,
  discount,
  quantity,
  ...taxRate,
  unitPrice,
].sort((one, other) => one.displayName.localeCompare(other.displayName));

const isNothing = (value: unknown): boolean =>
  value === undefined || value === null || value === '';

/** A line as it is written; `place` names it in errors. A line without its price is no line. */
export function itemOf(written: Record<string, unknown>, place: string): object {
  const { itemIs, offer } = written;
  const needed = (name: string, displayName: string): unknown => {
    if (isNothing(written[name])) throw missing(displayName, `${place}${name}`);
    return plainAmount(written[name]);
  };
  const taxRateKey = chosenOf(written.taxRate);
  const common = {
    quantity: needed('quantity', 'Quantity'),
    ...(!isNothing(written.discount) && { discount: plainAmount(written.discount) }),
    ...(!isNothing(taxRateKey) && { taxRate: taxRateKey }),
  };
  if (itemIs === 'offer') {
    const sku = chosenOf(offer);
    if (isNothing(sku)) throw missing('Offer', `${place}sku`);
    return { sku, ...common };
  }
  return {
    description: needed('description', 'Description'),
    unitPrice: needed('unitPrice', 'Unit Price'),
    ...common,
  };
}
