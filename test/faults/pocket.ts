/**
 * The plain oracle: what one payer has of one product, in whole units, changed line by line in the
 * order of the ledger. Written from billing-rules.md and knowing nothing of the engine.
 */

/** Units that came by one grant. */
interface Batch {
  grantId: string;
  sequence: number;
  /** Neither used nor set aside. */
  left: number;
  priority: number;
  until: number | null;
}

export interface Part {
  grantId: string;
  amount: number;
}

/** Units set aside. */
interface Hold {
  holdId: string;
  until: number;
  parts: Part[];
}

/** What there was after a line, for as long as no other line changed it. */
export interface State {
  sequence: number;
  recordedAt: number;
  batches: ReadonlyArray<Pick<Batch, 'grantId' | 'left' | 'until'>>;
  holds: readonly Hold[];
}

const isOver = (one: { until: number | null }, at: number): boolean =>
  one.until !== null && one.until <= at;

/** By the clock: what ended by then does not count, and what was held until then does again. */
export function availableIn(
  { batches, holds }: Pick<State, 'batches' | 'holds'>,
  at: number,
): number {
  const freed = new Map<string, number>();
  for (const hold of holds) {
    if (!isOver(hold, at)) continue;
    for (const { grantId, amount } of hold.parts) {
      freed.set(grantId, (freed.get(grantId) ?? 0) + amount);
    }
  }
  return batches
    .filter((batch) => !isOver(batch, at))
    .reduce((sum, { grantId, left }) => sum + left + (freed.get(grantId) ?? 0), 0);
}

/** The moments at which a state comes to something else by the clock alone. */
export const turningPoints = ({ batches, holds }: State): number[] => [
  ...batches.flatMap(({ until }) => until ?? []),
  ...holds.map(({ until }) => until),
];

export class Pocket {
  private readonly batches = new Map<string, Batch>();
  private holds: Hold[] = [];
  /** Since `forget`: what denials may have seen. */
  states: State[] = [{ sequence: 0, recordedAt: 0, batches: [], holds: [] }];

  available(at: number): number {
    return availableIn({ batches: [...this.batches.values()], holds: this.holds }, at);
  }

  held(at: number): number {
    return this.holds
      .filter((hold) => !isOver(hold, at))
      .reduce((sum, { parts }) => sum + parts.reduce((all, { amount }) => all + amount, 0), 0);
  }

  /** Every grant there ever was. */
  get grants(): ReadonlyMap<string, Batch> {
    return this.batches;
  }

  /** The open hold; null when there is none of that id, or not any more. */
  openHold(holdId: string | null): Hold | null {
    return this.holds.find((hold) => hold.holdId === holdId) ?? null;
  }

  give(batch: Batch): void {
    this.batches.set(batch.grantId, batch);
  }

  /** Takes by priority, earliest end, age; null, and nothing taken, when there is not enough. */
  take(amount: number, at: number): Part[] | null {
    const never = Number.POSITIVE_INFINITY;
    const usable = [...this.batches.values()]
      .filter((batch) => batch.left > 0 && !isOver(batch, at))
      .sort(
        (a, b) =>
          a.priority - b.priority ||
          (a.until === b.until ? 0 : (a.until ?? never) - (b.until ?? never)) ||
          a.sequence - b.sequence,
      );
    if (usable.reduce((sum, { left }) => sum + left, 0) < amount) return null;
    const parts: Part[] = [];
    let missing = amount;
    for (const batch of usable) {
      const taken = Math.min(batch.left, missing);
      if (taken === 0) break;
      batch.left -= taken;
      missing -= taken;
      parts.push({ grantId: batch.grantId, amount: taken });
    }
    return parts;
  }

  hold(holdId: string, amount: number, until: number, at: number): Part[] | null {
    const parts = this.take(amount, at);
    if (parts !== null) this.holds.push({ holdId, until, parts });
    return parts;
  }

  /** Gives the units of a hold back, also to grants whose time is over. */
  release(hold: Hold): Part[] {
    this.holds = this.holds.filter((other) => other !== hold);
    this.giveBack(hold.parts);
    return hold.parts;
  }

  giveBack(parts: readonly Part[]): void {
    for (const { grantId, amount } of parts) this.batches.get(grantId)!.left += amount;
  }

  /**
   * Settles a hold that was just released: its own units in its order, whatever their time, then
   * others by the order of use, as far as there are any.
   */
  settle(hold: Hold, amount: number, at: number): { parts: Part[]; uncovered: number } {
    const taken = new Map<string, number>();
    let missing = amount;
    for (const part of hold.parts) {
      const own = Math.min(part.amount, missing);
      if (own === 0) break;
      this.batches.get(part.grantId)!.left -= own;
      taken.set(part.grantId, own);
      missing -= own;
    }
    const more = Math.min(missing, this.available(at));
    for (const part of this.take(more, at)!) {
      taken.set(part.grantId, (taken.get(part.grantId) ?? 0) + part.amount);
    }
    const parts = [...taken].map(([grantId, units]) => ({ grantId, amount: units }));
    return { parts, uncovered: missing - more };
  }

  /** Writes off what a grant has left when its time is over; null when it may not be. */
  expire(grantId: string, at: number): { lost: number; until: number } | null {
    const batch = this.batches.get(grantId);
    if (batch === undefined || batch.until === null || !isOver(batch, at) || batch.left === 0) {
      return null;
    }
    const lost = batch.left;
    batch.left = 0;
    return { lost, until: batch.until };
  }

  /** Notes the state after a line. */
  note(sequence: number, recordedAt: number): void {
    const holding = new Set(this.holds.flatMap(({ parts }) => parts.map(({ grantId }) => grantId)));
    const batches = [...this.batches.values()]
      .filter(({ grantId, left }) => left > 0 || holding.has(grantId))
      .map(({ grantId, left, until }) => ({ grantId, left, until }));
    this.states.push({ sequence, recordedAt, batches, holds: this.holds });
  }

  forget(): void {
    this.states = this.states.slice(-1);
  }
}
