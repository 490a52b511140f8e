import { listing, statusFilter } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('subscription', 'getAll', {
  about: whose('subscriptionsOf', 'Subscriptions Of', 'Whose subscriptions', 'account'),
  filters: [
    statusFilter('subscriptions', 'active', [
      { name: 'Active', value: 'active' },
      { name: 'Cancelled', value: 'cancelled' },
      { name: 'Ended', value: 'ended' },
      { name: 'Past Due', value: 'past_due', description: 'A payment failed' },
      { name: 'Paused', value: 'paused' },
      { name: 'Trialing', value: 'trialing' },
    ]),
  ],
  pageSize: 100,
  page: (billing, asked) => billing.subscriptions.list(asked),
});
