import type { Session } from '../database';
import { Decimal, isoTime, newId, type Instant } from '../kernel';

/** What waits to be put on an invoice. */

export type ItemKind = 'fee' | 'step' | 'proration_credit' | 'proration_charge' | 'one_off';

export interface NewPendingItem {
  payerId: string;
  accountId: string;
  kind: ItemKind;
  /** Null only for one-off items. */
  subscriptionId: string | null;
  periodNumber: number | null;
  sku?: string | null;
  version?: number | null;
  product?: string | null;
  /** Free text of a one-off item. */
  description?: string | null;
  quantity: Decimal;
  unitPrice?: Decimal | null;
  /** Before discount and tax, in the currency's decimals; below 0 it is a credit. */
  amount: Decimal;
  currency: string;
  /** Default true. */
  taxable?: boolean;
  /** Whether a coupon lowers it. Default true. */
  discountable?: boolean;
  serviceFrom: Instant;
  serviceTo: Instant;
  /** On the first invoice of this moment or later. */
  dueAt: Instant;
}

/** Nobody else writes items of a payer that is locked; one fee a period is kept by a unique index. */
const INSERT = `
insert into {schema}.pending_items
  (payer_id, item_id, account_id, subscription_id, period_number, kind, sku, version, product,
   description, quantity, unit_price, amount, currency, taxable, discountable, service_from,
   service_to, due_at, created_at)
select n.*, $20::timestamptz
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::integer[], $6::text[], $7::text[],
            $8::integer[], $9::text[], $10::text[], $11::numeric[], $12::numeric[], $13::numeric[],
            $14::text[], $15::boolean[], $16::boolean[], $17::timestamptz[], $18::timestamptz[],
            $19::timestamptz[]) as n`;

/**
 * Puts items on the list of what is to be invoiced. The payers are locked.
 *
 * @returns their ids, in the order given
 */
export async function addPendingItems(
  session: Session,
  items: readonly NewPendingItem[],
  now: Instant,
): Promise<string[]> {
  if (items.length === 0) return [];
  const ids = items.map(() => newId());
  const column = <T>(of: (item: NewPendingItem) => T): T[] => items.map(of);
  await session.query(INSERT, [
    column((item) => item.payerId),
    ids,
    column((item) => item.accountId),
    column((item) => item.subscriptionId),
    column((item) => item.periodNumber),
    column((item) => item.kind),
    column((item) => item.sku ?? null),
    column((item) => item.version ?? null),
    column((item) => item.product ?? null),
    column((item) => item.description ?? null),
    column((item) => item.quantity.toFixed()),
    column((item) => item.unitPrice?.toFixed() ?? null),
    column((item) => item.amount.toFixed()),
    column((item) => item.currency),
    column((item) => item.taxable ?? true),
    column((item) => item.discountable ?? true),
    column((item) => isoTime(item.serviceFrom)),
    column((item) => isoTime(item.serviceTo)),
    column((item) => isoTime(item.dueAt)),
    isoTime(now),
  ]);
  return ids;
}

/** An item that is on no invoice yet. */
export interface WaitingItem {
  itemId: string;
  payerId: string;
  subscriptionId: string;
  periodNumber: number;
  kind: ItemKind;
  amount: Decimal;
}

const FIND_WAITING = `
select i.item_id::text as item_id, i.payer_id::text as payer_id,
       i.subscription_id::text as subscription_id, i.period_number, i.kind, i.amount::text as amount
from {schema}.pending_items i
where i.payer_id = $1::uuid and i.subscription_id = $2::uuid and i.period_number >= $3::integer
  and i.invoice_id is null and i.dropped_at is null
order by i.item_id`;

/** What of a subscription, from a period on, is on no invoice yet. The payer is locked. */
export async function waitingItems(
  session: Session,
  { payerId, subscriptionId }: { payerId: string; subscriptionId: string },
  fromPeriod: number,
): Promise<WaitingItem[]> {
  const rows = await session.query<{
    item_id: string;
    payer_id: string;
    subscription_id: string;
    period_number: number;
    kind: ItemKind;
    amount: string;
  }>(FIND_WAITING, [payerId, subscriptionId, fromPeriod]);
  return rows.map((row) => ({
    itemId: row.item_id,
    payerId: row.payer_id,
    subscriptionId: row.subscription_id,
    periodNumber: row.period_number,
    kind: row.kind,
    amount: new Decimal(row.amount),
  }));
}

const DROP = `
update {schema}.pending_items set dropped_at = $3::timestamptz
where payer_id = $1::uuid and item_id = any($2::uuid[])
  and invoice_id is null and dropped_at is null`;

/** Takes items back that are on no invoice yet. The payer is locked. */
export async function dropPendingItems(
  session: Session,
  payerId: string,
  itemIds: readonly string[],
  now: Instant,
): Promise<void> {
  if (itemIds.length > 0) await session.query(DROP, [payerId, itemIds, isoTime(now)]);
}
