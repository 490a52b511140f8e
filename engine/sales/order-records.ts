import { atTime, readTime, toInstant, type Session } from '../database';
import {
  BillingError,
  Decimal,
  currencyDecimals,
  decimalsOf,
  formatMoney,
  formatUnits,
  isId,
  type Instant,
} from '../kernel';
import { isLapsed, type OrderStatus } from './order-state';

/** A line of an order as it goes out; amounts are money of the order's currency. */
export interface OrderLine {
  /** 1, 2, 3 ... */
  position: number;
  sku: string;
  /** Of the offer, as it was ordered. */
  version: number;
  name: string;
  quantity: number;
  /** What one of the offer cost here; may be finer than the currency when the price depends on how many. */
  unitPrice: string;
  subtotal: string;
  discount: string;
  net: string;
  tax: string;
  total: string;
  refunded: string;
}

/** An order as it goes out; amounts are money of its currency. */
export interface Order {
  orderId: string;
  /** Who ordered. */
  account: string;
  /** Who pays: the account itself, or its parent at that time. */
  payer: string;
  status: OrderStatus;
  /** Whether it is pending and its time is over. A payment may still revive it. */
  lapsed: boolean;
  currency: string;
  /** Before discount. */
  subtotal: string;
  discount: string;
  /** After discount, without tax. */
  net: string;
  tax: string;
  total: string;
  paid: string;
  refunded: string;
  items: OrderLine[];
  coupon: string | null;
  /** As it was when it was ordered. */
  taxRate: { key: string; name: string; percent: string; inclusive: boolean } | null;
  gateway: string | null;
  paymentId: string | null;
  /** Of a cancelled order: what was paid for it too late and is to be given back. */
  refundDue: string | null;
  createdAt: string;
  expiresAt: string;
  paidAt: string | null;
  cancelledAt: string | null;
  /** Whether subscriptions that it begins renew, as it was asked for; null: nothing was asked. */
  renew: boolean | null;
  metadata: Record<string, unknown>;
}

/** A line of an order as rules work on it. */
export interface StoredLine {
  position: number;
  sku: string;
  version: number;
  name: string;
  quantity: number;
  unitPrice: Decimal;
  /** 1: the offer's first trial phase. */
  phase: number | null;
  subtotal: Decimal;
  discount: Decimal;
  net: Decimal;
  tax: Decimal;
  total: Decimal;
  refundedNet: Decimal;
  refundedTax: Decimal;
}

/** An order as rules work on it. */
export interface StoredOrder {
  orderId: string;
  payerId: string;
  accountId: string;
  status: OrderStatus;
  currency: string;
  /** Of the currency. */
  decimals: number;
  subtotal: Decimal;
  discount: Decimal;
  net: Decimal;
  tax: Decimal;
  total: Decimal;
  paid: Decimal;
  refunded: Decimal;
  lines: StoredLine[];
  coupon: string | null;
  taxRate: Order['taxRate'];
  gateway: string | null;
  paymentId: string | null;
  refundDue: { amount: Decimal; reason: string } | null;
  createdAt: Instant;
  expiresAt: Instant;
  paidAt: Instant | null;
  cancelledAt: Instant | null;
  renews: boolean | null;
  metadata: Record<string, unknown>;
}

const COLUMNS = `
  o.order_id::text as order_id, o.payer_id::text as payer_id, o.account_id::text as account_id,
  o.status, o.currency, o.subtotal::text as subtotal, o.discount::text as discount,
  o.net::text as net, o.tax::text as tax, o.total::text as total, o.paid::text as paid,
  o.refunded::text as refunded, o.coupon, o.tax_key, o.tax_name, o.tax_percent::text as tax_percent,
  o.tax_inclusive, o.gateway, o.payment_id, ${atTime('o.created_at')} as created_at,
  ${atTime('o.expires_at')} as expires_at, ${atTime('o.paid_at')} as paid_at,
  ${atTime('o.cancelled_at')} as cancelled_at, o.renews,
  (select d.metadata::text from {schema}.order_details d
   where d.payer_id = o.payer_id and d.order_id = o.order_id) as metadata,
  (select json_build_array(f.amount::text, f.reason)::text from {schema}.refunds_due f
   where f.payer_id = o.payer_id and f.order_id = o.order_id) as refund_due,
  (select json_agg(json_build_array(
            i.position, i.sku, i.version, i.name, i.quantity, i.unit_price::text, i.phase,
            i.subtotal::text, i.discount::text, i.net::text, i.tax::text, i.total::text,
            coalesce(r.net, 0)::text, coalesce(r.tax, 0)::text) order by i.position)::text
   from {schema}.order_items i
   left join lateral (
     select sum(r.net) as net, sum(r.tax) as tax from {schema}.refund_items r
     where r.payer_id = i.payer_id and r.order_id = i.order_id and r.position = i.position) as r on true
   where i.payer_id = o.payer_id and i.order_id = o.order_id) as items`;

const FIND_ORDER = `select ${COLUMNS} from {schema}.orders o where o.order_id = $1::uuid`;

const FIND_OWNER = `
select payer_id::text as payer_id, account_id::text as account_id
from {schema}.orders where order_id = $1::uuid`;

/**
 * Newest first; ids are made in the order of time. $1 who ordered or $2 who paid, aliases included
 * (both null: anybody), $3 states, $4 the order to go on after.
 */
const LIST_ORDERS = `
select ${COLUMNS} from {schema}.orders o
where (coalesce($1::uuid[], $2::uuid[]) is null
       or o.account_id = any($1::uuid[]) or o.payer_id = any($2::uuid[]))
  and ($3::text[] is null or o.status = any($3::text[]))
  and ($4::uuid is null or o.order_id < $4::uuid)
order by o.order_id desc
limit $5::integer`;

/** An account and those that were merged into it. */
const FIND_ALIASES = `
select account_id::text as account_id from {schema}.accounts
where account_id = $1::uuid or merged_into = $1::uuid`;

interface OrderRow {
  order_id: string;
  payer_id: string;
  account_id: string;
  status: OrderStatus;
  currency: string;
  subtotal: string;
  discount: string;
  net: string;
  tax: string;
  total: string;
  paid: string;
  refunded: string;
  coupon: string | null;
  tax_key: string | null;
  tax_name: string | null;
  tax_percent: string | null;
  tax_inclusive: boolean | null;
  gateway: string | null;
  payment_id: string | null;
  created_at: string;
  expires_at: string;
  paid_at: string | null;
  cancelled_at: string | null;
  renews: boolean | null;
  metadata: string | null;
  refund_due: string | null;
  items: string;
}

type LineRow = [
  position: number,
  sku: string,
  version: number,
  name: string,
  quantity: number,
  unitPrice: string,
  phase: number | null,
  subtotal: string,
  discount: string,
  net: string,
  tax: string,
  total: string,
  refundedNet: string,
  refundedTax: string,
];

const lineOf = (row: LineRow): StoredLine => ({
  position: row[0],
  sku: row[1],
  version: row[2],
  name: row[3],
  quantity: row[4],
  unitPrice: new Decimal(row[5]),
  phase: row[6],
  subtotal: new Decimal(row[7]),
  discount: new Decimal(row[8]),
  net: new Decimal(row[9]),
  tax: new Decimal(row[10]),
  total: new Decimal(row[11]),
  refundedNet: new Decimal(row[12]),
  refundedTax: new Decimal(row[13]),
});

const maybeInstant = (milliseconds: string | null): Instant | null =>
  milliseconds === null ? null : toInstant(milliseconds);

function taxRateOf(row: OrderRow): Order['taxRate'] {
  if (row.tax_key === null) return null;
  return {
    key: row.tax_key,
    name: row.tax_name!,
    percent: formatUnits(new Decimal(row.tax_percent!)),
    inclusive: row.tax_inclusive!,
  };
}

function refundDueOf(written: string | null): StoredOrder['refundDue'] {
  if (written === null) return null;
  const [amount, reason] = JSON.parse(written) as [string, string];
  return { amount: new Decimal(amount), reason };
}

const orderOf = (row: OrderRow): StoredOrder => ({
  orderId: row.order_id,
  payerId: row.payer_id,
  accountId: row.account_id,
  status: row.status,
  currency: row.currency,
  // Only money of ISO 4217 is ordered in.
  decimals: currencyDecimals(row.currency)!,
  subtotal: new Decimal(row.subtotal),
  discount: new Decimal(row.discount),
  net: new Decimal(row.net),
  tax: new Decimal(row.tax),
  total: new Decimal(row.total),
  paid: new Decimal(row.paid),
  refunded: new Decimal(row.refunded),
  lines: (JSON.parse(row.items) as LineRow[]).map(lineOf),
  coupon: row.coupon,
  taxRate: taxRateOf(row),
  gateway: row.gateway,
  paymentId: row.payment_id,
  refundDue: refundDueOf(row.refund_due),
  createdAt: toInstant(row.created_at),
  expiresAt: toInstant(row.expires_at),
  paidAt: maybeInstant(row.paid_at),
  cancelledAt: maybeInstant(row.cancelled_at),
  renews: row.renews,
  metadata: JSON.parse(row.metadata ?? '{}') as Record<string, unknown>,
});

export function orderRecord(order: StoredOrder, now: Instant): Order {
  const money = (amount: Decimal): string => formatMoney(amount, order.decimals);
  const time = (instant: Instant | null): string | null =>
    readTime(instant === null ? null : String(instant));
  return {
    orderId: order.orderId,
    account: order.accountId,
    payer: order.payerId,
    status: order.status,
    lapsed: isLapsed(order, now),
    currency: order.currency,
    subtotal: money(order.subtotal),
    discount: money(order.discount),
    net: money(order.net),
    tax: money(order.tax),
    total: money(order.total),
    paid: money(order.paid),
    refunded: money(order.refunded),
    items: order.lines.map((line) => ({
      position: line.position,
      sku: line.sku,
      version: line.version,
      name: line.name,
      quantity: line.quantity,
      unitPrice: line.unitPrice.toFixed(Math.max(order.decimals, decimalsOf(line.unitPrice))),
      subtotal: money(line.subtotal),
      discount: money(line.discount),
      net: money(line.net),
      tax: money(line.tax),
      total: money(line.total),
      refunded: money(line.refundedNet.plus(line.refundedTax)),
    })),
    coupon: order.coupon,
    taxRate: order.taxRate,
    gateway: order.gateway,
    paymentId: order.paymentId,
    refundDue: order.refundDue === null ? null : money(order.refundDue.amount),
    createdAt: time(order.createdAt)!,
    expiresAt: time(order.expiresAt)!,
    paidAt: time(order.paidAt),
    cancelledAt: time(order.cancelledAt),
    renew: order.renews,
    metadata: order.metadata,
  };
}

export const unknownOrder = (orderId: string): BillingError =>
  new BillingError('unknown_order', `There is no order "${orderId}".`, {
    parameter: 'orderId',
    advice: 'Pass the orderId that sales.createOrder gave.',
  });

/** @throws unknown_order */
export async function findOrder(session: Session, orderId: string): Promise<StoredOrder> {
  const [row] = isId(orderId) ? await session.query<OrderRow>(FIND_ORDER, [orderId]) : [];
  if (row === undefined) throw unknownOrder(orderId);
  return orderOf(row);
}

/** Whose an order is; that never changes. @throws unknown_order */
export async function findOwner(
  session: Session,
  orderId: string,
): Promise<{ payerId: string; accountId: string }> {
  const [row] = isId(orderId)
    ? await session.query<{ payer_id: string; account_id: string }>(FIND_OWNER, [orderId])
    : [];
  if (row === undefined) throw unknownOrder(orderId);
  return { payerId: row.payer_id, accountId: row.account_id };
}

/** Orders, newest first. */
export async function listOrders(
  session: Session,
  wanted: {
    accounts: readonly string[] | null;
    payers: readonly string[] | null;
    statuses: readonly OrderStatus[] | null;
    after: string | null;
    limit: number;
  },
): Promise<StoredOrder[]> {
  const rows = await session.query<OrderRow>(LIST_ORDERS, [
    wanted.accounts,
    wanted.payers,
    wanted.statuses,
    wanted.after,
    wanted.limit,
  ]);
  return rows.map(orderOf);
}

/** The ids under which something of an account may stand: its own, and those merged into it. */
export async function namesOf(session: Session, accountId: string): Promise<string[]> {
  const rows = await session.query<{ account_id: string }>(FIND_ALIASES, [accountId]);
  return rows.map((row) => row.account_id);
}
