import { atTime, toInstant, type Session } from '../database';
import { Decimal, ZERO, isoTime, type Instant } from '../kernel';
import type { CatalogMemory } from './catalog-memory';
import type { PayerNames } from './chunks';
import type { StoredInvoice } from './invoice-records';
import type { StoredInvoiceLine } from './invoice-lines';
import { windowsOf, type PeriodUsage, type PricedPeriod } from './rating';
import { NAMES, unbilledOf } from './unbilled';

/** Use beyond what was granted: found for the drafts of a chunk, and marked as billed by them. */

/** Where there is something, from when to when, and how much by account. $1 payers. */
const FIND_UNBILLED = `
with ${NAMES}
select n.payer_id::text as payer_id, n.name::text as ledger_id, t.product,
       ${atTime('f.first_at')} as first_at, ${atTime('f.last_at')} as last_at,
       f.last_sequence::text as last_sequence, f.used
from names n
cross join lateral (
  select t.product from {schema}.overage_terms t where t.payer_id = n.name offset 0) as t
cross join lateral (
  select min(a.first_at) as first_at, max(a.last_at) as last_at,
         max(a.last_sequence) as last_sequence,
         json_agg(json_build_array(a.account_id, a.quantity::text))::text as used
  from (
    select u.account_id, min(u.used_at) as first_at, max(u.used_at) as last_at,
           max(u.sequence) as last_sequence, sum(u.overage) as quantity
    from (${unbilledOf('n.name', 't.product')}) as u group by u.account_id) as a) as f
where f.first_at is not null`;

/** $1 payers as they stand in rows, $2 since when, of each. */
const FIND_PERIODS = `
select p.payer_id::text as payer_id, p.subscription_id::text as subscription_id, p.number, p.sku,
       p.version, p.currency, ${atTime('p.starts_at')} as starts_at,
       ${atTime('p.ends_at')} as ends_at, s.collection, s.collected_by
from unnest($1::uuid[], $2::timestamptz[]) as w (payer_id, since)
cross join lateral (
  select * from {schema}.subscription_periods p
  where p.payer_id = w.payer_id and p.ends_at > w.since offset 0) as p
cross join lateral (
  select s.collection, s.collected_by from {schema}.subscriptions s
  where s.payer_id = p.payer_id and s.subscription_id = p.subscription_id offset 0) as s`;

/** What was used in windows ($1 ledgers, $2 products, $3 from, $4 to, $5 their groups), by account. */
const SUM_WINDOWS = `
select w.place::int as place, u.account_id::text as account_id, sum(u.overage)::text as quantity
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[])
     as w (ledger_id, product, from_at, to_at, place)
cross join lateral (${unbilledOf('w.ledger_id', 'w.product')}) as u
where u.used_at >= w.from_at and u.used_at < w.to_at
group by w.place, u.account_id`;

/**
 * What is on lines of a period already, by the index invoice_lines_usage. A void invoice counts as long
 * as its entries were not freed.
 */
const SUM_BILLED = `
select w.place::int as place, sum(l.quantity)::text as quantity, sum(l.subtotal)::text as amount
from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::integer[])
     as w (payer_id, subscription_id, number, product, place)
cross join lateral (
  select l.* from {schema}.invoice_lines l
  where l.payer_id = w.payer_id and l.subscription_id = w.subscription_id
    and l.period_number = w.number and l.kind = 'usage' and l.product = w.product
  offset 0) as l
cross join lateral (
  select i.status from {schema}.invoices i
  where i.payer_id = l.payer_id and i.invoice_id = l.invoice_id offset 0) as i
where i.status <> 'void' or exists (
  select from {schema}.invoice_usage u
  where u.invoice_payer_id = l.payer_id and u.invoice_id = l.invoice_id)
group by w.place`;

/** $6 and $7 the invoice of each window; $8 to $10 the line of each account in a group. */
const WRITE_USAGE = `
insert into {schema}.invoice_usage
  (payer_id, entry_sequence, invoice_payer_id, invoice_id, position)
select w.ledger_id, u.sequence, w.invoice_payer_id, w.invoice_id, l.position
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::uuid[],
            $7::uuid[])
     as w (ledger_id, product, from_at, to_at, place, invoice_payer_id, invoice_id)
cross join lateral (${unbilledOf('w.ledger_id', 'w.product')}) as u
left join unnest($8::integer[], $9::uuid[], $10::integer[]) as l (place, account_id, position)
  on l.place = w.place and l.account_id = u.account_id
where u.used_at >= w.from_at and u.used_at < w.to_at`;

/**
 * $3: what lies in a period from there on is billed another time. $4: the last line, where nothing does;
 * else it is looked for.
 */
const MOVE_MARKS = `
insert into {schema}.usage_marks as m (payer_id, product, billed_sequence)
select w.ledger_id, w.product, coalesce(
  w.last_sequence,
  (select min(u.sequence) - 1 from (${unbilledOf('w.ledger_id', 'w.product')}) as u
   where u.used_at >= w.hold_from),
  (select e.sequence from {schema}.entries e
   where e.payer_id = w.ledger_id and e.product = w.product and e.overage is not null
   order by e.sequence desc limit 1))
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[])
     as w (ledger_id, product, hold_from, last_sequence)
on conflict (payer_id, product) do update
set billed_sequence = greatest(m.billed_sequence, excluded.billed_sequence)`;

interface FoundPeriod extends PricedPeriod {
  payerId: string;
  sku: string;
  version: number;
  currency: string;
  collection: StoredInvoice['collection'];
  collectedBy: StoredInvoice['collectedBy'];
}

/** What is on no line yet, of one ledger and product. */
interface FoundUsage {
  payer_id: string;
  ledger_id: string;
  product: string;
  first_at: string;
  last_at: string;
  last_sequence: string;
  used: string;
}

type UsedByAccount = ReadonlyArray<[accountId: string, quantity: string]>;

interface BilledWindow {
  ledgerId: string;
  product: string;
  from: Instant;
  to: Instant;
  /** Which of the groups. */
  place: number;
  /** What was used in it, where all that is on no line lies in it; null: it is to be summed. */
  used: UsedByAccount | null;
}

/** What was used from then on is not billed here. */
interface BilledUntil {
  ledgerId: string;
  product: string;
  from: Instant;
  lastAt: Instant;
  lastSequence: string;
}

/** Use of one product in one period, for one draft. */
interface Group {
  draft: StoredInvoice;
  usage: PeriodUsage;
}

/** What the drafts of a chunk bill of what was used. */
export class DraftUsage {
  private readonly ofDraft = new Map<string, PeriodUsage[]>();

  private constructor(
    private readonly groups: readonly Group[],
    private readonly windows: readonly BilledWindow[],
    /** One for each ledger and product. */
    private readonly limits: readonly BilledUntil[],
  ) {
    for (const { draft, usage } of groups) {
      const known = this.ofDraft.get(draft.invoiceId);
      if (known === undefined) this.ofDraft.set(draft.invoiceId, [usage]);
      else known.push(usage);
    }
  }

  /** Looks for it. The payers, and the accounts merged into them, are locked. */
  static async read(
    session: Session,
    payers: readonly PayerNames[],
    drafts: readonly StoredInvoice[],
    memory: CatalogMemory,
  ): Promise<DraftUsage> {
    const found = await session.query<FoundUsage>(FIND_UNBILLED, [
      payers.map(({ payerId }) => payerId),
    ]);
    if (found.length === 0) return new DraftUsage([], [], []);
    const periods = await readPeriods(session, payers, found);
    // A draft stands under the name that its payer had; that account may have been merged since.
    const payerOf = new Map(
      payers.flatMap(({ payerId, names }) => names.map((name) => [name, payerId])),
    );
    const draftsOf = new Map<string, StoredInvoice[]>();
    for (const draft of drafts) {
      const payerId = payerOf.get(draft.payerId) ?? draft.payerId;
      draftsOf.set(payerId, [...(draftsOf.get(payerId) ?? []), draft]);
    }
    const groups: Group[] = [];
    const places = new Map<string, number>();
    const windows: BilledWindow[] = [];
    const limits: BilledUntil[] = [];
    for (const { payer_id: payerId, ledger_id: ledgerId, product, ...all } of found) {
      const firstAt = toInstant(all.first_at);
      const lastAt = toInstant(all.last_at);
      const priced: FoundPeriod[] = [];
      for (const period of periods.get(payerId) ?? []) {
        const { sku, version } = period;
        // Nothing lies in a period that was over when it began.
        if (period.startsAt >= period.endsAt) continue;
        const pricing = await memory.overagePricing(session, sku, version, product);
        if (pricing !== null) priced.push(period);
      }
      // Overage that nothing prices is nobody's debt.
      if (priced.length === 0) continue;
      const ofPayer = draftsOf.get(payerId) ?? [];
      let hold = -Infinity;
      let isHeld = false;
      for (const { period, from, to } of windowsOf(priced)) {
        const draft = draftFor(period, ofPayer);
        if (!isHeld) hold = draft === null ? from : to;
        isHeld ||= draft === null;
        if (draft === null) continue;
        const key = `${period.subscriptionId} ${period.number} ${product}`;
        let place = places.get(key);
        if (place === undefined) {
          place = groups.length;
          places.set(key, place);
          const { sku, version } = period;
          const pricing = await memory.overagePricing(session, sku, version, product);
          groups.push({
            draft,
            usage: {
              payerId: period.payerId,
              subscriptionId: period.subscriptionId,
              periodNumber: period.number,
              sku,
              version,
              product,
              pricing: pricing!,
              startsAt: period.startsAt,
              endsAt: period.endsAt,
              billed: { quantity: ZERO, amount: ZERO },
              unbilled: [],
            },
          });
        }
        const isAll = from <= firstAt && lastAt < to;
        const used = isAll ? (JSON.parse(all.used) as UsedByAccount) : null;
        windows.push({ ledgerId, product, from, to, place, used });
      }
      limits.push({ ledgerId, product, from: hold, lastAt, lastSequence: all.last_sequence });
    }
    return new DraftUsage(await filled(session, payers, groups, windows), windows, limits);
  }

  /** What a draft bills, before it is priced. */
  of(draft: StoredInvoice): PeriodUsage[] {
    return this.ofDraft.get(draft.invoiceId) ?? [];
  }

  /** Remembers what is billed, once the lines of these invoices are written. */
  async write(session: Session, invoices: readonly StoredInvoice[]): Promise<void> {
    if (this.limits.length === 0) return;
    const byId = new Map(invoices.map((invoice) => [invoice.invoiceId, invoice]));
    const windows = this.windows.filter(({ place }) =>
      byId.has(this.groups[place]!.draft.invoiceId),
    );
    if (windows.length === 0) return;
    const lines = this.groups.flatMap(({ draft, usage }, place) =>
      (byId.get(draft.invoiceId)?.lines ?? [])
        .filter((line) => isOf(line, usage))
        .map((line) => ({ place, line })),
    );
    const draftOf = ({ place }: BilledWindow): StoredInvoice => this.groups[place]!.draft;
    await session.query(WRITE_USAGE, [
      ...columns(windows),
      windows.map((window) => draftOf(window).payerId),
      windows.map((window) => draftOf(window).invoiceId),
      lines.map(({ place }) => place),
      lines.map(({ line }) => line.accountId),
      lines.map(({ line }) => line.position),
    ]);
    await this.moveMarks(session, windows);
  }

  private async moveMarks(session: Session, billed: readonly BilledWindow[]): Promise<void> {
    // A draft that was not issued after all limits back what it would have billed.
    const done = new Set(billed);
    const left = new Map<string, Instant>();
    for (const window of this.windows) {
      const name = `${window.ledgerId} ${window.product}`;
      if (!done.has(window)) left.set(name, Math.min(left.get(name) ?? Infinity, window.from));
    }
    const marks = this.limits.map((hold) => ({
      ...hold,
      from: Math.min(hold.from, left.get(`${hold.ledgerId} ${hold.product}`) ?? Infinity),
    }));
    await session.query(MOVE_MARKS, [
      marks.map(({ ledgerId }) => ledgerId),
      marks.map(({ product }) => product),
      marks.map(({ from }) => isoTime(from)),
      marks.map(({ from, lastAt, lastSequence }) => (lastAt < from ? lastSequence : null)),
    ]);
  }
}

const isOf = (line: StoredInvoiceLine, usage: PeriodUsage): boolean =>
  line.kind === 'usage' &&
  line.subscriptionId === usage.subscriptionId &&
  line.periodNumber === usage.periodNumber &&
  line.product === usage.product;

const columns = (windows: readonly BilledWindow[]): unknown[] => [
  windows.map(({ ledgerId }) => ledgerId),
  windows.map(({ product }) => product),
  windows.map(({ from }) => isoTime(from)),
  windows.map(({ to }) => isoTime(to)),
  windows.map(({ place }) => place),
];

/** The first draft after the end of a period, if there is one by now. */
function draftFor(period: FoundPeriod, drafts: readonly StoredInvoice[]): StoredInvoice | null {
  const fitting = drafts.filter(
    (draft) =>
      draft.boundaryAt !== null &&
      draft.boundaryAt >= period.endsAt &&
      draft.currency === period.currency &&
      draft.collection === period.collection &&
      draft.collectedBy === period.collectedBy,
  );
  return fitting.toSorted((a, b) => a.boundaryAt! - b.boundaryAt!)[0] ?? null;
}

async function readPeriods(
  session: Session,
  payers: readonly PayerNames[],
  found: ReadonlyArray<{ payer_id: string; first_at: string }>,
): Promise<Map<string, FoundPeriod[]>> {
  const since = new Map<string, Instant>();
  for (const { payer_id, first_at } of found) {
    since.set(payer_id, Math.min(since.get(payer_id) ?? Infinity, toInstant(first_at)));
  }
  const wanted = payers.flatMap(({ payerId, names }) =>
    since.has(payerId) ? names.map((name) => ({ payerId, name, since: since.get(payerId)! })) : [],
  );
  const rows = await session.query<{
    payer_id: string;
    subscription_id: string;
    number: number;
    sku: string;
    version: number;
    currency: string;
    starts_at: string;
    ends_at: string;
    collection: StoredInvoice['collection'];
    collected_by: StoredInvoice['collectedBy'];
  }>(FIND_PERIODS, [wanted.map(({ name }) => name), wanted.map((one) => isoTime(one.since))]);
  const payerOf = new Map(wanted.map(({ name, payerId }) => [name, payerId]));
  const periods = new Map<string, FoundPeriod[]>();
  for (const row of rows) {
    const payerId = payerOf.get(row.payer_id)!;
    const ofPayer = periods.get(payerId) ?? [];
    ofPayer.push({
      payerId: row.payer_id,
      subscriptionId: row.subscription_id,
      number: row.number,
      sku: row.sku,
      version: row.version,
      currency: row.currency,
      startsAt: toInstant(row.starts_at),
      endsAt: toInstant(row.ends_at),
      collection: row.collection,
      collectedBy: row.collected_by,
    });
    periods.set(payerId, ofPayer);
  }
  return periods;
}

/** The groups, with what was used, and what is billed of it. */
async function filled(
  session: Session,
  payers: readonly PayerNames[],
  groups: readonly Group[],
  windows: readonly BilledWindow[],
): Promise<Group[]> {
  if (groups.length === 0) return [];
  const unbilled = groups.map(() => new Map<string, Decimal>());
  const add = (place: number, accountId: string, quantity: string): void => {
    const ofGroup = unbilled[place]!;
    ofGroup.set(accountId, (ofGroup.get(accountId) ?? ZERO).plus(quantity));
  };
  for (const { place, used } of windows) {
    for (const [accountId, quantity] of used ?? []) add(place, accountId, quantity);
  }
  const unsummed = windows.filter(({ used }) => used === null);
  const summed =
    unsummed.length === 0
      ? []
      : await session.query<{ place: number; account_id: string; quantity: string }>(
          SUM_WINDOWS,
          columns(unsummed),
        );
  for (const { place, account_id, quantity } of summed) add(place, account_id, quantity);
  // Invoices stand under the payer, or under an account that was merged into it since.
  const namesOf = new Map(payers.flatMap(({ names }) => names.map((name) => [name, names])));
  const looked = groups.flatMap(({ draft, usage }, place) =>
    (namesOf.get(draft.payerId) ?? [draft.payerId]).map((name) => ({ name, usage, place })),
  );
  const billed = await session.query<{ place: number; quantity: string; amount: string }>(
    SUM_BILLED,
    [
      looked.map(({ name }) => name),
      looked.map(({ usage }) => usage.subscriptionId),
      looked.map(({ usage }) => usage.periodNumber),
      looked.map(({ usage }) => usage.product),
      looked.map(({ place }) => place),
    ],
  );
  const billedOf = new Map(billed.map((row) => [row.place, row]));
  return groups.map(({ draft, usage }, place) => ({
    draft,
    usage: {
      ...usage,
      unbilled: [...unbilled[place]!]
        .map(([accountId, quantity]) => ({ accountId, quantity }))
        .sort((a, b) => (a.accountId < b.accountId ? -1 : 1)),
      billed: {
        quantity: new Decimal(billedOf.get(place)?.quantity ?? 0),
        amount: new Decimal(billedOf.get(place)?.amount ?? 0),
      },
    },
  }));
}
