import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOption, readMetadata } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { offerParameter, offerQuantityParameter } from '../../../shared/pickers';
import { readAmount, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  {
    ...offerParameter,
    description: 'What is bought: an offer whose currency is a product that customers have',
  },
  { ...offerQuantityParameter, required: true },
  idempotencyKeyParameter,
  optionsParameter([metadataOption]),
];

export const description = shownFor('balance', 'exchange', properties);

/** A denial is data, `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.ledger.exchange({
    account: readAccount(context, itemIndex),
    sku: readRequired(context, 'offer', 'Offer', itemIndex),
    quantity: readAmount(context, 'quantity', 'Quantity', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: readMetadata(context, itemIndex),
  });
}
