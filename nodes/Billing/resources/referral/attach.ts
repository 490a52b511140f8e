import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import {
  accountParameters,
  otherAccountParameters,
  readAccount,
  readOtherAccount,
} from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...otherAccountParameters('referrer', 'Referrer'),
  ...accountParameters,
  idempotencyKeyParameter,
];

export const description = shownFor('referral', 'attach', properties);

/** A denial, of oneself or of somebody who was brought before, is data: `allowed: false`. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.sales.attachReferral({
    referrer: readOtherAccount(context, 'referrer', 'Referrer', itemIndex),
    account: readAccount(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
