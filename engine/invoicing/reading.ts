import { idsWithAliases } from '../accounts';
import type { Context } from '../database';
import {
  accountReference,
  input,
  list,
  oneOf,
  pageFields,
  pageOf,
  parse,
  recordId,
  text,
  type RequestOf,
} from '../kernel';
import {
  INVOICE_STATUSES,
  invoiceRecord,
  listInvoices,
  requireInvoice,
  type Invoice,
} from './invoice-records';

const getInput = input({ invoiceId: recordId() });

const listInput = input({
  /** Whose: those written for the account, and those that it pays. */
  account: accountReference().optional(),
  status: oneOf(INVOICE_STATUSES)
    .transform((status) => [status])
    .or(list(oneOf(INVOICE_STATUSES), INVOICE_STATUSES.length))
    .optional(),
  /** As it stands on the paper. */
  number: text(100).optional(),
  ...pageFields,
});
export type ListInvoicesRequest = RequestOf<typeof listInput>;

export class InvoiceReading {
  constructor(private readonly context: Context) {}

  /** @throws unknown_invoice */
  async getInvoice(request: RequestOf<typeof getInput>): Promise<Invoice> {
    const { invoiceId } = parse(getInput, request);
    return invoiceRecord(await requireInvoice(this.context.database, invoiceId));
  }

  /** Invoices, newest first, 50 a page unless it says otherwise. @throws unknown_account, invalid_input */
  async listInvoices(
    request: ListInvoicesRequest = {},
  ): Promise<{ items: Invoice[]; nextCursor: string | null }> {
    const { account, status, number, limit = 50, cursor } = parse(listInput, request);
    const { database } = this.context;
    const accounts = account === undefined ? null : await idsWithAliases(database, [account]);
    const found = await listInvoices(database, {
      accounts,
      statuses: status ?? null,
      number: number ?? null,
      after: cursor ?? null,
      limit: limit + 1,
    });
    const page = pageOf(found, limit, ({ invoiceId }) => invoiceId);
    return { ...page, items: page.items.map(invoiceRecord) };
  }
}
