import { invoiceParameter } from '../../../shared/pickers';
import { asking, named } from '../../operation';

export const { description, execute } = asking(
  'invoice',
  'get',
  named(invoiceParameter, 'invoiceId'),
  (billing, asked) => billing.invoicing.getInvoice(asked),
);
