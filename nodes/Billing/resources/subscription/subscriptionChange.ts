import { subscriptionParameter } from '../../../shared/pickers';
import { changesOf } from '../../changing';

export const { changeParameters, readChange, change } = changesOf(
  'subscription',
  subscriptionParameter,
  'subscriptionId',
);
