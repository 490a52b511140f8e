/** Random numbers that a seed repeats (the generator is mulberry32). */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** From 0 up to, and without, 1. */
  fraction(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length - 1)]!;
  }

  /** A generator of its own, so that what one caller draws does not depend on the others. */
  fork(): Random {
    return new Random(this.between(0, 2 ** 32 - 1));
  }
}

/** The seed of a run: BILLING_FAULT_SEED, or a new one. */
export const seedOfRun = (): number =>
  Number(process.env.BILLING_FAULT_SEED ?? Math.floor(Math.random() * 2 ** 32));
