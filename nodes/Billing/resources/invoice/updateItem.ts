import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { invoiceParameter } from '../../../shared/pickers';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { itemChanges } from './itemFields';
import { lineParameter } from './line';

const properties: INodeProperties[] = [
  invoiceParameter,
  lineParameter,
  {
    displayName: 'Update Fields',
    name: 'updateFields',
    type: 'collection',
    placeholder: 'Add Field',
    default: {},
    description: 'What becomes different; the rest stays',
    options: itemChanges,
  },
  idempotencyKeyParameter,
];

export const description = shownFor('invoice', 'updateItem', properties);

type UpdateItemRequest = Parameters<Billing['invoicing']['updateItem']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const changes = Object.entries(readOptions(context, 'updateFields', itemIndex));
  return billing.invoicing.updateItem({
    invoiceId: readRequired(context, 'invoice', 'Invoice', itemIndex),
    lineId: readRequired(context, 'lineId', 'Line ID', itemIndex),
    ...Object.fromEntries(changes.map(([name, value]) => [name, plainAmount(value)])),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  } as UpdateItemRequest);
}
