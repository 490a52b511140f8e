import { aliasesOf } from '../accounts';
import { column, table, type RowOf, type Session } from '../database';
import {
  Decimal,
  currencyDecimals,
  decimalsOf,
  formatMoney,
  isId,
  isoTime,
  type Instant,
} from '../kernel';
import { unknownOrder } from '../payments';
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
  /** What went back, the first first, with why, in your words; null once that person was erased. */
  refunds: Array<{ refundId: string; amount: string; reason: string | null; refundedAt: string }>;
  createdAt: string;
  expiresAt: string;
  paidAt: string | null;
  cancelledAt: string | null;
  /** Whether subscriptions that it begins renew, as it was asked for; null: nothing was asked. */
  renew: boolean | null;
  metadata: Record<string, unknown>;
}

const REFUNDS = table('refunds', {
  refundId: column.text(),
  amount: column.decimal(),
  refundedAt: column.instant(),
});

const AMOUNTS = {
  subtotal: column.decimal(),
  discount: column.decimal(),
  net: column.decimal(),
  tax: column.decimal(),
  total: column.decimal(),
};

const ORDERS = table('orders', {
  orderId: column.uuid(),
  payerId: column.uuid(),
  accountId: column.uuid(),
  status: column.text<OrderStatus>(),
  currency: column.text(),
  ...AMOUNTS,
  paid: column.decimal(),
  refunded: column.decimal(),
  coupon: column.text().orNull,
  taxKey: column.text().orNull,
  taxName: column.text().orNull,
  taxPercent: column.amount().orNull,
  taxInclusive: column.flag().orNull,
  gateway: column.text().orNull,
  paymentId: column.text().orNull,
  createdAt: column.instant(),
  expiresAt: column.instant(),
  paidAt: column.instant().orNull,
  cancelledAt: column.instant().orNull,
  renews: column.flag().orNull,
});

const LINES = table('order_items', {
  payerId: column.uuid(),
  orderId: column.uuid(),
  position: column.integer(),
  sku: column.text(),
  version: column.integer(),
  name: column.text(),
  quantity: column.integer(),
  unitPrice: column.decimal(),
  /** 1: the offer's first trial phase. */
  phase: column.integer().orNull,
  ...AMOUNTS,
});
const LINE = LINES.omit('payerId', 'orderId');

/** An order as it is kept, its lines apart. */
export type OrderRow = RowOf<typeof ORDERS>;
export type LineRow = RowOf<typeof LINE>;

/** A line of an order as rules work on it. */
export type StoredLine = LineRow & { refundedNet: Decimal; refundedTax: Decimal };

/** An order as rules work on it. */
export type StoredOrder = Omit<OrderRow, 'taxKey' | 'taxName' | 'taxPercent' | 'taxInclusive'> & {
  /** Of the currency. */
  decimals: number;
  lines: StoredLine[];
  taxRate: Order['taxRate'];
  refundDue: { amount: Decimal; reason: string } | null;
  refunds: Array<RowOf<typeof REFUNDS> & { reason: string | null }>;
  metadata: Record<string, unknown>;
};

/** What changes of an order. */
const PROGRESS = ORDERS.pick(
  'payerId',
  'orderId',
  'status',
  'paid',
  'refunded',
  'gateway',
  'paymentId',
  'paidAt',
  'cancelledAt',
);

const DETAILS = table('order_details', {
  payerId: column.uuid(),
  orderId: column.uuid(),
  metadata: column.json<Record<string, unknown>>(),
});
const ADD_METADATA = `
on conflict (payer_id, order_id) do update set metadata = t.metadata || excluded.metadata`;

const COLUMNS = `${ORDERS.select('o')},
  (select d.metadata::text from {schema}.order_details d
   where d.payer_id = o.payer_id and d.order_id = o.order_id) as metadata,
  (select json_build_array(f.amount::text, f.reason)::text from {schema}.refunds_due f
   where f.payer_id = o.payer_id and f.order_id = o.order_id) as refund_due,
  (select json_agg(json_build_array(${REFUNDS.selectArray('r')}, d.reason)
                   order by r.refunded_at, r.refund_id)::text
   from {schema}.refunds r
   left join {schema}.refund_details d
     on d.payer_id = r.payer_id and d.order_id = r.order_id and d.refund_id = r.refund_id
   where r.payer_id = o.payer_id and r.order_id = o.order_id) as refunds,
  (select json_agg(json_build_array(${LINE.selectArray('i')},
            coalesce(r.net, 0)::text, coalesce(r.tax, 0)::text) order by i.position)::text
   from {schema}.order_items i
   left join lateral (
     select sum(r.net) as net, sum(r.tax) as tax from {schema}.refund_items r
     where r.payer_id = i.payer_id and r.order_id = i.order_id and r.position = i.position) as r on true
   where i.payer_id = o.payer_id and i.order_id = o.order_id) as items`;

const FIND_ORDER = `select ${COLUMNS} from {schema}.orders o where o.order_id = $1::uuid`;

const OWNER = ORDERS.pick('payerId', 'accountId');
const FIND_OWNER = `
select ${OWNER.select('o')} from {schema}.orders o where o.order_id = $1::uuid`;

/**
 * Newest first; ids are made in the order of time. $1 who ordered or $2 who paid, aliases included
 * (both null: anybody), $3 the state, $4 the order to go on after.
 */
const LIST_ORDERS = `
select ${COLUMNS} from {schema}.orders o
where (coalesce($1::uuid[], $2::uuid[]) is null
       or o.account_id = any($1::uuid[]) or o.payer_id = any($2::uuid[]))
  and ($3::text is null or o.status = $3)
  and ($4::uuid is null or o.order_id < $4::uuid)
order by o.order_id desc
limit $5::integer`;

interface SelectedOrder {
  metadata: string | null;
  refund_due: string | null;
  refunds: string | null;
  items: string;
}

type SelectedLine = [line: unknown[], refundedNet: string, refundedTax: string];

const linesOf = (items: string): StoredLine[] =>
  (JSON.parse(items) as SelectedLine[]).map(([line, net, tax]) => ({
    ...LINE.readArray(line),
    refundedNet: new Decimal(net),
    refundedTax: new Decimal(tax),
  }));

function refundDueOf(written: string | null): StoredOrder['refundDue'] {
  if (written === null) return null;
  const [amount, reason] = JSON.parse(written) as [string, string];
  return { amount: new Decimal(amount), reason };
}

type SelectedRefund = [refund: unknown[], reason: string | null];

const refundsOf = (refunds: string | null): StoredOrder['refunds'] =>
  (JSON.parse(refunds ?? '[]') as SelectedRefund[]).map(([refund, reason]) => ({
    ...REFUNDS.readArray(refund),
    reason,
  }));

function orderOf(selected: SelectedOrder): StoredOrder {
  const { taxKey, taxName, taxPercent, taxInclusive, ...order } = ORDERS.read(selected);
  return {
    ...order,
    // Only money of ISO 4217 is ordered in.
    decimals: currencyDecimals(order.currency)!,
    lines: linesOf(selected.items),
    taxRate:
      taxKey === null
        ? null
        : { key: taxKey, name: taxName!, percent: taxPercent!, inclusive: taxInclusive! },
    refundDue: refundDueOf(selected.refund_due),
    refunds: refundsOf(selected.refunds),
    metadata: JSON.parse(selected.metadata ?? '{}') as Record<string, unknown>,
  };
}

const amountsOf = (
  { subtotal, discount, net, tax, total }: Pick<OrderRow, keyof typeof AMOUNTS>,
  money: (amount: Decimal) => string,
) => ({
  subtotal: money(subtotal),
  discount: money(discount),
  net: money(net),
  tax: money(tax),
  total: money(total),
});

export function orderRecord(order: StoredOrder, now: Instant): Order {
  const money = (amount: Decimal): string => formatMoney(amount, order.decimals);
  return {
    orderId: order.orderId,
    account: order.accountId,
    payer: order.payerId,
    status: order.status,
    lapsed: isLapsed(order, now),
    currency: order.currency,
    ...amountsOf(order, money),
    paid: money(order.paid),
    refunded: money(order.refunded),
    items: order.lines.map((line) => ({
      position: line.position,
      sku: line.sku,
      version: line.version,
      name: line.name,
      quantity: line.quantity,
      unitPrice: line.unitPrice.toFixed(Math.max(order.decimals, decimalsOf(line.unitPrice))),
      ...amountsOf(line, money),
      refunded: money(line.refundedNet.plus(line.refundedTax)),
    })),
    coupon: order.coupon,
    taxRate: order.taxRate,
    gateway: order.gateway,
    paymentId: order.paymentId,
    refundDue: order.refundDue === null ? null : money(order.refundDue.amount),
    refunds: order.refunds.map(({ refundId, amount, reason, refundedAt }) => ({
      refundId,
      amount: money(amount),
      reason,
      refundedAt: isoTime(refundedAt),
    })),
    createdAt: isoTime(order.createdAt),
    expiresAt: isoTime(order.expiresAt),
    paidAt: isoTime(order.paidAt),
    cancelledAt: isoTime(order.cancelledAt),
    renew: order.renews,
    metadata: order.metadata,
  };
}

/** @throws unknown_order */
export async function findOrder(session: Session, orderId: string): Promise<StoredOrder> {
  const [row] = isId(orderId) ? await session.query<SelectedOrder>(FIND_ORDER, [orderId]) : [];
  if (row === undefined) throw unknownOrder(orderId);
  return orderOf(row);
}

/** Whose an order is; that never changes. @throws unknown_order */
export async function findOwner(
  session: Session,
  orderId: string,
): Promise<{ payerId: string; accountId: string }> {
  const [owner] = isId(orderId) ? await OWNER.rows(session, FIND_OWNER, [orderId]) : [];
  if (owner === undefined) throw unknownOrder(orderId);
  return owner;
}

/** Orders, newest first; all that are left, unless a limit says how many. */
export async function listOrders(
  session: Session,
  wanted: {
    accounts?: readonly string[];
    payers?: readonly string[];
    status?: OrderStatus;
    after?: string;
    limit?: number;
  },
): Promise<StoredOrder[]> {
  const { accounts = null, payers = null, status = null, after = null, limit = null } = wanted;
  const values = [accounts, payers, status, after, limit];
  return (await session.query<SelectedOrder>(LIST_ORDERS, values)).map(orderOf);
}

/** Writes a new order with its lines. The payer is locked. */
export async function writeOrder(
  session: Session,
  order: OrderRow,
  lines: readonly LineRow[],
  metadata: Record<string, unknown>,
): Promise<void> {
  const { payerId, orderId } = order;
  await ORDERS.write(session, [order]);
  await LINES.write(
    session,
    lines.map((line) => ({ ...line, payerId, orderId })),
  );
  await noteOnOrder(session, order, metadata);
}

/** Adds to an order's metadata. */
export const noteOnOrder = (
  session: Session,
  { payerId, orderId }: Pick<OrderRow, 'payerId' | 'orderId'>,
  metadata: Record<string, unknown>,
): Promise<void> => DETAILS.write(session, [{ payerId, orderId, metadata }], ADD_METADATA);

/** Writes how far an order has come. The payer is locked. */
export async function moveOrder(session: Session, order: RowOf<typeof PROGRESS>): Promise<void> {
  await session.query(PROGRESS.update('payerId', 'orderId'), PROGRESS.values([order]));
}

/** The ids under which something of an account may stand: its own, and those merged into it. */
export const namesOf = async (session: Session, accountId: string): Promise<string[]> => [
  accountId,
  ...(await aliasesOf(session, accountId)),
];
