import { leftToGiveBack, type SoldLine } from '../books';
import type { Session } from '../database';
import { Decimal, isBillingError, isId, sumOf, type ErrorCode } from '../kernel';
import type { PurposeHandlers } from '../payments';
import { locksOfOrder } from './change-of-order';
import type { Confirmations } from './confirming';
import type { OrderHooks } from './order-hooks';
import { findOrder } from './order-records';
import { isLapsed } from './order-state';
import { findRefund, soldLines } from './refund-records';
import type { Refunds } from './refunding';

/** What payments through gateways mean to orders. */

/**
 * Runs what a gateway's own doing may make impossible; what it wrote until then is taken back.
 *
 * @returns the code by which it was refused; null: it was done
 */
async function unlessRefused(
  session: Session,
  codes: readonly ErrorCode[],
  work: () => Promise<unknown>,
): Promise<ErrorCode | null> {
  await session.query('savepoint gateway_said');
  try {
    await work();
    await session.query('release savepoint gateway_said');
    return null;
  } catch (error) {
    if (!isBillingError(error) || !codes.includes(error.code)) throw error;
    await session.query('rollback to savepoint gateway_said');
    return error.code;
  }
}

export const orderPayments = (
  hooks: OrderHooks,
  confirmations: Confirmations,
  refunds: Refunds,
): PurposeHandlers => ({
  payersToLock: (session, orderId) => locksOfOrder(session, hooks, orderId),

  async payable(session, orderId, now) {
    if (!isId(orderId)) return null;
    const order = await findOrder(session, orderId);
    if (order.status !== 'pending' || isLapsed(order, now) || order.total.isZero()) return null;
    const { payerId, accountId, currency, decimals, total: amount } = order;
    return { payerId, accountId, currency, decimals, amount, description: `Order ${orderId}` };
  },

  /** A payment that the order cannot take any more, or a second one, goes back. */
  async settled(session, { purposeId: orderId, gateway, reference, amount, currency }) {
    const payment = { orderId, gateway, paymentId: reference, amount, currency };
    let tooLate: string | null = null;
    const refused = await unlessRefused(session, ['order_state', 'payment_mismatch'], async () => {
      const { allowed, reason } = await confirmations.confirm(payment, session);
      tooLate = allowed ? null : reason;
    });
    return refused ?? tooLate;
  },

  kept: () => Promise.resolve(),

  failed: () => Promise.resolve(),

  /**
   * What the gateway gave back by itself is a refund of the order: of the item that its amount tells, else
   * of all, by what is left of each.
   */
  async refunded(session, refund, now) {
    if (refund.reason !== 'gateway') return;
    const { purposeId: orderId, reference, currency, gateway } = refund;
    const refundId = reference ?? refund.refundId;
    const order = await findOrder(session, orderId);
    if ((await findRefund(session, order, refundId)) !== null) return;
    // What people gave back, and said so under another id, is no money of the order any more.
    const taken = Decimal.min(refund.amount, order.paid.minus(order.refunded));
    const lines = soldLines(order);
    const positions = lines.map(({ position }) => position);
    await hooks.subscriptions.refunding(session, { orderId }, positions, now);
    const beyond = taken.minus(await leftOf(session, lines));
    await hooks.takenBack.lowerCredits(session, lines, { currency, amount: beyond }, now);
    const left = await leftOf(session, lines);
    const isBeyond = taken.greaterThan(left);
    const amount = isBeyond ? undefined : refund.amount;
    const refused = left.isZero()
      ? null
      : await unlessRefused(
          session,
          ['order_state', 'refund_exceeds_paid', 'payment_mismatch'],
          () =>
            refunds.refundWanted(
              {
                orderId,
                refundId,
                amount,
                used: 'forgive',
                keepSubscription: false,
                isSpread: true,
              },
              session,
            ),
        );
    if (refused !== null || !isBeyond) return;
    const { payerId } = order;
    const rest = { payerId, currency, gateway, refundId: refund.refundId };
    await hooks.takenBack.takeBeyond(session, { ...rest, amount: taken.minus(left) }, now);
  },
});

/** What of lines has not come back, tax included. */
async function leftOf(session: Session, lines: readonly SoldLine[]): Promise<Decimal> {
  const found = await leftToGiveBack(session, lines);
  return sumOf(found.map(({ left }) => left.net.plus(left.tax)));
}
