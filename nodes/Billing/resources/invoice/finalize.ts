import { change } from './invoiceChange';

export const { description, execute } = change('finalize', (billing, asked) =>
  billing.invoicing.finalizeInvoice(asked),
);
