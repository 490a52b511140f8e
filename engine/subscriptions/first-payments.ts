import { countedWith } from '../accounts';
import { couponStays, findOfferVersion, keepCoupon } from '../catalog';
import type { RowOf, Session } from '../database';
import { recordEvents } from '../events';
import { addDuration, type Duration, type Instant } from '../kernel';
import { takenPlaces } from '../sales';
import { broughtUpToDate } from './advancing';
import type { PeriodPorts } from './giving-back';
import { OfferVersions } from './offer-versions';
import { findPeriods } from './period-records';
import { beginAnew } from './periods';
import { eventOf, type Standing } from './planning';
import { planInForce } from './plans-in-force';
import { findOfPayers, saveSubscriptions, subscriberOf } from './records';
import { ownSubscriptionTo, takePlaceOf } from './starting';
import { NAMED, PERIODS, type PeriodName } from './stored-period';
import type { StoredSubscription } from './stored-subscription';

/**
 * First payments: while one is awaited nothing else begins, and nothing is earned. It lapses after a
 * while by the clock (planning.ts); money that comes then begins it, if its place is still free.
 */

/** How long a first charge may take. */
const CHARGE_WITHIN: Duration = { unit: 'hour', count: 23 };

/** A payment that an invoice asks for. */
export interface AskedPayment extends PeriodName {
  /** By the engine; else whoever pays has so many days of its zone. */
  isCharged: boolean;
  days: number;
  timeZone: string;
}

/** As one string: a period, whoever pays for it by now. */
export const periodKey = ({
  subscriptionId,
  number,
}: Pick<PeriodName, 'subscriptionId' | 'number'>): string => `${subscriptionId} ${number}`;

/** Of a period: it ended before the payment came for which it waited, so that it brings nothing any more. */
export const NEVER_BROUGHT = (period: string): string => `(
  ${period}.granted_at is null and ${period}.order_id is null and ${period}.fee > 0
  and ${period}.cut_ledger_id is not null)`;

const UNPAID = PERIODS.pick('payerId', 'subscriptionId', 'number', 'firstUnpaid');
type UnpaidPeriod = RowOf<typeof UNPAID>;

/** By the primary key, under whichever name of their payers they stand. */
const FIND_UNPAID = `
select ${UNPAID.select('p')}
from ${NAMED.unnest('w')}
cross join lateral (
  select w.payer_id as account_id
  union all
  select a.account_id from {schema}.accounts a where a.merged_into = w.payer_id) as n
cross join lateral (
  select p.* from {schema}.subscription_periods p
  where p.payer_id = n.account_id and p.subscription_id = w.subscription_id
    and p.number = w.number and (p.first_unpaid or ${NEVER_BROUGHT('p')})
  offset 0) as p`;

/** Of periods first ones that are not paid, and such as ended while they waited for their payment. */
const findUnpaid = async (
  session: Session,
  periods: readonly PeriodName[],
): Promise<UnpaidPeriod[]> =>
  periods.length === 0 ? [] : UNPAID.rows(session, FIND_UNPAID, NAMED.values(periods));

/**
 * Invoices ask for periods: of those that are first payments it is known from now on until when they
 * are waited for. The payers are locked.
 *
 * @returns the keys of those periods
 */
export async function askFirstPayments(
  session: Session,
  asked: readonly AskedPayment[],
  now: Instant,
): Promise<Set<string>> {
  const unpaid = (await findUnpaid(session, asked)).filter((period) => period.firstUnpaid);
  if (unpaid.length === 0) return new Set();
  const keys = new Set(unpaid.map(periodKey));
  const terms = new Map(asked.map((one) => [periodKey(one), one]));
  const waiting = (await findOfPayers(session, unpaid)).filter(
    (one) => one.endedAt === null && one.firstUnpaid && keys.has(presentKey(one)),
  );
  const offers = new OfferVersions();
  await offers.load(session, waiting);
  await saveSubscriptions(
    session,
    waiting.map((one) => {
      const { isCharged, days: count, timeZone } = terms.get(presentKey(one))!;
      const said = offers.of(one.sku, one.version).collect?.firstPaymentWithin ?? null;
      const within = said ?? (isCharged ? CHARGE_WITHIN : null);
      const lapsesAt =
        within === null
          ? addDuration(now, { unit: 'day', count }, timeZone)
          : addDuration(now, within, one.anchorZone);
      return { ...one, lapsesAt: Math.max(lapsesAt, now) };
    }),
  );
  return keys;
}

const presentKey = ({ subscriptionId, periodNumber: number }: StoredSubscription): string =>
  periodKey({ subscriptionId, number });

/** Why money for a period that was given up, or ended before it was paid, cannot be used any more. */
export type TooLate =
  'already_purchased' | 'coupon_unavailable' | 'subscription_cancelled' | 'subscription_ended';

/**
 * Of periods that are being paid those that bring nothing any more, by their keys: of a first one the
 * place was taken meanwhile, or its customer had ended it; another one ended while it waited. The payers
 * are locked.
 */
export async function tooLateFor(
  session: Session,
  ports: PeriodPorts,
  periods: readonly PeriodName[],
  now: Instant,
): Promise<Map<string, TooLate>> {
  const late = new Map<string, TooLate>();
  const unpaid = await findUnpaid(session, periods);
  if (unpaid.length === 0) return late;
  const standings = await broughtUpToDate(session, ports, unpaid, now);
  const byId = new Map(standings.map((one) => [one.subscription.subscriptionId, one]));
  for (const period of unpaid) {
    const { subscription: one } = byId.get(period.subscriptionId)!;
    const reason = await whyTooLate(session, one, period, now);
    if (reason !== null) late.set(periodKey(period), reason);
  }
  return late;
}

/** Of periods those that ended while they waited for their payment, though not for their first, by keys. */
export const endedUnpaid = async (
  session: Session,
  periods: readonly PeriodName[],
): Promise<Set<string>> => {
  const unpaid = await findUnpaid(session, periods);
  return new Set(unpaid.filter(({ firstUnpaid }) => !firstUnpaid).map(periodKey));
};

async function whyTooLate(
  session: Session,
  one: StoredSubscription,
  { number, firstUnpaid }: UnpaidPeriod,
  now: Instant,
): Promise<TooLate | null> {
  // It was begun anew since, with a payment of its own.
  if (one.periodNumber !== number) return 'already_purchased';
  if (one.endedAt === null) return null;
  if (one.endReason === 'cancelled') return 'subscription_cancelled';
  const isGivenUp = one.endReason === 'payment_lapsed' || one.endReason === 'payment_failed';
  if (!firstUnpaid || !isGivenUp) return 'subscription_ended';
  const account = await subscriberOf(session, one);
  const offer = await findOfferVersion(session, one.sku, one.version);
  const other =
    (await ownSubscriptionTo(session, account, one.sku)) ??
    (await planInForce(session, account, offer, now));
  if (other !== null) return 'already_purchased';
  const { skus } = await takenPlaces(session, account, [one.sku], now);
  if (offer.oncePerAccount && skus.has(one.sku)) return 'already_purchased';
  const counted = await countedWith(session, account.accountId);
  const stays = await couponStays(session, one.payerId, one.subscriptionId, now, counted);
  return stays ? null : 'coupon_unavailable';
}

const BEGUN = PERIODS.pick('payerId', 'subscriptionId', 'number', 'startsAt', 'endsAt');

/** What was written of a period whose time had gone by is so no more. */
const BEGIN = `
update {schema}.subscription_periods p
set first_unpaid = false, starts_at = n.starts_at, ends_at = n.ends_at,
    resumed = p.resumed or (n.number > 1 and n.starts_at > p.starts_at),
    drafted_at = case when n.starts_at > p.starts_at then null else p.drafted_at end,
    reset_at = case when n.starts_at > p.starts_at then null else p.reset_at end
from ${BEGUN.unnest()}
where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number
  and p.first_unpaid`;

/**
 * First payments have come: what waited for them may begin; now, where its time has gone by. Units are
 * given by whoever calls. The payers are locked.
 *
 * @param paid by key; those that came too late are left out
 * @returns the standings as they are then
 */
export async function beginPaid(
  session: Session,
  standings: readonly Standing[],
  paid: ReadonlySet<string>,
  now: Instant,
): Promise<Standing[]> {
  const begun: Standing[] = [];
  const revived: StoredSubscription[] = [];
  for (const standing of standings) {
    const { subscription: before } = standing;
    if (!before.firstUnpaid || !paid.has(presentKey(before))) continue;
    const subscription = await begunNow(session, standing, now);
    begun.push({ ...standing, subscription });
    if (before.endedAt !== null) revived.push(subscription);
  }
  if (begun.length === 0) return [...standings];
  const subscriptions = begun.map(({ subscription }) => subscription);
  await session.query(
    BEGIN,
    BEGUN.values(
      subscriptions.map(({ periodNumber: number, periodStart, periodEnd, ...one }) => ({
        ...one,
        number,
        startsAt: periodStart,
        endsAt: periodEnd,
      })),
    ),
  );
  await saveSubscriptions(session, subscriptions);
  await recordEvents(
    session,
    revived.map((one) => eventOf('subscription.started', one, now, now)),
  );
  const byId = new Map(begun.map((one) => [one.subscription.subscriptionId, one]));
  return standings.map((one) => byId.get(one.subscription.subscriptionId) ?? one);
}

/** One whose first payment has come, as it goes on; the units of its period still wait. */
async function begunNow(
  session: Session,
  { subscription: before, receiver }: Standing,
  now: Instant,
): Promise<StoredSubscription> {
  const { payerId, subscriptionId, sku, version, periodNumber: number } = before;
  if (before.coupon !== null) {
    const counted = await countedWith(session, receiver.accountId);
    await keepCoupon(session, payerId, subscriptionId, now, counted);
  }
  const paid = { ...before, firstUnpaid: false, lapsesAt: null, awaitingPayment: true };
  if (before.endedAt === null && before.periodEnd > now) return paid;
  const offer = await findOfferVersion(session, sku, version);
  const [period] = await findPeriods(session, [{ subscription: before, number }]);
  const anew = beginAnew(paid, period!, offer, receiver.timeZone, now);
  const { periodEnd } = anew;
  const begun = {
    ...anew,
    cancelAt: before.cancelAt === null ? null : periodEnd,
    pauseAt: before.pauseAt === null ? null : periodEnd,
  };
  if (before.endedAt === null) return begun;
  await takePlaceOf(session, await subscriberOf(session, before), offer, now);
  const status = anew.phase === null ? 'active' : 'trialing';
  return { ...begun, status, endedAt: null, endReason: null };
}
