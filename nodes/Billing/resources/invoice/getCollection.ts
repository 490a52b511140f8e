import { invoiceParameter } from '../../../shared/pickers';
import { asking, named } from '../../operation';

/** Where there is nothing to collect, an item says so: a workflow that asks goes on. */
export const { description, execute } = asking(
  'invoice',
  'getCollection',
  named(invoiceParameter, 'invoiceId'),
  async (billing, asked) => {
    const collection = await billing.invoicing.collection(asked);
    return {
      collecting: collection !== null && collection.status !== 'closed',
      ...(collection ?? asked),
    };
  },
);
