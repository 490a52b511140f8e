import { listing } from '../../listing';
import { bookFilters, bookScope, toFilter } from './scope';

export const { description, execute } = listing('moneyBook', 'getPostings', {
  about: bookScope,
  filters: [
    ...bookFilters,
    {
      displayName: 'Kind',
      name: 'kind',
      type: 'options',
      options: [
        { name: 'Commission', value: 'commission', description: 'Promised for a referral' },
        { name: 'Credit', value: 'credit', description: 'Kept for invoices to come' },
        { name: 'Credit Note', value: 'credit_note', description: 'An invoice corrected or void' },
        { name: 'Earned', value: 'earned', description: 'Units that were used or expired' },
        { name: 'Outside Grant', value: 'outside_grant', description: 'Units paid elsewhere' },
        { name: 'Payment', value: 'payment', description: 'Money that came in' },
        { name: 'Payout', value: 'payout', description: 'Commissions that were paid out' },
        { name: 'Refund', value: 'refund', description: 'Money that was given back' },
        { name: 'Rounding', value: 'rounding', description: 'What rounding left over' },
        { name: 'Sale', value: 'sale', description: 'An order that was paid' },
        { name: 'Transfer', value: 'transfer', description: 'Value moved between accounts' },
        { name: 'Write-Off', value: 'write_off', description: 'Given up' },
      ],
      default: 'sale',
      description: 'Only postings of this kind',
    },
    toFilter,
  ],
  times: ['from', 'to'],
  pageSize: 1000,
  page: (billing, asked) => billing.books.postings(asked),
});
