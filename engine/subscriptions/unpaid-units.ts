import type { Session } from '../database';
import type { Instant } from '../kernel';
import { ledgerTime } from '../ledger';
import type { PeriodPorts } from './giving-back';
import { OWN, endUnits, unitsThere } from './left-over-units';
import type { GrantKind } from './period-grants';
import { findPeriods } from './period-records';
import type { Standing } from './planning';
import type { StoredPeriod } from './stored-period';
import type { StoredSubscription } from './stored-subscription';

/** What an offer brings by itself; steps end with their period. */
const BROUGHT: readonly GrantKind[] = [...OWN, 'bonus'];

/** Whether what a subscription brings is lent no more to whoever has not paid yet. */
export const isGraceOver = (
  { overdue, graceUntil }: Pick<StoredSubscription, 'overdue' | 'graceUntil'>,
  now: Instant,
): boolean => overdue || (graceUntil !== null && graceUntil <= now);

type Of = Pick<Standing, 'subscription' | 'receiver'>;

/**
 * Of a subscription that is over, and was not paid within its grace: what its unpaid periods brought and
 * was to last longer than they did (`keep`, or a time of its own) ends now. The payer is locked.
 */
export async function endUnpaidUnits(
  session: Session,
  ports: PeriodPorts,
  one: Of,
  now: Instant,
): Promise<void> {
  const standings = await ports.standing(session, one.subscription);
  await endThose(
    session,
    one,
    ({ number, fee, orderId }) => {
      return !fee.isZero() && orderId === null && standings.get(number) !== 'paid';
    },
    now,
  );
}

/** Of one of which nothing is owed any more: what periods brought that were written off. The payer is locked. */
export async function endGivenUpUnits(
  session: Session,
  ports: PeriodPorts,
  one: Of,
  now: Instant,
): Promise<void> {
  const standings = await ports.standing(session, one.subscription);
  if (![...standings.values()].includes('given_up')) return;
  await endThose(session, one, ({ number }) => standings.get(number) === 'given_up', now);
}

/** What periods brought that is left of it ends now. */
async function endThose(
  session: Session,
  { subscription, receiver }: Of,
  concerns: (period: StoredPeriod) => boolean,
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
  const ending = new Set(periods.filter(concerns).map(({ number }) => number));
  await endUnits(
    session,
    units.filter(({ number }) => ending.has(number)),
    at,
  );
}
