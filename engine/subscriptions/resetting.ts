import { resolveAccount } from '../accounts';
import type { Offer, ProductKind } from '../catalog';
import { sweep, type Context, type Session } from '../database';
import {
  accountReference,
  flag,
  input,
  integer,
  isoTime,
  parse,
  readClock,
  type Instant,
  type RequestOf,
  type z,
} from '../kernel';
import { writeDueOf } from '../ledger';
import { advanceSubscriptions } from './advancing';
import { requireClock } from './brake';
import type { PeriodPorts } from './giving-back';
import { readStandings } from './standings';
import { findPeriods } from './period-records';
import { givePeriods, productsFor, unitsOf, type Receiver } from './period-units';
import { NAMED, type PeriodName, type StoredPeriod } from './stored-period';
import { presentPayer } from './stored-subscription';
import { OfferVersions } from './offer-versions';
import { allowOverage } from './writing';

/**
 * Two steps of a billing cycle that change nothing of what anybody can use: balances go by the clock,
 * and whoever comes first opens a period. They put on record what was lost and make up for what is
 * missing, once for each period, whenever they are run.
 */

export interface ResetDone {
  /** Closed periods whose left-over units are written off now. */
  periods: number;
  /** Units of how many grants were lost. */
  expiries: number;
  /** Whether there may be more: the limit was reached, or an account was busy. */
  more: boolean;
}

export interface RestoreDone {
  /** Periods that were given their units. */
  periods: number;
  more: boolean;
}

const resetInput = input({
  /** Only periods that this account, or its parent, pays for. */
  account: accountReference().optional(),
  /** At most so many periods. Default 10,000. */
  limit: integer(1, 1_000_000).optional(),
  /**
   * Also where the clock is far ahead of the database's own, and of subscriptions that have missed many
   * periods. Default false.
   */
  catchUp: flag().optional(),
});
export type ResetRequest = RequestOf<typeof resetInput>;
const DEFAULT_LIMIT = 10_000;

/**
 * Of one payer, when $2 is given: those of accounts merged into it, too. $3 to $6 go on behind what was
 * looked at.
 */
const periodsThat = (are: string): string => `
select p.payer_id::text as "payerId", p.subscription_id::text as "subscriptionId", p.number,
       m.payer_id::text as "ledgerId", p.ends_at::text as "endsAt"
from {schema}.subscription_periods p ${presentPayer('p')} ${are}
  and ($2::uuid is null or p.payer_id in (
    select account_id from {schema}.accounts where account_id = $2::uuid or merged_into = $2::uuid))
  and p.ends_at >= $3::timestamptz
  and (p.ends_at, p.payer_id, p.subscription_id, p.number)
      > ($3::timestamptz, $4::uuid, $5::uuid, $6::integer)
order by p.ends_at, p.payer_id, p.subscription_id, p.number
limit $7::integer`;

/** By the index subscription_periods_unreset. */
const FIND_CLOSED = periodsThat('where p.reset_at is null and p.ends_at <= $1::timestamptz');

const FIND_PRODUCTS = `
select distinct g.ledger_id::text as "payerId", g.product, k.kind
from ${NAMED.unnest()}
cross join lateral (
  select g.ledger_id, g.product from {schema}.period_grants g
  where g.payer_id = n.payer_id and g.subscription_id = n.subscription_id
    and g.period_number = n.number
  offset 0) as g
join {schema}.products k on k.key = g.product`;

const MARK_RESET = `
update {schema}.subscription_periods p set reset_at = $4::timestamptz
from ${NAMED.unnest()}
where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number
  and p.reset_at is null
returning 1 as done`;

/**
 * Running periods without their units that wait for no payment. There are none unless something went
 * wrong. By the index subscription_periods_ungranted.
 */
const FIND_MISSING = periodsThat(`
join {schema}.subscriptions s on s.payer_id = p.payer_id and s.subscription_id = p.subscription_id
  and s.period_number = p.number and not s.awaiting_payment and s.ended_at is null
  and s.status <> 'paused'
where p.granted_at is null and p.order_id is null and p.ends_at > $1::timestamptz`);

interface SweptPeriod extends PeriodName {
  ledgerId: string;
  endsAt: string;
}

/** Sweeps over periods, and says whether there may be more. @throws clock_ahead; what the first account threw that failed */
async function sweepPeriods(
  context: Context,
  ports: PeriodPorts,
  statement: string,
  { account, limit = DEFAULT_LIMIT, catchUp }: z.output<typeof resetInput>,
  now: Instant,
  work: (session: Session, periods: readonly SweptPeriod[]) => Promise<void>,
): Promise<boolean> {
  const { database } = context;
  await requireClock(context, catchUp);
  const payerId = account === undefined ? null : (await resolveAccount(database, account)).payerId;
  const only = payerId === null ? {} : { payerIds: [payerId] };
  await advanceSubscriptions(context, ports, { ...only, catchUp });
  const { found, busy, failed } = await sweep<SweptPeriod>(database, {
    key: { endsAt: 'instant', payerId: 'uuid', subscriptionId: 'uuid', number: 'number' },
    limit,
    find: (after, size) => database.query(statement, [isoTime(now), payerId, ...after, size]),
    payerOf: ({ ledgerId }) => ledgerId,
    work,
  });
  if (failed.length > 0) throw failed[0]!.error;
  return busy.length > 0 || found >= limit;
}

/**
 * Puts on record what was left over of periods that are over and is lost, as expiries of their
 * instants. Nothing of a running period is touched: its units came with it, its overage counts anew
 * since it began.
 *
 * @throws invalid_input, unknown_account
 */
export async function resetProducts(
  context: Context,
  ports: PeriodPorts,
  request: ResetRequest = {},
): Promise<ResetDone> {
  const wanted = parse(resetInput, request);
  const now = readClock(context.clock);
  const done = { periods: 0, expiries: 0 };
  const more = await sweepPeriods(
    context,
    ports,
    FIND_CLOSED,
    wanted,
    now,
    async (session, periods) => {
      const names = NAMED.values(periods);
      const pockets = await session.query<{ payerId: string; product: string; kind: ProductKind }>(
        FIND_PRODUCTS,
        names,
      );
      const locked = new Set(periods.map(({ ledgerId }) => ledgerId));
      const own = pockets.filter(({ payerId }) => locked.has(payerId));
      const { expiries } = await writeDueOf(session, own, now);
      const marked = await session.query(MARK_RESET, [...names, isoTime(now)]);
      done.expiries += expiries;
      done.periods += marked.length;
    },
  );
  return { ...done, more };
}

/**
 * Gives running periods the units that they have not been given, as far as they wait for no payment.
 *
 * @throws invalid_input, unknown_account
 */
export async function restoreProducts(
  context: Context,
  ports: PeriodPorts,
  request: ResetRequest = {},
): Promise<RestoreDone> {
  const wanted = parse(resetInput, request);
  const now = readClock(context.clock);
  const offers = new OfferVersions();
  let periods = 0;
  const more = await sweepPeriods(
    context,
    ports,
    FIND_MISSING,
    wanted,
    now,
    async (session, names) => {
      const missing = await stillMissing(session, names, offers, now);
      const products = await productsFor(session, missing, now);
      await givePeriods(
        session,
        missing.map((one) => ({
          ...one,
          units: unitsOf(one.offer, one.period, one.receiver.timeZone, products, now),
        })),
        now,
      );
      await allowOverage(session, missing);
      periods += missing.length;
    },
  );
  return { periods, more };
}

/** Of the periods that were found without their units those that are so under the locks. */
async function stillMissing(
  session: Session,
  names: readonly PeriodName[],
  offers: OfferVersions,
  now: Instant,
): Promise<Array<{ period: StoredPeriod; offer: Offer; receiver: Receiver }>> {
  const standings = await readStandings(session, names);
  const live = new Map(
    standings
      .filter(({ subscription: one }) => !one.awaitingPayment && one.endedAt === null)
      .map((standing) => [standing.subscription.subscriptionId, standing]),
  );
  const periods = await findPeriods(
    session,
    [...live.values()].map(({ subscription }) => ({
      subscription,
      number: subscription.periodNumber,
    })),
  );
  await offers.load(session, periods);
  return periods
    .filter(
      ({ grantedAt, orderId, endsAt }) => grantedAt === null && orderId === null && endsAt > now,
    )
    .map((period) => ({
      period,
      offer: offers.of(period.sku, period.version),
      receiver: live.get(period.subscriptionId)!.receiver,
    }));
}
