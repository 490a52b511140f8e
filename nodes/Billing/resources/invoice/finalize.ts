import { change } from './invoiceChange';

export const { description, execute } = change('finalize', 'Invoice: Finalize', (billing, asked) =>
  billing.invoicing.finalizeInvoice(asked),
);
