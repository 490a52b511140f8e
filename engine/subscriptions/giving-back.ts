import { discountOf, couponCovers, findCoupon, totals } from '../catalog';
import type { Session } from '../database';
import { Decimal, ZERO, type Instant } from '../kernel';
import { couponsInForce } from './coupons';
import {
  addPendingItems,
  dropPendingItems,
  findFee,
  type FeeOfPeriod,
  type NewPendingItem,
} from './pending-items';
import type { OpenPeriod, PeriodName } from './stored-period';
import { daysLeft, shareOf } from './proration';
import type { StoredSubscription } from './stored-subscription';

/** Periods that end before their time: what they were paid for is given back for the days left. */

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
    period: PeriodName,
  ): Promise<{ amount: Decimal; isPaid: boolean } | null>;
}

/** For an engine without the room of invoices. */
export const NO_INVOICES: SubscriptionPorts = { invoiced: () => Promise.resolve(null) };

const FIND_ORDER_PAID = `
select paid::text as paid from {schema}.order_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and period_number = $3::integer`;

/** The amount of an item on a draft, less what the subscription's coupon will take of it. */
async function lessCoupon(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  { amount, sku, currency, discountable }: FeeOfPeriod,
  decimals: number,
): Promise<Decimal> {
  const inForce = (await couponsInForce(session, [payerId], [subscriptionId])).get(subscriptionId);
  const coupon = inForce === undefined ? null : await findCoupon(session, inForce.code);
  const isLowered =
    coupon !== null &&
    discountable &&
    couponCovers(coupon, sku!) &&
    (coupon.currency === null || coupon.currency === currency);
  if (!isLowered) return amount;
  const lines = [{ amount }];
  return amount.minus(
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
    const days = daysLeft(period, Math.max(now, startsAt), of.zone);
    const item = await findFee(session, subscription, number);
    if (item !== null && !item.isTaken) {
      const rest = item.amount.minus(shareOf(item.amount, days, of.decimals));
      dropped.push(item.itemId);
      if (!rest.isZero()) added.push({ ...item, amount: rest, serviceTo: Math.max(now, startsAt) });
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
  item: FeeOfPeriod | null,
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
  if (item === null || of.onlyPaid === true) return ZERO;
  return lessCoupon(session, subscription, item, of.decimals);
}

/** Takes back what is on no invoice yet of those of some periods that brought nothing. */
export async function dropFees(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  now: Instant,
): Promise<void> {
  const waiting: string[] = [];
  for (const { number } of periods.filter(({ grantedAt }) => grantedAt === null)) {
    const item = await findFee(session, subscription, number);
    if (item?.isTaken === false) waiting.push(item.itemId);
  }
  await dropPendingItems(session, subscription.payerId, waiting, now);
}
