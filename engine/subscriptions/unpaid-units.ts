import type { Session } from '../database';
import type { Instant } from '../kernel';
import { ledgerTime } from '../ledger';
import { soldPeriod, type PeriodPorts } from './giving-back';
import { OWN, endUnits, unitsThere } from './left-over-units';
import type { GrantKind } from './period-grants';
import { findPeriods } from './period-records';
import type { Standing } from './planning';
import type { StoredSubscription } from './stored-subscription';

/** What an offer brings by itself; steps end with their period. */
const BROUGHT: readonly GrantKind[] = [...OWN, 'bonus'];

/** Whether what a subscription brings is lent no more to whoever has not paid yet. */
export const isGraceOver = (
  { overdue, graceUntil }: Pick<StoredSubscription, 'overdue' | 'graceUntil'>,
  now: Instant,
): boolean => overdue || (graceUntil !== null && graceUntil <= now);

/**
 * Of a subscription that is over, and was not paid within its grace: what its unpaid periods brought and
 * was to last longer than they did (`keep`, or a time of its own) ends now. The payer is locked.
 */
export async function endUnpaidUnits(
  session: Session,
  ports: PeriodPorts,
  { subscription, receiver }: Pick<Standing, 'subscription' | 'receiver'>,
  now: Instant,
): Promise<void> {
  const at = await ledgerTime(session, receiver.payerId, now);
  const all = Array.from({ length: subscription.periodNumber }, (_, index) => index + 1);
  const units = await unitsThere(session, subscription, all, receiver, BROUGHT, at);
  const numbers = [...new Set(units.map(({ number }) => number))];
  const periods = await findPeriods(
    session,
    numbers.map((number) => ({ subscription, number })),
  );
  const unpaid = new Set<number>();
  for (const { number, fee } of periods) {
    if (fee.isZero()) continue;
    const sold = await soldPeriod(session, ports, subscription, number);
    if (sold?.isPaid !== true) unpaid.add(number);
  }
  const ending = units.filter(({ number }) => unpaid.has(number));
  await endUnits(session, ending, at);
}
