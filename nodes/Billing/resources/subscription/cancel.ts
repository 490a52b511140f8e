import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readRequired } from '../../../shared/reading';
import { reasonOption } from '../../../shared/reasons';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './subscriptionChange';

const whenParameter: INodeProperties = {
  displayName: 'When',
  name: 'when',
  type: 'options',
  options: [
    { name: 'At Period End', value: 'period_end', description: 'What is paid can still be used' },
    { name: 'Now', value: 'now', description: 'What it brought cannot be used any more' },
  ],
  default: 'period_end',
  description: 'When it ends. Until then it can be undone.',
};

const creditOption: INodeProperties = {
  displayName: 'Credit the Rest',
  name: 'credit',
  type: 'boolean',
  default: false,
  description:
    'Whether what is left is credited when it ends now: the share of days, and no more than that of units',
};

const properties = changeParameters(
  [whenParameter],
  [creditOption, { ...reasonOption, placeholder: 'e.g. Too expensive' }],
);

export const description = shownFor('subscription', 'cancel', properties);

type CancelRequest = Parameters<Billing['subscriptions']['cancel']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.subscriptions.cancel({
    ...readChange(context, itemIndex),
    when: readRequired<CancelRequest['when']>(context, 'when', 'When', itemIndex),
  });
}
