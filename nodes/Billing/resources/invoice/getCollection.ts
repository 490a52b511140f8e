import { invoiceParameter } from '../../../shared/pickers';
import { gettingCollection } from '../../collection';

export const { description, execute } = gettingCollection('invoice', invoiceParameter, 'invoiceId');
