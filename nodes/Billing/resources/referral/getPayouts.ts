import { listing, statusFilter } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('referral', 'getPayouts', {
  about: whose('payoutsOf', 'Payouts Of', 'Whose payouts', 'all'),
  filters: [
    statusFilter('payouts', 'requested', [
      { name: 'Paid', value: 'paid' },
      { name: 'Rejected', value: 'rejected' },
      { name: 'Requested', value: 'requested', description: 'Not decided yet' },
    ]),
  ],
  pageSize: 100,
  page: (billing, asked) => billing.sales.listPayouts(asked),
});
