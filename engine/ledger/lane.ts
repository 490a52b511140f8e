import { MAX_LOCKED_ACCOUNTS } from '../database';

/**
 * Concurrent calls of one process, done together. The first call goes at once; those that arrive
 * while it is under way form the next batch. No timer, so a lone call never waits, and the busier it
 * gets, the cheaper a call becomes: a batch costs as many round trips as a single call.
 */

/** The largest batch: one transaction locks at most so many accounts. */
const MOST = MAX_LOCKED_ACCOUNTS;

interface Waiting<Item, Answer> {
  item: Item;
  resolve(answer: Answer): void;
  reject(reason: unknown): void;
}

export class Lane<Item, Answer> {
  private waiting: Array<Waiting<Item, Answer>> = [];
  private busy = false;

  /**
   * @param run does a batch and gives an answer for each item, in order, once it is committed
   * @param failsAlone whether a failed batch may hold items that would succeed without the others
   */
  constructor(
    private readonly run: (items: Item[]) => Promise<Answer[]>,
    private readonly failsAlone: (error: unknown) => boolean = () => false,
  ) {}

  /** Puts an item in line. */
  add(item: Item): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      if (this.busy) return;
      this.busy = true;
      // After this turn of the event loop's microtasks, so that calls made together go together.
      queueMicrotask(() => void this.drain());
    });
  }

  private async drain(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.waiting.slice(0, MOST);
      this.waiting = this.waiting.slice(MOST);
      await this.attempt(batch);
    }
    this.busy = false;
  }

  /** Never throws: what goes wrong goes to those it concerns. */
  private async attempt(batch: Array<Waiting<Item, Answer>>): Promise<void> {
    try {
      const answers = await this.run(batch.map(({ item }) => item));
      batch.forEach(({ resolve }, index) => resolve(answers[index]!));
    } catch (error) {
      if (batch.length > 1 && this.failsAlone(error)) {
        await Promise.all(batch.map((waiting) => this.attempt([waiting])));
      } else {
        for (const { reject } of batch) reject(error);
      }
    }
  }
}

/**
 * Lanes for what must wait for somebody else, one for each that is waited for: behind a busy account
 * wait only the calls that concern it. A lane that is done is gone.
 */
export class PatientLanes<Item, Answer> {
  private readonly lanes = new Map<string, { lane: Lane<Item, Answer>; items: number }>();
  private running = 0;
  private readonly turns: Array<() => void> = [];

  /** @param connections of the database: some are left for those who need not wait */
  constructor(
    private readonly run: (items: Item[]) => Promise<Answer[]>,
    private readonly failsAlone: (error: unknown) => boolean,
    private readonly connections: number,
  ) {}

  /** Whether anybody waits for it. */
  has(key: string): boolean {
    return this.lanes.has(key);
  }

  async add(key: string, item: Item): Promise<Answer> {
    let entry = this.lanes.get(key);
    if (entry === undefined) {
      const run = (items: Item[]): Promise<Answer[]> => this.inTurn(() => this.run(items));
      entry = { lane: new Lane(run, this.failsAlone), items: 0 };
      this.lanes.set(key, entry);
    }
    entry.items += 1;
    try {
      return await entry.lane.add(item);
    } finally {
      entry.items -= 1;
      if (entry.items === 0) this.lanes.delete(key);
    }
  }

  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    const most = Math.max(1, Math.floor(this.connections / 2) - 1);
    if (this.running >= most) await new Promise<void>((resolve) => this.turns.push(resolve));
    else this.running += 1;
    try {
      return await work();
    } finally {
      // The turn is handed on, or given back.
      const next = this.turns.shift();
      if (next === undefined) this.running -= 1;
      else next();
    }
  }
}
