import type { Session } from '../database';
import type { Instant } from '../kernel';
import { periodsPaid, type PeriodName } from '../subscriptions';
import { closeCollections } from './collecting/closing-collections';
import type { StoredInvoice } from './invoice-records';

/** The periods of subscriptions whose fees, or charges in their place, stand on an invoice. */
const periodsOf = ({ payerId, lines }: StoredInvoice): PeriodName[] =>
  lines.flatMap(({ kind, subscriptionId, periodNumber }) =>
    (kind === 'fee' || kind === 'proration_charge') &&
    subscriptionId !== null &&
    periodNumber !== null
      ? [{ payerId, subscriptionId, number: periodNumber }]
      : [],
  );

/**
 * What waits for invoices to be paid: units of their periods, and what collecting had begun. In the
 * transaction in which they are paid; the payers are locked. As many statements for many as for one.
 */
export async function invoicesPaid(
  session: Session,
  invoices: readonly StoredInvoice[],
  now: Instant,
): Promise<void> {
  await periodsPaid(session, invoices.flatMap(periodsOf), now);
  await closeCollections(session, invoices, now);
}
