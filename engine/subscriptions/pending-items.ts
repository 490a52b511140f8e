import {
  partOfLine,
  returnsOfItems,
  undoReturns,
  writeReturns,
  type ReturnOfItem,
  type SoldLine,
} from '../books';
import { column, table, type RowOf, type Session } from '../database';
import { isoTime, newId, type Decimal, type Instant } from '../kernel';

/** What waits to be put on an invoice. */

export type ItemKind = 'fee' | 'step' | 'proration_credit' | 'proration_charge' | 'one_off';

export const PENDING_ITEMS = table('pending_items', {
  payerId: column.uuid(),
  itemId: column.uuid(),
  accountId: column.uuid(),
  /** Null only for one-off items. */
  subscriptionId: column.uuid().orNull,
  periodNumber: column.integer().orNull,
  kind: column.text<ItemKind>(),
  sku: column.text().orNull,
  version: column.integer().orNull,
  product: column.text().orNull,
  /** Free text of a one-off item. */
  description: column.text().orNull,
  quantity: column.decimal(),
  unitPrice: column.decimal().orNull,
  /** Before discount and tax, in the currency's decimals; below 0 it is a credit. */
  amount: column.decimal(),
  currency: column.text(),
  taxable: column.flag(),
  /** Whether a coupon lowers it. */
  discountable: column.flag(),
  serviceFrom: column.instant(),
  serviceTo: column.instant(),
  /** On the first invoice of this moment or later. */
  dueAt: column.instant(),
  /** Also before that, on whatever invoice the payer gets in its currency. */
  ridesAlong: column.flag(),
  createdAt: column.instant(),
  /** The change that waits for it to be paid; null: none does. */
  changeId: column.uuid().orNull,
});

type PendingItem = RowOf<typeof PENDING_ITEMS>;

/** What an item has unless it says otherwise. */
const DEFAULTS = {
  sku: null,
  version: null,
  product: null,
  description: null,
  unitPrice: null,
  taxable: true,
  discountable: true,
  ridesAlong: false,
  changeId: null,
} satisfies Partial<PendingItem>;

export type NewPendingItem = Omit<PendingItem, 'itemId' | 'createdAt' | keyof typeof DEFAULTS> &
  Partial<Pick<PendingItem, keyof typeof DEFAULTS>>;

/**
 * Puts items on the list of what is to be invoiced. The payers are locked, so that nobody else writes
 * items of theirs; one fee a period is kept by a unique index.
 *
 * @returns their ids, in the order given
 */
export async function addPendingItems(
  session: Session,
  items: readonly NewPendingItem[],
  now: Instant,
): Promise<string[]> {
  const rows = items.map((item) => ({ ...DEFAULTS, ...item, itemId: newId(), createdAt: now }));
  await PENDING_ITEMS.write(session, rows);
  return rows.map(({ itemId }) => itemId);
}

/** A part of a sold line that goes back on the next invoice, taxed as the line was. */
export interface NewCredit {
  item: Omit<NewPendingItem, 'kind' | 'amount' | 'discountable'>;
  /** In the terms of the line, at most what is left of it; below 0: of what went back, asked for again. */
  amount: Decimal;
  line: SoldLine;
}

/**
 * Puts credits for sold lines on the list of what is to be invoiced, and writes down that they come back.
 * The payers are locked.
 *
 * @param decimals of the currency
 */
export async function addCredits(
  session: Session,
  credits: readonly NewCredit[],
  decimals: number,
  now: Instant,
): Promise<void> {
  const items = credits.map(({ item, amount }): NewPendingItem => {
    // It stands as the line was invoiced, that is after discount.
    return { ...item, kind: 'proration_credit', amount: amount.negated(), discountable: false };
  });
  const itemIds = await addPendingItems(session, items, now);
  await writeReturns(
    session,
    credits.map(({ line, amount }, index) => ({
      ...line,
      ...partOfLine(line, amount, decimals),
      kind: amount.isNegative() ? 'undone' : 'proration_credit',
      itemId: itemIds[index]!,
    })),
    now,
  );
}

const FEES = PENDING_ITEMS.omit('product', 'description', 'unitPrice', 'createdAt', 'changeId');

/** What a period costs, as an item. */
export type FeeOfPeriod = RowOf<typeof FEES> & {
  /** It is on an invoice, and waits no more. */
  isTaken: boolean;
};

/** Of an item `i` that a change asks for: the period is there only once that took force. */
export const OF_PERIOD = `
  and (i.change_id is null or exists (
    select from {schema}.awaiting_changes c
    where c.change_id = i.change_id and c.applied_at is not null))`;

const FIND_FEE = `
select ${FEES.select('i')}, i.invoice_id is not null as is_taken
from {schema}.pending_items i
where i.payer_id = $1::uuid and i.subscription_id = $2::uuid and i.period_number = $3::integer
  and i.kind in ('fee', 'proration_charge') and i.dropped_at is null ${OF_PERIOD}`;

/** What a period costs; null: nothing, or an order has paid it, or it was taken back. */
export async function findFee(
  session: Session,
  { payerId, subscriptionId }: { payerId: string; subscriptionId: string },
  periodNumber: number,
): Promise<FeeOfPeriod | null> {
  const name = [payerId, subscriptionId, periodNumber];
  const [row] = await session.query<{ is_taken: boolean }>(FIND_FEE, name);
  return row === undefined ? null : { ...FEES.read(row), isTaken: row.is_taken };
}

const DROP = `
update {schema}.pending_items set dropped_at = $3::timestamptz
where payer_id = $1::uuid and item_id = any($2::uuid[])
  and invoice_id is null and dropped_at is null
returning item_id::text as item_id`;

/** Takes items back that are on no invoice yet. The payer is locked. */
export async function dropPendingItems(
  session: Session,
  payerId: string,
  itemIds: readonly string[],
  now: Instant,
): Promise<void> {
  if (itemIds.length > 0) await dropBy(session, DROP, [payerId, itemIds], now);
}

/** What dropped items would have given back is left again. */
async function dropBy(
  session: Session,
  statement: string,
  values: readonly unknown[],
  now: Instant,
): Promise<void> {
  const rows = await session.query<{ item_id: string }>(statement, [...values, isoTime(now)]);
  await undoReturns(
    session,
    rows.map((row) => row.item_id),
    now,
  );
}

const HASTEN = `
update {schema}.pending_items set due_at = $3::timestamptz
where payer_id = $1::uuid and subscription_id = $2::uuid
  and invoice_id is null and dropped_at is null and due_at > $3::timestamptz`;

/** Whatever of a subscription waits for an invoice is due at a moment, or was before. The payer is locked. */
export async function hastenItems(
  session: Session,
  { payerId, subscriptionId }: { payerId: string; subscriptionId: string },
  at: Instant,
): Promise<void> {
  await session.query(HASTEN, [payerId, subscriptionId, isoTime(at)]);
}

const DROP_OF_CHANGES = `
update {schema}.pending_items i set dropped_at = $3::timestamptz
where i.payer_id = any($1::uuid[]) and i.change_id = any($2::uuid[])
  and i.invoice_id is null and i.dropped_at is null
returning i.item_id::text as item_id`;

/** The same with whatever changes ask for that lapsed. The payers are locked. */
export async function dropItemsOfChanges(
  session: Session,
  changes: ReadonlyArray<{ payerId: string; changeId: string }>,
  now: Instant,
): Promise<void> {
  const payerIds = [...new Set(changes.map(({ payerId }) => payerId))];
  const changeIds = changes.map(({ changeId }) => changeId);
  await dropBy(session, DROP_OF_CHANGES, [payerIds, changeIds], now);
}

const CREDITS = PENDING_ITEMS.pick('itemId', 'periodNumber');
const CREDITS_OF_CHANGE = `
select ${CREDITS.select('i')} from {schema}.pending_items i
where i.payer_id = $1::uuid and i.change_id = $2::uuid and i.kind = 'proration_credit'
  and i.dropped_at is null`;

/** The items by which a change gives something back, with what each gives of which line, by their periods. */
export async function creditsOfChange(
  session: Session,
  { payerId, changeId }: { payerId: string; changeId: string },
): Promise<Map<number, ReturnOfItem>> {
  const items = await CREDITS.rows(session, CREDITS_OF_CHANGE, [payerId, changeId]);
  const given = await returnsOfItems(
    session,
    items.map(({ itemId }) => itemId),
  );
  const numbers = new Map(items.map(({ itemId, periodNumber }) => [itemId, periodNumber!]));
  return new Map(given.map((one) => [numbers.get(one.itemId)!, one]));
}

const NUMBERS_OF_CHANGE = `
select i.period_number::integer as number from {schema}.pending_items i
where i.payer_id = $1::uuid and i.change_id = $2::uuid and i.dropped_at is null`;

/** Of which periods a change gives something back, or asks for something. */
export async function itemsOfChange(
  session: Session,
  { payerId, changeId }: { payerId: string; changeId: string },
): Promise<number[]> {
  const values = [payerId, changeId];
  const rows = await session.query<{ number: number }>(NUMBERS_OF_CHANGE, values);
  return rows.map(({ number }) => number);
}
