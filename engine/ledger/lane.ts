/**
 * Concurrent calls of one process, done together. The first call goes at once; those that arrive
 * while it is under way form the next batch. No timer, so a lone call never waits, and the busier it
 * gets, the cheaper a call becomes: a batch costs as many round trips as a single call.
 */

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
   * @param most the largest batch
   * @param failsAlone whether a failed batch may hold items that would succeed without the others
   */
  constructor(
    private readonly run: (items: Item[]) => Promise<Answer[]>,
    private readonly most: number,
    private readonly failsAlone: (error: unknown) => boolean,
  ) {}

  /** Puts items in line, in order, and gives what became of each, in order. */
  async submit(items: readonly Item[]): Promise<Array<PromiseSettledResult<Answer>>> {
    const answers = items.map(
      (item) =>
        new Promise<Answer>((resolve, reject) => this.waiting.push({ item, resolve, reject })),
    );
    if (!this.busy && this.waiting.length > 0) {
      this.busy = true;
      // After this turn of the event loop's microtasks, so that calls made together go together.
      queueMicrotask(() => void this.drain());
    }
    return Promise.allSettled(answers);
  }

  private async drain(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.waiting.slice(0, this.most);
      this.waiting = this.waiting.slice(this.most);
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
