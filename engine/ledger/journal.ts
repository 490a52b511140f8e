import type { ProductKind } from '../catalog';
import { arrayLiteral, atTime, serializationFailure, toInstant, type Session } from '../database';
import { recordEvents, type NewEvent } from '../events';
import {
  Decimal,
  ZERO,
  addDuration,
  formatUnits,
  isoTime,
  ledgerId,
  monthsOf,
  type Duration,
  type Instant,
} from '../kernel';
import { draw, hasExpired, isOver, withFreed, type Draw, type Drawn } from './order-of-use';
import {
  emptyPocket,
  fill,
  overageRoom,
  pocketKey,
  readGrants,
  readHoldings,
  type Grant,
  type Hold,
  type Holdings,
  type OverageTerms,
  type Pocket,
  type PocketName,
  type UnitDebt,
} from './pockets';
import { crossings, levelOf, type Level } from './thresholds';
import { valueMoved } from './value';

/**
 * A transaction's worth of ledger lines. Under the payers' locks it reads their grants and last
 * lines once, lets rules work on them in memory, and writes everything at the end: each touched grant
 * once, whatever happened to it.
 */

export const ENTRY_KINDS = [
  'grant',
  'use',
  'expiry',
  'hold',
  'release',
  'uncovered',
  'restore',
  'exchange',
  'transfer',
  'deduction',
  'refund',
  'owed',
  'debt',
] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

/**
 * Kinds of lines whose value was earned (of a restore: is not any more). The value of the others moves
 * along with the units, goes back with the money, or is none.
 */
export const EARNING_KINDS = [
  'use',
  'expiry',
  'restore',
  'deduction',
  'debt',
] as const satisfies readonly EntryKind[];

/** A pocket that a transaction will work on. */
export type WantedPocket = PocketName & { kind: ProductKind };

interface PayerBook {
  lastSequence: bigint;
  /** When the last line was recorded; null before the first. */
  lastAt: Instant | null;
  /** The time of everything this transaction writes for the payer: never before its last line. */
  now: Instant;
}

/** A payer's last line. */
export interface LastLine {
  payerId: string;
  sequence: bigint;
  recordedAt: Instant;
}

/** The first answer to a key, to be kept with the change that it answers. */
export interface AnswerToKeep {
  payer: string;
  account: string;
  keyHash: Buffer;
  fingerprint: Buffer;
  answer: unknown;
  /** Milliseconds. */
  keep: number;
}

export interface Trace {
  sequence: bigint;
  /** Signed, like the entry. */
  amount: Decimal;
  value: Decimal;
}

/** What a line is about, beside its pocket. */
interface Line {
  kind: EntryKind;
  accountId: string;
  amount: Decimal;
  traces: Trace[];
  effectiveAt: Instant;
  cause?: bigint;
  overage?: Decimal;
}

interface NewEntry {
  payerId: string;
  product: string;
  sequence: bigint;
  kind: EntryKind;
  accountId: string;
  amount: Decimal;
  traces: Trace[];
  effectiveAt: Instant;
  recordedAt: Instant;
  cause: bigint | null;
  overage: Decimal | null;
  source: string | null;
  metadata: Record<string, unknown> | null;
  reason: string | null;
  author: string | null;
}

export interface Note {
  source?: string | null;
  metadata?: Record<string, unknown>;
  /** Why, and who said so, of what people do by hand. */
  reason?: string | null;
  author?: string | null;
}

/** The end of a grant: at a moment, or counted from its beginning, `lead` behind that; null: never. */
export type GrantEnd = { at: Instant } | { after: Duration; lead?: Duration | null } | null;

export interface GrantTerms extends Note {
  accountId: string;
  quantity: Decimal;
  priority: number;
  ends: GrantEnd;
  timeZone: string;
  value: Decimal;
  currency: string | null;
  sku?: string;
  offerVersion?: number;
  /** The exchange that paid for it. */
  cause?: bigint;
}

/** What a moved batch of units becomes. */
export interface MovedTerms {
  accountId: string;
  quantity: Decimal;
  validity: Validity;
  /** Why they move: somebody asked for it, with all that an account had, or to end earlier. */
  why: PairKind;
}

export type PairKind = 'transfer' | 'merge' | 'end';

/** A move that was written: its two lines, and what it moved. */
export interface Moved {
  out: bigint;
  grant: Grant;
  value: Decimal;
}

interface Pair {
  payerId: string;
  sequence: bigint;
  otherPayerId: string;
  otherSequence: bigint;
  kind: PairKind;
  grantSequence: bigint | null;
}

interface NewGrant extends Grant {
  accountId: string;
  sku: string | null;
  offerVersion: number | null;
}

/** Units taken out of grants: the line, and what of which grant, amounts and values below 0. */
export interface Taken {
  sequence: bigint;
  traces: Trace[];
}

/** A use that was written: its line, and what of it no grant paid. */
export interface Used {
  sequence: bigint;
  overage: Decimal;
}

/** A hold that was settled: the use, and what was neither there nor allowed as overage. */
export interface Settled extends Used {
  uncovered: Decimal;
}

export interface Restored {
  sequence: bigint;
  /** Units that went to grants whose time is over, and are lost again. */
  expired: Decimal;
}

type HoldOutcome = 'settled' | 'released' | 'expired';

interface HoldEnd {
  hold: Hold;
  outcome: HoldOutcome;
  endedAt: Instant;
  settled: Decimal | null;
  answer: object | null;
}

/** The last line of each payer. Index order on the primary key: one row read a payer. */
const READ_LAST_LINES = `
select p.payer_id::text as payer_id, last.sequence::text as sequence, last.recorded_at
from unnest($1::uuid[]) as p (payer_id)
cross join lateral (
  select e.sequence, ${atTime('e.recorded_at')} as recorded_at
  from {schema}.entries e where e.payer_id = p.payer_id
  order by e.sequence desc limit 1
) as last`;

/** One round trip; the statements are in database/migrations/0005-ledger-calls.ts. */
const WRITE_ENTRIES = `
select changed, written, kept, counted from {schema}.write_entries(
  $1::uuid[], $2::bigint[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[],
  $7::uuid[], $8::bigint[], $9::uuid[], $10::text[], $11::text[], $12::numeric[],
  $13::text[], $14::text[], $15::text[], $16::timestamptz[], $17::timestamptz[], $18::text[], $19::text[],
  $20::bigint[], $21::numeric[], $22::uuid[], $23::text[], $24::numeric[], $25::numeric[],
  $26::uuid[], $27::uuid[], $28::bytea[], $29::bytea[], $30::text[], $31::timestamptz, $32::timestamptz[])`;

const WRITE_GRANTS = `
insert into {schema}.grants
  (payer_id, sequence, account_id, product, initial, remaining, live, held, priority, valid_from,
   expires_at, anchor_at, anchor_months, value, currency, sku, offer_version)
select n.payer_id, n.sequence, n.account_id, n.product, n.initial, n.remaining, n.remaining > 0,
       n.held, n.priority, n.valid_from, n.expires_at, n.anchor_at, n.anchor_months, n.value,
       n.currency, n.sku, n.offer_version
from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::numeric[], $6::numeric[],
            $7::numeric[], $8::smallint[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[],
            $12::integer[], $13::numeric[], $14::text[], $15::text[], $16::integer[])
       as n (payer_id, sequence, account_id, product, initial, remaining, held, priority, valid_from,
             expires_at, anchor_at, anchor_months, value, currency, sku, offer_version)`;

const WRITE_HOLDS = `
insert into {schema}.holds (payer_id, sequence, account_id, product, amount, expires_at)
select n.payer_id, n.sequence, n.account_id, n.product, n.amount, n.expires_at
from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::numeric[], $6::timestamptz[])
       as n (payer_id, sequence, account_id, product, amount, expires_at)`;

/** The database refuses to end a hold twice; the payer's lock is held, so that it never has to. */
const END_HOLDS = `
update {schema}.holds h
set ended_at = n.ended_at, outcome = n.outcome, settled = n.settled, answer = n.answer
from unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::text[], $5::numeric[], $6::text[])
       as n (payer_id, sequence, ended_at, outcome, settled, answer)
where h.payer_id = n.payer_id and h.sequence = n.sequence and h.ended_at is null
returning 1 as ended`;

/** Behind the lines, whose details may have made the row. */
const WRITE_REASONS = `
insert into {schema}.entry_details as d (payer_id, sequence, reason, author)
select n.payer_id, n.sequence, n.reason, n.author
from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[])
       as n (payer_id, sequence, reason, author)
on conflict (payer_id, sequence) do update set reason = excluded.reason, author = excluded.author`;

const WRITE_PAIRS = `
insert into {schema}.entry_pairs
  (payer_id, sequence, other_payer_id, other_sequence, kind, grant_sequence)
select n.payer_id, n.sequence, n.other_payer_id, n.other_sequence, n.kind, n.grant_sequence
from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[])
       as n (payer_id, sequence, other_payer_id, other_sequence, kind, grant_sequence)`;

/** An end is only ever brought forward; the payer's lock is held. */
const END_GRANTS = `
update {schema}.grants g
set ended_at = least(g.ended_at, n.at)
from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) as n (payer_id, sequence, at)
where g.payer_id = n.payer_id and g.sequence = n.sequence`;

const READ_DEBTS = `
select d.payer_id::text as payer_id, d.sequence::text as sequence, d.product,
       d.paid::text as paid, (d.amount - d.paid - d.moved)::text as left_over
from unnest($1::uuid[], $2::text[]) as pocket (payer_id, product)
join {schema}.unit_debts d on d.payer_id = pocket.payer_id and d.product = pocket.product
  and d.paid + d.moved < d.amount
order by d.payer_id, d.sequence`;

const WRITE_DEBTS = `
insert into {schema}.unit_debts (payer_id, sequence, product, amount)
select n.payer_id, n.sequence, n.product, n.amount
from unnest($1::uuid[], $2::bigint[], $3::text[], $4::numeric[])
       as n (payer_id, sequence, product, amount)`;

/** By compare-and-set, as grants are. */
const PAY_DEBTS = `
update {schema}.unit_debts d
set paid = n.paid, moved = case when n.moved_payer_id is null then d.moved else d.amount - n.paid end,
    moved_payer_id = n.moved_payer_id, moved_sequence = n.moved_sequence
from unnest($1::uuid[], $2::bigint[], $3::numeric[], $4::numeric[], $5::uuid[], $6::bigint[])
       as n (payer_id, sequence, was, paid, moved_payer_id, moved_sequence)
where d.payer_id = n.payer_id and d.sequence = n.sequence and d.paid = n.was
returning 1 as paid`;

const maybeTime = (instant: Instant | null): string | null =>
  instant === null ? null : isoTime(instant);

/** A list that says nothing costs nothing: it goes as null. */
const sparse = <T>(list: Array<T | null>): Array<T | null> | null =>
  list.every((item) => item === null) ? null : list;

export class Journal {
  private readonly books = new Map<string, PayerBook>();
  private readonly pockets = new Map<string, Pocket>();
  private readonly entries: NewEntry[] = [];
  private readonly newGrants: NewGrant[] = [];
  private readonly newHolds: Hold[] = [];
  private readonly holdEnds: HoldEnd[] = [];
  /** Grants that were read and then touched, with what they held when they were read. */
  private readonly touched = new Map<Grant, { remaining: Decimal; held: Decimal }>();
  /** Overage terms that were used, with what was used of them when they were read. */
  private readonly usedTerms = new Map<OverageTerms, Decimal>();
  private readonly pairs: Pair[] = [];
  /** Grants that count no longer from a moment on. */
  private readonly endings = new Map<Grant, Instant>();
  private readonly newDebts: UnitDebt[] = [];
  /** Debts that were paid or taken over, with what was paid of them when they were read. */
  private readonly changedDebts = new Map<UnitDebt, Decimal>();
  /** Pockets of whose balance something is told, with how full they were when they were read. */
  private readonly levels = new Map<Pocket, Level>();
  /** What these lines bring about, beside the balances. */
  private readonly events: NewEvent[] = [];

  private constructor(private readonly session: Session) {}

  /**
   * Reads what a transaction will work on. The payers must be locked, by an earlier statement.
   *
   * @param now the clock, read after the locks were had
   */
  static async open(
    session: Session,
    now: Instant,
    wanted: readonly WantedPocket[],
  ): Promise<Journal> {
    const payers = [...new Set(wanted.map((pocket) => pocket.payerId))];
    if (payers.length === 0) return new Journal(session);
    const lines = await session.query<{ payer_id: string; sequence: string; recorded_at: string }>(
      READ_LAST_LINES,
      [payers],
    );
    const lastLines = lines.map((line) => ({
      payerId: line.payer_id,
      sequence: BigInt(line.sequence),
      recordedAt: toInstant(line.recorded_at),
    }));
    const names = new Map(wanted.map((pocket) => [pocketKey(pocket), pocket]));
    const holdings = await readHoldings(session, [...names.values()]);
    return Journal.of(session, now, wanted, lastLines, holdings);
  }

  /** A journal on what was read already, under the payers' locks. */
  static of(
    session: Session,
    now: Instant,
    wanted: readonly WantedPocket[],
    lastLines: readonly LastLine[],
    holdings: Holdings,
  ): Journal {
    const journal = new Journal(session);
    for (const { payerId } of wanted) {
      journal.books.set(payerId, { lastSequence: 0n, lastAt: null, now });
    }
    for (const { payerId, sequence, recordedAt } of lastLines) {
      const time = Math.max(now, recordedAt);
      journal.books.set(payerId, { lastSequence: sequence, lastAt: recordedAt, now: time });
    }
    for (const { payerId, product, kind } of wanted) {
      const key = pocketKey({ payerId, product });
      if (!journal.pockets.has(key)) {
        journal.pockets.set(key, { payerId, product, kind, debts: [], ...emptyPocket() });
      }
    }
    fill(journal.pockets, holdings);
    for (const pocket of journal.pockets.values()) {
      const { thresholds, kind } = pocket;
      if (thresholds === null || kind !== 'quantity') continue;
      const level = levelOf(pocket.grants, thresholds, journal.now(pocket.payerId));
      journal.levels.set(pocket, level);
    }
    return journal;
  }

  /** One of the pockets that were wanted, as it stands after what was done so far. */
  pocket(payerId: string, product: string): Pocket {
    return this.pockets.get(pocketKey({ payerId, product }))!;
  }

  /** How many lines of a kind were put on record so far. */
  written(kind: EntryKind): number {
    return this.entries.filter((entry) => entry.kind === kind).length;
  }

  /** The time that counts for a payer in this transaction. */
  now(payerId: string): Instant {
    return this.books.get(payerId)!.now;
  }

  /**
   * Takes units out of a pocket by the order of use, and beyond its grants as far as overage is
   * allowed; null, and nothing changed, when that is less. A use of time or of an unlimited product
   * takes nothing and is recorded all the same.
   */
  use(pocket: Pocket, accountId: string, amount: Decimal, note: Note): Used | null {
    if (pocket.kind !== 'quantity') {
      this.writeDue(pocket);
      return this.appendUse(pocket, { accountId, amount, traces: [], overage: ZERO }, note);
    }
    const drawn = this.drawWithin(pocket, amount, overageRoom(pocket.terms));
    if (drawn === null) return null;
    const traces = this.take(drawn.draws);
    return this.appendUse(pocket, { accountId, amount, traces, overage: drawn.missing }, note);
  }

  /** Puts a new batch of units into a pocket. What is owed of the product is paid from it at once. */
  grant(pocket: Pocket, terms: GrantTerms): Grant {
    this.writeDue(pocket);
    const end = validity(pocket, terms, this.now(pocket.payerId));
    const { sku = null, offerVersion = null, cause } = terms;
    const batch = { ...terms, ...end, sku, offerVersion };
    const grant = this.addGrant(pocket, batch, 'grant', terms, cause);
    this.payDebts(pocket, grant);
    return grant;
  }

  /** A new grant with the line that makes it. */
  private addGrant(
    pocket: Pocket,
    batch: Validity &
      Pick<GrantTerms, 'accountId' | 'quantity' | 'priority' | 'value' | 'currency'> &
      Pick<NewGrant, 'sku' | 'offerVersion'>,
    kind: 'grant' | 'transfer',
    note: Note,
    cause?: bigint,
  ): Grant {
    const { accountId, quantity, priority, value, currency, sku, offerVersion } = batch;
    const { validFrom, expiresAt, anchorAt, anchorMonths } = batch;
    const { payerId, product } = pocket;
    const effectiveAt = this.now(payerId);
    const sequence = this.books.get(payerId)!.lastSequence + 1n;
    const traces = [{ sequence, amount: quantity, value }];
    this.append(pocket, { kind, accountId, amount: quantity, traces, effectiveAt, cause }, note);
    const grant: NewGrant = {
      payerId,
      product,
      accountId,
      sequence,
      initial: quantity,
      remaining: quantity,
      held: ZERO,
      priority,
      validFrom,
      expiresAt,
      anchorAt,
      anchorMonths,
      value,
      currency,
      sku,
      offerVersion,
    };
    pocket.grants.push(grant);
    this.newGrants.push(grant);
    return grant;
  }

  /**
   * Reads what is owed of the pockets' products. Needed before units are granted.
   */
  async readDebts(): Promise<void> {
    const pockets = [...this.pockets.values()];
    if (pockets.length === 0) return;
    const rows = await this.session.query<{
      payer_id: string;
      sequence: string;
      product: string;
      paid: string;
      left_over: string;
    }>(READ_DEBTS, [pockets.map(({ payerId }) => payerId), pockets.map(({ product }) => product)]);
    for (const row of rows) {
      const { debts } = this.pocket(row.payer_id, row.product);
      debts.push({
        payerId: row.payer_id,
        product: row.product,
        sequence: BigInt(row.sequence),
        paid: new Decimal(row.paid),
        left: new Decimal(row.left_over),
        movedTo: null,
      });
    }
  }

  /** Debts are paid in the order in which they were made. */
  private payDebts(pocket: Pocket, grant: Grant): void {
    for (const debt of pocket.debts) {
      const amount = Decimal.min(debt.left, grant.remaining);
      if (amount.isZero()) continue;
      const { payerId: accountId, sequence: cause } = debt;
      this.takeOut(pocket, 'debt', accountId, [{ grant, amount }], {}, cause);
      this.touchDebt(debt);
      debt.paid = debt.paid.plus(amount);
      debt.left = debt.left.minus(amount);
    }
  }

  private touchDebt(debt: UnitDebt): void {
    if (!this.changedDebts.has(debt)) this.changedDebts.set(debt, debt.paid);
  }

  /** Puts on record that units are owed; the next grants of the product pay them. */
  owe(pocket: Pocket, accountId: string, amount: Decimal, note: Note): UnitDebt {
    const effectiveAt = this.now(pocket.payerId);
    const { sequence } = this.append(
      pocket,
      { kind: 'owed', accountId, amount: amount.negated(), traces: [], effectiveAt },
      note,
    );
    const { payerId, product } = pocket;
    const debt = { payerId, product, sequence, paid: ZERO, left: amount, movedTo: null };
    pocket.debts.push(debt);
    this.newDebts.push(debt);
    return debt;
  }

  /** What one payer owes of a product is owed by another from now on. */
  moveDebts(from: Pocket, into: Pocket, accountId: string): number {
    const owed = from.debts.filter(({ left }) => !left.isZero());
    for (const debt of owed) {
      this.touchDebt(debt);
      debt.movedTo = this.owe(into, accountId, debt.left, {});
      debt.left = ZERO;
    }
    return owed.length;
  }

  /**
   * Takes units for another end than a use, by the order of use and never beyond the grants; null, and
   * nothing changed, when there are fewer.
   */
  spend(
    pocket: Pocket,
    kind: 'exchange' | 'deduction',
    accountId: string,
    amount: Decimal,
    note: Note,
  ): Taken | null {
    const drawn = this.drawWithin(pocket, amount, ZERO);
    return drawn === null ? null : this.takeOut(pocket, kind, accountId, drawn.draws, note);
  }

  /** Takes units of an order back. What is due must be on record. */
  withdraw(
    pocket: Pocket,
    accountId: string,
    draws: ReadonlyArray<Draw<Grant>>,
    note: Note,
    kind: 'refund' | 'deduction' = 'refund',
  ): Taken {
    return this.takeOut(pocket, kind, accountId, draws, note);
  }

  /** From a moment on a grant counts no longer, and what comes back to it is lost. */
  end(grant: Grant, at: Instant): void {
    if (grant.expiresAt !== null && grant.expiresAt <= at) return;
    grant.expiresAt = at;
    this.endings.set(grant, at);
  }

  /**
   * Moves units of grants into one new grant, of another product or another payer, with their value.
   * What is due must be on record in both pockets.
   *
   * @param draws units of one currency, or worth nothing; the new grant has the last one's priority
   */
  moveUnits(
    from: Pocket,
    accountId: string,
    draws: ReadonlyArray<Draw<Grant>>,
    into: Pocket,
    terms: MovedTerms,
    note: Note,
  ): Moved {
    const { sequence: out, traces } = this.takeOut(from, 'transfer', accountId, draws, note);
    const value = traces.reduce((sum, trace) => sum.minus(trace.value), ZERO);
    const last = draws.at(-1)!.grant;
    const worth = traces.find((trace) => !trace.value.isZero());
    const batch = {
      ...terms.validity,
      accountId: terms.accountId,
      quantity: terms.quantity,
      priority: last.priority,
      value,
      currency: worth === undefined ? null : grantIn(from, worth.sequence).currency,
      sku: null,
      offerVersion: null,
    };
    const grant = this.addGrant(into, batch, 'transfer', note);
    // Nobody uses the other ledger any more: it does not matter how little is left there.
    if (terms.why === 'merge') this.levels.delete(from);
    const followed = terms.why === 'transfer' ? null : last.sequence;
    this.pair(from, out, into, grant.sequence, terms.why, followed);
    if (terms.why === 'transfer') this.payDebts(into, grant);
    return { out, grant, value };
  }

  private pair(
    from: PocketName,
    out: bigint,
    into: PocketName,
    made: bigint,
    kind: PairKind,
    grantSequence: bigint | null,
  ): void {
    const [payerId, otherPayerId] = [from.payerId, into.payerId];
    this.pairs.push(
      { payerId, sequence: out, otherPayerId, otherSequence: made, kind, grantSequence },
      {
        payerId: otherPayerId,
        sequence: made,
        otherPayerId: payerId,
        otherSequence: out,
        kind,
        grantSequence: null,
      },
    );
  }

  private takeOut(
    pocket: Pocket,
    kind: 'exchange' | 'deduction' | 'transfer' | 'refund' | 'debt',
    accountId: string,
    draws: ReadonlyArray<Draw<Grant>>,
    note: Note,
    cause?: bigint,
  ): Taken {
    const traces = this.take(draws);
    const amount = traces.reduce((sum, trace) => sum.plus(trace.amount), ZERO);
    const effectiveAt = this.now(pocket.payerId);
    const line = { kind, accountId, amount, traces, effectiveAt, cause };
    return { sequence: this.append(pocket, line, note).sequence, traces };
  }

  /**
   * Sets units aside, by the order of use and never beyond the grants; null, and nothing changed,
   * when there are fewer.
   *
   * @param expiresAt when they are free again unless the hold was settled or extended
   */
  hold(
    pocket: Pocket,
    accountId: string,
    amount: Decimal,
    expiresAt: Instant,
    note: Note,
  ): Hold | null {
    const drawn = this.drawWithin(pocket, amount, ZERO);
    if (drawn === null) return null;
    const traces = drawn.draws.map(({ grant, amount: aside }) =>
      this.move(grant, grant.remaining.minus(aside), grant.held.plus(aside)),
    );
    const effectiveAt = this.now(pocket.payerId);
    const line = {
      kind: 'hold',
      accountId,
      amount: amount.negated(),
      traces,
      effectiveAt,
    } as const;
    const { sequence } = this.append(pocket, line, note);
    const { payerId, product } = pocket;
    const parts = drawn.draws.map((one) => ({ sequence: one.grant.sequence, amount: one.amount }));
    const hold: Hold = { payerId, product, sequence, accountId, amount, expiresAt, parts };
    pocket.holds.push(hold);
    this.newHolds.push(hold);
    return hold;
  }

  /**
   * Ends an open hold with a use: first of the units on hold, in the hold's order and whether or not
   * their grant's time is over; then, if allowed, by the order of use; then overage; and what is not
   * there is put on record as uncovered. What was on hold and not used goes back.
   *
   * @param terms `beyond`: whether more than is on hold may be taken; `strict`: nothing may be
   *   uncovered
   * @returns null, and nothing changed, when `strict` does not allow it
   */
  settle(
    pocket: Pocket,
    hold: Hold,
    amount: Decimal,
    terms: { beyond: boolean; strict: boolean },
    note: Note,
  ): Settled | null {
    const fromHold = Decimal.min(amount, hold.amount);
    const room = terms.beyond ? overageRoom(pocket.terms) : ZERO;
    const rest = this.drawRest(pocket, amount.minus(fromHold), terms, room);
    if (rest === null) return null;
    this.writeDue(pocket);
    this.endHold(pocket, hold, 'settled', this.now(pocket.payerId), amount, note);

    const overage = Decimal.min(rest.missing, room);
    const uncovered = rest.missing.minus(overage);
    const traces = this.take([...drawHeld(pocket, hold, fromHold), ...rest.draws]);
    const { accountId, sequence: cause } = hold;
    const covered = amount.minus(uncovered);
    const used = this.appendUse(
      pocket,
      { accountId, amount: covered, traces, overage, cause },
      note,
    );
    if (uncovered.greaterThan(0)) {
      this.append(
        pocket,
        {
          kind: 'uncovered',
          accountId,
          amount: uncovered.negated(),
          traces: [],
          effectiveAt: this.now(pocket.payerId),
          cause,
        },
        {},
      );
      const { payerId, product } = pocket;
      this.events.push({
        type: 'usage.uncovered',
        payerId,
        accountId,
        at: this.now(payerId),
        data: { product, holdId: ledgerId(payerId, cause), amount: formatUnits(uncovered) },
      });
    }
    this.loseGivenBack(pocket, hold.parts, this.now(pocket.payerId), cause);
    return { ...used, uncovered };
  }

  /** Ends an open hold without a use: its units go back. Gives the line's number. */
  release(pocket: Pocket, hold: Hold, note: Note): bigint {
    this.writeDue(pocket);
    const now = this.now(pocket.payerId);
    const sequence = this.endHold(pocket, hold, 'released', now, null, note);
    this.loseGivenBack(pocket, hold.parts, now, hold.sequence);
    return sequence;
  }

  /** Keeps the answer to the settling or release of a hold in this transaction. */
  answerEnd(hold: Hold, answer: object): void {
    this.holdEnds.find((end) => end.hold === hold)!.answer = answer;
  }

  /**
   * Gives units of a use back to the grants they came from. Those of a grant whose time is over are
   * lost again at once.
   *
   * @param use the line; `parts` what goes back to which grants, `overage` what counted as that
   */
  async restore(
    pocket: Pocket,
    use: {
      sequence: bigint;
      accountId: string;
      amount: Decimal;
      parts: Hold['parts'];
      overage: Decimal;
    },
    note: Note,
  ): Promise<Restored> {
    await this.include(
      pocket,
      use.parts.map(({ sequence }) => sequence),
    );
    this.writeDue(pocket);
    const now = this.now(pocket.payerId);
    const traces = use.parts.map(({ sequence, amount }) => {
      const grant = grantIn(pocket, sequence);
      return this.move(grant, grant.remaining.plus(amount), grant.held);
    });
    if (!use.overage.isZero()) this.countOverage(pocket, use.overage.negated());
    const { accountId, amount, sequence: cause } = use;
    const overage = use.overage.negated();
    const { sequence } = this.append(
      pocket,
      { kind: 'restore', accountId, amount, traces, effectiveAt: now, cause, overage },
      note,
    );
    return { sequence, expired: this.loseGivenBack(pocket, use.parts, now, sequence) };
  }

  /**
   * Puts on record what the clock has done to a pocket: grants whose time is over have lost what was
   * left of them, holds whose time is over have given their units back. It counted from its instant,
   * and the first writer after writes it down, in the order in which it happened.
   */
  writeDue(pocket: Pocket): void {
    const now = this.now(pocket.payerId);
    const over = pocket.holds.filter((hold) => isOver(hold, now));
    for (const hold of over.sort((a, b) => a.expiresAt - b.expiresAt)) {
      // Ends of grants before it; one at the same instant loses what this hold gives back, too.
      this.writeOff(pocket, hold.expiresAt - 1);
      this.endHold(pocket, hold, 'expired', hold.expiresAt, null, {});
      this.loseGivenBack(pocket, hold.parts, hold.expiresAt, hold.sequence);
    }
    this.writeOff(pocket, now);
  }

  /**
   * Writes everything, and keeps answers with it. Nothing was changed in the database before.
   *
   * @param answers the first answers to keys, kept in the same round trip, counted from `now`
   */
  async write(answers: readonly AnswerToKeep[], now: Instant): Promise<void> {
    if (this.endings.size > 0) await this.writeEndings();
    if (this.entries.length === 0 && answers.length === 0) return;
    if (this.newGrants.length > 0) await this.writeGrants();
    const added = new Set<Grant>(this.newGrants);
    const changes = [...this.touched].filter(([grant]) => !added.has(grant));
    const terms = [...this.usedTerms];
    const { entries } = this;
    const [result] = await this.session.query<{
      changed: number;
      written: number;
      kept: number;
      counted: number;
    }>(WRITE_ENTRIES, [
      changes.map(([grant]) => grant.payerId),
      changes.map(([grant]) => grant.sequence.toString()),
      changes.map(([, was]) => was.remaining.toFixed()),
      changes.map(([grant]) => grant.remaining.toFixed()),
      changes.map(([, was]) => was.held.toFixed()),
      changes.map(([grant]) => grant.held.toFixed()),
      entries.map((entry) => entry.payerId),
      entries.map((entry) => entry.sequence.toString()),
      entries.map((entry) => entry.accountId),
      entries.map((entry) => entry.product),
      entries.map((entry) => entry.kind),
      entries.map((entry) => entry.amount.toFixed()),
      entries.map((entry) => arrayLiteral(entry.traces.map((trace) => trace.sequence))),
      entries.map((entry) => arrayLiteral(entry.traces.map((trace) => trace.amount.toFixed()))),
      entries.map((entry) =>
        entry.traces.every((trace) => trace.value.isZero())
          ? null
          : arrayLiteral(entry.traces.map((trace) => trace.value.toFixed())),
      ),
      entries.map((entry) => isoTime(entry.effectiveAt)),
      entries.map((entry) => isoTime(entry.recordedAt)),
      entries.map((entry) => entry.source),
      entries.map((entry) =>
        entry.source === null && entry.metadata === null
          ? null
          : JSON.stringify(entry.metadata ?? {}),
      ),
      sparse(entries.map((entry) => entry.cause?.toString() ?? null)),
      sparse(entries.map((entry) => entry.overage?.toFixed() ?? null)),
      terms.map(([one]) => one.payerId),
      terms.map(([one]) => one.product),
      terms.map(([, was]) => was.toFixed()),
      terms.map(([one]) => one.used.toFixed()),
      answers.map((answer) => answer.payer),
      answers.map((answer) => answer.account),
      answers.map((answer) => answer.keyHash),
      answers.map((answer) => answer.fingerprint),
      answers.map((answer) => JSON.stringify(answer.answer)),
      isoTime(now),
      answers.map((answer) => isoTime(now + answer.keep)),
    ]);
    const { changed, written, kept, counted } = result!;
    if (changed !== changes.length || written !== entries.length || counted !== terms.length) {
      throw serializationFailure('a grant changed without its account being locked');
    }
    if (kept !== answers.length) throw serializationFailure('an idempotency key was taken');
    if (this.newHolds.length > 0) await this.writeHolds();
    if (this.holdEnds.length > 0) await this.writeHoldEnds();
    await this.writeReasons();
    if (this.pairs.length > 0) await this.writePairs();
    if (this.newDebts.length > 0) await this.writeDebts();
    if (this.changedDebts.size > 0) await this.writeChangedDebts();
    await this.writeEvents();
  }

  /** What was crossed is compared at the end: what fell and rose again in between is not told. */
  private async writeEvents(): Promise<void> {
    const crossed = [...this.levels].flatMap(([pocket, before]): NewEvent[] => {
      const { payerId, product } = pocket;
      const at = this.now(payerId);
      const thresholds = pocket.thresholds!;
      const after = levelOf(pocket.grants, thresholds, at);
      const told = crossings(product, thresholds, before, after);
      return told.map((one) => ({ ...one, payerId, accountId: payerId, at }));
    });
    await recordEvents(this.session, [...this.events, ...crossed]);
  }

  /** Ends of grants need no line, where nothing is left to lose. */
  private async writeEndings(): Promise<void> {
    const endings = [...this.endings];
    await this.session.query(END_GRANTS, [
      endings.map(([grant]) => grant.payerId),
      endings.map(([grant]) => grant.sequence.toString()),
      endings.map(([, at]) => isoTime(at)),
    ]);
  }

  private async writeReasons(): Promise<void> {
    const said = this.entries.filter(({ reason, author }) => reason !== null || author !== null);
    if (said.length === 0) return;
    await this.session.query(WRITE_REASONS, [
      said.map(({ payerId }) => payerId),
      said.map(({ sequence }) => sequence.toString()),
      said.map(({ reason }) => reason),
      said.map(({ author }) => author),
    ]);
  }

  private async writePairs(): Promise<void> {
    const { pairs } = this;
    await this.session.query(WRITE_PAIRS, [
      pairs.map((pair) => pair.payerId),
      pairs.map((pair) => pair.sequence.toString()),
      pairs.map((pair) => pair.otherPayerId),
      pairs.map((pair) => pair.otherSequence.toString()),
      pairs.map((pair) => pair.kind),
      pairs.map((pair) => pair.grantSequence?.toString() ?? null),
    ]);
  }

  private async writeDebts(): Promise<void> {
    // Whatever was paid of them since is written next.
    const debts = this.newDebts;
    await this.session.query(WRITE_DEBTS, [
      debts.map((debt) => debt.payerId),
      debts.map((debt) => debt.sequence.toString()),
      debts.map((debt) => debt.product),
      debts.map((debt) => debt.paid.plus(debt.left).toFixed()),
    ]);
  }

  private async writeChangedDebts(): Promise<void> {
    const debts = [...this.changedDebts];
    const changed = await this.session.query(PAY_DEBTS, [
      debts.map(([debt]) => debt.payerId),
      debts.map(([debt]) => debt.sequence.toString()),
      debts.map(([, was]) => was.toFixed()),
      debts.map(([debt]) => debt.paid.toFixed()),
      debts.map(([{ movedTo }]) => movedTo?.payerId ?? null),
      debts.map(([{ movedTo }]) => movedTo?.sequence.toString() ?? null),
    ]);
    if (changed.length !== debts.length) {
      throw serializationFailure('a debt changed without its account being locked');
    }
  }

  private async writeGrants(): Promise<void> {
    const grants = this.newGrants;
    await this.session.query(WRITE_GRANTS, [
      grants.map((grant) => grant.payerId),
      grants.map((grant) => grant.sequence.toString()),
      grants.map((grant) => grant.accountId),
      grants.map((grant) => grant.product),
      grants.map((grant) => grant.initial.toFixed()),
      grants.map((grant) => grant.remaining.toFixed()),
      grants.map((grant) => grant.held.toFixed()),
      grants.map((grant) => grant.priority),
      grants.map((grant) => isoTime(grant.validFrom)),
      grants.map((grant) => maybeTime(grant.expiresAt)),
      grants.map((grant) => maybeTime(grant.anchorAt)),
      grants.map((grant) => grant.anchorMonths),
      grants.map((grant) => grant.value.toFixed()),
      grants.map((grant) => grant.currency),
      grants.map((grant) => grant.sku),
      grants.map((grant) => grant.offerVersion),
    ]);
  }

  private async writeHolds(): Promise<void> {
    const holds = this.newHolds;
    await this.session.query(WRITE_HOLDS, [
      holds.map((hold) => hold.payerId),
      holds.map((hold) => hold.sequence.toString()),
      holds.map((hold) => hold.accountId),
      holds.map((hold) => hold.product),
      holds.map((hold) => hold.amount.toFixed()),
      holds.map((hold) => isoTime(hold.expiresAt)),
    ]);
  }

  private async writeHoldEnds(): Promise<void> {
    const ends = this.holdEnds;
    const ended = await this.session.query(END_HOLDS, [
      ends.map(({ hold }) => hold.payerId),
      ends.map(({ hold }) => hold.sequence.toString()),
      ends.map(({ endedAt }) => isoTime(endedAt)),
      ends.map(({ outcome }) => outcome),
      ends.map(({ settled }) => settled?.toFixed() ?? null),
      ends.map(({ answer }) => (answer === null ? null : JSON.stringify(answer))),
    ]);
    if (ended.length !== ends.length) {
      throw serializationFailure('a hold ended without its account being locked');
    }
  }

  /**
   * What to take of a pocket for an amount, once what is due is on record; null, and nothing on
   * record, when more than `most` would be missing.
   */
  private drawWithin(pocket: Pocket, amount: Decimal, most: Decimal): Drawn<Grant> | null {
    const now = this.now(pocket.payerId);
    const counting = withFreed(pocket.grants, pocket.holds, now);
    const drawn = draw(counting, amount, now);
    if (drawn.missing.greaterThan(most)) return null;
    this.writeDue(pocket);
    // The same again, on the grants themselves, if holds had to give something back first.
    return counting === pocket.grants ? drawn : draw(pocket.grants, amount, now);
  }

  /** What to take beyond a hold. Its own units are all used then: what is left of its grants is free. */
  private drawRest(
    pocket: Pocket,
    amount: Decimal,
    terms: { beyond: boolean; strict: boolean },
    room: Decimal,
  ): Drawn<Grant> | null {
    if (terms.beyond && amount.greaterThan(0)) {
      return this.drawWithin(pocket, amount, terms.strict ? room : amount);
    }
    return terms.strict && amount.greaterThan(0) ? null : { draws: [], missing: amount };
  }

  /** Takes units out of grants, each grant traced once, where it was first drawn on. */
  private take(draws: ReadonlyArray<Draw<Grant>>): Trace[] {
    const traces = new Map<Grant, Trace>();
    for (const { grant, amount } of draws) {
      const {
        sequence,
        amount: taken,
        value,
      } = this.move(grant, grant.remaining.minus(amount), grant.held);
      const before = traces.get(grant) ?? { amount: ZERO, value: ZERO };
      traces.set(grant, {
        sequence,
        amount: taken.plus(before.amount),
        value: value.plus(before.value),
      });
    }
    return [...traces.values()];
  }

  private appendUse(
    pocket: Pocket,
    use: {
      accountId: string;
      amount: Decimal;
      traces: Trace[];
      overage: Decimal;
      cause?: bigint;
    },
    note: Note,
  ): Used {
    const { overage } = use;
    if (!overage.isZero()) this.countOverage(pocket, overage);
    const effectiveAt = this.now(pocket.payerId);
    const amount = use.amount.negated();
    const { sequence } = this.append(pocket, { ...use, kind: 'use', amount, effectiveAt }, note);
    return { sequence, overage };
  }

  private countOverage(pocket: Pocket, amount: Decimal): void {
    const terms = pocket.terms!;
    if (!this.usedTerms.has(terms)) this.usedTerms.set(terms, terms.used);
    terms.used = terms.used.plus(amount);
  }

  /** Gives all units of a hold back, on record and in the pocket. */
  private endHold(
    pocket: Pocket,
    hold: Hold,
    outcome: HoldOutcome,
    endedAt: Instant,
    settled: Decimal | null,
    note: Note,
  ): bigint {
    const traces = hold.parts.map(({ sequence, amount }) => {
      const grant = grantIn(pocket, sequence);
      return this.move(grant, grant.remaining.plus(amount), grant.held.minus(amount));
    });
    const { accountId, amount, sequence: cause } = hold;
    const { sequence } = this.append(
      pocket,
      { kind: 'release', accountId, amount, traces, effectiveAt: endedAt, cause },
      // Of a settled hold the note is the use's.
      outcome === 'settled' ? {} : note,
    );
    pocket.holds = pocket.holds.filter((one) => one !== hold);
    this.holdEnds.push({ hold, outcome, endedAt, settled, answer: null });
    return sequence;
  }

  /** Writes off the grants that ended by a moment, each as of its own end. */
  private writeOff(pocket: Pocket, by: Instant): void {
    const ended = pocket.grants.filter((grant) => hasExpired(grant, by));
    ended.sort((a, b) => a.expiresAt! - b.expiresAt! || (a.sequence < b.sequence ? -1 : 1));
    for (const grant of ended) this.expire(pocket, grant, grant.expiresAt!);
  }

  /**
   * Units that went back to a grant whose time was over by then are lost at that moment.
   *
   * @param cause the hold, or the restore, that gave them back
   * @returns how many
   */
  private loseGivenBack(pocket: Pocket, parts: Hold['parts'], at: Instant, cause: bigint): Decimal {
    let lost = ZERO;
    for (const { sequence } of parts) {
      const grant = grantIn(pocket, sequence);
      if (!hasExpired(grant, at)) continue;
      lost = lost.plus(grant.remaining);
      // At the very end of its time it is the grant's own end.
      this.expire(pocket, grant, at, grant.expiresAt === at ? undefined : cause);
    }
    return lost;
  }

  /** Writes off what is left of a grant. */
  expire(pocket: Pocket, grant: Grant, effectiveAt: Instant, cause?: bigint): void {
    const amount = grant.remaining.negated();
    const traces = [this.move(grant, ZERO, grant.held)];
    const { payerId: accountId } = pocket;
    this.append(pocket, { kind: 'expiry', accountId, amount, traces, effectiveAt, cause }, {});
  }

  /** Reads grants that were used up and are not in the pocket for that. */
  async include(pocket: Pocket, sequences: readonly bigint[]): Promise<void> {
    const known = new Set(pocket.grants.map(({ sequence }) => sequence));
    const missing = sequences.filter((sequence) => !known.has(sequence));
    pocket.grants.push(...(await readGrants(this.session, pocket.payerId, missing)));
  }

  /** Sets what a grant holds and gives the trace of it, value included. */
  private move(grant: Grant, remaining: Decimal, held: Decimal): Trace {
    if (!this.touched.has(grant)) {
      this.touched.set(grant, { remaining: grant.remaining, held: grant.held });
    }
    const before = grant.remaining.plus(grant.held);
    const trace = {
      sequence: grant.sequence,
      amount: remaining.minus(grant.remaining),
      value: valueMoved(grant, before, remaining.plus(held)),
    };
    grant.remaining = remaining;
    grant.held = held;
    return trace;
  }

  private append(pocket: PocketName, line: Line, note: Note): NewEntry {
    const book = this.books.get(pocket.payerId)!;
    book.lastSequence += 1n;
    book.lastAt = book.now;
    const { payerId, product } = pocket;
    const { kind, accountId, amount, traces, effectiveAt } = line;
    const { overage, cause } = line;
    const entry: NewEntry = {
      payerId,
      product,
      sequence: book.lastSequence,
      kind,
      accountId,
      amount,
      traces,
      effectiveAt,
      recordedAt: book.now,
      cause: cause ?? null,
      overage: overage === undefined || overage.isZero() ? null : overage,
      source: note.source ?? null,
      metadata:
        note.metadata === undefined || Object.keys(note.metadata).length === 0
          ? null
          : note.metadata,
      reason: note.reason ?? null,
      author: note.author ?? null,
    };
    this.entries.push(entry);
    return entry;
  }
}

/** A grant of a pocket by its number; it must have been read. */
const grantIn = (pocket: Pocket, sequence: bigint): Grant =>
  pocket.grants.find((grant) => grant.sequence === sequence)!;

/** The first units of a hold, in its order. */
function drawHeld(pocket: Pocket, hold: Hold, amount: Decimal): Array<Draw<Grant>> {
  let missing = amount;
  return hold.parts.flatMap((part) => {
    const taken = Decimal.min(missing, part.amount);
    missing = missing.minus(taken);
    return taken.isZero() ? [] : { grant: grantIn(pocket, part.sequence), amount: taken };
  });
}

export type Validity = Pick<Grant, 'validFrom' | 'expiresAt' | 'anchorAt' | 'anchorMonths'>;

/**
 * When a grant counts. Access for a time, granted while access is in force, begins where that ends
 * and keeps its first day: 31 Jan, 28 Feb, 31 Mar. Everything else begins now.
 */
function validity(pocket: Pocket, terms: GrantTerms, now: Instant): Validity {
  if (terms.ends === null) {
    return { validFrom: now, expiresAt: null, anchorAt: null, anchorMonths: null };
  }
  if ('at' in terms.ends) {
    return { validFrom: now, expiresAt: terms.ends.at, anchorAt: null, anchorMonths: null };
  }
  const { after, lead = null } = terms.ends;
  const behind = (end: Instant): Instant =>
    lead === null ? end : addDuration(end, lead, terms.timeZone);
  const last = pocket.kind === 'period' ? lastToEnd(pocket.grants, now) : null;
  const months = monthsOf(after);
  const validFrom = last?.expiresAt ?? now;
  if (months === null) {
    const expiresAt = behind(addDuration(validFrom, after, terms.timeZone));
    return { validFrom, expiresAt, anchorAt: null, anchorMonths: null };
  }
  const anchorAt = last?.anchorAt ?? validFrom;
  const anchorMonths = (last?.anchorMonths ?? 0) + months;
  const span: Duration = { unit: 'month', count: anchorMonths };
  return {
    validFrom,
    expiresAt: behind(addDuration(anchorAt, span, terms.timeZone)),
    anchorAt,
    anchorMonths,
  };
}

/**
 * Of the grants not over yet, the one that ends last; null when none is in force, or none ends. One
 * that begins later, since what it followed was taken back, keeps nobody waiting.
 */
function lastToEnd(grants: readonly Grant[], now: Instant): Grant | null {
  const isInForce = grants.some((grant) => grant.validFrom <= now && !hasExpired(grant, now));
  if (!isInForce) return null;
  return grants
    .filter((grant) => grant.expiresAt !== null && grant.expiresAt > now)
    .reduce<Grant | null>(
      (last, grant) => (last === null || grant.expiresAt! > last.expiresAt! ? grant : last),
      null,
    );
}

/** The public id of a grant: the id of the line that made it. */
export const grantId = (grant: { payerId: string; sequence: bigint }): string =>
  ledgerId(grant.payerId, grant.sequence);
