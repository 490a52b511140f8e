import type { ErasePart, ExportPart, MergePart } from '../accounts';
import { atTime, readTime, type Session } from '../database';
import { Decimal, formatMoney, isoTime, newId, type Instant } from '../kernel';
import { listOrders, orderRecord } from './order-records';

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

const READ_REFUNDS = `
select r.order_id::text as order_id, r.refund_id, r.used, r.amount::text as amount,
       r.net::text as net, r.tax::text as tax, ${atTime('r.refunded_at')} as refunded_at,
       d.reason, coalesce(d.metadata, '{}')::text as metadata
from {schema}.refunds r
left join {schema}.refund_details d
  on d.payer_id = r.payer_id and d.order_id = r.order_id and d.refund_id = r.refund_id
where r.payer_id = $1::uuid and r.order_id = $2::uuid
order by r.refunded_at, r.refund_id`;

interface RefundRow {
  order_id: string;
  refund_id: string;
  used: string;
  amount: string;
  net: string;
  tax: string;
  refunded_at: string;
  reason: string | null;
  metadata: string;
}

const PAGE = 500;

/** Orders that the account paid for or ordered, with their refunds. */
export const exportOrders: ExportPart = async (session, { accountId, payerId, aliases }) => {
  const names = [accountId, ...aliases];
  const orders: object[] = [];
  let after: string | null = null;
  for (;;) {
    const page = await listOrders(session, {
      accounts: names,
      payers: payerId === accountId ? names : null,
      statuses: null,
      after,
      limit: PAGE,
    });
    for (const order of page) {
      const rows = order.refunded.isZero()
        ? []
        : await session.query<RefundRow>(READ_REFUNDS, [order.payerId, order.orderId]);
      const money = (written: string): string => formatMoney(new Decimal(written), order.decimals);
      // Whether it lapsed by now is for the reader to say.
      const { lapsed: _lapsed, ...record } = orderRecord(order, order.createdAt);
      orders.push({
        ...record,
        refunds: rows.map((row) => ({
          refundId: row.refund_id,
          used: row.used,
          amount: money(row.amount),
          net: money(row.net),
          tax: money(row.tax),
          refundedAt: readTime(row.refunded_at),
          reason: row.reason,
          metadata: JSON.parse(row.metadata) as Record<string, unknown>,
        })),
      });
    }
    if (page.length < PAGE) return { orders };
    after = page.at(-1)!.orderId;
  }
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
export const eraseOrders: ErasePart = async (session, { accountId, aliases }) => {
  const names = [accountId, ...aliases];
  await session.query(ERASE_ORDERS, [names]);
  await session.query(ERASE_REFUNDS, [names]);
};

const COUNT_ORDERS = `
select count(*)::int as orders from {schema}.orders where payer_id = $1::uuid`;

const FIND_OPEN_MARKS = `
select kind, sku, account_id::text as account_id, order_id::text as order_id,
       ${atTime('taken_at')} as taken_at, ${atTime('lapses_at')} as lapses_at
from {schema}.purchase_marks
where payer_id = $1::uuid and freed_at is null
order by taken_at, mark_id`;

/** A place taken for good weighs more than one that may lapse; of two of a kind the first stays. */
const FREE_WEAKER = `
update {schema}.purchase_marks m set freed_at = $4::timestamptz
where m.payer_id = $1::uuid and m.kind = $2 and (m.kind = 'trial' or m.sku = $3)
  and m.freed_at is null and m.lapses_at is not null`;

const COPY_MARK = `
insert into {schema}.purchase_marks
  (payer_id, mark_id, kind, sku, account_id, order_id, taken_at, lapses_at)
values ($1::uuid, $2::uuid, $3, $4, $5::uuid, $6::uuid, $7::timestamptz, $8::timestamptz)
on conflict do nothing`;

interface MarkRow {
  kind: string;
  sku: string;
  account_id: string;
  order_id: string | null;
  taken_at: string;
  lapses_at: string | null;
}

/**
 * Orders stay as they are and are found through the alias; places that the one account has taken are
 * taken for the other, too.
 */
export const mergeOrders: MergePart = async (session, { into, from, now, dryRun }) => {
  const [counted] = await session.query<{ orders: number }>(COUNT_ORDERS, [from.payerId]);
  const marks = await session.query<MarkRow>(FIND_OPEN_MARKS, [from.payerId]);
  if (dryRun) return { orders: counted!.orders, purchases: marks.length };
  for (const mark of marks) {
    if (mark.lapses_at === null) {
      await session.query(FREE_WEAKER, [into.payerId, mark.kind, mark.sku, isoTime(now)]);
    }
    await session.query(COPY_MARK, [
      into.payerId,
      newId(),
      mark.kind,
      mark.sku,
      mark.account_id,
      mark.order_id,
      readTime(mark.taken_at),
      readTime(mark.lapses_at),
    ]);
  }
  return { orders: counted!.orders, purchases: marks.length };
};
