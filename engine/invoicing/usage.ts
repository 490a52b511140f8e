import type { Session } from '../database';
import { ZERO, type Decimal, type Instant } from '../kernel';
import type { Pricing } from '../catalog';
import type { CatalogMemory } from './catalog-memory';
import type { PayerNames } from './chunks';
import type { StoredInvoice } from './invoice-records';
import type { StoredInvoiceLine } from './invoice-lines';
import { windowsOf, type Moment, type PeriodUsage } from './rating';
import {
  findPeriodsSince,
  findUnbilled,
  moveMarks,
  sumBilled,
  sumWindows,
  writeUsage,
  type FoundPeriod,
  type FoundUsage,
  type UsageWindow,
  type UsedByAccount,
} from './usage-records';

/** Use beyond what was granted: found for the drafts of a chunk, and marked as billed by them. */

/** Use of one product in one period, for one draft. */
interface Group {
  draft: StoredInvoice;
  usage: PeriodUsage;
}

interface BilledWindow {
  ledgerId: string;
  product: string;
  from: Moment;
  to: Moment;
  /** The first line of the ledger that may lie in it. */
  firstSequence: string;
  /** Which of the groups. */
  place: number;
  /** What was used in it, where all that is on no line lies in it; null: it is to be summed. */
  used: UsedByAccount | null;
}

/** A period whose offer prices the use of a product in a ledger. */
interface PeriodOfUse extends FoundPeriod {
  pricing: Pricing;
  lastLine: bigint;
}

/** What was used from then on is not billed here. */
interface BilledUntil {
  ledgerId: string;
  product: string;
  from: Instant;
  lastAt: Instant;
  lastSequence: string;
}

/** What drafts of a chunk can bill, before it is looked up how much that is. */
class Grouping {
  readonly groups: Group[] = [];
  readonly windows: BilledWindow[] = [];
  /** One for each ledger and product. */
  readonly limits: BilledUntil[] = [];
  private readonly places = new Map<string, number>();

  /** Lays what was found in a ledger into periods whose offers price it, and those on drafts. */
  add(found: FoundUsage, periods: readonly PeriodOfUse[], drafts: readonly StoredInvoice[]): void {
    const { ledgerId, product, firstAt, lastAt, firstSequence, lastSequence } = found;
    let hold = -Infinity;
    let isHeld = false;
    for (const { period, from, to } of windowsOf(periods)) {
      const draft = draftFor(period, drafts);
      if (!isHeld) hold = draft === null ? from.at : to.at;
      isHeld ||= draft === null;
      if (draft === null) continue;
      const place = this.placeOf(draft, period, product);
      const isAll = (from.line === 0n ? from.at <= firstAt : from.at < firstAt) && lastAt < to.at;
      const used = isAll ? found.used : null;
      this.windows.push({ ledgerId, product, from, to, firstSequence, place, used });
    }
    this.limits.push({ ledgerId, product, from: hold, lastAt, lastSequence });
  }

  private placeOf(draft: StoredInvoice, period: PeriodOfUse, product: string): number {
    const { payerId, subscriptionId, number, sku, version, pricing, startsAt, endsAt } = period;
    const key = `${subscriptionId} ${number} ${product}`;
    const known = this.places.get(key);
    if (known !== undefined) return known;
    const place = this.groups.length;
    this.places.set(key, place);
    const usage: PeriodUsage = {
      payerId,
      subscriptionId,
      periodNumber: number,
      sku,
      version,
      product,
      pricing,
      startsAt,
      endsAt,
      billed: { quantity: ZERO, amount: ZERO },
      unbilled: [],
    };
    this.groups.push({ draft, usage });
    return place;
  }
}

/** What the drafts of a chunk bill of what was used. */
export class DraftUsage {
  private readonly ofDraft = new Map<string, PeriodUsage[]>();

  private constructor(private readonly grouping: Grouping) {
    for (const { draft, usage } of grouping.groups) {
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
    const grouping = new Grouping();
    const found = await findUnbilled(session, payers);
    if (found.length === 0) return new DraftUsage(grouping);
    const since = new Map<string, Instant>();
    for (const { payerId, firstAt } of found) {
      since.set(payerId, Math.min(since.get(payerId) ?? Infinity, firstAt));
    }
    const periods = await findPeriodsSince(session, payers, since);
    const draftsOf = byPayer(payers, drafts);
    for (const one of found) {
      const priced: PeriodOfUse[] = [];
      for (const period of periods.get(one.payerId) ?? []) {
        const { sku, version } = period;
        const pricing = await memory.overagePricing(session, sku, version, one.product);
        if (pricing === null) continue;
        priced.push({ ...period, pricing, lastLine: lastLineOf(period, one.ledgerId) });
      }
      // Overage that nothing prices is nobody's debt.
      if (priced.length > 0) grouping.add(one, priced, draftsOf.get(one.payerId) ?? []);
    }
    await fill(session, payers, grouping);
    return new DraftUsage(grouping);
  }

  /** What a draft bills, before it is priced. */
  of(draft: StoredInvoice): PeriodUsage[] {
    return this.ofDraft.get(draft.invoiceId) ?? [];
  }

  /** Remembers what is billed, once the lines of these invoices are written. */
  async write(session: Session, invoices: readonly StoredInvoice[]): Promise<void> {
    const { groups, windows } = this.grouping;
    const byId = new Map(invoices.map((invoice) => [invoice.invoiceId, invoice]));
    const billed = windows.filter(({ place }) => byId.has(groups[place]!.draft.invoiceId));
    if (billed.length === 0) return;
    const lines = groups.flatMap(({ draft, usage }, place) =>
      (byId.get(draft.invoiceId)?.lines ?? [])
        .filter((line) => isOf(line, usage))
        // What goes back of several lines is several lines: the entries stand on the first.
        .filter(
          (line, index, all) => all.findIndex((one) => one.accountId === line.accountId) === index,
        )
        .map((line) => ({ place, line })),
    );
    const rows = billed.map((window) => {
      const { payerId, invoiceId } = groups[window.place]!.draft;
      return { ...spanOf(window), invoicePayerId: payerId, invoiceId };
    });
    await writeUsage(session, rows, lines);
    await this.moveMarks(session, new Set(billed));
  }

  private async moveMarks(session: Session, done: ReadonlySet<BilledWindow>): Promise<void> {
    // A draft that was not issued after all limits back what it would have billed.
    const left = new Map<string, Instant>();
    for (const window of this.grouping.windows) {
      const name = `${window.ledgerId} ${window.product}`;
      if (!done.has(window)) left.set(name, Math.min(left.get(name) ?? Infinity, window.from.at));
    }
    const marks = this.grouping.limits.map(
      ({ ledgerId, product, lastAt, lastSequence, ...hold }) => {
        const from = Math.min(hold.from, left.get(`${ledgerId} ${product}`) ?? Infinity);
        const isAll = lastAt < from;
        return {
          ledgerId,
          product,
          lastSequence: isAll ? lastSequence : null,
          holdFrom: isAll ? null : from,
        };
      },
    );
    await moveMarks(session, marks);
  }
}

/** A draft stands under the name that its payer had; that account may have been merged since. */
function byPayer(
  payers: readonly PayerNames[],
  drafts: readonly StoredInvoice[],
): Map<string, StoredInvoice[]> {
  const payerOf = new Map(
    payers.flatMap(({ payerId, names }) => names.map((name) => [name, payerId])),
  );
  const draftsOf = new Map<string, StoredInvoice[]>();
  for (const draft of drafts) {
    const payerId = payerOf.get(draft.payerId) ?? draft.payerId;
    const own = draftsOf.get(payerId);
    if (own === undefined) draftsOf.set(payerId, [draft]);
    else own.push(draft);
  }
  return draftsOf;
}

const isOf = (line: StoredInvoiceLine, usage: PeriodUsage): boolean =>
  line.kind === 'usage' &&
  line.subscriptionId === usage.subscriptionId &&
  line.periodNumber === usage.periodNumber &&
  line.product === usage.product;

/** Lines tell apart what is of the instant in which a period was cut, in the ledger that it was of then. */
const lastLineOf = ({ cutLedgerId, cutSequence }: FoundPeriod, ledgerId: string): bigint =>
  cutLedgerId === ledgerId ? BigInt(cutSequence ?? 0) : 0n;

/** The window as it is looked up: without its times where everything lies in it. */
const spanOf = (window: BilledWindow): UsageWindow => ({
  ledgerId: window.ledgerId,
  product: window.product,
  firstSequence: window.firstSequence,
  from: window.used === null ? window.from.at : null,
  to: window.used === null ? window.to.at : null,
  fromLine: String(window.from.line),
  toLine: String(window.to.line),
  place: window.place,
});

/**
 * The first draft after the end of a period, if there is one by now. One that was made when the
 * subscription was still sent takes the use of a period that ended by then.
 */
function draftFor(period: FoundPeriod, drafts: readonly StoredInvoice[]): StoredInvoice | null {
  const fitting = drafts
    .filter(
      ({ boundaryAt, currency, collectedBy }) =>
        boundaryAt !== null &&
        boundaryAt >= period.endsAt &&
        currency === period.currency &&
        collectedBy === period.collectedBy,
    )
    .toSorted((a, b) => a.boundaryAt! - b.boundaryAt!);
  const alike = fitting.find(({ collection }) => collection === period.collection);
  if (alike !== undefined) return alike;
  const isOfIt = ({ lines }: StoredInvoice): boolean =>
    lines.length === 0 ||
    lines.some(({ subscriptionId }) => subscriptionId === period.subscriptionId);
  return fitting.find(isOfIt) ?? null;
}

/** Gives groups what was used, and what is billed of it. */
async function fill(
  session: Session,
  payers: readonly PayerNames[],
  { groups, windows }: Grouping,
): Promise<void> {
  if (groups.length === 0) return;
  const unbilled = groups.map(() => new Map<string, Decimal>());
  const add = (place: number, accountId: string, quantity: string): void => {
    const ofGroup = unbilled[place]!;
    ofGroup.set(accountId, (ofGroup.get(accountId) ?? ZERO).plus(quantity));
  };
  for (const { place, used } of windows) {
    for (const [accountId, quantity] of used ?? []) add(place, accountId, quantity);
  }
  const unsummed = windows.filter(({ used }) => used === null).map(spanOf);
  for (const one of await sumWindows(session, unsummed)) {
    add(one.place, one.accountId, one.quantity);
  }
  // Invoices stand under the payer, or under an account that was merged into it since.
  const namesOf = new Map(payers.flatMap(({ names }) => names.map((name) => [name, names])));
  const looked = groups.flatMap(({ draft, usage }, place) =>
    (namesOf.get(draft.payerId) ?? [draft.payerId]).map((name) => ({ name, usage, place })),
  );
  const billedAt = await sumBilled(session, looked);
  groups.forEach(({ usage }, place) => {
    usage.billed = billedAt(place);
    usage.unbilled = [...unbilled[place]!]
      .map(([accountId, quantity]) => ({ accountId, quantity }))
      .sort((a, b) => (a.accountId < b.accountId ? -1 : 1));
  });
}
