import { resolveAccount } from '../../accounts';
import type { Session } from '../../database';
import { NO_METHOD, defaultMethod, findMethod, type Plan, type StoredMethod } from '../../payments';
import type { StoredInvoice } from '../invoice-records';
import { subscriptionsOf } from './closing-collections';

/** With what an invoice is charged, and whether it may be. */

/** All subscriptions of an invoice were ended by their customer. */
const CANCELLED = `
select coalesce(bool_and(s.status = 'cancelled' and s.end_reason = 'cancelled'), false) as cancelled
from {schema}.subscriptions s
where s.subscription_id = any($1::uuid[])`;

export async function isCancelledByCustomer(
  session: Session,
  invoice: StoredInvoice,
): Promise<boolean> {
  const ids = subscriptionsOf(invoice);
  if (ids.length === 0) return false;
  const [row] = await session.query<{ cancelled: boolean }>(CANCELLED, [ids]);
  return row!.cancelled;
}

/** However many there were: a method may be made the default again after another was declined. */
const DECLINED_FOR_GOOD = `
select distinct a.method_id::text as method_id from {schema}.payment_attempts a
where a.payer_id = $1::uuid and a.purpose = 'invoice' and a.purpose_id = $2::uuid
  and a.status = 'failed' and a.hard`;

async function declinedForGood(
  session: Session,
  { payerId, invoiceId }: StoredInvoice,
): Promise<Set<string>> {
  const values = [payerId, invoiceId];
  const rows = await session.query<{ method_id: string }>(DECLINED_FOR_GOOD, values);
  return new Set(rows.map((row) => row.method_id));
}

/**
 * The method that the invoice names, else the payer's default; never one that was declined for good.
 *
 * @param hardMethodId the last one that was; null: none
 * @returns a plan; 'declined': the only one there is must not be tried again
 */
export async function methodPlan(
  session: Session,
  invoice: StoredInvoice,
  hardMethodId: string | null,
): Promise<Plan | 'declined'> {
  const { payerId, methodId } = invoice;
  const payer = await resolveAccount(session, { accountId: payerId });
  const named = methodId === null ? null : await findMethod(session, methodId);
  const isTheirs = (method: StoredMethod | null): method is StoredMethod =>
    method !== null && method.removedAt === null && method.payerId === payer.payerId;
  const there = [named, await defaultMethod(session, payerId)].filter(isTheirs);
  const declined = hardMethodId === null ? null : await declinedForGood(session, invoice);
  const usable = there.find((method) => declined?.has(method.methodId) !== true);
  if (usable !== undefined) return { charge: usable };
  return there.length > 0 ? 'declined' : NO_METHOD;
}
