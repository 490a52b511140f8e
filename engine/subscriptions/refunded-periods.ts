import type { Session } from '../database';
import { recordEvents } from '../events';
import type { Instant } from '../kernel';
import { ledgerTime } from '../ledger';
import { broughtUpToDate } from './advancing';
import { awaitingChanges, lapseChanges } from './awaiting-records';
import { endNow } from './cancelling';
import type { PeriodPorts, SubscriptionPorts } from './giving-back';
import { OWN, endUnits, shortenRest, unitsThere } from './left-over-units';
import { cutPeriods, openPeriods } from './period-records';
import { eventOf, type Standing } from './planning';
import { findSubscription, liveSubscriptions, saveSubscriptions } from './records';
import type { OpenPeriod } from './stored-period';
import type { StoredSubscription } from './stored-subscription';

/** Periods of which all that was paid went back: they are over, and with the present one the subscription. */

/**
 * What paid for some periods was given back as a whole. A period that a change ended before is none of
 * the present ones: the change stays. The payers are locked.
 */
export async function periodsRefunded(
  session: Session,
  ports: PeriodPorts,
  periods: ReadonlyArray<{ subscriptionId: string; number: number }>,
  now: Instant,
): Promise<void> {
  for (const { subscriptionId, number } of periods) {
    const named = await findSubscription(session, subscriptionId);
    const [standing] = await broughtUpToDate(session, ports, [named], now);
    if (standing!.subscription.endedAt !== null) continue;
    const at = await ledgerTime(session, standing!.receiver.payerId, now);
    const open = await openPeriods(session, named, at);
    const paid = open.find((period) => period.number === number);
    if (paid === undefined) continue;
    if (open.length === 1) {
      // What was to last longer than its period goes, too.
      const { subscription, receiver } = standing!;
      const units = await unitsThere(session, subscription, [number], receiver, OWN, at);
      await endUnits(session, units, at);
      await endNow(session, ports, standing!, 'refunded', { credit: false }, at);
      if (paid.startsAt > at) await letGoOn(session, standing!, at);
    } else if (paid === open.at(-1)) {
      // Only what was bought last can be taken off; before it, its units are all that goes.
      await takeOff(session, standing!, open, paid, at);
    }
  }
}

/**
 * All that pays some periods is to go back: a change that waits for its payment, and was reckoned with one
 * of them, lapses before, and its invoice is withdrawn, so that what it would give back of them is left to
 * go back, too. The payers are locked.
 *
 * @returns whether an invoice is left since it is being charged
 */
export async function lapseBeforeRefund(
  session: Session,
  ports: SubscriptionPorts,
  periods: ReadonlyArray<{ subscriptionId: string; number: number }>,
  now: Instant,
): Promise<boolean> {
  const lapsing: StoredSubscription[] = [];
  const payers = new Set<string>();
  for (const { subscriptionId, number } of periods) {
    const named = await findSubscription(session, subscriptionId);
    if (named.endedAt !== null || (await awaitingChanges(session, [named])).size === 0) continue;
    // What lapses by the clock alone is withdrawn, too.
    payers.add(named.payerId);
    const [standing] = await broughtUpToDate(session, ports, [named], now);
    const open = await openPeriods(session, named, now);
    if (open.some((period) => period.number === number)) lapsing.push(standing!.subscription);
  }
  await lapseChanges(session, lapsing, now);
  return payers.size > 0 && ports.withdrawLapsed(session, [...payers], now);
}

/** What was bought ahead is as if it never was. */
async function takeOff(
  session: Session,
  { subscription, receiver }: Standing,
  open: readonly OpenPeriod[],
  last: OpenPeriod,
  at: Instant,
): Promise<void> {
  await shortenRest(session, subscription, open, receiver, at);
  await cutPeriods(session, subscription, [last], at);
  const ends = last.startsAt;
  await saveSubscriptions(session, [
    {
      ...subscription,
      // Its number is spent: the period that follows begins where it would have.
      anchorNumber: subscription.anchorNumber + 1,
      periodStart: ends,
      periodEnd: ends,
      cancelAt: subscription.cancelAt === null ? null : ends,
      pauseAt: subscription.pauseAt === null ? null : ends,
    },
  ]);
}

/** What was cancelled since a plan that never began was to follow it goes on. */
async function letGoOn(
  session: Session,
  { subscription, receiver }: Standing,
  at: Instant,
): Promise<void> {
  const live = await liveSubscriptions(session, receiver.payerId);
  const before = live.find(({ followedBy }) => followedBy === subscription.subscriptionId);
  if (before === undefined) return;
  const anew = { ...before, cancelAt: null, followedBy: null };
  await saveSubscriptions(session, [anew]);
  await recordEvents(session, [eventOf('subscription.changed', anew, at, at)]);
}
