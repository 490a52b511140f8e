import { aliasesOf, resolveAccount } from '../accounts';
import type { Context } from '../database';
import {
  accountReference,
  input,
  integer,
  isId,
  list,
  oneOf,
  parse,
  text,
  type AccountReference,
} from '../kernel';
import {
  INVOICE_STATUSES,
  invoiceRecord,
  listInvoices,
  requireInvoice,
  type Invoice,
  type InvoiceStatus,
} from './invoice-records';

export interface ListInvoicesRequest {
  /** Whose: those written for the account, and those that it pays. */
  account?: AccountReference;
  status?: InvoiceStatus | InvoiceStatus[];
  /** As it stands on the paper. */
  number?: string;
  /** Default 50, at most 500. */
  limit?: number;
  /** As the page before gave it. */
  cursor?: string;
}

const DEFAULT_LIMIT = 50;

const getInput = input({ invoiceId: text(100).transform((id) => id.toLowerCase()) });

const listInput = input({
  account: accountReference().optional(),
  status: oneOf(INVOICE_STATUSES)
    .transform((status) => [status])
    .or(list(oneOf(INVOICE_STATUSES), INVOICE_STATUSES.length))
    .optional(),
  number: text(100).optional(),
  limit: integer(1, 500).optional(),
  cursor: text(100)
    .refine(isId, { error: 'must be what the page before gave as nextCursor' })
    .optional(),
});

export class InvoiceReading {
  constructor(private readonly context: Context) {}

  /** @throws unknown_invoice */
  async getInvoice(request: { invoiceId: string }): Promise<Invoice> {
    const { invoiceId } = parse(getInput, request);
    return invoiceRecord(await requireInvoice(this.context.database, invoiceId));
  }

  /** Invoices, newest first. @throws unknown_account, invalid_input */
  async listInvoices(
    request: ListInvoicesRequest = {},
  ): Promise<{ items: Invoice[]; nextCursor: string | null }> {
    const { account, status, number, limit = DEFAULT_LIMIT, cursor } = parse(listInput, request);
    const { database } = this.context;
    let accounts: string[] | null = null;
    if (account !== undefined) {
      const { accountId } = await resolveAccount(database, account);
      accounts = [accountId, ...(await aliasesOf(database, accountId))];
    }
    const found = await listInvoices(database, {
      accounts,
      statuses: status ?? null,
      number: number ?? null,
      after: cursor ?? null,
      limit: limit + 1,
    });
    const page = found.slice(0, limit);
    return {
      items: page.map(invoiceRecord),
      nextCursor: found.length > limit ? page.at(-1)!.invoiceId : null,
    };
  }
}
