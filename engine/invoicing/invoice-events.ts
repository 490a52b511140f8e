import type { EventData, NewEvent } from '../events';
import { formatMoney, isoTime, type Decimal, type Instant } from '../kernel';

/** Events that tell of an invoice all have the same data. */
type InvoiceEventType = {
  [T in keyof EventData]: T extends `invoice.${string}` ? T : never;
}[keyof EventData];

/** What of an invoice its events tell: as it stands after the change. */
export interface ToldInvoice {
  payerId: string;
  accountId: string;
  invoiceId: string;
  number: string | null;
  currency: string;
  decimals: number;
  total: Decimal;
  amountDue: Decimal;
  dueAt: Instant | null;
}

export const invoiceEvent = (
  type: InvoiceEventType,
  invoice: ToldInvoice,
  at: Instant,
): NewEvent => ({
  type,
  payerId: invoice.payerId,
  accountId: invoice.accountId,
  at,
  data: {
    invoiceId: invoice.invoiceId,
    number: invoice.number,
    currency: invoice.currency,
    total: formatMoney(invoice.total, invoice.decimals),
    amountDue: formatMoney(invoice.amountDue, invoice.decimals),
    dueAt: isoTime(invoice.dueAt),
  },
});
