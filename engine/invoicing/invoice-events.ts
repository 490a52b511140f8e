import type { EventData, NewEvent } from '../events';
import { formatMoney, isoTime, type Decimal, type Instant } from '../kernel';

/** Events that tell of an invoice all have the same data. */
export type InvoiceEventType = {
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

/** Several events of one invoice at one moment, all with the same document. */
export function invoiceEvents(
  types: readonly InvoiceEventType[],
  invoice: ToldInvoice,
  at: Instant,
): NewEvent[] {
  const { payerId, accountId, decimals } = invoice;
  const data = {
    invoiceId: invoice.invoiceId,
    number: invoice.number,
    currency: invoice.currency,
    total: formatMoney(invoice.total, decimals),
    amountDue: formatMoney(invoice.amountDue, decimals),
    dueAt: isoTime(invoice.dueAt),
  };
  return types.map((type) => ({ type, payerId, accountId, at, data }));
}

export const invoiceEvent = (type: InvoiceEventType, invoice: ToldInvoice, at: Instant): NewEvent =>
  invoiceEvents([type], invoice, at)[0]!;
