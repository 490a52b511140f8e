import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { invoiceParameter } from '../../../shared/pickers';
import { parameterOf } from '../../../shared/parameters';
import { readRequired } from '../../../shared/reading';
import { shownFor, shownWhen } from '../../operation';
import { currencyParameter } from './currency';
import { itemOf, itemValues } from './itemFields';

const properties: INodeProperties[] = [
  {
    displayName: 'Add To',
    name: 'addTo',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'A Draft', value: 'draft', description: 'Made by hand, or by the billing cycle' },
      {
        name: 'The Next Invoice',
        value: 'next',
        description: 'Of an account: a draft that is there, or the next one',
      },
    ],
    default: 'next',
    description: 'Where the line goes',
  },
  { ...invoiceParameter, displayOptions: { show: { addTo: ['draft'] } } },
  ...shownWhen({ addTo: ['next'] }, [...accountParameters, currencyParameter]),
  ...itemValues,
  idempotencyKeyParameter,
];

export const description = shownFor('invoice', 'addItem', properties);

type AddItemRequest = Parameters<Billing['invoicing']['addItem']>[0];

const COMMON = ['quantity', 'discount', 'taxRate'];
/** What is not shown in the editor cannot be read. */
const SHOWN = { offer: ['offer', ...COMMON], text: ['description', 'unitPrice', ...COMMON] };

function readItem(context: IExecuteFunctions, itemIndex: number): object {
  const itemIs = parameterOf(context, 'itemIs', itemIndex) === 'offer' ? 'offer' : 'text';
  const written = SHOWN[itemIs].map((name) => [name, parameterOf(context, name, itemIndex, '')]);
  return itemOf({ itemIs, ...Object.fromEntries(written) }, '');
}

const readWhere = (context: IExecuteFunctions, itemIndex: number) =>
  context.getNodeParameter('addTo', itemIndex) === 'draft'
    ? { invoiceId: readRequired(context, 'invoice', 'Invoice', itemIndex) }
    : {
        account: readAccount(context, itemIndex),
        currency: readRequired(context, 'currency', 'Currency', itemIndex),
      };

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.invoicing.addItem({
    ...readWhere(context, itemIndex),
    item: readItem(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  } as AddItemRequest);
}
