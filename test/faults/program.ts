import type { Call, Engine, Outcome } from '../engine/database/calls';
import type { Random } from './random';

/**
 * What callers want, at random: uses alone and in lists, grants, several calls in one transaction,
 * each under a key of its own. Everything a later check needs is in the wish itself.
 */

/** A paying account and a child of it: both draw on the same units. */
export interface Family {
  payer: string;
  child: string;
  /** Their external ids, by which they can be named too. */
  externalIds: Record<string, string>;
}

export const PRODUCTS = ['MSG', 'TOK'] as const;

export type Wanted = {
  key: string;
  payer: string;
  account: string;
  /** The account as the call names it: by its id or by an identity. */
  named: string | { externalId: string };
  product: string;
  /** Units; of a release those that were set aside. */
  amount: number;
} &
  /** A use without metadata may be taken a shorter way; one without a key cannot be repeated. */
  (
    | { do: 'consume'; bare: boolean; keyed: boolean }
    | { do: 'grant'; priority: number; seconds: number | null }
    | { do: 'hold'; seconds: number }
    | { do: 'settle' | 'release'; holdId: string }
    | { do: 'restore'; entryId: string }
  );

/**
 * Wishes that go to an engine in one call. `together`: in one transaction of the caller's. `rush`:
 * each in a call of its own, all at once.
 */
export interface Attempt {
  way: 'alone' | 'list' | 'together' | 'rush';
  items: Wanted[];
}

function callOf(wanted: Wanted): Call {
  const { named: account, product, amount, key } = wanted;
  const change = { idempotencyKey: key, metadata: { key } };
  switch (wanted.do) {
    case 'consume':
      return {
        call: 'ledger.consume',
        request: {
          ...{ account, product, amount },
          ...(wanted.keyed ? { idempotencyKey: key } : {}),
          ...(wanted.bare ? {} : { metadata: { key } }),
        },
      };
    case 'grant': {
      const { priority, seconds } = wanted;
      const expiresAfter = seconds === null ? null : { unit: 'second', count: seconds };
      const terms = { account, product, quantity: amount, priority, expiresAfter };
      return { call: 'ledger.grant', request: { ...terms, ...change } };
    }
    case 'hold': {
      const expiresIn = { unit: 'second', count: wanted.seconds };
      return { call: 'ledger.hold', request: { account, product, amount, expiresIn, ...change } };
    }
    case 'settle':
      return {
        call: 'ledger.settle',
        request: { account, holdId: wanted.holdId, amount, ...change },
      };
    case 'release':
      return { call: 'ledger.release', request: { account, holdId: wanted.holdId, ...change } };
    case 'restore':
      return {
        call: 'ledger.restore',
        request: { account, entryId: wanted.entryId, amount, ...change },
      };
  }
}

/** One outcome for each item, whatever the call was. */
export async function carryOut(engine: Engine, { way, items }: Attempt): Promise<Outcome[]> {
  if (way === 'rush') {
    const each = items.map((item) => carryOut(engine, { way: 'alone', items: [item] }));
    return (await Promise.all(each)).flat();
  }
  const calls = items.map(callOf);
  if (way === 'list') {
    const outcome = await engine.perform({
      call: 'ledger.consumeMany',
      request: calls.map(({ request }) => request!),
    });
    if (!('answer' in outcome)) return items.map(() => outcome);
    // An item that failed alone has the form of an outcome already.
    return (outcome.answer as object[]).map((said) =>
      'error' in said ? (said as Outcome) : { answer: said },
    );
  }
  const [first] = calls;
  const outcome = await engine.perform(
    way === 'alone' ? first! : { call: 'together', request: calls },
  );
  if (!('answer' in outcome)) return items.map(() => outcome);
  const answers = way === 'alone' ? [outcome.answer] : (outcome.answer as unknown[]);
  return items.map((item, index) => {
    const answer = answers[index];
    return { answer: item.do === 'grant' ? (answer as unknown[])[0] : answer };
  });
}

/** A hold or a use that was answered, with the id of its line. */
export interface Done {
  wanted: Wanted;
  id: string;
}

/** Makes wishes: about as many units are given as are asked for, so that some ask in vain. */
export class Program {
  private last = 0;

  constructor(
    private readonly families: readonly Family[],
    private readonly prefix: string,
    /** How many uses come without a key: of them nobody can know what became if no answer came. */
    private readonly keyless = 0,
  ) {}

  private common(random: Random): Omit<Wanted, 'do' | 'amount'> {
    // Half of everything goes to one account.
    const family = random.chance(0.5) ? this.families[0]! : random.pick(this.families);
    const { payer, child, externalIds } = family;
    const account = random.chance(0.3) ? child : payer;
    this.last += 1;
    return {
      key: `${this.prefix} ${this.last}`,
      payer,
      account,
      named: random.chance(0.3) ? { externalId: externalIds[account]! } : account,
      product: random.chance(0.7) ? PRODUCTS[0] : PRODUCTS[1],
    };
  }

  private use(random: Random): Wanted {
    // Now and then more than is there, whatever is there.
    const amount = random.chance(0.06) ? random.between(40, 300) : random.between(1, 6);
    const keyed = !random.chance(this.keyless);
    return { ...this.common(random), do: 'consume', amount, keyed, bare: random.chance(0.8) };
  }

  grant(random: Random, least = 20): Wanted {
    return {
      ...this.common(random),
      do: 'grant',
      amount: random.between(least, 150),
      priority: random.pick([10, 50, 50, 50, 90]),
      seconds: random.pick([null, null, 1, 3, 30, 3_600]),
    };
  }

  /** Units for everybody, to begin with. */
  opening(random: Random): Attempt[] {
    return this.families.flatMap(({ payer }) =>
      PRODUCTS.map((product): Attempt => {
        const grant = { ...this.grant(random, 100), payer, account: payer, named: payer, product };
        return { way: 'alone', items: [grant as Wanted] };
      }),
    );
  }

  /** Ends a hold that an answer spoke of, or gives some of a use back. */
  private followUp(random: Random, before: Done): Wanted {
    this.last += 1;
    const { payer, account, named, product, amount } = before.wanted;
    const common = { key: `${this.prefix} ${this.last}`, payer, account, named, product };
    if (before.wanted.do === 'consume') {
      const some = random.between(1, amount);
      return { ...common, do: 'restore', entryId: before.id, amount: some };
    }
    if (random.chance(0.3)) return { ...common, do: 'release', holdId: before.id, amount };
    // Less, as much, or more than is on hold.
    const more = amount + (random.chance(0.4) ? 1_500 : random.between(1, 40));
    const used = random.pick([random.between(1, amount), amount, more]);
    return { ...common, do: 'settle', holdId: before.id, amount: used };
  }

  /** @param before what was done and can be followed up, once */
  next(random: Random, before: Done | null): Attempt {
    if (before !== null) return { way: 'alone', items: [this.followUp(random, before)] };
    const die = random.fraction();
    if (die < 0.17) return { way: 'alone', items: [this.grant(random)] };
    if (die < 0.21) {
      // Both or neither: the units given cover what is taken.
      const given = this.grant(random, 30);
      const { payer, account, named, product } = given;
      const terms = { payer, account, named, product, amount: random.between(1, 30) };
      const taken = { ...this.use(random), ...terms, keyed: true, bare: false };
      return { way: 'together', items: [{ ...given, do: 'grant' } as Wanted, taken] };
    }
    if (die < 0.33) {
      const hold = {
        ...this.common(random),
        do: 'hold' as const,
        seconds: random.pick([1, 2, 10, 60]),
      };
      return { way: 'alone', items: [{ ...hold, amount: random.between(1, 40) }] };
    }
    if (die < 0.48) {
      const items = Array.from({ length: random.between(2, 25) }, () => this.use(random));
      const again = random.pick(items);
      if (again.do === 'consume' && again.keyed) items.push(again);
      return { way: 'list', items };
    }
    if (die < 0.52) {
      // Of one account: more than one batch's worth, so that the next is on its way before it ends.
      const first = this.use(random);
      const { payer, account, named, product } = first;
      const items = Array.from({ length: random.between(60, 160) }, () => {
        const amount = random.chance(0.02) ? random.between(20, 200) : 1;
        return { ...this.use(random), payer, account, named, product, amount };
      });
      return { way: 'rush', items };
    }
    // Some in a transaction of the caller's, which shares nothing with the other calls.
    return { way: random.chance(0.2) ? 'together' : 'alone', items: [this.use(random)] };
  }
}
