import { BillingError } from '../kernel';

/**
 * The states of an order. The database holds to the same (migrations/0009-sales.ts).
 *
 *     pending --pay--> paid --refund--> partly_refunded --refund--> refunded
 *        |                \------------------refund-------------------^
 *        \--cancel--> cancelled
 *
 * A pending order that is past its time counts as lapsed, by the clock alone: its places are free. It
 * can still be paid if they are free then, or cancelled.
 */

export const ORDER_STATUSES = [
  'pending',
  'paid',
  'cancelled',
  'partly_refunded',
  'refunded',
] as const;
export type OrderStatus = (typeof ORDER_STATUSES)[number];

export type OrderAction = 'pay' | 'cancel' | 'refund';

const ALLOWED: Readonly<Record<OrderAction, readonly OrderStatus[]>> = {
  pay: ['pending'],
  cancel: ['pending'],
  refund: ['paid', 'partly_refunded'],
};

const ADVICE: Readonly<Record<OrderAction, Partial<Record<OrderStatus, string>>>> = {
  pay: {
    paid: 'It is paid; nothing is left to confirm.',
    cancelled: 'Give the payment back at its gateway, or create a new order.',
    partly_refunded: 'It was paid before; create a new order.',
    refunded: 'Create a new order.',
  },
  cancel: {
    paid: 'Refund it: sales.refundOrder.',
    partly_refunded: 'Refund the rest of it: sales.refundOrder.',
  },
  refund: { pending: 'It was not paid; cancel it: sales.cancelOrder.' },
};

const DONE: Readonly<Record<OrderAction, string>> = {
  pay: 'confirmed',
  cancel: 'cancelled',
  refund: 'refunded',
};

/** @throws order_state */
export function requireAction(
  action: OrderAction,
  { orderId, status }: { orderId: string; status: OrderStatus },
): void {
  if (ALLOWED[action].includes(status)) return;
  throw new BillingError(
    'order_state',
    `Order ${orderId} is ${status.replace('_', ' ')} and cannot be ${DONE[action]}.`,
    { parameter: 'orderId', advice: ADVICE[action][status] },
  );
}

/** Whether nobody paid it in time. */
export const isLapsed = (order: { status: OrderStatus; expiresAt: number }, now: number): boolean =>
  order.status === 'pending' && order.expiresAt <= now;
