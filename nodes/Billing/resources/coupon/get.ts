import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { couponParameter } from '../../../shared/pickers';
import { readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

export const description = shownFor('coupon', 'get', [couponParameter]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.catalog.getCoupon({
    code: readRequired(context, 'coupon', 'Coupon', itemIndex),
  });
}
