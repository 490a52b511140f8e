import { change } from './invoiceChange';

export const { description, execute } = change('markUncollectible', (billing, asked) =>
  billing.invoicing.markUncollectible(asked),
);
