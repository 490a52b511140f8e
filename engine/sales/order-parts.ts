import type { ErasePart, ExportPart, MergePart } from '../accounts';
import type { Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import { listOrders, orderRecord } from './order-records';
import { copyPlaces } from './purchase-marks';
import { exportRefunds } from './refund-records';

/** What orders and refunds have to say when accounts are attached, exported, erased or merged. */

const HAS_PENDING = `
select 1 as found from {schema}.orders
where payer_id = $1::uuid and status = 'pending' and expires_at > $2::timestamptz
limit 1`;

/** Why an account cannot become somebody's child: what it ordered would be paid by itself. */
export async function openOrdersObstacle(
  session: Session,
  accountId: string,
  now: Instant,
): Promise<string | null> {
  const pending = await session.query(HAS_PENDING, [accountId, isoTime(now)]);
  return pending.length === 0 ? null : 'The child has orders that are not paid yet.';
}

/** Orders that the account paid for or ordered, with their refunds. */
export const exportOrders: ExportPart = async (session, { names }) => {
  const orders: object[] = [];
  for (const order of await listOrders(session, { accounts: names, payers: names })) {
    // Whether it lapsed by now is for the reader to say.
    const { lapsed: _lapsed, ...record } = orderRecord(order, order.createdAt);
    const refunds = order.refunded.isZero() ? [] : await exportRefunds(session, order);
    orders.push({ ...record, refunds });
  }
  return { orders };
};

/** Found by who ordered: the payer of a row may be the parent of that time, or of this. */
const ERASE_ORDERS = `
delete from {schema}.order_details d
using {schema}.orders o
where (o.account_id = any($1::uuid[]) or o.payer_id = any($1::uuid[]))
  and d.payer_id = o.payer_id and d.order_id = o.order_id`;

const ERASE_REFUNDS = `
delete from {schema}.refund_details d
using {schema}.orders o
where (o.account_id = any($1::uuid[]) or o.payer_id = any($1::uuid[]))
  and d.payer_id = o.payer_id and d.order_id = o.order_id`;

/** Metadata and reasons go; what was sold for how much stays. */
export const eraseOrders: ErasePart = async (session, { names }) => {
  await session.query(ERASE_ORDERS, [names]);
  await session.query(ERASE_REFUNDS, [names]);
};

const COUNT_ORDERS = `
select count(*)::int as orders from {schema}.orders where payer_id = $1::uuid`;

/**
 * Orders stay as they are and are found through the alias; places that the one account has taken are
 * taken for the other, too.
 */
export const mergeOrders: MergePart = async (session, merge) => {
  const [counted] = await session.query<{ orders: number }>(COUNT_ORDERS, [merge.from.payerId]);
  return { orders: counted!.orders, purchases: await copyPlaces(session, merge) };
};
