import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { jsonOf } from '../../../shared/json';
import { offerParameter, offerQuantityParameter } from '../../../shared/pickers';
import { chosenOf, missing, noItems } from '../../../shared/reading';

type Lines = Parameters<Billing['sales']['createOrder']>[0]['items'];

/** What is ordered: line by line, or as the cart of a shop gives it. */
export const linesParameters: INodeProperties[] = [
  {
    displayName: 'Specify Items',
    name: 'specifyItems',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'Using Fields Below', value: 'fields' },
      { name: 'Using JSON', value: 'json', description: 'For a cart that may have any length' },
    ],
    default: 'fields',
    description: 'How the lines of the order are written',
  },
  {
    displayName: 'Items',
    name: 'items',
    type: 'fixedCollection',
    typeOptions: { multipleValues: true },
    placeholder: 'Add Item',
    default: {},
    description: 'What is ordered, all in one currency',
    displayOptions: { show: { specifyItems: ['fields'] } },
    options: [
      {
        displayName: 'Item',
        name: 'item',
        values: [{ ...offerParameter, description: 'What is bought' }, offerQuantityParameter],
      },
    ],
  },
  {
    displayName: 'Items (JSON)',
    name: 'itemsJson',
    type: 'json',
    required: true,
    default: '[]',
    description: 'A list of SKUs with their quantity',
    hint: 'For example [{ "sku": "pack-100", "quantity": 2 }]',
    displayOptions: { show: { specifyItems: ['json'] } },
  },
];

interface WrittenLine {
  offer?: unknown;
  quantity?: unknown;
}

/** An order without its lines is no order, nor is a line without its offer or number. */
function lineOf({ offer, quantity }: WrittenLine, index: number): Lines[number] {
  const sku = chosenOf(offer);
  if (sku === undefined || sku === null || sku === '') {
    throw missing('Offer', `items[${index}].sku`);
  }
  if (quantity === undefined || quantity === null || quantity === '') {
    throw missing('Quantity', `items[${index}].quantity`);
  }
  return { sku, quantity: plainAmount(quantity) } as Lines[number];
}

export function readLines(context: IExecuteFunctions, itemIndex: number): Lines {
  if (context.getNodeParameter('specifyItems', itemIndex) === 'json') {
    const lines = jsonOf<Lines>(context.getNodeParameter('itemsJson', itemIndex), {
      displayName: 'Items (JSON)',
      parameter: 'items',
      example: '[{ "sku": "pack-100", "quantity": 2 }]',
    });
    if (lines === undefined) throw missing('Items (JSON)', 'items');
    return lines;
  }
  const written = context.getNodeParameter('items.item', itemIndex, []) as WrittenLine[];
  if (written.length === 0) throw noItems('items');
  return written.map(lineOf);
}
