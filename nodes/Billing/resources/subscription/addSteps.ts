import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { productParameter } from '../../../shared/pickers';
import { readAmount, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './subscriptionChange';

const stepsParameter: INodeProperties = {
  displayName: 'Steps',
  name: 'steps',
  type: 'number',
  required: true,
  default: 1,
  typeOptions: { minValue: 1, numberPrecision: 0 },
  description: 'How many more; the offer says how many units a step has and what it costs',
};

const properties = changeParameters([
  { ...productParameter, description: 'A product of its offer that is sold in steps' },
  stepsParameter,
]);

export const description = shownFor('subscription', 'addSteps', properties);

type AddStepsRequest = Parameters<Billing['subscriptions']['addSteps']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.subscriptions.addSteps({
    ...readChange(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    steps: readAmount(context, 'steps', 'Steps', itemIndex),
  } as unknown as AddStepsRequest);
}
