import { change } from './invoiceChange';

export const { description, execute } = change(
  'markUncollectible',
  'Invoice: Mark Uncollectible',
  (billing, asked) => billing.invoicing.markUncollectible(asked),
);
