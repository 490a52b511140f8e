import type { Session } from '../database';
import type { Instant } from '../kernel';
import { changesPaid, periodsPaid, type PeriodName } from '../subscriptions';
import { closeCollections } from './collecting/closing-collections';
import type { StoredInvoice } from './invoice-records';
import { invoicedPeriods } from './invoiced-periods';

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
  const isOfChange = ({ changeId }: StoredInvoice): boolean => changeId !== null;
  const changes = invoices.filter(isOfChange);
  const periods = invoices.filter((invoice) => !isOfChange(invoice));
  await periodsPaid(session, periods.flatMap(periodsOf), now);
  await changesPaid(
    session,
    invoicedPeriods,
    changes.map(({ payerId, changeId }) => ({ payerId, changeId: changeId! })),
    now,
  );
  await closeCollections(session, invoices, now);
}
