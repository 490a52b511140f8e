import { column, table, type RowOf, type Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import { freePlaceWithoutOrder } from '../sales';
import { dropItemsOfChanges } from './pending-items';
import type { ChangeMode } from './quoting';
import { keysOf, type StoredSubscription, type SubscriptionName } from './stored-subscription';

/**
 * Changes that wait for their payment, at most one of each subscription. Until it comes nothing of the
 * subscription changes. One that is replaced, taken back, declined for good, or whose period is over
 * lapses; money that comes then is given back.
 */

const CHANGES = table('awaiting_changes', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  changeId: column.uuid(),
  sku: column.text(),
  version: column.integer(),
  quantity: column.integer(),
  mode: column.text<ChangeMode>(),
  namesOffer: column.flag(),
  namesQuantity: column.flag(),
  /** The period that it would open: its number, the one its cycle began with, what it costs. */
  opens: column.integer(),
  cycle: column.integer(),
  fee: column.decimal(),
  partDays: column.integer().orNull,
  wholeDays: column.integer().orNull,
  /** What it asks for in all, before discount and tax. */
  amount: column.decimal(),
  /** The parts of periods that go back, by their numbers. */
  credited: column.json<Record<string, string>>(),
  /** Whether that is the days left, whatever was used. */
  byTime: column.flag(),
  /** From when on it counts once it is paid. */
  effectiveAt: column.instant(),
  /** From then on it is too late. */
  lapsesAt: column.instant(),
});
export type AwaitingChange = RowOf<typeof CHANGES>;

const FOUND = table('awaiting_changes', {
  ...{ payerId: column.uuid(), subscriptionId: column.uuid(), changeId: column.uuid() },
  sku: column.text(),
});

const OPEN = `applied_at is null and lapsed_at is null`;

const FIND_OF = `
select ${CHANGES.select('c')} from {schema}.awaiting_changes c
where c.payer_id = any($1::uuid[]) and c.subscription_id = any($2::uuid[]) and ${OPEN}`;

const FIND = `
select ${CHANGES.select('c')} from {schema}.awaiting_changes c
where c.change_id = any($1::uuid[]) and ${OPEN}`;

const LAPSE = `
update {schema}.awaiting_changes c set lapsed_at = $3::timestamptz
where c.payer_id = any($1::uuid[]) and c.subscription_id = any($2::uuid[]) and ${OPEN}
returning ${FOUND.select('c')}`;

const APPLY = `
update {schema}.awaiting_changes c set applied_at = $2::timestamptz, period_number = $3::integer
where c.change_id = $1::uuid and ${OPEN}`;

/** Puts down that a change waits. The payer is locked, and no other one waits. */
export const letChangeWait = (session: Session, change: AwaitingChange): Promise<void> =>
  CHANGES.write(session, [change]);

/** What waits of some subscriptions, by their ids. */
export async function awaitingChanges(
  session: Session,
  names: readonly SubscriptionName[],
): Promise<Map<string, AwaitingChange>> {
  if (names.length === 0) return new Map();
  const found = await CHANGES.rows(session, FIND_OF, keysOf(names));
  return new Map(found.map((change) => [change.subscriptionId, change]));
}

/** Of some changes those that wait. */
export const findAwaiting = (
  session: Session,
  changeIds: readonly string[],
): Promise<AwaitingChange[]> =>
  changeIds.length === 0
    ? Promise.resolve([])
    : CHANGES.rows(session, FIND, [[...new Set(changeIds)]]);

const FIND_CYCLE = `
select c.cycle::integer as cycle from {schema}.awaiting_changes c where c.change_id = $1::uuid`;

/** The cycle that the period of a change is of, whatever became of it: coupons count by that. */
export async function cycleOfChange(session: Session, changeId: string): Promise<number> {
  const [row] = await session.query<{ cycle: number }>(FIND_CYCLE, [changeId]);
  return row!.cycle;
}

const FIND_OVER = `
select c.change_id::text as id from {schema}.awaiting_changes c
where c.change_id = any($1::uuid[]) and c.lapsed_at is not null`;

/** Of some changes those that lapsed, by their ids. */
export async function lapsedChanges(
  session: Session,
  named: ReadonlyArray<{ changeId: string }>,
): Promise<Set<string>> {
  const changeIds = named.map(({ changeId }) => changeId);
  const rows = await session.query<{ id: string }>(FIND_OVER, [changeIds]);
  return new Set(rows.map(({ id }) => id));
}

/** A change took force with the period of that number. The payer is locked. */
export async function changeApplied(
  session: Session,
  changeId: string,
  number: number,
  now: Instant,
): Promise<void> {
  await session.query(APPLY, [changeId, isoTime(now), number]);
}

/**
 * What waits of some subscriptions lapses: what it would have cost is on no invoice any more, or on one
 * that is to be withdrawn, and the place of an offer that is sold once is free. The payers are locked.
 *
 * @param keep the offer whose place is kept
 */
export async function lapseChanges(
  session: Session,
  all: ReadonlyArray<Pick<StoredSubscription, 'payerId' | 'subscriptionId' | 'sku'>>,
  now: Instant,
  keep?: string,
): Promise<void> {
  if (all.length === 0) return;
  const lapsed = await FOUND.rows(session, LAPSE, [...keysOf(all), isoTime(now)]);
  if (lapsed.length === 0) return;
  await dropItemsOfChanges(session, lapsed, now);
  const present = new Map(all.map(({ subscriptionId, sku }) => [subscriptionId, sku]));
  for (const { payerId, subscriptionId, sku } of lapsed) {
    if (sku === keep || sku === present.get(subscriptionId)) continue;
    await freePlaceWithoutOrder(session, [payerId], sku, now);
  }
}
