import { atTime, toInstant, type Session } from '../../database';
import { Decimal, formatUnits, isoTime, type Instant } from '../../kernel';

export const TOP_UP_PERIODS = ['day', 'week', 'month'] as const;
export type TopUpPeriod = (typeof TOP_UP_PERIODS)[number];

/** An automatic top-up as it goes out. */
export interface TopUp {
  account: string;
  payer: string;
  product: string;
  /** It is bought when less than so many units are left. */
  below: string;
  sku: string;
  quantity: number;
  /** How often it is bought within a period at most; periods are the calendar's, in the payer's zone. */
  maxPerPeriod: number;
  period: TopUpPeriod;
  active: boolean;
  /** How often it was bought in the period that was counted last. */
  bought: number;
  /** Until when it is not bought, since a payment failed. */
  stoppedUntil: string | null;
}

export interface StoredTopUp {
  payerId: string;
  accountId: string;
  product: string;
  below: Decimal;
  sku: string;
  quantity: number;
  maxPerPeriod: number;
  period: TopUpPeriod;
  active: boolean;
  periodStart: Instant | null;
  bought: number;
  stoppedUntil: Instant | null;
  /** The order on which it waits. */
  orderId: string | null;
  /** When its terms were saved. */
  savedAt: Instant;
}

const COLUMNS = `
  t.payer_id::text as payer_id, t.account_id::text as account_id, t.product, t.below::text as below,
  t.sku, t.quantity, t.max_per_period, t.period, t.active, t.bought,
  ${atTime('t.period_start')} as period_start, ${atTime('t.stopped_until')} as stopped_until,
  t.order_id::text as order_id, ${atTime('t.saved_at')} as saved_at
from {schema}.top_ups t`;

const FIND = `select ${COLUMNS} where t.payer_id = $1::uuid and t.product = $2`;

const LIST = `select ${COLUMNS} where t.payer_id = $1::uuid order by t.product`;

/** Those that may have something to do, by the index top_ups_active; $2 and $3 go on behind. */
const FIND_ACTIVE = `
select ${COLUMNS}
where t.active and (t.payer_id, t.product) > ($2::uuid, $3)
  and (t.order_id is not null or t.stopped_until is null or t.stopped_until <= $1::timestamptz)
order by t.payer_id, t.product limit $4::integer`;

/** What was counted stays; saving it again lifts a stop. */
const SAVE = `
insert into {schema}.top_ups as t
  (payer_id, product, account_id, sku, quantity, below, max_per_period, period, active, saved_at)
values ($1::uuid, $2, $3::uuid, $4, $5, $6::numeric, $7, $8, $9::boolean, $10::timestamptz)
on conflict (payer_id, product) do update
  set account_id = excluded.account_id, sku = excluded.sku, quantity = excluded.quantity,
      below = excluded.below, max_per_period = excluded.max_per_period, period = excluded.period,
      active = excluded.active, saved_at = excluded.saved_at, stopped_until = null`;

const WRITE = `
update {schema}.top_ups
set period_start = $3::timestamptz, bought = $4, stopped_until = $5::timestamptz, order_id = $6::uuid
where payer_id = $1::uuid and product = $2`;

interface TopUpRow {
  payer_id: string;
  account_id: string;
  product: string;
  below: string;
  sku: string;
  quantity: number;
  max_per_period: number;
  period: TopUpPeriod;
  active: boolean;
  bought: number;
  period_start: string | null;
  stopped_until: string | null;
  order_id: string | null;
  saved_at: string;
}

const timeOf = (written: string | null): Instant | null =>
  written === null ? null : toInstant(written);

const isoOrNull = (time: Instant | null): string | null => (time === null ? null : isoTime(time));

const topUpOf = (row: TopUpRow): StoredTopUp => ({
  payerId: row.payer_id,
  accountId: row.account_id,
  product: row.product,
  below: new Decimal(row.below),
  sku: row.sku,
  quantity: row.quantity,
  maxPerPeriod: row.max_per_period,
  period: row.period,
  active: row.active,
  periodStart: timeOf(row.period_start),
  bought: row.bought,
  stoppedUntil: timeOf(row.stopped_until),
  orderId: row.order_id,
  savedAt: toInstant(row.saved_at),
});

export const topUpRecord = (topUp: StoredTopUp): TopUp => ({
  account: topUp.accountId,
  payer: topUp.payerId,
  product: topUp.product,
  below: formatUnits(topUp.below),
  sku: topUp.sku,
  quantity: topUp.quantity,
  maxPerPeriod: topUp.maxPerPeriod,
  period: topUp.period,
  active: topUp.active,
  bought: topUp.bought,
  stoppedUntil: isoOrNull(topUp.stoppedUntil),
});

export async function findTopUp(
  session: Session,
  payerId: string,
  product: string,
): Promise<StoredTopUp | null> {
  const [row] = await session.query<TopUpRow>(FIND, [payerId, product]);
  return row === undefined ? null : topUpOf(row);
}

export async function listTopUps(session: Session, payerId: string): Promise<StoredTopUp[]> {
  return (await session.query<TopUpRow>(LIST, [payerId])).map(topUpOf);
}

export async function findActiveTopUps(
  session: Session,
  after: { payerId: string; product: string },
  limit: number,
  now: Instant,
): Promise<StoredTopUp[]> {
  const values = [isoTime(now), after.payerId, after.product, limit];
  return (await session.query<TopUpRow>(FIND_ACTIVE, values)).map(topUpOf);
}

/** Saves the terms of a top-up. The payer is locked. */
export async function saveTopUp(
  session: Session,
  topUp: Omit<StoredTopUp, 'periodStart' | 'bought' | 'stoppedUntil' | 'orderId' | 'savedAt'>,
  now: Instant,
): Promise<void> {
  await session.query(SAVE, [
    topUp.payerId,
    topUp.product,
    topUp.accountId,
    topUp.sku,
    topUp.quantity,
    topUp.below.toFixed(),
    topUp.maxPerPeriod,
    topUp.period,
    topUp.active,
    isoTime(now),
  ]);
}

/** Writes how far a top-up has come. The payer is locked. */
export async function writeTopUp(session: Session, topUp: StoredTopUp): Promise<void> {
  await session.query(WRITE, [
    topUp.payerId,
    topUp.product,
    isoOrNull(topUp.periodStart),
    topUp.bought,
    isoOrNull(topUp.stoppedUntil),
    topUp.orderId,
  ]);
}
