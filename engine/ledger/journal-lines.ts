import type { Product, ProductKind } from '../catalog';
import type { NewEvent } from '../events';
import { ZERO, sumOf, type Decimal, type Instant } from '../kernel';
import type { EntryKind, NewEntry, Note, Trace, Unwritten } from './lines';
import { draw, hasExpired, isOver, withFreed, type Draw, type Drawn } from './order-of-use';
import {
  emptyPocket,
  fill,
  pocketKey,
  type Grant,
  type Hold,
  type Holdings,
  type Pocket,
  type PocketName,
} from './pockets';
import type { HoldOutcome } from './tables';
import { crossings, levelOf, type Level } from './thresholds';
import { valueMoved } from './value';

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
export interface Line {
  kind: EntryKind;
  accountId: string;
  traces: Trace[];
  /** Default: what its traces move. */
  amount?: Decimal;
  /** Default: the time that counts for the payer. */
  effectiveAt?: Instant;
  cause?: bigint;
  overage?: Decimal;
}

/**
 * A transaction's worth of ledger lines, decided in memory on what was read under the payers' locks:
 * pockets as they come to stand, line by line, and what the clock has done to them. Pure: what comes of
 * it is in `unwritten`, each touched grant once, whatever happened to it (journal-store.ts reads and
 * writes). What a transaction may do is in journal.ts.
 */
export class JournalLines {
  private readonly books = new Map<string, PayerBook>();
  private readonly pockets = new Map<string, Pocket>();
  /** Pockets of whose balance something is told, with how full they were when they were read. */
  protected readonly levels = new Map<Pocket, Level>();
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
  protected drawWithin(pocket: Pocket, amount: Decimal, most: Decimal): Drawn<Grant> | null {
    const now = this.now(pocket.payerId);
    const counting = withFreed(pocket.grants, pocket.holds, now);
    const drawn = draw(counting, amount, now);
    if (drawn.missing.greaterThan(most)) return null;
    this.writeDue(pocket);
    // The same again, on the grants themselves, if holds had to give something back first.
    return counting === pocket.grants ? drawn : draw(pocket.grants, amount, now);
  }

  /** Takes units out of grants, each grant traced once, where it was first drawn on. */
  protected take(draws: ReadonlyArray<Draw<Grant>>): Trace[] {
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

  /** Puts units back into the grants that they came from, out of a hold or not. */
  protected giveBack(pocket: Pocket, parts: Hold['parts'], isHeld: boolean): Trace[] {
    return parts.map(({ sequence, amount }) => {
      const grant = grantIn(pocket, sequence);
      const held = isHeld ? grant.held.minus(amount) : grant.held;
      return this.move(grant, grant.remaining.plus(amount), held);
    });
  }

  /** Gives all units of a hold back, on record and in the pocket. */
  protected endHold(
    pocket: Pocket,
    hold: Hold,
    outcome: HoldOutcome,
    endedAt: Instant,
    settled: Decimal | null,
    note: Note,
  ): bigint {
    const traces = this.giveBack(pocket, hold.parts, true);
    const { accountId, sequence: cause } = hold;
    const line = { kind: 'release', accountId, traces, effectiveAt: endedAt, cause } as const;
    // Of a hold that was settled with a use the note is that one's.
    const hasUse = outcome === 'settled' && !settled!.isZero();
    const { sequence } = this.append(pocket, line, hasUse ? {} : note);
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
  protected loseGivenBack(
    pocket: Pocket,
    parts: Hold['parts'],
    at: Instant,
    cause: bigint,
  ): Decimal {
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
    const traces = [this.move(grant, ZERO, grant.held)];
    const { payerId: accountId } = pocket;
    this.append(pocket, { kind: 'expiry', accountId, traces, effectiveAt, cause }, {});
  }

  /** Takes in a grant that is used up, and is not in its pocket for that. */
  include(grant: Grant): Grant {
    const { grants } = this.pocket(grant.payerId, grant.product);
    const known = grants.find(({ sequence }) => sequence === grant.sequence);
    if (known === undefined) grants.push(grant);
    return known ?? grant;
  }

  /** Sets what a grant holds and gives the trace of it, value included. */
  protected move(grant: Grant, remaining: Decimal, held: Decimal): Trace {
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

  /** The number that the payer's next line will have. */
  protected nextSequence(payerId: string): bigint {
    return this.books.get(payerId)!.lastSequence + 1n;
  }

  protected append({ payerId, product }: PocketName, line: Line, note: Note): NewEntry {
    const book = this.books.get(payerId)!;
    book.lastSequence += 1n;
    const { kind, accountId, traces, cause = null, overage } = line;
    const { source = null, metadata, reason = null, author = null } = note;
    const isEmpty = metadata === undefined || Object.keys(metadata).length === 0;
    const entry: NewEntry = {
      payerId,
      product,
      sequence: book.lastSequence,
      kind,
      accountId,
      amount: line.amount ?? sumOf(traces.map((trace) => trace.amount)),
      traces,
      effectiveAt: line.effectiveAt ?? book.now,
      recordedAt: book.now,
      cause,
      overage: overage === undefined || overage.isZero() ? null : overage,
      source,
      metadata: isEmpty ? null : metadata,
      reason,
      author,
    };
    this.unwritten.entries.push(entry);
    return entry;
  }
}

/** A grant of a pocket by its number; it must have been read. */
export const grantIn = (pocket: Pocket, sequence: bigint): Grant =>
  pocket.grants.find((grant) => grant.sequence === sequence)!;
