import { grouped, type Session } from '../database';
import { recordEvents } from '../events';
import type { Instant } from '../kernel';
import { refreshAccess } from './access';
import { broughtUpToDate } from './advancing';
import { takesPlace } from './cycles';
import { endEarly } from './ending';
import { beginPaid, periodKey, tooLateFor } from './first-payments';
import type { PeriodPorts } from './giving-back';
import { findPeriods } from './period-records';
import { givePeriods, productsFor, unitsOf } from './period-units';
import type { PeriodName, StoredPeriod } from './stored-period';
import { eventOf, type Outcome, type Standing } from './planning';
import { saveSubscriptions } from './records';
import { isInForce, type StoredSubscription, type SubscriptionStatus } from './stored-subscription';
import { OfferVersions } from './offer-versions';
import { endGivenUpUnits, endUnpaidUnits } from './unpaid-units';
import { allowOverage, writeOutcomes } from './writing';

/**
 * What payments mean to subscriptions. Called by those who collect, in their transaction, with the
 * payer locked. Subscriptions that are over are left as they are.
 */

/** The same for subscriptions of one payer. */
const ofPayer = (
  session: Session,
  ports: PeriodPorts,
  payerId: string,
  subscriptionIds: readonly string[],
  now: Instant,
): Promise<Standing[]> => {
  const names = subscriptionIds.map((subscriptionId) => ({ payerId, subscriptionId }));
  return broughtUpToDate(session, ports, names, now);
};

/** A period that began with its first payment: what it costs is earned from then on. */
export interface BegunPeriod {
  key: string;
  /** In whose book that is. */
  payerId: string;
  from: Instant;
  to: Instant;
}

/**
 * Periods are paid: those whose units waited for that get them, as long as they are not over, and what
 * waited for its first payment begins. An invoice of 0.00 is paid when it is issued. As many statements
 * for many as for one; the locks of the accounts that pay by now are held.
 *
 * @returns the periods of which that was the first payment
 */
export async function periodsPaid(
  session: Session,
  ports: PeriodPorts,
  periods: readonly PeriodName[],
  now: Instant,
): Promise<BegunPeriod[]> {
  if (periods.length === 0) return [];
  const standings = await broughtUpToDate(session, ports, periods, now);
  const isAwaited = standings.some(({ subscription }) => subscription.firstUnpaid);
  const late = await tooLateFor(session, ports, isAwaited ? periods : [], now);
  const inTime = new Set(periods.map(periodKey).filter((key) => !late.has(key)));
  const first = new Set(
    standings.flatMap(({ subscription: { firstUnpaid, subscriptionId, periodNumber: number } }) => {
      const key = periodKey({ subscriptionId, number });
      return firstUnpaid && inTime.has(key) ? [key] : [];
    }),
  );
  // Also of one that waits for nothing: of two periods that were bought ahead the later may be paid first.
  const live = (await beginPaid(session, standings, first, now)).filter(
    ({ subscription }) => subscription.endedAt === null,
  );
  if (live.length === 0) return [];
  const timely = periods.filter((period) => inTime.has(periodKey(period)));
  const paid = grouped(timely, ({ subscriptionId }) => subscriptionId);
  const names = live.flatMap(({ subscription }) => {
    const numbers = new Set(paid.get(subscription.subscriptionId)?.map(({ number }) => number));
    // One that was begun anew awaits a payment of its own.
    if (isWaitingFor(subscription)) numbers.add(subscription.periodNumber);
    return [...numbers].map((number) => ({ subscription, number }));
  });
  const all = await findPeriods(session, names);
  const found = grouped(all, ({ subscriptionId }) => subscriptionId);
  const offers = new OfferVersions();
  await offers.load(session, [...live.map(({ subscription }) => subscription), ...all]);
  const giving: Array<{ standing: Standing; period: StoredPeriod }> = [];
  const changed: StoredSubscription[] = [];
  for (const standing of live) {
    const { subscription } = standing;
    const { subscriptionId } = subscription;
    const isPaid = new Set(paid.get(subscriptionId)?.map(({ number }) => number));
    const own = found.get(subscriptionId) ?? [];
    const given = own.filter(
      (period) =>
        period.grantedAt === null &&
        period.orderId === null &&
        period.endsAt > now &&
        (isPaid.has(period.number) ||
          comesByItself(period, offers.of(period.sku, period.version).collect, now)),
    );
    giving.push(...given.map((period) => ({ standing, period })));
    const isThere = (period: StoredPeriod): boolean =>
      period.number === subscription.periodNumber &&
      (given.includes(period) || period.grantedAt !== null);
    if (isWaitingFor(subscription) && own.some(isThere)) {
      changed.push({ ...subscription, awaitingPayment: false });
    }
  }
  await giveWaiting(session, giving, offers, now);
  await saveSubscriptions(session, changed);
  return openAccess(session, live, first, now);
}

/** Whether its present period waits for units, though not for a first payment. */
const isWaitingFor = ({ awaitingPayment, firstUnpaid }: StoredSubscription): boolean =>
  awaitingPayment && !firstUnpaid;

/** What began with its first payment may be used from now on. */
async function openAccess(
  session: Session,
  live: readonly Standing[],
  first: ReadonlySet<string>,
  now: Instant,
): Promise<BegunPeriod[]> {
  if (first.size === 0) return [];
  const begun = live.flatMap(({ receiver, subscription }) => {
    const { subscriptionId, periodNumber: number, periodStart, periodEnd: to } = subscription;
    const key = periodKey({ subscriptionId, number });
    const { payerId } = receiver;
    return first.has(key) ? [{ key, payerId, from: Math.max(periodStart, now), to }] : [];
  });
  await refreshAccess(session, begun, now);
  return begun;
}

/** A renewal whose units only waited for the first payment of its subscription. */
const comesByItself = (
  period: StoredPeriod,
  collect: { renewalGrants: 'period_start' | 'payment' } | null,
  now: Instant,
): boolean => period.startsAt <= now && collect?.renewalGrants !== 'payment';

/** What a period brings depends on what those before it left: of each subscription one at a time. */
function inTurns<T extends { period: StoredPeriod }>(giving: readonly T[]): T[][] {
  const turns: T[][] = [];
  const inOrder = giving.toSorted((a, b) => a.period.number - b.period.number);
  const taken = new Map<string, number>();
  for (const one of inOrder) {
    const turn = taken.get(one.period.subscriptionId) ?? 0;
    taken.set(one.period.subscriptionId, turn + 1);
    (turns[turn] ??= []).push(one);
  }
  return turns;
}

async function giveWaiting(
  session: Session,
  giving: ReadonlyArray<{ standing: Standing; period: StoredPeriod }>,
  offers: OfferVersions,
  now: Instant,
): Promise<void> {
  const openings = [];
  for (const { standing, period } of giving) {
    const offer = offers.of(period.sku, period.version);
    const comes = await takesPlace(session, standing, period, offers, now);
    openings.push({ receiver: standing.receiver, period, offer, comes });
  }
  const products = await productsFor(session, openings, now);
  for (const turn of inTurns(openings)) {
    await givePeriods(
      session,
      turn.map((opening) => {
        const { receiver, period, offer, comes } = opening;
        const units = unitsOf(offer, period, receiver.timeZone, products, now, comes);
        return { ...opening, units };
      }),
      now,
    );
  }
  await allowOverage(session, openings);
}

/** Changes those of some subscriptions that it concerns, tells of it, and sets anew what may be used. */
async function changeThose(
  session: Session,
  found: readonly Standing[],
  type: 'subscription.past_due' | 'subscription.overdue' | 'subscription.recovered',
  concerns: (one: StoredSubscription) => boolean,
  to: (one: StoredSubscription) => Partial<StoredSubscription>,
  now: Instant,
): Promise<void> {
  const standings = found.filter(({ subscription }) => concerns(subscription));
  const changed = standings.map(({ subscription }) => ({ ...subscription, ...to(subscription) }));
  await saveSubscriptions(session, changed);
  const affected = standings.filter(
    ({ subscription }, index) => subscription.overdue !== changed[index]!.overdue,
  );
  await refreshAccess(
    session,
    affected.map(({ receiver }) => receiver),
    now,
  );
  await recordEvents(
    session,
    changed.map((one) => eventOf(type, one, now, now)),
  );
}

/**
 * A payment failed for the first time: past due at once; what was brought can be used in the grace
 * period. When that is over whoever looks first finds it overdue (planning.ts).
 */
export async function paymentFailed(
  session: Session,
  ports: PeriodPorts,
  payerId: string,
  subscriptionIds: readonly string[],
  graceUntil: Instant,
  now: Instant,
): Promise<void> {
  await changeThose(
    session,
    await ofPayer(session, ports, payerId, subscriptionIds, now),
    'subscription.past_due',
    (one) => isInForce(one) && one.status !== 'past_due',
    () => ({ status: 'past_due', graceUntil }),
    now,
  );
}

/**
 * The grace period is over: whatever the subscriptions bring is denied until it is paid. Of those that are
 * over what nobody paid for ends, also where it was to last longer.
 */
export async function paymentOverdue(
  session: Session,
  ports: PeriodPorts,
  payerId: string,
  subscriptionIds: readonly string[],
  now: Instant,
): Promise<void> {
  const found = await ofPayer(session, ports, payerId, subscriptionIds, now);
  await changeThose(
    session,
    found,
    'subscription.overdue',
    // Where the first payment is awaited there is no access that could end.
    (one) => (isInForce(one) || one.status === 'paused') && !one.overdue && !one.firstUnpaid,
    // A pause pays nothing: what is left of what was brought is denied while it rests, too.
    ({ status }) => ({
      status: status === 'paused' ? 'paused' : 'past_due',
      overdue: true,
      graceUntil: null,
    }),
    now,
  );
  await endOfOver(session, ports, found, now);
}

const statusWhenPaid = ({ status, phase }: StoredSubscription): SubscriptionStatus => {
  if (status === 'paused') return 'paused';
  return phase === null ? 'active' : 'trialing';
};

/** Nothing is owed any more; what was written off brings nothing any more. */
export async function paymentRecovered(
  session: Session,
  ports: PeriodPorts,
  payerId: string,
  subscriptionIds: readonly string[],
  now: Instant,
): Promise<void> {
  // One that rests in its grace owes, too.
  const isOwing = (one: StoredSubscription): boolean =>
    one.status === 'past_due' || one.overdue || one.graceUntil !== null;
  const found = await ofPayer(session, ports, payerId, subscriptionIds, now);
  for (const one of found) {
    if (isOwing(one.subscription)) await endGivenUpUnits(session, ports, one, now);
  }
  await changeThose(
    session,
    found,
    'subscription.recovered',
    isOwing,
    (one) => ({ status: statusWhenPaid(one), overdue: false, graceUntil: null }),
    now,
  );
}

/**
 * What was not paid in time is owed still, also since before a subscription was begun anew: it is past
 * due, and overdue where the grace of that is over.
 */
export async function paymentMissing(
  session: Session,
  ports: PeriodPorts,
  payerId: string,
  subscriptionId: string,
  graceUntil: Instant,
  now: Instant,
): Promise<void> {
  await paymentFailed(session, ports, payerId, [subscriptionId], graceUntil, now);
  if (graceUntil <= now) await paymentOverdue(session, ports, payerId, [subscriptionId], now);
  else await paymentInGrace(session, ports, payerId, subscriptionId, graceUntil, now);
}

/** What is owed still is within its own grace: past due, and access goes on until that is over. */
async function paymentInGrace(
  session: Session,
  ports: PeriodPorts,
  payerId: string,
  subscriptionId: string,
  graceUntil: Instant,
  now: Instant,
): Promise<void> {
  const found = await ofPayer(session, ports, payerId, [subscriptionId], now);
  const inGrace = () => ({ overdue: false, graceUntil });
  const wasOverdue = (one: StoredSubscription): boolean => one.overdue;
  await changeThose(session, found, 'subscription.past_due', wasOverdue, inGrace, now);
  // The others stay as they are, for longer.
  const others = found
    .map(({ subscription }) => subscription)
    .filter((one) => one.graceUntil !== null && !one.overdue);
  await saveSubscriptions(
    session,
    others.map((one) => ({ ...one, ...inGrace() })),
  );
}

/**
 * The last attempt to collect has failed. `cancel`: the subscriptions end now, with what is left of
 * their periods; `keep`: they stay past due, and go on. Of those that are over what nobody paid for ends,
 * also where it was to last longer.
 */
export async function dunningEnded(
  session: Session,
  ports: PeriodPorts,
  payerId: string,
  subscriptionIds: readonly string[],
  action: 'cancel' | 'keep',
  now: Instant,
): Promise<void> {
  const offers = new OfferVersions();
  const outcomes: Outcome[] = [];
  const found = await ofPayer(session, ports, payerId, subscriptionIds, now);
  for (const standing of action === 'cancel' ? found : []) {
    if (standing.subscription.endedAt !== null) continue;
    outcomes.push(await endEarly(session, standing, 'payment_failed', offers, now));
  }
  await writeOutcomes(session, outcomes, now);
  await endOfOver(session, ports, [...found, ...outcomes], now);
}

/** What nobody paid for ends of subscriptions that are over, or were begun anew and wait for being paid. */
async function endOfOver(
  session: Session,
  ports: PeriodPorts,
  all: ReadonlyArray<Pick<Standing, 'subscription' | 'receiver'>>,
  now: Instant,
): Promise<void> {
  for (const one of all) {
    const { endedAt, firstUnpaid } = one.subscription;
    if (endedAt !== null || firstUnpaid) await endUnpaidUnits(session, ports, one, now);
  }
}
