import { isResourceLocatorValue, type IExecuteFunctions, type INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { prorationsOption } from '../../../shared/periodTerms';
import { offerParameter, offerQuantityParameter } from '../../../shared/pickers';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './subscriptionChange';

const changesParameter: INodeProperties = {
  displayName: 'Changes',
  name: 'changes',
  type: 'collection',
  placeholder: 'Add Change',
  default: {},
  description: 'What becomes different; the rest stays',
  options: [
    { ...offerParameter, required: false, description: 'The recurring offer that takes its place' },
    offerQuantityParameter,
  ],
};

const accessOption: INodeProperties = {
  displayName: 'Access',
  name: 'access',
  type: 'options',
  options: [
    {
      name: 'At Once',
      value: 'at_once',
      description: 'The customer is trusted, and gets it before it is paid',
    },
    { name: 'On Payment', value: 'on_payment', description: 'Until it is paid nothing changes' },
  ],
  default: 'on_payment',
  description: 'When a change comes that costs more now. Without this the new offer says it.',
};

const creditOption: INodeProperties = {
  displayName: 'Credit',
  name: 'credit',
  type: 'options',
  options: [
    { name: 'Time Alone', value: 'time', description: 'The days left, whatever was used' },
    {
      name: 'What Is Left',
      value: 'left',
      description: 'The days, and of what becomes no dearer no more than the share of units left',
    },
  ],
  default: 'left',
  description: 'What of the old price comes back when it changes now',
};

const modeOption: INodeProperties = {
  displayName: 'Mode',
  name: 'mode',
  type: 'options',
  options: [
    {
      name: 'Add',
      value: 'add',
      description: 'The full price, a new period from now, and the units on top of what is left',
    },
    {
      name: 'Full',
      value: 'full',
      description: 'The full price and a new period from now; what is left of the old one ends',
    },
    {
      name: 'Prorate',
      value: 'prorate',
      description: 'The days that are left are credited, and charged at the new price',
    },
  ],
  default: 'prorate',
  description: 'How a change that takes force now is charged',
};

const whenOption: INodeProperties = {
  displayName: 'When',
  name: 'when',
  type: 'options',
  options: [
    { name: 'At Period End', value: 'period_end' },
    { name: 'Now', value: 'now' },
  ],
  default: 'now',
  description:
    'When it takes force. Without this what is dearer does now, and what is cheaper when the period ends.',
};

const properties = changeParameters(
  [changesParameter],
  [
    accessOption,
    creditOption,
    modeOption,
    {
      ...prorationsOption,
      description:
        'When the credit and the charge of a change now are invoiced. Without this as the offer says.',
    },
    whenOption,
  ],
);

export const description = shownFor('subscription', 'change', properties);

type ChangeRequest = Parameters<Billing['subscriptions']['change']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { offer, quantity } = readOptions(context, 'changes', itemIndex);
  const sku = isResourceLocatorValue(offer) ? offer.value : offer;
  return billing.subscriptions.change({
    ...readChange(context, itemIndex),
    ...(sku !== undefined && { sku }),
    ...(quantity !== undefined && { quantity: plainAmount(quantity) }),
  } as ChangeRequest);
}
