import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { shownFor } from '../../operation';

export const description = shownFor('account', 'detachChild', [
  ...accountParameters,
  idempotencyKeyParameter,
]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.accounts.detachChild({
    child: readAccount(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
