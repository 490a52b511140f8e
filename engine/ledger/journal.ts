import type { Product, ProductKind } from '../catalog';
import type { NewEvent } from '../events';
import { Decimal, ZERO, formatUnits, ledgerId, type Instant } from '../kernel';
import type {
  EntryKind,
  HoldOutcome,
  NewEntry,
  NewGrant,
  Note,
  PairKind,
  Trace,
  Unwritten,
} from './lines';
import { draw, hasExpired, isOver, withFreed, type Draw, type Drawn } from './order-of-use';
import {
  emptyPocket,
  fill,
  overageRoom,
  pocketKey,
  type Grant,
  type Hold,
  type Holdings,
  type Pocket,
  type PocketName,
  type UnitDebt,
} from './pockets';
import { crossings, levelOf, type Level } from './thresholds';
import { validityOf, type GrantEnd, type Validity } from './validity';
import { valueMoved } from './value';

/**
 * A transaction's worth of ledger lines, decided in memory on what was read under the payers' locks.
 * Pure: what comes of it is in `unwritten`, each touched grant once, whatever happened to it
 * (journal-store.ts reads and writes).
 */

/** A pocket that a transaction will work on. */
export type WantedPocket = PocketName & { kind: ProductKind };

/** What a payer has of a product. */
export const pocketOf = (
  { payerId }: { payerId: string },
  { key: product, kind }: Pick<Product, 'key' | 'kind'>,
): WantedPocket => ({ payerId, product, kind });

interface PayerBook {
  lastSequence: bigint;
  /** The time of everything this transaction writes for the payer: never before its last line. */
  now: Instant;
}

/** A payer's last line. */
export interface LastLine {
  payerId: string;
  sequence: bigint;
  recordedAt: Instant;
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

/** A move that was written: its two lines, and what it moved. */
export interface Moved {
  out: bigint;
  grant: Grant;
  value: Decimal;
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

export class Journal {
  private readonly books = new Map<string, PayerBook>();
  private readonly pockets = new Map<string, Pocket>();
  /** Pockets of whose balance something is told, with how full they were when they were read. */
  private readonly levels = new Map<Pocket, Level>();
  readonly unwritten: Unwritten = {
    entries: [],
    grants: [],
    holds: [],
    holdEnds: [],
    pairs: [],
    debts: [],
    touched: new Map(),
    endings: new Map(),
    usedTerms: new Map(),
    changedDebts: new Map(),
    events: [],
  };

  /**
   * @param now the clock, read after the locks were had
   * @param lastLines of all payers that are wanted, but those that have none
   */
  constructor(
    now: Instant,
    wanted: readonly WantedPocket[],
    lastLines: readonly LastLine[],
    holdings: Holdings,
  ) {
    for (const { payerId } of wanted) this.books.set(payerId, { lastSequence: 0n, now });
    for (const { payerId, sequence, recordedAt } of lastLines) {
      this.books.set(payerId, { lastSequence: sequence, now: Math.max(now, recordedAt) });
    }
    for (const { payerId, product, kind } of wanted) {
      const key = pocketKey({ payerId, product });
      if (!this.pockets.has(key)) {
        this.pockets.set(key, { payerId, product, kind, debts: [], ...emptyPocket() });
      }
    }
    fill(this.pockets, holdings);
    for (const pocket of this.pockets.values()) {
      const { thresholds, kind } = pocket;
      if (thresholds === null || kind !== 'quantity') continue;
      const level = levelOf(pocket.grants, thresholds, this.now(pocket.payerId));
      this.levels.set(pocket, level);
    }
  }

  /** One of the pockets that were wanted, as it stands after what was done so far. */
  pocket(payerId: string, product: string): Pocket {
    return this.pockets.get(pocketKey({ payerId, product }))!;
  }

  /** All pockets that were wanted. */
  allPockets(): Pocket[] {
    return [...this.pockets.values()];
  }

  /**
   * What is to be told. What was crossed is compared at the end: what fell and rose again in between
   * is not told.
   */
  events(): NewEvent[] {
    const crossed = [...this.levels].flatMap(([pocket, before]): NewEvent[] => {
      const { payerId, product } = pocket;
      const at = this.now(payerId);
      const thresholds = pocket.thresholds!;
      const after = levelOf(pocket.grants, thresholds, at);
      const told = crossings(product, thresholds, before, after);
      return told.map((one) => ({ ...one, payerId, accountId: payerId, at }));
    });
    return [...this.unwritten.events, ...crossed];
  }

  /** How many lines of a kind were put on record so far. */
  written(kind: EntryKind): number {
    return this.unwritten.entries.filter((entry) => entry.kind === kind).length;
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
    const end = validityOf(pocket, terms.ends, terms.timeZone, this.now(pocket.payerId));
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
    this.unwritten.grants.push(grant);
    return grant;
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
    if (!this.unwritten.changedDebts.has(debt)) this.unwritten.changedDebts.set(debt, debt.paid);
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
    this.unwritten.debts.push(debt);
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
    this.unwritten.endings.set(grant, at);
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
    this.unwritten.pairs.push(
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
    this.unwritten.holds.push(hold);
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
      this.unwritten.events.push({
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
    this.unwritten.holdEnds.find((end) => end.hold === hold)!.answer = answer;
  }

  /**
   * Gives units of a use back to the grants they came from, which must be in the pocket. Those of a
   * grant whose time is over are lost again at once.
   *
   * @param use the line; `parts` what goes back to which grants, `overage` what counted as that
   */
  restore(
    pocket: Pocket,
    use: {
      sequence: bigint;
      accountId: string;
      amount: Decimal;
      parts: Hold['parts'];
      overage: Decimal;
    },
    note: Note,
  ): Restored {
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
    if (!this.unwritten.usedTerms.has(terms)) this.unwritten.usedTerms.set(terms, terms.used);
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
    this.unwritten.holdEnds.push({ hold, outcome, endedAt, settled, answer: null });
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

  /** Takes in a grant that is used up, and is not in its pocket for that. */
  include(grant: Grant): Grant {
    const { grants } = this.pocket(grant.payerId, grant.product);
    const known = grants.find(({ sequence }) => sequence === grant.sequence);
    if (known === undefined) grants.push(grant);
    return known ?? grant;
  }

  /** Sets what a grant holds and gives the trace of it, value included. */
  private move(grant: Grant, remaining: Decimal, held: Decimal): Trace {
    if (!this.unwritten.touched.has(grant)) {
      this.unwritten.touched.set(grant, { remaining: grant.remaining, held: grant.held });
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
    this.unwritten.entries.push(entry);
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
