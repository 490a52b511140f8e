import { listing, statusFilter } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('invoice', 'getAll', {
  about: whose('invoicesOf', 'Invoices Of', 'Whose invoices', 'account'),
  filters: [
    statusFilter('invoices', 'open', [
      { name: 'Draft', value: 'draft', description: 'Not issued yet' },
      { name: 'Open', value: 'open', description: 'Issued and not paid' },
      { name: 'Paid', value: 'paid' },
      { name: 'Uncollectible', value: 'uncollectible', description: 'Written off' },
      { name: 'Void', value: 'void' },
    ]),
  ],
  pageSize: 100,
  page: (billing, asked) => billing.invoicing.listInvoices(asked),
});
