import type { Session } from '../database';
import type { Instant } from '../kernel';
import { periodsPaid } from '../subscriptions';
import { closeCollections } from './collecting/closing-collections';
import type { StoredInvoice } from './invoice-records';

/** The periods of subscriptions whose fees, or charges in their place, stand on an invoice. */
export const periodsOf = (
  invoice: Pick<StoredInvoice, 'lines'>,
): Array<{ subscriptionId: string; number: number }> =>
  invoice.lines.flatMap(({ kind, subscriptionId, periodNumber }) =>
    (kind === 'fee' || kind === 'proration_charge') &&
    subscriptionId !== null &&
    periodNumber !== null
      ? [{ subscriptionId, number: periodNumber }]
      : [],
  );

/**
 * What waits for invoices to be paid: units of their periods, and what collecting had begun. In the
 * transaction in which they are paid; the payers are locked.
 */
export async function invoicesPaid(
  session: Session,
  invoices: readonly StoredInvoice[],
  now: Instant,
): Promise<void> {
  for (const invoice of invoices) {
    const periods = periodsOf(invoice);
    if (periods.length > 0) await periodsPaid(session, invoice.payerId, periods, now);
  }
  await closeCollections(session, invoices, now);
}
