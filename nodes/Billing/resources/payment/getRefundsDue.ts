import { listing } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('payment', 'getRefundsDue', {
  about: whose('refundsOf', 'Refunds Of', 'Whose refunds', 'all'),
  pageSize: 100,
  page: (billing, asked) => billing.payments.refundsDue(asked),
});
