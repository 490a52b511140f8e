import { change } from './invoiceChange';

export const { description, execute } = change(
  'delete',
  'Invoice: Delete Draft',
  (billing, asked) => billing.invoicing.deleteDraft(asked),
);
