import type { Session } from '../database';
import type { Instant } from '../kernel';
import { awaitsPayment } from '../subscriptions';
import type { StoredInvoice } from './invoice-records';
import { invoicedPeriods } from './invoiced-periods';

/** The change that an invoice asks for; of one that asks for one. */
export const changeOf = ({ payerId, changeId }: StoredInvoice) => ({
  payerId,
  changeId: changeId!,
});

/** Of invoices those of changes that wait no more. The payers are locked. */
export async function ofLapsedChanges(
  session: Session,
  invoices: readonly StoredInvoice[],
  now: Instant,
): Promise<StoredInvoice[]> {
  const asking = invoices.filter(({ changeId }) => changeId !== null);
  if (asking.length === 0) return [];
  const waiting = await awaitsPayment(session, invoicedPeriods, asking.map(changeOf), now);
  return asking.filter(({ changeId }) => !waiting.has(changeId!));
}
