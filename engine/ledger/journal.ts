import { Decimal, ZERO, formatUnits, type Instant } from '../kernel';
import { JournalLines, grantIn, type Line } from './journal-lines';
import type { NewGrant, Note, Trace } from './lines';
import type { Draw, Drawn } from './order-of-use';
import { overageRoom, type Grant, type Hold, type Pocket, type UnitDebt } from './pockets';
import type { PairKind } from './tables';
import { validityOf, type GrantEnd, type Validity } from './validity';

export { pocketOf, type LastLine, type WantedPocket } from './journal-lines';

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

/** A hold that was settled: the use, null of nothing, and what was neither there nor allowed as overage. */
export interface Settled extends Pick<Used, 'overage'> {
  sequence: bigint | null;
  uncovered: Decimal;
}

export interface Restored {
  sequence: bigint;
  /** Units that went to grants whose time is over, and are lost again. */
  expired: Decimal;
}

/** What a transaction may do to pockets: the rules of the ledger. */
export class Journal extends JournalLines {
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
    const sequence = this.nextSequence(payerId);
    const traces = [{ sequence, amount: quantity, value }];
    this.append(pocket, { kind, accountId, traces, cause }, note);
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
  owe(pocket: Pocket, accountId: string, left: Decimal, note: Note): UnitDebt {
    const line: Line = { kind: 'owed', accountId, amount: left.negated(), traces: [] };
    const { payerId, product, sequence } = this.append(pocket, line, note);
    const debt = { payerId, product, sequence, paid: ZERO, left, movedTo: null };
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
    const [payerId, otherPayerId, otherSequence] = [from.payerId, into.payerId, grant.sequence];
    const kind = terms.why;
    this.unwritten.pairs.push(
      { payerId, sequence: out, otherPayerId, otherSequence, kind, grantSequence: followed },
      {
        payerId: otherPayerId,
        sequence: otherSequence,
        otherPayerId: payerId,
        otherSequence: out,
        kind,
        grantSequence: null,
      },
    );
    if (terms.why === 'transfer') this.payDebts(into, grant);
    return { out, grant, value };
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
    const { sequence } = this.append(pocket, { kind, accountId, traces, cause }, note);
    return { sequence, traces };
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
    return this.setAside(pocket, drawn.draws, { accountId, amount, expiresAt }, note);
  }

  private setAside(
    pocket: Pocket,
    draws: ReadonlyArray<Draw<Grant>>,
    { cause, ...terms }: Pick<Hold, 'accountId' | 'amount' | 'expiresAt'> & { cause?: bigint },
    note: Note,
  ): Hold {
    const traces = draws.map(({ grant, amount: aside }) =>
      this.move(grant, grant.remaining.minus(aside), grant.held.plus(aside)),
    );
    const line = { kind: 'hold', accountId: terms.accountId, traces, cause } as const;
    const { payerId, product, sequence } = this.append(pocket, line, note);
    const parts = draws.map(({ grant, amount }) => ({ sequence: grant.sequence, amount }));
    const hold: Hold = { ...terms, payerId, product, sequence, parts };
    pocket.holds.push(hold);
    this.unwritten.holds.push(hold);
    return hold;
  }

  /**
   * Gives back what holds have of some grants, for these are about to move: `holdAgain` follows in the
   * same transaction. What is due must be on record.
   */
  liftHolds(pocket: Pocket, grants: readonly Grant[]): Hold[] {
    const moving = new Set(grants.map(({ sequence }) => sequence));
    const lifted = pocket.holds.filter(({ parts }) =>
      parts.some(({ sequence }) => moving.has(sequence)),
    );
    const now = this.now(pocket.payerId);
    for (const hold of lifted) this.endHold(pocket, hold, 'released', now, null, {});
    return lifted;
  }

  /**
   * A hold that was lifted goes on, with the same units wherever they are by now.
   *
   * @param first the line by which it is known
   * @param moved the grants that live on as others
   */
  holdAgain(
    pocket: Pocket,
    { accountId, amount, expiresAt, parts }: Hold,
    first: bigint,
    moved: ReadonlyMap<bigint, Grant>,
  ): void {
    const draws = parts.map((part) => ({
      grant: moved.get(part.sequence) ?? grantIn(pocket, part.sequence),
      amount: part.amount,
    }));
    this.setAside(pocket, draws, { accountId, amount, expiresAt, cause: first }, {});
  }

  /**
   * Ends an open hold with a use: first of the units on hold, in the hold's order and whether or not
   * their grant's time is over; then, if allowed, by the order of use; then overage; and what is not
   * there is put on record as uncovered. What was on hold and not used goes back; of 0 all, without a
   * use.
   *
   * @param terms `beyond`: whether more than is on hold may be taken; `strict`: nothing may be
   *   uncovered; `holdId`: by which it is known
   * @returns null, and nothing changed, when `strict` does not allow it
   */
  settle(
    pocket: Pocket,
    hold: Hold,
    amount: Decimal,
    terms: { beyond: boolean; strict: boolean; holdId: string },
    note: Note,
  ): Settled | null {
    const fromHold = Decimal.min(amount, hold.amount);
    const room = terms.beyond ? overageRoom(pocket.terms) : ZERO;
    const rest = this.drawRest(pocket, amount.minus(fromHold), terms, room);
    if (rest === null) return null;
    this.writeDue(pocket);
    const now = this.now(pocket.payerId);
    this.endHold(pocket, hold, 'settled', now, amount, note);

    if (amount.isZero()) {
      this.loseGivenBack(pocket, hold.parts, now, hold.sequence);
      return { sequence: null, overage: ZERO, uncovered: ZERO };
    }

    const overage = Decimal.min(rest.missing, room);
    const uncovered = rest.missing.minus(overage);
    const traces = this.take([...drawHeld(pocket, hold, fromHold), ...rest.draws]);
    const { accountId, sequence: cause } = hold;
    const use = { accountId, amount: amount.minus(uncovered), traces, overage, cause };
    const used = this.appendUse(pocket, use, note);
    if (uncovered.greaterThan(0)) this.leaveUncovered(pocket, hold, uncovered, terms.holdId);
    this.loseGivenBack(pocket, hold.parts, now, cause);
    return { ...used, uncovered };
  }

  /** Units that were used and not there: on record, and told. */
  private leaveUncovered(
    pocket: Pocket,
    { accountId, sequence: cause }: Hold,
    units: Decimal,
    holdId: string,
  ): void {
    const amount = units.negated();
    this.append(pocket, { kind: 'uncovered', accountId, amount, traces: [], cause }, {});
    const { payerId, product } = pocket;
    this.unwritten.events.push({
      type: 'usage.uncovered',
      payerId,
      accountId,
      at: this.now(payerId),
      data: { product, holdId, amount: formatUnits(units) },
    });
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
    const traces = this.giveBack(pocket, use.parts, false);
    const overage = use.overage.negated();
    if (!overage.isZero()) this.countOverage(pocket, overage);
    const { accountId, amount, sequence: cause } = use;
    const line = { kind: 'restore', accountId, amount, traces, cause, overage } as const;
    const { sequence } = this.append(pocket, line, note);
    const now = this.now(pocket.payerId);
    return { sequence, expired: this.loseGivenBack(pocket, use.parts, now, sequence) };
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

  private appendUse(
    pocket: Pocket,
    use: { accountId: string; amount: Decimal; traces: Trace[]; overage: Decimal; cause?: bigint },
    note: Note,
  ): Used {
    const { overage } = use;
    if (!overage.isZero()) this.countOverage(pocket, overage);
    const amount = use.amount.negated();
    const { sequence } = this.append(pocket, { ...use, kind: 'use', amount }, note);
    return { sequence, overage };
  }

  private countOverage(pocket: Pocket, amount: Decimal): void {
    const terms = pocket.terms!;
    if (!this.unwritten.usedTerms.has(terms)) this.unwritten.usedTerms.set(terms, terms.used);
    terms.used = terms.used.plus(amount);
  }
}

/** The first units of a hold, in its order. */
function drawHeld(pocket: Pocket, hold: Hold, amount: Decimal): Array<Draw<Grant>> {
  let missing = amount;
  return hold.parts.flatMap((part) => {
    const taken = Decimal.min(missing, part.amount);
    missing = missing.minus(taken);
    return taken.isZero() ? [] : { grant: grantIn(pocket, part.sequence), amount: taken };
  });
}
