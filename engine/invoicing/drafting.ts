import { column, table, type RowOf, type Session } from '../database';
import { isoTime, localDay, newId, type Instant } from '../kernel';
import { usualCollections, type Collection, type PaymentContext } from '../payments';
import type { PayerNames } from './chunks';
import { LINE_KINDS, type LineKind } from './invoice-lines';
import type { Invoice, InvoiceStatus } from './invoice-records';
import { unbilledOf } from './unbilled';

/**
 * Drafts: what is due is collected on one for each payer, currency and boundary. Nothing is reckoned
 * yet; that is done when the draft is finalized (finalizing.ts).
 */

/** How what is due is collected; both null where it belongs to no subscription. */
interface Collected {
  collection: Invoice['collection'] | null;
  collectedBy: Invoice['collectedBy'] | null;
  /** The change that waits for it to be paid. */
  changeId?: string | null;
}

/** An item that is due: whose it is, and under which name it stands. */
const ITEMS = table('pending_items', {
  payerId: column.uuid(),
  name: column.uuid(),
  itemId: column.uuid(),
  kind: column.text<Exclude<LineKind, 'usage'>>(),
  currency: column.text(),
  dueAt: column.instant(),
  changeId: column.uuid().orNull,
  collection: column.text<Invoice['collection']>().orNull,
  collectedBy: column.text<Invoice['collectedBy']>().orNull,
  timeZone: column.text(),
});
type Item = RowOf<typeof ITEMS>;

/** A period that is over, and whose use nobody has put on a draft. */
const PERIODS = table('subscription_periods', {
  payerId: column.uuid(),
  name: column.uuid(),
  subscriptionId: column.uuid(),
  number: column.integer(),
  currency: column.text(),
  endsAt: column.instant(),
  cutLedgerId: column.uuid().orNull,
  cutSequence: column.bigint().orNull,
  collection: column.text<Invoice['collection']>(),
  collectedBy: column.text<Invoice['collectedBy']>(),
  timeZone: column.text(),
});
type Period = RowOf<typeof PERIODS>;

const DRAFTS = table('invoices', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  accountId: column.uuid(),
  kind: column.text<Invoice['kind']>(),
  status: column.text<InvoiceStatus>(),
  currency: column.text(),
  boundaryAt: column.instant(),
  createdAt: column.instant(),
  collection: column.text<Invoice['collection']>(),
  collectedBy: column.text<Invoice['collectedBy']>(),
  /** The change that waits for it: it shares its invoice with nothing else. */
  changeId: column.uuid().orNull,
});
const PRESENT = DRAFTS.pick(
  'payerId',
  'invoiceId',
  'currency',
  'boundaryAt',
  'collection',
  'collectedBy',
  'changeId',
);

/**
 * $1 payers, $2 the names under which something of each may stand, $3 the time. What waits for whatever
 * invoice comes next is among them.
 */
const FIND_ITEMS = `
select ${ITEMS.select('due')}
from (
  select w.payer_id, w.name, i.item_id, i.kind, i.currency, i.due_at, i.change_id,
         s.collection, s.collected_by, a.time_zone
  from unnest($1::uuid[], $2::uuid[]) as w (payer_id, name)
  join {schema}.accounts a on a.account_id = w.payer_id
  cross join lateral (
    select * from {schema}.pending_items i
    where i.payer_id = w.name and i.invoice_id is null and i.dropped_at is null
      and (i.due_at <= $3::timestamptz or i.rides_along) offset 0) as i
  left join lateral (
    select s.collection, s.collected_by from {schema}.subscriptions s
    where s.payer_id = i.payer_id and s.subscription_id = i.subscription_id offset 0) as s on true
) as due
order by due.due_at, due.item_id`;

/** As above. */
const FIND_PERIODS = `
select ${PERIODS.select('due')}
from (
  select w.payer_id, w.name, p.subscription_id, p.number, p.currency, p.ends_at,
         p.cut_ledger_id, p.cut_sequence, s.collection, s.collected_by, a.time_zone
  from unnest($1::uuid[], $2::uuid[]) as w (payer_id, name)
  join {schema}.accounts a on a.account_id = w.payer_id
  cross join lateral (
    select * from {schema}.subscription_periods p
    where p.payer_id = w.name and p.drafted_at is null and p.ends_at <= $3::timestamptz
    offset 0) as p
  cross join lateral (
    select s.collection, s.collected_by from {schema}.subscriptions s
    where s.payer_id = p.payer_id and s.subscription_id = p.subscription_id offset 0) as s
) as due
order by due.ends_at, due.subscription_id, due.number`;

/** Drafts that are there, and their last lines. $1 payers. */
const FIND_DRAFTS = `
select ${PRESENT.select('d')},
  (select coalesce(max(l.position), 0) from {schema}.invoice_lines l
   where l.payer_id = d.payer_id and l.invoice_id = d.invoice_id) as last_position
from unnest($1::uuid[]) as w (payer_id)
cross join lateral (
  select * from {schema}.invoices d
  where d.payer_id = w.payer_id and d.status = 'draft' and d.kind = 'cycle' offset 0) as d`;

/**
 * Which payers used what is on no line yet before a moment: by $1 names, $2 moments, and $3 up
 * to which line of that instant.
 */
const FIND_USED = `
select w.place::integer as place
from unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::integer[])
     as w (name, ends_at, last_line, place)
where exists (
  select from {schema}.overage_terms t
  cross join lateral (${unbilledOf('t.payer_id', 't.product')}) as u
  where t.payer_id = w.name and (u.used_at, u.used_sequence) <= (w.ends_at, w.last_line))`;

/** An item as it gets on a draft. */
const TAKEN = table('pending_items', {
  name: column.uuid(),
  itemId: column.uuid(),
  draftPayer: column.uuid(),
  invoiceId: column.uuid(),
  lineId: column.uuid(),
  position: column.integer(),
});

/** What a credit gives back, of which line, and how that was taxed; other items are not looked up. */
const CORRECTED = `
select r.*, -r.back_net as net, -r.back_tax as tax,
       coalesce(l.tax_key, o.tax_key) as tax_key, coalesce(l.tax_name, o.tax_name) as tax_name,
       coalesce(l.tax_percent, o.tax_percent) as tax_percent,
       coalesce(l.tax_inclusive, o.tax_inclusive) as tax_inclusive
from (
  select r.payer_id, r.position, case r.sold_by when 'invoice' then r.document_id end as invoice_id,
         case r.sold_by when 'order' then r.document_id end as order_id,
         sum(r.net) as back_net, sum(r.tax) as back_tax
  from {schema}.line_returns r
  where t.kind = 'proration_credit' and r.item_id = t.item_id
  group by r.payer_id, r.sold_by, r.document_id, r.position) as r
left join {schema}.invoice_lines l on l.payer_id = r.payer_id and l.invoice_id = r.invoice_id
  and l.position = r.position
left join {schema}.orders o on o.payer_id = r.payer_id and o.order_id = r.order_id`;

/**
 * A line for each item, which says of what it bills what the item says. A credit for a sold line is of
 * what that item gives back, at the rate which that line had.
 */
const TAKE_ITEMS = `
with taken as (
  update {schema}.pending_items i set invoice_id = n.invoice_id
  from ${TAKEN.lookedUp()}
  where i.payer_id = n.name and i.item_id = n.item_id
  returning n.draft_payer, n.line_id, n.position, i.*
)
insert into {schema}.invoice_lines (
  payer_id, invoice_id, line_id, position, item_id, kind, account_id, subscription_id,
  period_number, sku, version, product, description, quantity, unit_price, subtotal, net, tax, total,
  taxable, discountable, period_from, period_to, corrects_invoice_id, corrects_order_id,
  corrects_position, tax_key, tax_name, tax_percent, tax_inclusive)
select t.draft_payer, t.invoice_id, t.line_id, t.position, t.item_id, t.kind, t.account_id,
  t.subscription_id, t.period_number, t.sku, t.version, t.product, t.description, t.quantity,
  t.unit_price,
  case when b.position is null then t.amount when b.tax_inclusive then b.net + b.tax else b.net end,
  coalesce(b.net, t.amount), coalesce(b.tax, 0), coalesce(b.net + b.tax, t.amount), t.taxable,
  t.discountable, t.service_from, t.service_to, b.invoice_id, b.order_id, b.position, b.tax_key,
  b.tax_name, b.tax_percent, b.tax_inclusive
from taken t
left join lateral (${CORRECTED}) as b on true`;

const CLOSED = PERIODS.pick('name', 'subscriptionId', 'number');
const CLOSE_PERIODS = `
update {schema}.subscription_periods p set drafted_at = $4::timestamptz
from ${CLOSED.lookedUp()}
where p.payer_id = n.name and p.subscription_id = n.subscription_id and p.number = n.number`;

const MOVED = DRAFTS.pick('payerId', 'invoiceId', 'boundaryAt');
const MOVE = MOVED.update('payerId', 'invoiceId');

/** A draft that is made, or was there before. */
interface Draft extends RowOf<typeof PRESENT> {
  isNew: boolean;
  /** Something of later that day came onto it. */
  isMoved: boolean;
  lastPosition: number;
}

/** The drafts of one payer: those there are, and those that what is due asks for. */
class PayersDrafts {
  readonly all: Draft[] = [];

  constructor(private readonly payerId: string) {}

  private find(boundaryAt: Instant, currency: string, collected: Collected): Draft | undefined {
    return this.all.find(
      (one) => one.boundaryAt === boundaryAt && this.fits(one, currency, collected),
    );
  }

  private fits(
    one: Draft,
    currency: string,
    { collection, collectedBy, changeId = null }: Collected,
  ): boolean {
    return (
      one.currency === currency &&
      one.collection === (collection ?? 'charge') &&
      one.collectedBy === (collectedBy ?? 'engine') &&
      one.changeId === changeId
    );
  }

  at(boundaryAt: Instant, currency: string, collected: Collected): Draft {
    let draft = this.find(boundaryAt, currency, collected);
    if (draft === undefined) {
      draft = {
        isNew: true,
        isMoved: false,
        payerId: this.payerId,
        invoiceId: newId(),
        currency,
        boundaryAt,
        collection: collected.collection ?? 'charge',
        collectedBy: collected.collectedBy ?? 'engine',
        changeId: collected.changeId ?? null,
        lastPosition: 0,
      };
      this.all.push(draft);
    }
    return draft;
  }

  /**
   * The draft of a calendar day of the payer: what changes come to goes on one, as long as that is not
   * issued. Its boundary is the last of them, so that what was used before each is on it, too.
   */
  ofDay(at: Instant, currency: string, collected: Collected & { timeZone: string }): Draft {
    const day = localDay(at, collected.timeZone);
    const [found] = this.all
      .filter((one) => this.fits(one, currency, collected))
      .filter(({ boundaryAt }) => localDay(boundaryAt, collected.timeZone) === day)
      .toSorted((a, b) => b.boundaryAt - a.boundaryAt);
    const exact = this.find(at, currency, collected);
    if (exact !== undefined || found === undefined) return this.at(at, currency, collected);
    if (found.boundaryAt < at) {
      found.boundaryAt = at;
      found.isMoved = !found.isNew;
    }
    return found;
  }

  /** Whether there is a draft for the use of a period anyway. */
  expects(period: Period): boolean {
    return this.find(period.endsAt, period.currency, period) !== undefined;
  }

  forUse(period: Period): Draft {
    const { endsAt, currency } = period;
    // One that was cut short ended with a change.
    if (period.cutLedgerId !== null) return this.ofDay(endsAt, currency, period);
    return this.at(endsAt, currency, period);
  }

  /** Null: it belongs to no subscription. */
  forItem(item: Item): Draft | null {
    if (item.collection === null) return null;
    const isOfChange = item.kind === 'proration_credit' || item.kind === 'proration_charge';
    return isOfChange
      ? this.ofDay(item.dueAt, item.currency, item)
      : this.at(item.dueAt, item.currency, item);
  }

  /** What is billed anyway, but for changes that wait to be paid; null: nothing. */
  beside(currency: string): Draft | null {
    const there = this.all.filter(
      (one) => one.currency === currency && one.collectedBy === 'engine' && one.changeId === null,
    );
    return there.toSorted((a, b) => b.boundaryAt - a.boundaryAt)[0] ?? null;
  }

  /** What belongs to no subscription goes along with what is billed anyway. */
  forOneOff(dueAt: Instant, currency: string, collection: Collection): Draft {
    return this.beside(currency) ?? this.at(dueAt, currency, { collection, collectedBy: 'engine' });
  }
}

export interface Drafted {
  created: number;
  items: number;
}

/**
 * Puts what is due on drafts, in the session's transaction. The payers and the accounts merged into
 * them are locked.
 */
export async function draftDue(
  { gateways }: PaymentContext,
  session: Session,
  payers: readonly PayerNames[],
  now: Instant,
): Promise<Drafted> {
  const named = payers.flatMap(({ payerId, names }) => names.map((name) => ({ payerId, name })));
  const due = [named.map(({ payerId }) => payerId), named.map(({ name }) => name), isoTime(now)];
  const waiting = await ITEMS.rows(session, FIND_ITEMS, due);
  const items = waiting.filter(({ dueAt }) => dueAt <= now);
  const periods = await PERIODS.rows(session, FIND_PERIODS, due);
  const drafts = await presentDrafts(session, payers);
  const draftsOf = ({ payerId }: { payerId: string }): PayersDrafts => drafts.get(payerId)!;

  const own = items.map((item) => draftsOf(item).forItem(item));
  const unsure = periods.filter((period) => !draftsOf(period).expects(period));
  for (const period of await usedOf(session, payers, unsure)) {
    draftsOf(period).forUse(period);
  }
  const alone = items.flatMap(({ payerId }, index) => (own[index] === null ? payerId : []));
  const usual = alone.length === 0 ? null : await usualCollections(session, gateways, alone);
  const taken = items.map((item, index) => {
    const { payerId, dueAt, currency } = item;
    const draft = own[index] ?? draftsOf(item).forOneOff(dueAt, currency, usual!(payerId));
    return { item, draft };
  });
  for (const item of waiting) {
    const draft = item.dueAt > now ? draftsOf(item).beside(item.currency) : null;
    if (draft !== null) taken.push({ item, draft });
  }
  const made = [...drafts.values()].flatMap(({ all }) => all.filter(({ isNew }) => isNew));
  await writeDrafts(session, made, now);
  const moved = [...drafts.values()].flatMap(({ all }) => all.filter(({ isMoved }) => isMoved));
  if (moved.length > 0) await session.query(MOVE, MOVED.values(moved));
  await takeItems(session, taken);
  if (periods.length > 0) {
    await session.query(CLOSE_PERIODS, [...CLOSED.values(periods), isoTime(now)]);
  }
  return { created: made.length, items: taken.length };
}

/** Where something can be put: a draft, and its last line. */
type OpenDraft = Pick<Draft, 'payerId' | 'invoiceId' | 'lastPosition'>;

/** Of the names of a payer ($1) in a currency ($2): one of the billing cycle before one made by hand. */
const FIND_NEXT_DRAFT = `
select d.payer_id::text as "payerId", d.invoice_id::text as "invoiceId",
  (select coalesce(max(l.position), 0) from {schema}.invoice_lines l
   where l.payer_id = d.payer_id and l.invoice_id = d.invoice_id) as "lastPosition"
from {schema}.invoices d
where d.payer_id = any($1::uuid[]) and d.status = 'draft' and d.currency = $2
  and d.collected_by = 'engine'
order by d.kind = 'cycle' desc, d.boundary_at desc, d.created_at desc, d.invoice_id desc limit 1`;

/** The draft that a payer has in a currency, the one that goes out next; null: none. Locks nothing. */
export async function nextDraft(
  session: Session,
  names: readonly string[],
  currency: string,
): Promise<OpenDraft | null> {
  const [found] = await session.query<OpenDraft>(FIND_NEXT_DRAFT, [names, currency]);
  return found ?? null;
}

/** What waits for whatever invoice comes next. $1 the names of a payer, $2 the currency. */
const FIND_RIDING = `
select i.payer_id::text as name, i.item_id::text as "itemId", i.kind
from {schema}.pending_items i
where i.payer_id = any($1::uuid[]) and i.currency = $2 and i.rides_along
  and i.invoice_id is null and i.dropped_at is null
order by i.created_at, i.item_id`;

/**
 * Puts what waits for whatever invoice comes next onto a draft, behind its lines. The payer and those
 * merged into it, whose names these are, are locked.
 */
export async function takeRiding(
  session: Session,
  names: readonly string[],
  currency: string,
  draft: OpenDraft,
): Promise<void> {
  const riding = await session.query<Pick<Item, 'name' | 'itemId' | 'kind'>>(FIND_RIDING, [
    names,
    currency,
  ]);
  await takeItems(
    session,
    riding.map((item) => ({ item, draft })),
  );
}

async function presentDrafts(
  session: Session,
  payers: readonly PayerNames[],
): Promise<Map<string, PayersDrafts>> {
  const drafts = new Map(payers.map(({ payerId }) => [payerId, new PayersDrafts(payerId)]));
  const rows = await session.query<{ last_position: number }>(FIND_DRAFTS, [[...drafts.keys()]]);
  for (const row of rows) {
    const { last_position: lastPosition } = row;
    const draft = {
      ...PRESENT.read(row),
      isNew: false,
      isMoved: false,
      lastPosition,
    };
    drafts.get(draft.payerId)!.all.push(draft);
  }
  return drafts;
}

/** Of periods those in which something was used that is on no line yet. */
async function usedOf(
  session: Session,
  payers: readonly PayerNames[],
  periods: readonly Period[],
): Promise<Period[]> {
  if (periods.length === 0) return [];
  const namesOf = new Map(payers.map(({ payerId, names }) => [payerId, names]));
  const looked = periods.flatMap(({ payerId, endsAt, cutLedgerId, cutSequence }, place) =>
    namesOf.get(payerId)!.map((name) => {
      const lastLine = name === cutLedgerId ? (cutSequence ?? '0') : '0';
      return { name, endsAt, lastLine, place };
    }),
  );
  const rows = await session.query<{ place: number }>(FIND_USED, [
    looked.map(({ name }) => name),
    looked.map(({ endsAt }) => isoTime(endsAt)),
    looked.map(({ lastLine }) => lastLine),
    looked.map(({ place }) => place),
  ]);
  const places = new Set(rows.map(({ place }) => place));
  return periods.filter((_, place) => places.has(place));
}

async function writeDrafts(
  session: Session,
  drafts: readonly Draft[],
  now: Instant,
): Promise<void> {
  await DRAFTS.write(
    session,
    drafts.map(
      ({ payerId, invoiceId, currency, boundaryAt, collection, collectedBy, changeId }) => ({
        payerId,
        invoiceId,
        accountId: payerId,
        kind: 'cycle',
        status: 'draft',
        currency,
        boundaryAt,
        createdAt: now,
        collection,
        collectedBy,
        changeId,
      }),
    ),
  );
}

async function takeItems(
  session: Session,
  taken: ReadonlyArray<{ item: Pick<Item, 'name' | 'itemId' | 'kind'>; draft: OpenDraft }>,
): Promise<void> {
  if (taken.length === 0) return;
  const inOrder = taken.toSorted(
    (a, b) => LINE_KINDS.indexOf(a.item.kind) - LINE_KINDS.indexOf(b.item.kind),
  );
  const rows = inOrder.map(({ item: { name, itemId }, draft }) => {
    draft.lastPosition += 1;
    const { payerId: draftPayer, invoiceId, lastPosition: position } = draft;
    return { name, itemId, draftPayer, invoiceId, lineId: newId(), position };
  });
  await session.query(TAKE_ITEMS, TAKEN.values(rows));
}
