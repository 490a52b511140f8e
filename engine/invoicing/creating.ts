import { resolveAccount } from '../accounts';
import {
  MAX_LOCKED_ACCOUNTS,
  lockAccounts,
  arrayLiteral,
  column,
  pages,
  table,
  type RowOf,
  type Context,
  type Session,
} from '../database';
import {
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
import {
  BUSY,
  chunksOf,
  eachChunk,
  inChunk,
  waitForPayers,
  type PayerNames,
  type RunProblem,
} from './chunks';
import type { Invoice, InvoiceStatus } from './invoice-records';
import { LINE_KINDS, insertLines, type LineKind, type StoredInvoiceLine } from './invoice-lines';
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
  /** Payers that somebody else held for too long: they are left to the next run. At most 1,000. */
  problems: Array<RunProblem & { payer: string }>;
}

const MAX_PROBLEMS = 1_000;

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

/** How what is due is collected; all null where it belongs to no subscription. */
const COLLECTED = table('subscriptions', {
  collection: column.text<Invoice['collection']>().orNull,
  collectedBy: column.text<Invoice['collectedBy']>().orNull,
});
type Collected = RowOf<typeof COLLECTED>;
const NO_SUBSCRIPTION: Collected = { collection: null, collectedBy: null };

const ITEMS = table('pending_items', {
  payerId: column.uuid(),
  itemId: column.uuid(),
  accountId: column.uuid(),
  subscriptionId: column.uuid().orNull,
  periodNumber: column.integer().orNull,
  kind: column.text<Exclude<LineKind, 'usage'>>(),
  sku: column.text().orNull,
  version: column.integer().orNull,
  product: column.text().orNull,
  description: column.text().orNull,
  quantity: column.decimal(),
  unitPrice: column.decimal().orNull,
  amount: column.decimal(),
  currency: column.text(),
  taxable: column.flag(),
  discountable: column.flag(),
  serviceFrom: column.instant(),
  serviceTo: column.instant(),
  dueAt: column.instant(),
});
type Item = RowOf<typeof ITEMS> & Collected;

const PERIODS = table('subscription_periods', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  number: column.integer(),
  currency: column.text(),
  endsAt: column.instant(),
});

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
});
const PRESENT = DRAFTS.pick('invoiceId', 'currency', 'boundaryAt', 'collection', 'collectedBy');

/**
 * What is due of payers ($1), each with the accounts merged into it ($3, arrays in text): items, periods
 * that are over, and drafts that are there. $2 the time.
 */
const READ_DUE = `
select w.payer_id::text as payer_id,
  (select json_agg(json_build_array(${ITEMS.selectArray('i')}, ${COLLECTED.selectArray('s')})
                   order by i.due_at, i.item_id)::text
   from unnest(w.names) as n (name)
   cross join lateral (
     select * from {schema}.pending_items i
     where i.payer_id = n.name and i.invoice_id is null and i.dropped_at is null
       and i.due_at <= $2::timestamptz offset 0) as i
   left join lateral (
     select s.collection, s.collected_by from {schema}.subscriptions s
     where s.payer_id = i.payer_id and s.subscription_id = i.subscription_id offset 0) as s on true
  ) as items,
  (select json_agg(json_build_array(
            ${PERIODS.selectArray('p')}, ${COLLECTED.selectArray('s')},
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
            ${PRESENT.selectArray('d')},
            (select coalesce(max(l.position), 0) from {schema}.invoice_lines l
             where l.payer_id = d.payer_id and l.invoice_id = d.invoice_id)))::text
   from {schema}.invoices d
   where d.payer_id = w.payer_id and d.status = 'draft' and d.kind = 'cycle') as drafts
from (
  select n.payer_id, n.names::uuid[] as names
  from unnest($1::uuid[], $3::text[]) as n (payer_id, names) offset 0) as w`;

const TAKE_ITEMS = `
update {schema}.pending_items i set invoice_id = n.invoice_id
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as n (payer_id, item_id, invoice_id)
where i.payer_id = n.payer_id and i.item_id = n.item_id`;

const CLOSED = PERIODS.pick('payerId', 'subscriptionId', 'number');
const CLOSE_PERIODS = `
update {schema}.subscription_periods p set drafted_at = $4::timestamptz
from ${CLOSED.unnest()}
where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number`;

const COUNT_DRAFTS = `
select count(*)::int as drafts from {schema}.invoices
where status = 'draft' and kind = 'cycle' and boundary_at <= $1::timestamptz
  and ($2::uuid[] is null or payer_id = any($2::uuid[]))`;

/** What is read of payers, as JSON. */
interface DueRow {
  payer_id: string;
  items: string | null;
  periods: string | null;
  drafts: string | null;
}

const parsed = <T>(json: string | null): T[] => JSON.parse(json ?? '[]') as T[];

const itemsOf = (row: DueRow): Item[] =>
  parsed<[unknown[], unknown[]]>(row.items).map(([item, collected]) => ({
    ...ITEMS.readArray(item),
    ...COLLECTED.readArray(collected),
  }));

const periodsOf = (row: DueRow) =>
  parsed<[unknown[], unknown[], boolean]>(row.periods).map(([period, collected, hasUsage]) => ({
    ...PERIODS.readArray(period),
    ...COLLECTED.readArray(collected),
    hasUsage,
  }));

/** A draft that is made, or was there before. */
interface Draft extends RowOf<typeof PRESENT> {
  isNew: boolean;
  payerId: string;
  lastPosition: number;
}

const lineOf = (item: Item, position: number): StoredInvoiceLine => {
  const { amount, serviceFrom, serviceTo } = item;
  return newLine({
    ...item,
    position,
    subtotal: amount,
    net: amount,
    total: amount,
    periodFrom: serviceFrom,
    periodTo: serviceTo,
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
    row: DueRow,
  ) {
    this.all = parsed<[unknown[], number]>(row.drafts).map(([draft, lastPosition]) => ({
      ...PRESENT.readArray(draft),
      isNew: false,
      payerId,
      lastPosition,
    }));
  }

  at(boundaryAt: Instant, currency: string, collected: Collected): Draft {
    const collection = collected.collection ?? 'charge';
    const collectedBy = collected.collectedBy ?? 'engine';
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
        lastPosition: 0,
      };
      this.all.push(draft);
    }
    return draft;
  }

  /** Null: it belongs to no subscription. */
  forItem(item: Item): Draft | null {
    return item.collection === null ? null : this.at(item.dueAt, item.currency, item);
  }

  /** What belongs to no subscription goes along with what is billed anyway. */
  forOneOff(dueAt: Instant, currency: string): Draft {
    const beside = this.all
      .filter((one) => one.currency === currency && one.collectedBy === 'engine')
      .toSorted((a, b) => b.boundaryAt - a.boundaryAt)[0];
    return beside ?? this.at(dueAt, currency, NO_SUBSCRIPTION);
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
  const rows = await session.query<DueRow>(READ_DUE, [
    payers.map(({ payerId }) => payerId),
    isoTime(now),
    payers.map(({ names }) => arrayLiteral(names)),
  ]);
  const drafts: Draft[] = [];
  const taken: Array<{ item: Item; draft: Draft }> = [];
  const closed: Array<RowOf<typeof PERIODS>> = [];
  for (const row of rows) {
    const items = itemsOf(row);
    const periods = periodsOf(row);
    if (items.length === 0 && periods.length === 0) continue;
    const ofPayer = new PayersDrafts(row.payer_id, row);
    const own = items.map((item) => ofPayer.forItem(item));
    for (const { hasUsage, currency, endsAt, ...period } of periods) {
      if (hasUsage) ofPayer.at(endsAt, currency, period);
    }
    items.forEach((item, index) => {
      const draft = own[index] ?? ofPayer.forOneOff(item.dueAt, item.currency);
      taken.push({ item, draft });
    });
    closed.push(...periods);
    drafts.push(...ofPayer.all.filter(({ isNew }) => isNew));
  }
  await writeDrafts(session, drafts, now);
  await takeItems(session, taken);
  if (closed.length > 0) {
    await session.query(CLOSE_PERIODS, [...CLOSED.values(closed), isoTime(now)]);
  }
  return { created: drafts.length, items: taken.length };
}

async function writeDrafts(session: Session, drafts: readonly Draft[], now: Instant) {
  await DRAFTS.write(
    session,
    drafts.map((draft) => ({
      ...draft,
      accountId: draft.payerId,
      kind: 'cycle',
      status: 'draft',
      createdAt: now,
    })),
  );
}

async function takeItems(
  session: Session,
  taken: ReadonlyArray<{ item: Item; draft: Draft }>,
): Promise<void> {
  if (taken.length === 0) return;
  const inOrder = taken.toSorted(
    (a, b) => LINE_KINDS.indexOf(a.item.kind) - LINE_KINDS.indexOf(b.item.kind),
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
    taken.map(({ item }) => item.payerId),
    taken.map(({ item }) => item.itemId),
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
   * @throws unknown_account, invalid_input, lock_timeout (with `account`)
   */
  async createInvoices(request: CreateInvoicesRequest = {}): Promise<CreateInvoicesAnswer> {
    const { account, limit, onProgress } = parse(createInput, request);
    const { database, clock } = this.context;
    const only = account === undefined ? null : [(await resolveAccount(database, account)).payerId];
    const periods = await this.advance(only);
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
    const problems: CreateInvoicesAnswer['problems'] = [];
    if (only !== null) await run(only, true);
    else {
      for (const chunk of chunksOf(await this.eachDue(now, limit ?? Infinity, done, run))) {
        await waitForPayers(this.context, chunk);
        problems.push(...(await run(chunk, false)).map((payer) => ({ payer, ...BUSY })));
      }
    }
    const [counted] = await database.query<{ drafts: number }>(COUNT_DRAFTS, [isoTime(now), only]);
    return {
      created: done.created,
      items: done.items,
      drafts: counted!.drafts,
      periods,
      problems: problems.slice(0, MAX_PROBLEMS),
    };
  }

  /** Gives the number of periods opened. One account is waited for, as by any other call. */
  private async advance(only: readonly string[] | null): Promise<number> {
    if (only === null) return (await advanceSubscriptions(this.context)).periods;
    for (let periods = 0; ;) {
      await this.context.database.transaction(undefined, (session) => lockAccounts(session, only));
      const done = await advanceSubscriptions(this.context, { payerIds: only });
      periods += done.periods;
      if (done.left === 0) return periods;
    }
  }

  /** Gives back the payers that somebody else was writing. */
  private async eachDue(
    now: Instant,
    limit: number,
    done: { payers: number },
    run: (payerIds: readonly string[], wait: boolean) => Promise<string[]>,
  ): Promise<string[]> {
    const busy = new Set<string>();
    let taken = 0;
    const due = pages<{ at: string; payer_id: string }>({
      key: { at: 'instant', payer_id: 'uuid' },
      // A payer has items, and periods that are over.
      size: 2 * MAX_LOCKED_ACCOUNTS,
      find: (after, size) => this.context.database.query(FIND_DUE, [isoTime(now), ...after, size]),
    });
    const next = async (): Promise<string[] | null> => {
      const room = limit - done.payers - busy.size - taken;
      const page = room > 0 ? await due.next() : null;
      if (page === null || page.done === true) return null;
      const payers = [...new Set(page.value.map(({ payer_id }) => payer_id))]
        .filter((payerId) => !busy.has(payerId))
        .slice(0, room);
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
