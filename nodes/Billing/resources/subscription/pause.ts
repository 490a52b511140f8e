import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { timeOf } from '../../../shared/times';
import { shownFor } from '../../operation';
import { changeParameters, readChange } from './subscriptionChange';

const resumeAtOption: INodeProperties = {
  displayName: 'Resume At',
  name: 'resumeAt',
  type: 'dateTime',
  default: '',
  description: 'When it goes on by itself. Without it, only when it is resumed.',
};

export const description = shownFor(
  'subscription',
  'pause',
  changeParameters([], [resumeAtOption]),
);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { resumeAt, ...change } = readChange(context, itemIndex) as ReturnType<
    typeof readChange
  > & { resumeAt?: unknown };
  return billing.subscriptions.pause({ ...change, resumeAt: timeOf(context, resumeAt) });
}
