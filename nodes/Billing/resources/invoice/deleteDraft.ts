import { change } from './invoiceChange';

export const { description, execute } = change('delete', (billing, asked) =>
  billing.invoicing.deleteDraft(asked),
);
