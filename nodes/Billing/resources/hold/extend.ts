import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { shownFor } from '../../operation';
import { expiresInParameters, readExpiresIn } from './expiresIn';
import { holdParameters, readHold } from './holdReference';

export const description = shownFor('hold', 'extend', [
  ...holdParameters,
  ...expiresInParameters,
  idempotencyKeyParameter,
]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.ledger.extend({
    ...readHold(context, itemIndex),
    expiresIn: readExpiresIn(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
