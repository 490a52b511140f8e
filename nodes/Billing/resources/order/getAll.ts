import { listing, statusFilter } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('order', 'getAll', {
  about: whose('ordersOf', 'Orders Of', 'Whose orders', 'account'),
  filters: [
    statusFilter('orders', 'paid', [
      { name: 'Cancelled', value: 'cancelled' },
      { name: 'Paid', value: 'paid' },
      { name: 'Partly Refunded', value: 'partly_refunded' },
      { name: 'Pending', value: 'pending', description: 'Not paid; lapsed ones too' },
      { name: 'Refunded', value: 'refunded' },
    ]),
  ],
  pageSize: 100,
  page: (billing, asked) => billing.sales.listOrders(asked),
});
