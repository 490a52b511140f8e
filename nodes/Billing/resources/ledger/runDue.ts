import type { IExecuteFunctions } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { catchUpOption } from '../../../shared/catchUp';
import { shownFor } from '../../operation';

export const description = shownFor('ledger', 'runDue', [
  {
    displayName: 'Limit',
    name: 'limit',
    type: 'number',
    default: 10000,
    typeOptions: { minValue: 1 },
    description:
      'Max number of grants and holds, and of answers, to look at. What is left is for the next run.',
  },
  catchUpOption,
]);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.runDue({
    limit: context.getNodeParameter('limit', itemIndex) as number,
    catchUp: context.getNodeParameter('catchUp', itemIndex, false) as boolean,
  });
}
