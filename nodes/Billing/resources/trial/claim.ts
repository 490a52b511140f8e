import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters } from '../../../shared/accountParameters';
import { idempotencyKeyParameter } from '../../../shared/idempotency';
import { metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { offerParameter } from '../../../shared/pickers';
import { claimTrial, identitiesParameter } from '../../../shared/trial';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  {
    ...offerParameter,
    description: 'What is tried: an offer at price 0, or one whose first trial phase is free',
  },
  identitiesParameter,
  idempotencyKeyParameter,
  optionsParameter([metadataOption]),
];

export const description = shownFor('trial', 'claim', properties);

/** A denial is data, `allowed: false`; Grant Offer has an output for it. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return claimTrial(context, billing, itemIndex);
}
