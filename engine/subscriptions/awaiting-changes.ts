import { decimalsOfPrice, findOfferVersion } from '../catalog';
import type { Session } from '../database';
import { Decimal, type Instant } from '../kernel';
import { broughtUpToDate } from './advancing';
import { applyChange, changeAtHand } from './applying-changes';
import { changeApplied, findAwaiting, lapseChanges, type AwaitingChange } from './awaiting-records';
import { giveBackRest, takeBackCredits, type PeriodPorts } from './giving-back';
import { itemsOfChange } from './pending-items';
import type { Standing } from './planning';
import { creditedStill, type Target } from './quoting';
import { narrowQueued } from './queued-changes';
import { findOfPayers } from './records';

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
  ports: PeriodPorts,
  named: readonly NamedChange[],
  now: Instant,
): Promise<Array<{ change: AwaitingChange; standing: Standing }>> {
  const before = await findAwaiting(
    session,
    named.map(({ changeId }) => changeId),
  );
  if (before.length === 0) return [];
  const standings = await broughtUpToDate(session, ports, before, now);
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
  ports: PeriodPorts,
  named: readonly NamedChange[],
  now: Instant,
): Promise<Set<string>> {
  const waiting = await stillAwaiting(session, ports, named, now);
  return new Set(waiting.map(({ change }) => change.changeId));
}

/** Changes are paid: each takes force, once, from the instant on for which it was reckoned. */
export async function changesPaid(
  session: Session,
  ports: PeriodPorts,
  named: readonly NamedChange[],
  now: Instant,
): Promise<void> {
  for (const one of await stillAwaiting(session, ports, named, now)) {
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
  const { subscription } = standing;
  const { sku, version, quantity, mode, effectiveAt: at } = change;
  const old = await findOfferVersion(session, subscription.sku, subscription.version);
  const isSame = sku === old.sku && version === old.version;
  const fresh = isSame ? old : await findOfferVersion(session, sku, version);
  // It is paid: nothing waits any more.
  const target: Target = { old, fresh, quantity, mode, byTime: false, atOnce: true, later: false };
  const { periods, next, terms, ...rest } = await changeAtHand(session, standing, target, at, now);
  const { cycle } = rest.hand;
  const asked = new Map(
    periods.map(({ number }) => [number, new Decimal(change.credited[number] ?? 0)]),
  );
  const isByUse = mode === 'prorate' && !change.byTime;
  const credited = isByUse ? creditedStill(asked, periods, cycle, rest.fresh, terms) : asked;
  const { number } = next.opening.period;
  await changeApplied(session, change.changeId, number, now);
  // What was on no invoice when it was asked for could not go back with it.
  const billed = await itemsOfChange(session, change);
  const unbilled = periods.filter((period) => !billed.includes(period.number));
  const of = { credited, decimals: decimalsOfPrice(old) };
  await giveBackRest(session, ports, subscription, unbilled, of, at);
  const lowered = periods.filter(({ number }) =>
    credited.get(number)!.lessThan(asked.get(number)!),
  );
  await takeBackCredits(session, ports, subscription, { change, periods: lowered }, of, now);
  await applyChange(
    session,
    standing,
    target,
    {
      ...rest,
      periods,
      next: { ...next, opening: { ...next.opening, isBilled: true } },
      credited,
    },
    now,
  );
  const named = {
    sku: change.namesOffer ? sku : undefined,
    quantity: change.namesQuantity ? quantity : undefined,
  };
  await narrowQueued(session, subscription, named, now);
}
