import { progress } from './progress';
import { MILLISECONDS, REPEATS } from './settings';

/** Something that answers calls. */
export interface Contender {
  name: string;
  /** What it does not do, so that its rate is read for what it is; '' when it does everything. */
  lacks: string;
  /** One call for an account, by its number. */
  call(account: number): Promise<void>;
}

export interface Load {
  callers: number;
  accounts: number;
}

/** What was measured in turns: by name, a value for each repeat. */
export type Measured = Map<string, number[]>;

const WARM_UP_MILLISECONDS = Math.min(500, MILLISECONDS);

/**
 * Calls a second: so many callers, each with its next call as soon as the last is answered.
 *
 * @param atLeast so many calls, however long they take
 */
export async function rate(
  call: Contender['call'],
  { callers, accounts }: Load,
  milliseconds: number,
  atLeast = 0,
): Promise<number> {
  const begin = performance.now();
  const end = begin + milliseconds;
  let calls = 0;
  let next = 0;
  const caller = async (): Promise<void> => {
    while (performance.now() < end || next < atLeast) {
      next += 1;
      await call(next % accounts);
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return (calls * 1_000) / (performance.now() - begin);
}

/**
 * Measures things in turns, so that what the machine does meanwhile meets all of them alike. Each
 * repeat begins with another one, since each leaves work behind (dirty pages, dead rows) for the
 * next. A first round warms up and does not count.
 *
 * @param measure gives a value for a name; `warmUp` says that nobody will look at it
 */
export async function inTurns(
  title: string,
  names: readonly string[],
  measure: (name: string, warmUp: boolean) => Promise<number>,
): Promise<Measured> {
  const measured: Measured = new Map(names.map((name) => [name, []]));
  for (const name of names) {
    progress(`${title}: warming up ${name}`);
    await measure(name, true);
  }
  for (let repeat = 0; repeat < REPEATS; repeat += 1) {
    const first = repeat % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      progress(`${title}: ${repeat + 1}/${REPEATS} ${name}`);
      measured.get(name)!.push(await measure(name, false));
    }
  }
  return measured;
}

export type Comparison = Load & { rates: Measured };

/** The rates of contenders under several loads. */
export async function compare(
  contenders: readonly Contender[],
  loads: readonly Load[],
): Promise<Comparison[]> {
  const calls = new Map(contenders.map((contender) => [contender.name, contender]));
  const compared: Comparison[] = [];
  for (const load of loads) {
    const rates = await inTurns(describe(load), [...calls.keys()], (name, warmUp) => {
      const contender = calls.get(name)!;
      const call = (account: number): Promise<void> => contender.call(account);
      return warmUp
        ? // Each account at least once: what is measured is a process at work, not one that starts.
          rate(call, load, WARM_UP_MILLISECONDS, load.accounts)
        : rate(call, load, MILLISECONDS);
    });
    compared.push({ ...load, rates });
  }
  return compared;
}

export const describe = ({ callers, accounts }: Load): string =>
  `${callers} caller${callers === 1 ? '' : 's'}, ${accounts.toLocaleString('en')} account${accounts === 1 ? '' : 's'}`;

/** The one to the other, repeat by repeat: the machine was then the same for both. */
export function ratios(measured: Measured, one: string, other: string): number[] {
  const others = measured.get(other)!;
  return measured.get(one)!.map((value, repeat) => value / others[repeat]!);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return Number.isInteger(middle)
    ? (sorted[middle - 1]! + sorted[middle]!) / 2
    : sorted[Math.floor(middle)]!;
}
