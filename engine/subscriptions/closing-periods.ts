import { discountOf, couponCovers, findCoupon, findProducts, totals, type Offer } from '../catalog';
import { atTime, toInstant, type Session } from '../database';
import { Decimal, ZERO, isoTime, type Instant } from '../kernel';
import {
  endGrants,
  prolongGrants,
  readGrantStates,
  withdrawUnits,
  type GrantName,
} from '../ledger';
import { freePlaceWithoutOrder } from '../sales';
import {
  addPendingItems,
  dropPendingItems,
  type ItemKind,
  type NewPendingItem,
} from './pending-items';
import { grantsThere, type GrantKind } from './period-grants';
import type { Receiver } from './period-units';
import { couponsInForce } from './coupons';
import { daysLeft, shareOf } from './proration';
import type { StoredSubscription } from './stored-subscription';

/**
 * Periods that end before their time: what they were paid for is given back for the days left, as an
 * item for an invoice, and their units lapse, in the same proportion or altogether.
 */

/** What later rooms know of a period: what it was invoiced for. */
export interface SubscriptionPorts {
  /**
   * What an issued invoice asks for a period: after discount, less credit notes, tax as its lines have
   * it; nothing for a void or written-off one. Null: it is on no invoice, or on a draft.
   *
   * @returns `isPaid`: nothing of that invoice is left to pay
   */
  invoiced(
    session: Session,
    period: { payerId: string; subscriptionId: string; number: number },
  ): Promise<{ amount: Decimal; isPaid: boolean } | null>;
}

/** For an engine without the room of invoices. */
export const NO_INVOICES: SubscriptionPorts = { invoiced: () => Promise.resolve(null) };

/** A period on record that is not over. */
export interface OpenPeriod {
  number: number;
  phase: number | null;
  sku: string;
  version: number;
  quantity: number;
  fee: Decimal;
  startsAt: Instant;
  endsAt: Instant;
  /** Whether it has brought its units. */
  isGranted: boolean;
}

/** Beside the one that runs there are those that were bought ahead. */
const FIND_OPEN = `
select number, phase::integer as phase, sku, version, quantity, fee::text as fee,
       ${atTime('starts_at')} as starts_at, ${atTime('ends_at')} as ends_at,
       granted_at is not null as is_granted
from {schema}.subscription_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and ends_at > $3::timestamptz
order by number`;

const CUT = `
update {schema}.subscription_periods set ends_at = greatest(starts_at, $4::timestamptz)
where payer_id = $1::uuid and subscription_id = $2::uuid and number >= $3::integer
  and ends_at > $4::timestamptz`;

/** What a period costs, as an item: waiting, or on an invoice. */
const FIND_ITEM = `
select item_id::text as item_id, account_id::text as account_id, invoice_id is not null as is_taken,
       kind, sku, version, quantity::text as quantity, amount::text as amount, currency, taxable,
       discountable, ${atTime('service_from')} as service_from, ${atTime('due_at')} as due_at
from {schema}.pending_items
where payer_id = $1::uuid and subscription_id = $2::uuid and period_number = $3::integer
  and kind in ('fee', 'proration_charge') and dropped_at is null`;

const FIND_ORDER_PAID = `
select paid::text as paid from {schema}.order_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and period_number = $3::integer`;

/** The periods of a subscription that are not over at a moment, the present one first. */
export async function openPeriods(
  session: Session,
  { payerId, subscriptionId }: Pick<StoredSubscription, 'payerId' | 'subscriptionId'>,
  now: Instant,
): Promise<OpenPeriod[]> {
  const rows = await session.query<{
    number: number;
    phase: number | null;
    sku: string;
    version: number;
    quantity: number;
    fee: string;
    starts_at: string;
    ends_at: string;
    is_granted: boolean;
  }>(FIND_OPEN, [payerId, subscriptionId, isoTime(now)]);
  return rows.map((row) => ({
    number: row.number,
    phase: row.phase,
    sku: row.sku,
    version: row.version,
    quantity: row.quantity,
    fee: new Decimal(row.fee),
    startsAt: toInstant(row.starts_at),
    endsAt: toInstant(row.ends_at),
    isGranted: row.is_granted,
  }));
}

/** The periods end now; those that were bought ahead never begin. */
export async function cutPeriods(
  session: Session,
  { payerId, subscriptionId }: Pick<StoredSubscription, 'payerId' | 'subscriptionId'>,
  periods: readonly OpenPeriod[],
  now: Instant,
): Promise<void> {
  if (periods.length === 0) return;
  await session.query(CUT, [payerId, subscriptionId, periods[0]!.number, isoTime(now)]);
}

interface ItemRow {
  item_id: string;
  account_id: string;
  is_taken: boolean;
  kind: ItemKind;
  sku: string;
  version: number;
  quantity: string;
  amount: string;
  currency: string;
  taxable: boolean;
  discountable: boolean;
  service_from: string;
  due_at: string;
}

/** The amount of an item on a draft, less what the subscription's coupon will take of it. */
async function lessCoupon(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  { amount, sku, currency, discountable }: ItemRow,
  decimals: number,
): Promise<Decimal> {
  const whole = new Decimal(amount);
  const inForce = (await couponsInForce(session, [payerId], [subscriptionId])).get(subscriptionId);
  const coupon = inForce === undefined ? null : await findCoupon(session, inForce.code);
  const isLowered =
    coupon !== null &&
    discountable &&
    couponCovers(coupon, sku) &&
    (coupon.currency === null || coupon.currency === currency);
  if (!isLowered) return whole;
  const lines = [{ amount: whole }];
  return whole.minus(
    totals({ lines, discount: discountOf(coupon), rate: null, decimals }).discount,
  );
}

/**
 * Gives back what the days left of periods cost. What is on no invoice yet is lowered where it waits;
 * of what is, a credit goes on the next one. An invoice that is still to be paid counts as paid, since
 * it goes on being collected, unless `onlyPaid` says otherwise.
 *
 * @param decimals of the currency
 */
export async function giveBackRest(
  session: Session,
  ports: SubscriptionPorts,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  of: { zone: string; decimals: number; onlyPaid?: boolean },
  now: Instant,
): Promise<void> {
  const { payerId, subscriptionId, accountId, currency } = subscription;
  const added: NewPendingItem[] = [];
  const dropped: string[] = [];
  for (const period of periods) {
    const { number, sku, version, startsAt, endsAt } = period;
    const name = [payerId, subscriptionId, number];
    const days = daysLeft(period, Math.max(now, startsAt), of.zone);
    const [item] = await session.query<ItemRow>(FIND_ITEM, name);
    if (item !== undefined && !item.is_taken) {
      const amount = new Decimal(item.amount);
      const rest = amount.minus(shareOf(amount, days, of.decimals));
      dropped.push(item.item_id);
      if (rest.isZero()) continue;
      added.push({
        payerId,
        accountId: item.account_id,
        kind: item.kind,
        subscriptionId,
        periodNumber: number,
        sku: item.sku,
        version: item.version,
        quantity: new Decimal(item.quantity),
        amount: rest,
        currency,
        taxable: item.taxable,
        discountable: item.discountable,
        serviceFrom: toInstant(item.service_from),
        serviceTo: Math.max(now, startsAt),
        dueAt: toInstant(item.due_at),
      });
      continue;
    }
    const paid = await paidFor(session, ports, subscription, number, item, of);
    const credit = shareOf(paid, days, of.decimals);
    if (credit.isZero()) continue;
    added.push({
      payerId,
      accountId,
      kind: 'proration_credit',
      subscriptionId,
      periodNumber: number,
      sku,
      version,
      quantity: new Decimal(1),
      amount: credit.negated(),
      currency,
      // As it was invoiced, that is after discount.
      discountable: false,
      serviceFrom: Math.max(now, startsAt),
      serviceTo: endsAt,
      dueAt: now,
    });
  }
  await dropPendingItems(session, payerId, dropped, now);
  await addPendingItems(session, added, now);
}

/** What was asked for a period, by an order or an invoice. */
async function paidFor(
  session: Session,
  ports: SubscriptionPorts,
  subscription: StoredSubscription,
  number: number,
  item: ItemRow | undefined,
  of: { decimals: number; onlyPaid?: boolean },
): Promise<Decimal> {
  const { payerId, subscriptionId } = subscription;
  const [order] = await session.query<{ paid: string }>(FIND_ORDER_PAID, [
    payerId,
    subscriptionId,
    number,
  ]);
  if (order !== undefined) return new Decimal(order.paid);
  const invoiced = await ports.invoiced(session, { payerId, subscriptionId, number });
  if (invoiced !== null) {
    return of.onlyPaid === true && !invoiced.isPaid ? ZERO : invoiced.amount;
  }
  if (item === undefined || of.onlyPaid === true) return ZERO;
  return lessCoupon(session, subscription, item, of.decimals);
}

/** Takes back what is on no invoice yet of those of some periods that brought nothing. */
export async function dropFees(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  periods: readonly OpenPeriod[],
  now: Instant,
): Promise<void> {
  const waiting: string[] = [];
  for (const { number } of periods.filter(({ isGranted }) => !isGranted)) {
    const rows = await session.query<ItemRow>(FIND_ITEM, [payerId, subscriptionId, number]);
    waiting.push(...rows.filter((row) => !row.is_taken).map((row) => row.item_id));
  }
  await dropPendingItems(session, payerId, waiting, now);
}

const HAS_BROUGHT = `
select 1 as found from {schema}.subscription_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and granted_at is not null limit 1`;

/**
 * A subscription ends: of one that never brought anything, since nobody paid for it, the place of an
 * offer that is sold once is free, as that of an order that is cancelled.
 */
export async function freePlace(
  session: Session,
  { payerId, subscriptionId, sku }: StoredSubscription,
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  if ((await session.query(HAS_BROUGHT, [payerId, subscriptionId])).length > 0) return;
  await freePlaceWithoutOrder(session, [payerId, receiver.payerId], sku, now);
}

/** Units left over from periods. */
interface UnitsThere extends GrantName {
  product: string;
  /** Of the period that brought them. */
  number: number;
  remaining: Decimal;
  expiresAt: Instant | null;
}

async function unitsThere(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  numbers: readonly number[],
  receiver: Receiver,
  kinds: readonly GrantKind[],
  now: Instant,
): Promise<UnitsThere[]> {
  const ledgerId = receiver.payerId;
  const range = { first: Math.min(...numbers), last: Math.max(...numbers) };
  const wanted = numbers.length === 0 ? [] : [{ payerId, subscriptionId, ledgerId, ...range }];
  const found = (await grantsThere(session, wanted, now)).filter(
    ({ number, kind }) => numbers.includes(number) && kinds.includes(kind),
  );
  const sequences = found.map(({ sequence }) => sequence);
  const states = await readGrantStates(session, ledgerId, sequences, now);
  const bySequence = new Map(states.map((state) => [state.sequence, state]));
  return found.map(({ sequence, product, number }) => {
    const { remaining, expiresAt } = bySequence.get(sequence)!;
    return { payerId: ledgerId, sequence, product, number, remaining, expiresAt };
  });
}

const numbersOf = (periods: readonly OpenPeriod[]): number[] => periods.map(({ number }) => number);

/** Products of which units can be counted; access by time and unlimited use cannot be divided. */
async function countedProducts(
  session: Session,
  units: readonly UnitsThere[],
): Promise<Map<string, number>> {
  const keys = [...new Set(units.map(({ product }) => product))];
  const products = keys.length === 0 ? [] : [...(await findProducts(session, keys)).values()];
  return new Map(
    products.filter(({ kind }) => kind === 'quantity').map(({ key, decimals }) => [key, decimals]),
  );
}

/**
 * Of the units left over from periods the part of the days left lapses, rounded down; the rest stays
 * until its end. Access by time ends. Bonuses and steps stay, as do units on hold.
 */
export async function lapseRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  const kinds: GrantKind[] = ['item', 'order'];
  const numbers = numbersOf(periods);
  const units = await unitsThere(session, subscription, numbers, receiver, kinds, now);
  const counted = await countedProducts(session, units);
  const shares = new Map(
    periods.map((period) => [
      period.number,
      daysLeft(period, Math.max(now, period.startsAt), receiver.timeZone),
    ]),
  );
  const lapsing = units.flatMap(({ sequence, product, number, remaining }) => {
    const decimals = counted.get(product);
    if (decimals === undefined) return [];
    const amount = shareOf(remaining, shares.get(number)!, decimals, 'down');
    return amount.isZero() ? [] : [{ sequence, amount }];
  });
  await withdrawUnits(session, {
    payerId: receiver.payerId,
    accountId: receiver.accountId,
    grants: lapsing,
    kind: 'deduction',
    note: { source: `change of subscription ${subscription.subscriptionId}` },
    now,
  });
  await endUncounted(session, units, counted, now);
}

async function endUncounted(
  session: Session,
  units: readonly UnitsThere[],
  counted: ReadonlyMap<string, number>,
  now: Instant,
): Promise<void> {
  const ending = units.filter(({ product }) => !counted.has(product));
  await endGrants(session, ending.map(endingAt(now)), now);
}

const endingAt =
  (at: Instant) =>
  ({ payerId, sequence }: GrantName) => ({ payerId, sequence, at });

/** Units left over from periods go on until a later end; access by time ends, for the new one brings its own. */
export async function prolongRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  until: Instant,
  now: Instant,
): Promise<void> {
  const kinds: GrantKind[] = ['item', 'order', 'step'];
  const numbers = numbersOf(periods);
  const units = await unitsThere(session, subscription, numbers, receiver, kinds, now);
  const counted = await countedProducts(session, units);
  const lasting = units.filter(({ product }) => counted.has(product));
  await prolongGrants(
    session,
    lasting.map(({ payerId, sequence }) => ({ payerId, sequence, until })),
    now,
  );
  await endUncounted(session, units, counted, now);
}

/**
 * What was to last as long as periods ends with them, now: of the offer's items those without a time of
 * their own, and steps. What has one, and what never ends, stays.
 *
 * @param offerOf the offers of the periods
 */
export async function endRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  offerOf: (period: OpenPeriod) => Offer,
  now: Instant,
): Promise<void> {
  const kinds: GrantKind[] = ['item', 'order', 'step'];
  const numbers = numbersOf(periods);
  const units = await unitsThere(session, subscription, numbers, receiver, kinds, now);
  const byNumber = new Map(periods.map((period) => [period.number, period]));
  const ending = units.filter(({ number, product, expiresAt }) => {
    const period = byNumber.get(number)!;
    const item = offerOf(period).items.find((one) => one.product === product);
    const hasOwnTime = period.phase === null && item?.expiresAfter != null;
    return expiresAt !== null && !hasOwnTime;
  });
  await endGrants(session, ending.map(endingAt(now)), now);
}

/** What was to last as long as the last of some periods ends with the one before again. */
export async function shortenRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  const { startsAt, endsAt } = periods.at(-1)!;
  const numbers = Array.from({ length: subscription.periodNumber - 1 }, (_, index) => index + 1);
  const kinds: GrantKind[] = ['item', 'order'];
  const units = await unitsThere(session, subscription, numbers, receiver, kinds, now);
  const counted = await countedProducts(session, units);
  const ending = units.filter(
    ({ product, expiresAt }) => counted.has(product) && expiresAt === endsAt,
  );
  await endGrants(session, ending.map(endingAt(startsAt)), now);
}
