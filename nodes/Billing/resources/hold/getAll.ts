import { listing } from '../../listing';
import { accountAndProduct } from '../balance/accountAndProduct';

export const { description, execute } = listing('hold', 'getAll', {
  about: accountAndProduct,
  filters: [
    {
      displayName: 'Include Ended',
      name: 'includeEnded',
      type: 'boolean',
      default: true,
      description: 'Whether to include holds that were settled or released, or have expired',
    },
  ],
  pageSize: 1000,
  async page(billing, { includeEnded, ...asked }) {
    const items = await billing.ledger.holds({ ...asked, open: includeEnded !== true });
    return { items, nextCursor: items.length < asked.limit ? null : items.at(-1)!.holdId };
  },
});
