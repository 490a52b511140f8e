import { resolveAccount } from '../accounts';
import {
  MAX_LOCKED_ACCOUNTS,
  arrayLiteral,
  atTime,
  toInstant,
  type Context,
  type Session,
} from '../database';
import {
  Decimal,
  accountReference,
  currencyDecimals,
  input,
  integer,
  isoTime,
  newId,
  parse,
  readClock,
  z,
  type AccountReference,
  type Instant,
} from '../kernel';
import { advanceSubscriptions } from '../subscriptions';
import { chunksOf, eachChunk, inChunk, type PayerNames } from './chunks';
import type { Invoice } from './invoice-records';
import { insertLines, type LineKind, type StoredInvoiceLine } from './invoice-lines';
import { newLine } from './rating';
import { unbilledOf } from './unbilled';

/**
 * Drafts: what is due is collected on one for each payer, currency and boundary. Nothing is reckoned
 * yet; that is done when the draft is finalized (finalizing.ts).
 */

export interface Progress {
  /** What the run has done by now. */
  done: number;
}

export interface CreateInvoicesRequest {
  /** Only what this account pays for, or its payer. Default: everybody. */
  account?: AccountReference;
  /** At most so many payers. Default: all. */
  limit?: number;
  /** Told after each chunk. */
  onProgress?: (progress: Progress) => void;
}

export interface CreateInvoicesAnswer {
  /** Drafts that were made. */
  created: number;
  /** Items that were put on drafts, on those made before too. */
  items: number;
  /** Drafts that are due now, whoever made them. */
  drafts: number;
  /** Periods of subscriptions that were opened first. */
  periods: number;
}

export const progressInput = () =>
  z
    .custom<(progress: Progress) => void>((value) => typeof value === 'function', {
      error: 'must be a function',
    })
    .optional();

const createInput = input({
  account: accountReference().optional(),
  limit: integer(1, 100_000_000).optional(),
  onProgress: progressInput(),
});

/**
 * Whoever has something due, longest due first, by the indexes pending_items_waiting and
 * subscription_periods_undrafted. Locks nothing. $2 and $3 go on behind what was looked at.
 */
const FIND_DUE = `
select due.payer_id::text as payer_id, due.at::text as at
from (
  (select i.payer_id, i.due_at as at from {schema}.pending_items i
   where i.invoice_id is null and i.dropped_at is null and i.due_at <= $1::timestamptz
     and i.due_at >= $2::timestamptz and (i.due_at, i.payer_id) > ($2::timestamptz, $3::uuid)
   order by i.due_at, i.payer_id limit $4::integer)
  union all
  (select p.payer_id, p.ends_at from {schema}.subscription_periods p
   where p.drafted_at is null and p.ends_at <= $1::timestamptz
     and p.ends_at >= $2::timestamptz and (p.ends_at, p.payer_id) > ($2::timestamptz, $3::uuid)
   order by p.ends_at, p.payer_id limit $4::integer)
) as due
order by due.at, due.payer_id limit $4::integer`;

/** Where to begin. */
const START = { at: '-infinity', payer_id: '00000000-0000-0000-0000-000000000000' };

/**
 * What is due of payers ($1), each with the accounts merged into it ($3, arrays in text): items, periods
 * that are over, and drafts that are there. $2 the time.
 */
const READ_DUE = `
select w.payer_id::text as payer_id,
  (select json_agg(json_build_array(
            i.payer_id, i.item_id, i.account_id, i.subscription_id, i.period_number, i.kind, i.sku,
            i.version, i.product, i.description, i.quantity::text, i.unit_price::text,
            i.amount::text, i.currency, i.taxable, i.discountable, ${atTime('i.service_from')},
            ${atTime('i.service_to')}, ${atTime('i.due_at')}, s.collection, s.collected_by,
            s.method_id) order by i.due_at, i.item_id)::text
   from unnest(w.names) as n (name)
   cross join lateral (
     select * from {schema}.pending_items i
     where i.payer_id = n.name and i.invoice_id is null and i.dropped_at is null
       and i.due_at <= $2::timestamptz offset 0) as i
   left join lateral (
     select s.collection, s.collected_by, s.method_id from {schema}.subscriptions s
     where s.payer_id = i.payer_id and s.subscription_id = i.subscription_id offset 0) as s on true
  ) as items,
  (select json_agg(json_build_array(
            p.payer_id, p.subscription_id, p.number, p.currency, ${atTime('p.ends_at')},
            s.account_id, s.collection, s.collected_by, s.method_id,
            exists (
              select from {schema}.overage_terms t
              cross join lateral (${unbilledOf('t.payer_id', 't.product')}) as u
              where t.payer_id = any(w.names) and u.used_at < p.ends_at)))::text
   from unnest(w.names) as n (name)
   cross join lateral (
     select * from {schema}.subscription_periods p
     where p.payer_id = n.name and p.drafted_at is null and p.ends_at <= $2::timestamptz
     offset 0) as p
   cross join lateral (
     select * from {schema}.subscriptions s
     where s.payer_id = p.payer_id and s.subscription_id = p.subscription_id offset 0) as s
  ) as periods,
  (select json_agg(json_build_array(
            d.invoice_id, d.currency, ${atTime('d.boundary_at')}, d.collection, d.collected_by,
            (select coalesce(max(l.position), 0) from {schema}.invoice_lines l
             where l.payer_id = d.payer_id and l.invoice_id = d.invoice_id)))::text
   from {schema}.invoices d
   where d.payer_id = w.payer_id and d.status = 'draft' and d.kind = 'cycle') as drafts
from (
  select n.payer_id, n.names::uuid[] as names
  from unnest($1::uuid[], $3::text[]) as n (payer_id, names) offset 0) as w`;

type ItemRow = [
  payerId: string,
  itemId: string,
  accountId: string,
  subscriptionId: string | null,
  periodNumber: number | null,
  kind: Exclude<LineKind, 'usage'>,
  sku: string | null,
  version: number | null,
  product: string | null,
  description: string | null,
  quantity: string,
  unitPrice: string | null,
  amount: string,
  currency: string,
  taxable: boolean,
  discountable: boolean,
  serviceFrom: string,
  serviceTo: string,
  dueAt: string,
  collection: Invoice['collection'] | null,
  collectedBy: Invoice['collectedBy'] | null,
  methodId: string | null,
];

type PeriodRow = [
  payerId: string,
  subscriptionId: string,
  number: number,
  currency: string,
  endsAt: string,
  accountId: string,
  collection: Invoice['collection'],
  collectedBy: Invoice['collectedBy'],
  methodId: string | null,
  hasUsage: boolean,
];

type DraftRow = [
  invoiceId: string,
  currency: string,
  boundaryAt: string,
  collection: Invoice['collection'],
  collectedBy: Invoice['collectedBy'],
  lastPosition: number,
];

const WRITE_DRAFTS = `
insert into {schema}.invoices
  (payer_id, invoice_id, account_id, kind, status, currency, boundary_at, created_at, collection,
   collected_by, method_id)
select n.payer_id, n.invoice_id, n.payer_id, 'cycle', 'draft', n.currency, n.boundary_at,
       $8::timestamptz, n.collection, n.collected_by, n.method_id
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::uuid[])
     as n (payer_id, invoice_id, currency, boundary_at, collection, collected_by, method_id)`;

const TAKE_ITEMS = `
update {schema}.pending_items i set invoice_id = n.invoice_id
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as n (payer_id, item_id, invoice_id)
where i.payer_id = n.payer_id and i.item_id = n.item_id`;

const CLOSE_PERIODS = `
update {schema}.subscription_periods p set drafted_at = $4::timestamptz
from unnest($1::uuid[], $2::uuid[], $3::integer[]) as n (payer_id, subscription_id, number)
where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number`;

const COUNT_DRAFTS = `
select count(*)::int as drafts from {schema}.invoices
where status = 'draft' and kind = 'cycle' and boundary_at <= $1::timestamptz
  and ($2::uuid[] is null or payer_id = any($2::uuid[]))`;

/** A draft that is made, or was there before. */
interface Draft {
  isNew: boolean;
  payerId: string;
  invoiceId: string;
  currency: string;
  boundaryAt: Instant;
  collection: Invoice['collection'];
  collectedBy: Invoice['collectedBy'];
  methodIds: Set<string | null>;
  lastPosition: number;
}

/** In which order kinds of lines stand on an invoice. */
const KIND_ORDER: readonly LineKind[] = [
  'fee',
  'step',
  'usage',
  'proration_credit',
  'proration_charge',
  'one_off',
];

const lineOf = (item: ItemRow, position: number): StoredInvoiceLine => {
  const amount = new Decimal(item[12]);
  return newLine({
    position,
    kind: item[5],
    accountId: item[2],
    subscriptionId: item[3],
    periodNumber: item[4],
    itemId: item[1],
    sku: item[6],
    version: item[7],
    product: item[8],
    description: item[9],
    quantity: new Decimal(item[10]),
    unitPrice: item[11] === null ? null : new Decimal(item[11]),
    subtotal: amount,
    net: amount,
    total: amount,
    taxable: item[14],
    discountable: item[15],
    periodFrom: toInstant(item[16]),
    periodTo: toInstant(item[17]),
  });
};

interface ChunkDone {
  created: number;
  items: number;
}

/** The drafts of one payer: those there are, and those that what is due asks for. */
class PayersDrafts {
  readonly all: Draft[];

  constructor(
    private readonly payerId: string,
    rows: readonly DraftRow[],
  ) {
    this.all = rows.map(
      ([invoiceId, currency, boundaryAt, collection, collectedBy, lastPosition]) => ({
        isNew: false,
        payerId,
        invoiceId,
        currency,
        boundaryAt: toInstant(boundaryAt),
        collection,
        collectedBy,
        methodIds: new Set(),
        lastPosition,
      }),
    );
  }

  at(
    boundaryAt: Instant,
    currency: string,
    collection: Invoice['collection'],
    collectedBy: Invoice['collectedBy'],
    methodId: string | null,
  ): Draft {
    let draft = this.all.find(
      (one) =>
        one.boundaryAt === boundaryAt &&
        one.currency === currency &&
        one.collection === collection &&
        one.collectedBy === collectedBy,
    );
    if (draft === undefined) {
      draft = {
        isNew: true,
        payerId: this.payerId,
        invoiceId: newId(),
        currency,
        boundaryAt,
        collection,
        collectedBy,
        methodIds: new Set(),
        lastPosition: 0,
      };
      this.all.push(draft);
    }
    draft.methodIds.add(methodId);
    return draft;
  }

  /** What belongs to no subscription goes along with what is billed anyway. */
  forOneOff(dueAt: Instant, currency: string): Draft {
    const beside = this.all
      .filter((one) => one.currency === currency && one.collectedBy === 'engine')
      .toSorted((a, b) => b.boundaryAt - a.boundaryAt)[0];
    return beside ?? this.at(dueAt, currency, 'charge', 'engine', null);
  }
}

/**
 * Puts what is due on drafts, in the session's transaction. The payers and the accounts merged into
 * them are locked.
 */
export async function draftDue(
  session: Session,
  payers: readonly PayerNames[],
  now: Instant,
): Promise<ChunkDone> {
  const rows = await session.query<{
    payer_id: string;
    items: string | null;
    periods: string | null;
    drafts: string | null;
  }>(READ_DUE, [
    payers.map(({ payerId }) => payerId),
    isoTime(now),
    payers.map(({ names }) => arrayLiteral(names)),
  ]);
  const drafts: Draft[] = [];
  const taken: Array<{ item: ItemRow; draft: Draft }> = [];
  const closed: PeriodRow[] = [];
  for (const row of rows) {
    const items = JSON.parse(row.items ?? '[]') as ItemRow[];
    const periods = JSON.parse(row.periods ?? '[]') as PeriodRow[];
    if (items.length === 0 && periods.length === 0) continue;
    const ofPayer = new PayersDrafts(row.payer_id, JSON.parse(row.drafts ?? '[]') as DraftRow[]);
    const mine = items.map((item) => ({ item, draft: null as Draft | null }));
    for (const one of mine) {
      const [collection, collectedBy, methodId] = [one.item[19], one.item[20], one.item[21]];
      if (collection === null || collectedBy === null) continue;
      const dueAt = toInstant(one.item[18]);
      one.draft = ofPayer.at(dueAt, one.item[13], collection, collectedBy, methodId);
    }
    for (const period of periods) {
      closed.push(period);
      const [, , , currency, endsAt, , collection, collectedBy, methodId, hasUsage] = period;
      if (hasUsage) ofPayer.at(toInstant(endsAt), currency, collection, collectedBy, methodId);
    }
    for (const one of mine) {
      one.draft ??= ofPayer.forOneOff(toInstant(one.item[18]), one.item[13]);
      taken.push({ item: one.item, draft: one.draft });
    }
    drafts.push(...ofPayer.all.filter(({ isNew }) => isNew));
  }
  await writeDrafts(session, drafts, now);
  await takeItems(session, taken);
  if (closed.length > 0) {
    await session.query(CLOSE_PERIODS, [
      closed.map(([payerId]) => payerId),
      closed.map(([, subscriptionId]) => subscriptionId),
      closed.map(([, , number]) => number),
      isoTime(now),
    ]);
  }
  return { created: drafts.length, items: taken.length };
}

async function writeDrafts(session: Session, drafts: readonly Draft[], now: Instant) {
  if (drafts.length === 0) return;
  await session.query(WRITE_DRAFTS, [
    drafts.map(({ payerId }) => payerId),
    drafts.map(({ invoiceId }) => invoiceId),
    drafts.map(({ currency }) => currency),
    drafts.map(({ boundaryAt }) => isoTime(boundaryAt)),
    drafts.map(({ collection }) => collection),
    drafts.map(({ collectedBy }) => collectedBy),
    // What is to be charged by different means is charged by the payer's usual one.
    drafts.map(({ methodIds }) => (methodIds.size === 1 ? [...methodIds][0]! : null)),
    isoTime(now),
  ]);
}

async function takeItems(
  session: Session,
  taken: ReadonlyArray<{ item: ItemRow; draft: Draft }>,
): Promise<void> {
  if (taken.length === 0) return;
  const inOrder = taken.toSorted(
    (a, b) => KIND_ORDER.indexOf(a.item[5]) - KIND_ORDER.indexOf(b.item[5]),
  );
  await insertLines(
    session,
    inOrder.map(({ item, draft }) => {
      draft.lastPosition += 1;
      return {
        payerId: draft.payerId,
        invoiceId: draft.invoiceId,
        line: lineOf(item, draft.lastPosition),
      };
    }),
  );
  await session.query(TAKE_ITEMS, [
    taken.map(({ item }) => item[0]),
    taken.map(({ item }) => item[1]),
    taken.map(({ draft }) => draft.invoiceId),
  ]);
}

/** Everything but ISO 4217 is spent in exchanges, not billed. */
export const decimalsOfMoney = (currency: string): number => currencyDecimals(currency)!;

/** Drafts for whoever has something due by now. */
export class Creating {
  constructor(private readonly context: Context) {}

  /**
   * Opens the periods of subscriptions that have begun, and collects what is due on drafts: one for
   * each payer, currency and boundary. Any number may do so at once, and it may be killed and run
   * again: what is on a draft is on no other.
   *
   * @throws unknown_account, invalid_input
   */
  async createInvoices(request: CreateInvoicesRequest = {}): Promise<CreateInvoicesAnswer> {
    const { account, limit, onProgress } = parse(createInput, request);
    const { database, clock } = this.context;
    const only = account === undefined ? null : [(await resolveAccount(database, account)).payerId];
    const advanced = await advanceSubscriptions(
      this.context,
      only === null ? {} : { payerIds: only },
    );
    const now = readClock(clock);
    const done = { created: 0, items: 0, payers: 0 };
    const run = async (payerIds: readonly string[], wait: boolean): Promise<string[]> => {
      const { done: chunk, busy } = await inChunk(
        this.context,
        payerIds,
        wait,
        (session, payers) => draftDue(session, payers, now),
        (one, other) => ({ created: one.created + other.created, items: one.items + other.items }),
      );
      done.created += chunk?.created ?? 0;
      done.items += chunk?.items ?? 0;
      done.payers += payerIds.length - busy.length;
      onProgress?.({ done: done.created });
      return busy;
    };
    const busy =
      only === null ? await this.eachDue(now, limit ?? Infinity, done, run) : await run(only, true);
    for (const chunk of chunksOf(busy)) await run(chunk, true);
    const [counted] = await database.query<{ drafts: number }>(COUNT_DRAFTS, [isoTime(now), only]);
    return {
      created: done.created,
      items: done.items,
      drafts: counted!.drafts,
      periods: advanced.periods,
    };
  }

  /** Gives back the payers that somebody else was writing. */
  private async eachDue(
    now: Instant,
    limit: number,
    done: { payers: number },
    run: (payerIds: readonly string[], wait: boolean) => Promise<string[]>,
  ): Promise<string[]> {
    const busy = new Set<string>();
    let after = START;
    let taken = 0;
    let isLast = false;
    const next = async (): Promise<string[] | null> => {
      const size = Math.min(limit - done.payers - busy.size - taken, MAX_LOCKED_ACCOUNTS);
      if (isLast || size <= 0) return null;
      const rows = await this.context.database.query<{ payer_id: string; at: string }>(FIND_DUE, [
        isoTime(now),
        after.at,
        after.payer_id,
        // A payer has items, and periods that are over.
        2 * size,
      ]);
      isLast = rows.length < 2 * size;
      after = rows.at(-1) ?? after;
      const payers = [...new Set(rows.map(({ payer_id }) => payer_id))].filter(
        (payerId) => !busy.has(payerId),
      );
      taken += payers.length;
      return payers;
    };
    await eachChunk(this.context, next, async (payers) => {
      for (const chunk of chunksOf(payers)) {
        for (const payerId of await run(chunk, false)) busy.add(payerId);
        taken -= chunk.length;
      }
    });
    return [...busy];
  }
}
