import {
  MAX_LOCKED_ACCOUNTS,
  isRetryable,
  isUniqueViolation,
  translate,
  type Context,
  type Reserved,
} from '../database';
import { readClock, type Instant } from '../kernel';
import { decidePlain, plainAnswer, type Batch, type PlainUse } from './decide-plain';
import type { KnownPayers } from './known-payers';
import { isSingle, recordUse, recordUses, type NotWritten, type RecordedUse } from './record-uses';

/**
 * The short way for plain uses: of a payer that is known, covered by its grants, with a new key or
 * none. They are decided on what is known, at once, and written by one statement that finds out
 * whether it was still so. Whatever is not plain, or turns out not to be, goes the long way
 * (use-batch.ts), in its order.
 *
 * Concurrent uses share a statement: the first goes at once, those that arrive while it is under way
 * form the next batch. A batch may be sent while the one before it is under way, even when it builds
 * on it: the connection runs them one after the other, and the second is refused if the first was.
 * Uses of one payer keep to one lane, so that they stay in order.
 */

/** How many lanes, each with a connection of its own, when there are connections enough. */
const LANES = 2;
/** Batches of a lane under way at once. */
const DEPTH = 2;
/** A lane that is busy sends a second batch when so many are waiting. */
const WORTH_SENDING = 100;
/** A lane with so many waiting leaves the next to another. */
const ENOUGH = 32;
/** After so many batches the connection goes back to the pool, so that others have their turn. */
const TURN = 64;
/** So many batches are looked at beforehand once one turned out not to be as it was known. */
const WARY = 32;

/** What becomes of uses that are not plain after all: in order, after those before them. */
export type Detour = (uses: readonly PlainUse[], why: Reason) => void;

/** Why: decided by the rules of the long way; or what the database said (record-uses.ts). */
export type Reason = 'not plain' | keyof NotWritten;

class PlainLane {
  waiting: PlainUse[] = [];
  private underWay: Batch[] = [];
  private scheduled = false;
  private reserved: Promise<Reserved> | null = null;
  private turns = 0;
  private wary = WARY;
  /** Settled when everything sent so far is; in the order in which it was sent. */
  private settled: Promise<void> = Promise.resolve();
  private paused = false;

  constructor(
    private readonly context: Context,
    private readonly known: KnownPayers,
    private readonly detour: Detour,
  ) {}

  add(use: PlainUse): void {
    this.waiting.push(use);
    if (this.waiting.length >= WORTH_SENDING) this.send();
    else if (this.underWay.length === 0 && !this.scheduled) {
      this.scheduled = true;
      // After this turn's microtasks, so that calls made together go together.
      queueMicrotask(() => {
        this.scheduled = false;
        this.send();
      });
    }
  }

  /** Sends what is waiting, if there is room. */
  private send(): void {
    const { context } = this;
    while (this.waiting.length > 0 && !this.paused && this.turns < TURN) {
      if (this.underWay.length >= DEPTH) return;
      // A second batch only when it is worth it, and never on one that leaves no token.
      const [before] = this.underWay;
      if (before !== undefined && (this.waiting.length < WORTH_SENDING || isSingle(before))) return;
      const wanted = this.waiting.slice(0, MAX_LOCKED_ACCOUNTS);
      this.waiting = this.waiting.slice(MAX_LOCKED_ACCOUNTS);
      let now: Instant;
      try {
        now = readClock(context.clock);
      } catch (error) {
        this.fail(wanted, error);
        continue;
      }
      const { batch, aside } = decidePlain(wanted, this.known, {
        now,
        keep: context.keep.change,
        lockTimeout: context.database.lockTimeout,
        before: this.underWay.at(-1) ?? null,
      });
      this.leave(aside['not plain'], 'not plain');
      this.leave(aside.stale, 'stale');
      if (batch.uses.length === 0) continue;
      this.underWay.push(batch);
      this.turns += 1;
      this.settled = this.run(batch);
    }
  }

  /** Never throws: what goes wrong goes to those it concerns. */
  private async run(batch: Batch): Promise<void> {
    const before = this.settled;
    let result: NotWritten | null = null;
    let failure: unknown;
    try {
      result = await this.record(batch, this.wary > 0);
      this.wary = result.stale.length > 0 ? WARY : Math.max(0, this.wary - 1);
    } catch (error) {
      failure = error;
    }
    if (result === null && isTaken(failure)) {
      // Once more, with a look; nothing new is sent until it is known what stands.
      this.wary = WARY;
      this.paused = true;
      try {
        result = await this.record(batch, true);
      } catch (error) {
        failure = error;
      }
      this.paused = false;
    }
    // What cannot be written any more is not written on: the next ones have another connection.
    if (result === null) this.turns = TURN;
    await before;
    this.underWay = this.underWay.filter((other) => other !== batch);
    this.settle(batch, result, failure);
    if (this.turns >= TURN) await this.giveBack();
    this.send();
    // Not yet: who calls again as soon as it is answered finds the connection still there.
    if (this.underWay.length === 0) setImmediate(() => void this.giveBack());
  }

  private async record(batch: Batch, look: boolean): Promise<NotWritten> {
    this.reserved ??= this.context.database.reserve();
    let connection: Reserved;
    try {
      connection = await this.reserved;
    } catch (error) {
      this.reserved = null;
      throw error;
    }
    return isSingle(batch)
      ? recordUse(connection, batch)
      : recordUses(connection, batch, { look, after: batch.after, token: batch.token });
  }

  private settle(batch: Batch, result: NotWritten | null, failure: unknown): void {
    const { wanted, uses, payers } = batch;
    for (const { payer } of payers) if (payer.writing === batch.number) payer.writing = 0;
    if (result === null) {
      for (const { payer } of payers) this.known.drop(payer);
      // What was refused may concern one of them alone; of what was lost nobody knows.
      if (isTaken(failure) || isRefused(failure)) this.leave(wanted, 'stale');
      else {
        this.fail(wanted, translate(failure));
      }
      return;
    }
    const whys = new Map<number, keyof NotWritten>();
    // The last to be set counts most: nobody needs to look again for what has its answer.
    for (const why of ['stale', 'busy', 'answered'] as const) {
      for (const position of result[why]) whys.set(position, why);
    }
    if (whys.size === 0) {
      wanted.forEach((use, index) => this.answer(use, uses[index]!));
      return;
    }
    for (const position of whys.keys()) this.known.drop(payers[position - 1]!.payer);
    const whyOf = new Map(payers.map(({ payer }, index) => [payer, whys.get(index + 1)]));
    const gone: Record<keyof NotWritten, PlainUse[]> = { busy: [], stale: [], answered: [] };
    wanted.forEach((use, index) => {
      const why = whyOf.get(use.payer);
      if (why === undefined) this.answer(use, uses[index]!);
      else gone[why].push(use);
    });
    for (const why of ['busy', 'stale', 'answered'] as const) this.leave(gone[why], why);
  }

  private answer(use: PlainUse, recorded: RecordedUse): void {
    use.resolve(plainAnswer(use, recorded));
    use.payer.end();
  }

  private leave(uses: readonly PlainUse[], why: Reason): void {
    if (uses.length > 0) this.detour(uses, why);
    for (const { payer } of uses) payer.end();
  }

  private fail(uses: readonly PlainUse[], error: unknown): void {
    for (const use of uses) {
      use.reject(error);
      use.payer.end();
    }
  }

  /** Gives the connection back once nothing is under way on it. */
  private async giveBack(): Promise<void> {
    if (this.underWay.length > 0) return;
    this.turns = 0;
    const { reserved } = this;
    if (reserved === null) return;
    this.reserved = null;
    await (await reserved).release();
  }
}

/** A line or a key is taken, or a grant is not as it was known: the statement was undone. */
const isTaken = (error: unknown): boolean => isUniqueViolation(error) || isRetryable(error);

/** The database answered, and refused. */
const isRefused = (error: unknown): boolean => {
  const { code } = translate(error) as { code?: string };
  return code !== 'database_unavailable';
};

export class PlainUses {
  private readonly lanes: PlainLane[];

  constructor(context: Context, known: KnownPayers, detour: Detour) {
    // Others need connections, too.
    const lanes = context.database.connections >= 2 * LANES ? LANES : 1;
    this.lanes = Array.from({ length: lanes }, () => new PlainLane(context, known, detour));
  }

  add(use: PlainUse): void {
    const { payer } = use;
    if (payer.isIdle) payer.lane = this.laneWithRoom();
    payer.begin();
    this.lanes[payer.lane]!.add(use);
  }

  /** The first, until it has enough to do: few uses in one batch cost less than in two. */
  private laneWithRoom(): number {
    if (this.lanes[0]!.waiting.length < ENOUGH) return 0;
    return this.lanes.reduce(
      (best, lane, index) =>
        lane.waiting.length < this.lanes[best]!.waiting.length ? index : best,
      0,
    );
  }
}
