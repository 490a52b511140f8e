import { recordEvents } from '../events';
import type { Session } from '../database';
import { currencyDecimals, formatMoney, type Instant } from '../kernel';
import type { OrderRefund, PaidOrder } from './order-hooks';

/** What others hear of orders; told in the transaction of the change. */

/** Orders are in money of ISO 4217, which all have their decimals. */
const money = (amount: PaidOrder['total'], currency: string): string =>
  formatMoney(amount, currencyDecimals(currency)!);

export async function tellOfPaid(
  session: Session,
  { orderId, accountId, payerId, total, currency }: PaidOrder,
  at: Instant,
): Promise<void> {
  const data = { orderId, total: money(total, currency), currency };
  await recordEvents(session, [{ type: 'order.paid', payerId, accountId, at, data }]);
}

export async function tellOfRefunded(
  session: Session,
  { orderId, accountId, payerId, currency }: PaidOrder,
  { refundId, amount }: OrderRefund,
  at: Instant,
): Promise<void> {
  const data = { orderId, refundId, amount: money(amount, currency), currency };
  await recordEvents(session, [{ type: 'order.refunded', payerId, accountId, at, data }]);
}
