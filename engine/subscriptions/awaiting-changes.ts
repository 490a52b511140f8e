import { findOfferVersion } from '../catalog';
import type { Session } from '../database';
import { Decimal, type Instant } from '../kernel';
import { advancePayers } from './advancing';
import { applyChange } from './applying-changes';
import { changeApplied, findAwaiting, lapseChanges, type AwaitingChange } from './awaiting-records';
import { cycleAtHand, segmentOf } from './cycles';
import { giveBackRest, type PeriodPorts } from './giving-back';
import { hadOffer } from './had-offer';
import { OfferVersions } from './offer-versions';
import { itemsOfChange } from './pending-items';
import { openPeriods } from './period-records';
import { decimalsOfPrice } from './periods';
import type { Standing } from './planning';
import { nextBy, type Target } from './quoting';
import { narrowQueued } from './queued-changes';
import { findOfPayers } from './records';
import { readStandings } from './standings';

/** What payments mean to changes that wait for them. In the transaction of the payment; the payers are locked. */

/** A change as an invoice names it. */
export interface NamedChange {
  /** Who was to pay for it. */
  payerId: string;
  changeId: string;
}

/** Changes that wait, their subscriptions brought up to date: with those whose time is over none is left. */
async function stillAwaiting(
  session: Session,
  named: readonly NamedChange[],
  now: Instant,
): Promise<Array<{ change: AwaitingChange; standing: Standing }>> {
  const before = await findAwaiting(
    session,
    named.map(({ changeId }) => changeId),
  );
  if (before.length === 0) return [];
  const found = await readStandings(session, await findOfPayers(session, before));
  await advancePayers(session, [...new Set(found.map(({ receiver }) => receiver.payerId))], now);
  const standings = await readStandings(
    session,
    found.map(({ subscription }) => subscription),
  );
  const byId = new Map(standings.map((one) => [one.subscription.subscriptionId, one]));
  const late = before.filter(({ lapsesAt }) => lapsesAt <= now);
  await lapseChanges(
    session,
    late.map(({ subscriptionId }) => byId.get(subscriptionId)!.subscription),
    now,
  );
  const changes = await findAwaiting(
    session,
    before.map(({ changeId }) => changeId),
  );
  return changes.map((change) => ({ change, standing: byId.get(change.subscriptionId)! }));
}

/** Of changes those that wait still, by their ids: money for others comes too late. */
export async function awaitsPayment(
  session: Session,
  named: readonly NamedChange[],
  now: Instant,
): Promise<Set<string>> {
  const waiting = await stillAwaiting(session, named, now);
  return new Set(waiting.map(({ change }) => change.changeId));
}

/** Changes are paid: each takes force, once, from the instant on for which it was reckoned. */
export async function changesPaid(
  session: Session,
  ports: PeriodPorts,
  named: readonly NamedChange[],
  now: Instant,
): Promise<void> {
  for (const one of await stillAwaiting(session, named, now)) {
    await takeForce(session, ports, one, now);
  }
}

/** Nothing is tried any more to be paid for changes. */
export async function changesGivenUp(
  session: Session,
  named: readonly NamedChange[],
  now: Instant,
): Promise<void> {
  const changes = await findAwaiting(
    session,
    named.map(({ changeId }) => changeId),
  );
  const found = await findOfPayers(session, changes);
  await lapseChanges(session, found, now);
}

async function takeForce(
  session: Session,
  ports: PeriodPorts,
  { change, standing }: { change: AwaitingChange; standing: Standing },
  now: Instant,
): Promise<void> {
  const { subscription, receiver } = standing;
  const { sku, version, quantity, mode, effectiveAt: at } = change;
  const old = await findOfferVersion(session, subscription.sku, subscription.version);
  const isSame = sku === old.sku && version === old.version;
  const fresh = isSame ? old : await findOfferVersion(session, sku, version);
  // It is paid: nothing waits any more.
  const target: Target = { old, fresh, quantity, mode, byTime: false, atOnce: true, later: false };
  const isNew = !(await hadOffer(session, subscription, sku));
  const periods = await openPeriods(session, subscription, at);
  const next = nextBy(target, subscription, periods, { isNew, zone: receiver.timeZone, at });
  const offers = new OfferVersions();
  const hand = await cycleAtHand(session, standing, periods[0]!, offers, fresh, now);
  const segment = segmentOf(fresh, next.opening.period, hand.counted);
  const credited = new Map(
    periods.map(({ number }) => [number, new Decimal(change.credited[number] ?? 0)]),
  );
  const { number } = next.opening.period;
  await changeApplied(session, change.changeId, number, now);
  // What was on no invoice when it was asked for could not go back with it.
  const billed = await itemsOfChange(session, change);
  const rest = periods.filter((period) => !billed.includes(period.number));
  const of = { credited, decimals: decimalsOfPrice(old) };
  await giveBackRest(session, ports, subscription, rest, of, at);
  await applyChange(
    session,
    standing,
    target,
    {
      periods,
      next: { ...next, opening: { ...next.opening, isBilled: true } },
      credited,
      hand,
      fresh: segment,
    },
    now,
  );
  const named = {
    sku: change.namesOffer ? sku : undefined,
    quantity: change.namesQuantity ? quantity : undefined,
  };
  await narrowQueued(session, subscription, named, now);
}
