import type { Session } from '../database';
import { isoTime, type Decimal, type Instant } from '../kernel';
import {
  NAMED,
  PERIODS,
  daysOf,
  shareIn,
  type OpenPeriod,
  type PeriodName,
  type StoredPeriod,
} from './stored-period';
import type { StoredSubscription, SubscriptionName } from './stored-subscription';

/** Periods as they were opened, and what became of them. */

/** Puts periods on record, before anything that belongs to them. */
export const writePeriods = (session: Session, periods: readonly StoredPeriod[]): Promise<void> =>
  PERIODS.write(
    session,
    periods.map(({ share, ...period }) => ({ ...period, ...daysOf(share) })),
  );

/** By the primary key, of periods named one by one. */
const FIND = `
select ${PERIODS.select('p')}
from ${NAMED.unnest()}
cross join lateral (
  select p.* from {schema}.subscription_periods p
  where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number
  offset 0) as p`;

/** Periods on record, with the account of their subscription. */
export async function findPeriods(
  session: Session,
  names: ReadonlyArray<{ subscription: StoredSubscription; number: number }>,
): Promise<StoredPeriod[]> {
  if (names.length === 0) return [];
  const accounts = new Map(
    names.map(({ subscription }) => [subscription.subscriptionId, subscription.accountId]),
  );
  const wanted = names.map(({ subscription, number }) => ({ ...subscription, number }));
  const found = await PERIODS.rows(session, FIND, NAMED.values(wanted));
  return found.map(({ partDays, wholeDays, ...period }) => ({
    ...period,
    accountId: accounts.get(period.subscriptionId)!,
    share: shareIn({ partDays, wholeDays }),
  }));
}

/**
 * Whether a subscription was in force with an offer before: what comes only once is not given again.
 * Along the primary key. What was never paid for brought nothing.
 */
export const hadOfferSql = (
  payerId: string,
  subscriptionId: string,
  sku: string,
): string => `exists (
  select from {schema}.subscription_periods h
  where h.payer_id = ${payerId} and h.subscription_id = ${subscriptionId} and h.sku = ${sku}
    and h.phase is null and not h.first_unpaid)`;

const HAD_OFFER = `select ${hadOfferSql('$1::uuid', '$2::uuid', '$3')} as had`;

/** The same of one subscription. */
export async function hadOffer(
  session: Session,
  { payerId, subscriptionId }: SubscriptionName,
  sku: string,
): Promise<boolean> {
  const values = [payerId, subscriptionId, sku];
  const [found] = await session.query<{ had: boolean }>(HAD_OFFER, values);
  return found!.had;
}

const MARK_GRANTED = `
update {schema}.subscription_periods p set granted_at = $4::timestamptz
from ${NAMED.unnest()}
where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number
  and p.granted_at is null`;

/** Puts down that periods have been given their units. */
export async function markGranted(
  session: Session,
  periods: readonly PeriodName[],
  now: Instant,
): Promise<void> {
  if (periods.length === 0) return;
  await session.query(MARK_GRANTED, [...NAMED.values(periods), isoTime(now)]);
}

/** Beside the one that runs there are those that were bought ahead, but for what never begins. */
const FIND_OPEN = `
select ${PERIODS.select('p')} from {schema}.subscription_periods p
where p.payer_id = $1::uuid and p.subscription_id = $2::uuid and p.ends_at > $3::timestamptz
  and p.starts_at < p.ends_at
order by p.number`;

/** The periods of a subscription that are not over at a moment, the present one first. */
export const openPeriods = (
  session: Session,
  { payerId, subscriptionId }: SubscriptionName,
  now: Instant,
): Promise<OpenPeriod[]> =>
  PERIODS.rows(session, FIND_OPEN, [payerId, subscriptionId, isoTime(now)]);

/**
 * Of those before a period, as far back as the subscription began anew, all that changes ended before their
 * time: their units may last longer than periods since that lasted theirs.
 */
const FIND_REPLACED = `
select ${PERIODS.select('p')} from {schema}.subscription_periods p
where p.payer_id = $1::uuid and p.subscription_id = $2::uuid and p.number < $3::integer
  and p.cut_ledger_id is not null
  and p.number >= coalesce((
    select f.number from {schema}.subscription_periods f
    where f.payer_id = $1::uuid and f.subscription_id = $2::uuid and f.number <= $3::integer
      and f.begun_anew
    order by f.number desc limit 1), 0)
order by p.number`;

/** The periods in the place of which one came, by any change before: units of them may be left. */
export const replacedPeriods = (
  session: Session,
  { payerId, subscriptionId, number }: PeriodName,
): Promise<OpenPeriod[]> => PERIODS.rows(session, FIND_REPLACED, [payerId, subscriptionId, number]);

/**
 * Back from a period to where its cycle began, and those that changes ended for it; then all since. One that
 * began after its time, when its first payment came, takes the place of nothing: what was to be free was had.
 */
const FIND_CYCLES = `
with recursive back as (
  select coalesce(p.cycle, p.number) as first from {schema}.subscription_periods p
  where p.payer_id = $1::uuid and p.subscription_id = $2::uuid and p.number = $3::integer
  union all
  select coalesce(q.cycle, q.number)
  from back b
  join {schema}.subscription_periods f
    on f.payer_id = $1::uuid and f.subscription_id = $2::uuid and f.number = b.first
  join {schema}.subscription_periods q
    on q.payer_id = $1::uuid and q.subscription_id = $2::uuid and q.number = f.carried_from
   and q.ends_at >= f.starts_at
)
select ${PERIODS.select('p')} from {schema}.subscription_periods p
where p.payer_id = $1::uuid and p.subscription_id = $2::uuid
  and p.number >= (select min(first) from back)
order by p.number`;

/** The periods of the cycle of a period, and of those that changes ended for it, each by itself. */
export async function cyclesUpTo(
  session: Session,
  { payerId, subscriptionId }: SubscriptionName,
  number: number,
): Promise<OpenPeriod[][]> {
  const found = await PERIODS.rows(session, FIND_CYCLES, [payerId, subscriptionId, number]);
  const cycles: OpenPeriod[][] = [];
  for (const period of found) {
    if (cycles.length === 0 || period.carriedFrom !== null) cycles.push([]);
    cycles.at(-1)!.push(period);
  }
  return cycles;
}

const CREDITED = PERIODS.pick('payerId', 'subscriptionId', 'number', 'credited');
const CREDIT = CREDITED.update('payerId', 'subscriptionId', 'number');

/** Puts down which parts of periods, by their numbers, were given back. */
export async function writeCredited(
  session: Session,
  periods: readonly PeriodName[],
  parts: ReadonlyMap<number, Decimal>,
): Promise<void> {
  const some = periods
    .map((period) => ({ ...period, credited: parts.get(period.number)! }))
    .filter(({ credited }) => !credited.isZero());
  if (some.length > 0) await session.query(CREDIT, CREDITED.values(some));
}

/**
 * With the line that the ledger of the present payer has come to: up to there what was used in the same
 * instant is of the period that is cut.
 */
const CUT = `
update {schema}.subscription_periods p
set ends_at = greatest(p.starts_at, $4::timestamptz), cut_ledger_id = m.payer_id,
    cut_sequence = case when p.starts_at <= $4::timestamptz then (
      select e.sequence from {schema}.entries e
      where e.payer_id = m.payer_id order by e.sequence desc limit 1) end
from (
  select coalesce(a.merged_into, a.account_id) as payer_id
  from {schema}.accounts a where a.account_id = $1::uuid) as m
where p.payer_id = $1::uuid and p.subscription_id = $2::uuid and p.number >= $3::integer
  and p.ends_at > $4::timestamptz`;

/** The periods end now; those that were bought ahead never begin. */
export async function cutPeriods(
  session: Session,
  { payerId, subscriptionId }: SubscriptionName,
  periods: readonly OpenPeriod[],
  now: Instant,
): Promise<void> {
  if (periods.length === 0) return;
  await session.query(CUT, [payerId, subscriptionId, periods[0]!.number, isoTime(now)]);
}
