import type { Merge } from '../../accounts';
import { column, table, type RowOf, type Session } from '../../database';
import { formatUnits, isoTime, type Instant } from '../../kernel';

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

const TOP_UPS = table('top_ups', {
  payerId: column.uuid(),
  product: column.text(),
  accountId: column.uuid(),
  below: column.decimal(),
  sku: column.text(),
  quantity: column.integer(),
  maxPerPeriod: column.integer(),
  period: column.text<TopUpPeriod>(),
  active: column.flag(),
  /** When its terms were saved. */
  savedAt: column.instant(),
  periodStart: column.instant().orNull,
  bought: column.integer(),
  stoppedUntil: column.instant().orNull,
  /** The order on which it waits. */
  orderId: column.uuid().orNull,
});
export type StoredTopUp = RowOf<typeof TOP_UPS>;

const TERMS = TOP_UPS.omit('periodStart', 'bought', 'stoppedUntil', 'orderId');
const PROGRESS = TOP_UPS.pick(
  'payerId',
  'product',
  'periodStart',
  'bought',
  'stoppedUntil',
  'orderId',
);

const SELECT = `select ${TOP_UPS.select('t')} from {schema}.top_ups t`;

const FIND = `${SELECT} where t.payer_id = $1::uuid and t.product = $2`;

const LIST = `${SELECT} where t.payer_id = $1::uuid order by t.product`;

/**
 * Those that may have something to do, by the index top_ups_active; $2 and $3 go on behind. What an account
 * said for itself rests while another one pays for it.
 */
const FIND_ACTIVE = `${SELECT}
join {schema}.accounts p on p.account_id = t.payer_id and p.payer_id = t.payer_id
where t.active and (t.payer_id, t.product) > ($2::uuid, $3)
  and (t.order_id is not null or t.stopped_until is null or t.stopped_until <= $1::timestamptz)
order by t.payer_id, t.product limit $4::integer`;

/** What was counted stays; saving it again lifts a stop. */
const SAVE = TERMS.insert(`
on conflict (payer_id, product) do update
  set account_id = excluded.account_id, sku = excluded.sku, quantity = excluded.quantity,
      below = excluded.below, max_per_period = excluded.max_per_period, period = excluded.period,
      active = excluded.active, saved_at = excluded.saved_at, stopped_until = null`);

const WRITE = PROGRESS.update('payerId', 'product');

/** Of two for a product that of the account which stays counts. Both are locked. */
const MOVE = `
update {schema}.top_ups t
set payer_id = $2::uuid,
    account_id = case when t.account_id = $1::uuid then $2::uuid else t.account_id end
where t.payer_id = $1::uuid and not exists (
  select from {schema}.top_ups o where o.payer_id = $2::uuid and o.product = t.product)`;

const SWITCH_OFF = `update {schema}.top_ups set active = false where payer_id = $1::uuid`;

const COUNT = `select count(*)::int as "topUps" from {schema}.top_ups where payer_id = $1::uuid`;

/** Top-ups go along with the account that is merged. */
export async function mergeTopUps(
  session: Session,
  { into, from, dryRun }: Merge,
): Promise<{ topUps: number }> {
  const [counted] = await session.query<{ topUps: number }>(COUNT, [from.payerId]);
  if (!dryRun) {
    await session.query(MOVE, [from.payerId, into.payerId]);
    await session.query(SWITCH_OFF, [from.payerId]);
  }
  return counted!;
}

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
  stoppedUntil: isoTime(topUp.stoppedUntil),
});

export async function findTopUp(
  session: Session,
  payerId: string,
  product: string,
): Promise<StoredTopUp | null> {
  const [found] = await TOP_UPS.rows(session, FIND, [payerId, product]);
  return found ?? null;
}

export const listTopUps = (session: Session, payerId: string): Promise<StoredTopUp[]> =>
  TOP_UPS.rows(session, LIST, [payerId]);

/** @param after a payer's id and a product, as `pages` hands them */
export const findActiveTopUps = (
  session: Session,
  now: Instant,
  after: readonly unknown[],
  limit: number,
): Promise<StoredTopUp[]> => TOP_UPS.rows(session, FIND_ACTIVE, [isoTime(now), ...after, limit]);

/** Saves the terms of a top-up. The payer is locked. */
export async function saveTopUp(session: Session, terms: RowOf<typeof TERMS>): Promise<void> {
  await session.query(SAVE, TERMS.values([terms]));
}

/** Writes how far a top-up has come. The payer is locked. */
export async function writeTopUp(session: Session, topUp: StoredTopUp): Promise<void> {
  await session.query(WRITE, PROGRESS.values([topUp]));
}
