import { column, table, type Session } from '../database';
import { Decimal, isoTime, type Instant } from '../kernel';
import type { Days } from './proration';
import { shareIn } from './stored-period';

/**
 * What coupons of subscriptions lower. They count periods, from one boundary to the next: however many
 * invoices one of these is on, and however often it is changed, it counts once.
 */

const FIND = `
select s.subscription_id::text as id, s.coupon as code, s.coupon_left as left,
       (select coalesce(json_agg(json_build_array(c.cycle, c.taken::text)), '[]')::text
        from {schema}.coupon_periods c
        where c.payer_id = s.payer_id and c.subscription_id = s.subscription_id and c.taken > 0) as taken
from {schema}.subscriptions s
where s.payer_id = any($1::uuid[]) and s.subscription_id = any($2::uuid[]) and s.coupon is not null`;

/** A coupon of a subscription. */
export interface CouponInForce {
  code: string;
  /** How many periods more it lowers; null: all. */
  left: number | null;
  /** What it took off periods that count already, by the number that each began with. */
  taken: Map<number, Decimal>;
}

/** The coupons of some subscriptions, by subscription id. */
export async function couponsInForce(
  session: Session,
  payerIds: readonly string[],
  subscriptionIds: readonly string[],
): Promise<Map<string, CouponInForce>> {
  if (subscriptionIds.length === 0) return new Map();
  const values = [payerIds, subscriptionIds];
  const rows = await session.query<{
    id: string;
    code: string;
    left: number | null;
    taken: string;
  }>(FIND, values);
  return new Map(
    rows.map(({ id, taken, ...coupon }) => {
      const periods = JSON.parse(taken) as Array<[number, string]>;
      return [
        id,
        { ...coupon, taken: new Map(periods.map(([of, sum]) => [of, new Decimal(sum)])) },
      ];
    }),
  );
}

const PARTS = table('subscription_periods', {
  subscriptionId: column.uuid(),
  number: column.integer(),
  cycle: column.integer(),
  fee: column.decimal(),
  partDays: column.integer().orNull,
  wholeDays: column.integer().orNull,
});

/** $1 payers, $2 subscriptions with $3 numbers of theirs; also of those that changes wait to open. */
const FIND_PARTS = `
select ${PARTS.select('f')}
from (
  select p.subscription_id, p.number, coalesce(p.cycle, p.number) as cycle, p.fee,
         case when p.cycle is not null then p.part_days end as part_days,
         case when p.cycle is not null then p.whole_days end as whole_days
  from unnest($2::uuid[], $3::integer[]) as w (subscription_id, number)
  cross join lateral (
    select p.* from {schema}.subscription_periods p
    where p.payer_id = any($1::uuid[]) and p.subscription_id = w.subscription_id
      and p.number = w.number offset 0) as p
  union all
  select c.subscription_id, c.opens, c.cycle, c.fee,
         case when c.cycle <> c.opens then c.part_days end,
         case when c.cycle <> c.opens then c.whole_days end
  from {schema}.awaiting_changes c
  join unnest($2::uuid[], $3::integer[]) as w (subscription_id, number)
    on c.subscription_id = w.subscription_id and c.opens = w.number
  where c.payer_id = any($1::uuid[]) and c.applied_at is null and c.lapsed_at is null) as f`;

/** Which period of a coupon a period on record is, or is a part of. */
export interface CouponPeriod {
  cycle: number;
  /** Its fee as it was opened, which is of that part of the whole. */
  fee: Decimal;
  /** The days that it is of the whole; null: all. */
  share: Days | null;
}

/** Periods of subscriptions as coupons count them. */
export async function couponPeriods(
  session: Session,
  payerIds: readonly string[],
  wanted: ReadonlyArray<{ subscriptionId: string; number: number }>,
): Promise<(subscriptionId: string, number: number) => CouponPeriod | undefined> {
  if (wanted.length === 0) return () => undefined;
  const rows = await PARTS.rows(session, FIND_PARTS, [
    payerIds,
    wanted.map(({ subscriptionId }) => subscriptionId),
    wanted.map(({ number }) => number),
  ]);
  const found = new Map(
    rows.map(({ subscriptionId, number, cycle, fee, ...days }) => {
      return [`${subscriptionId} ${number}`, { cycle, fee, share: shareIn(days) }];
    }),
  );
  return (subscriptionId, number) => found.get(`${subscriptionId} ${number}`);
}

/** What a coupon takes off a period, or gives back of that. */
export interface CouponTaken {
  subscriptionId: string;
  cycle: number;
  taken: Decimal;
}

/** Periods that count from now on: that many fewer are left. $3 subscriptions, $4 periods. */
const USE = `
update {schema}.subscriptions s set coupon_left = greatest(s.coupon_left - n.uses, 0)
from (
  select w.subscription_id, count(*)::integer as uses
  from unnest($2::uuid[], $3::integer[]) as w (subscription_id, cycle)
  where not exists (
    select from {schema}.coupon_periods c
    where c.payer_id = any($1::uuid[]) and c.subscription_id = w.subscription_id
      and c.cycle = w.cycle and c.taken > 0)
  group by w.subscription_id) as n
where s.payer_id = any($1::uuid[]) and s.subscription_id = n.subscription_id and s.coupon_left > 0`;

const TAKE = `
insert into {schema}.coupon_periods as c (payer_id, subscription_id, cycle, taken, counted_at)
select s.payer_id, s.subscription_id, w.cycle, w.taken, $5::timestamptz
from unnest($2::uuid[], $3::integer[], $4::numeric[]) as w (subscription_id, cycle, taken)
join {schema}.subscriptions s
  on s.payer_id = any($1::uuid[]) and s.subscription_id = w.subscription_id
on conflict (payer_id, subscription_id, cycle) do update set taken = c.taken + excluded.taken`;

/** A period of which nothing is taken any more counts no longer. */
const GIVE_BACK = `
with back as (
  update {schema}.coupon_periods c set taken = greatest(c.taken - w.taken, 0)
  from unnest($2::uuid[], $3::integer[], $4::numeric[]) as w (subscription_id, cycle, taken)
  where c.payer_id = any($1::uuid[]) and c.subscription_id = w.subscription_id
    and c.cycle = w.cycle and c.taken > 0
  returning c.payer_id, c.subscription_id, c.taken
), freed as (
  select b.payer_id, b.subscription_id, count(*)::integer as periods
  from back b where b.taken = 0 group by 1, 2
)
update {schema}.subscriptions s set coupon_left = s.coupon_left + f.periods
from freed f where s.payer_id = f.payer_id and s.subscription_id = f.subscription_id`;

const columnsOf = (of: readonly CouponTaken[]): unknown[][] => [
  of.map(({ subscriptionId }) => subscriptionId),
  of.map(({ cycle }) => cycle),
  of.map(({ taken }) => taken.toFixed()),
];

/** Invoices were issued that coupons lowered; each period is named once. The payers are locked. */
export async function couponsUsed(
  session: Session,
  payerIds: readonly string[],
  taken: readonly CouponTaken[],
  now: Instant,
): Promise<void> {
  if (taken.length === 0) return;
  const [subscriptions, cycles, amounts] = columnsOf(taken);
  await session.query(USE, [payerIds, subscriptions, cycles]);
  await session.query(TAKE, [payerIds, subscriptions, cycles, amounts, isoTime(now)]);
}

/** An invoice that coupons lowered is void: what they took counts no more. The payers are locked. */
export async function couponsFreed(
  session: Session,
  payerIds: readonly string[],
  taken: readonly CouponTaken[],
): Promise<void> {
  if (taken.length > 0) await session.query(GIVE_BACK, [payerIds, ...columnsOf(taken)]);
}
