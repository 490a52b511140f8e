import { idFilter, listing } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('payment', 'getAttempts', {
  about: whose('attemptsOf', 'Attempts Of', 'Whose attempts', 'account'),
  filters: [
    idFilter('Invoice ID', 'invoiceId', 'Only attempts to collect this invoice'),
    idFilter('Order ID', 'orderId', 'Only attempts to collect this order'),
  ],
  pageSize: 100,
  page: (billing, asked) => billing.payments.attempts(asked),
});
