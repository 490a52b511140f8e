import type { Session } from '../database';
import { BillingError } from '../kernel';
import type { OrderRow } from './order-records';

/** Payments and refunds of gateways: each stands for one order, whoever pays for that. */

export const DEFAULT_GATEWAY = 'manual';

const FIND_REFERENCE = `
select order_id::text as order_id from {schema}.payment_references
where gateway = $1 and kind = $2 and reference = $3`;

/** Of two orders that want one payment at the same moment one waits for the other here. */
const TAKE_REFERENCE = `
insert into {schema}.payment_references (gateway, kind, reference, payer_id, order_id)
values ($1, $2, $3, $4::uuid, $5::uuid)
on conflict do nothing
returning 1 as taken`;

export const mismatch = (parameter: string, message: string, advice?: string): BillingError =>
  new BillingError('payment_mismatch', message, { parameter, advice });

/**
 * A payment, or a refund, of a gateway is one order's for good.
 *
 * @throws payment_mismatch when it is another order's
 */
export async function takeReference(
  session: Session,
  kind: 'payment' | 'refund',
  { gateway, id }: { gateway: string; id: string },
  order: Pick<OrderRow, 'payerId' | 'orderId'>,
): Promise<void> {
  const { payerId, orderId } = order;
  const taken = await session.query(TAKE_REFERENCE, [gateway, kind, id, payerId, orderId]);
  if (taken.length > 0) return;
  const [found] = await session.query<{ order_id: string }>(FIND_REFERENCE, [gateway, kind, id]);
  if (found?.order_id === orderId) return;
  throw mismatch(
    `${kind}Id`,
    `The ${kind} ${id} of ${gateway} belongs to another order, ${found?.order_id}.`,
    `Each ${kind} stands for one order.`,
  );
}
