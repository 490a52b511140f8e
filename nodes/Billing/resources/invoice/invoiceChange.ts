import { invoiceParameter } from '../../../shared/pickers';
import { changesOf } from '../../changing';

export const { changeParameters, readChange, change } = changesOf(
  'invoice',
  invoiceParameter,
  'invoiceId',
);
