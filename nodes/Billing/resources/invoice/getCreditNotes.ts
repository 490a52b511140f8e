import { idFilter, listing } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('invoice', 'getCreditNotes', {
  about: whose('creditNotesOf', 'Credit Notes Of', 'Whose credit notes', 'account'),
  filters: [idFilter('Invoice ID', 'invoiceId', 'Only credit notes of this invoice')],
  pageSize: 100,
  page: (billing, asked) => billing.invoicing.listCreditNotes(asked),
});
