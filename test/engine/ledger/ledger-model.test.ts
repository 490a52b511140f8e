import fc from 'fast-check';

import {
  TestClock,
  isBillingError,
  isFailed,
  type Billing,
  type ConsumeAnswer,
  type ConsumeRequest,
  type Entry,
  type HoldRecord,
  type RestoreAnswer,
} from '../../../engine';
import { onEachDatabase, runs } from '../each-database';

/**
 * Random programs, run on the engine and on a model of it in plain memory. The model was written
 * from billing-rules.md and knows no more than that: whole numbers (bigint) of smallest units, a
 * list of grants, a list of lines, a table of first answers. Whatever the engine says, in whatever
 * order things happen, the model must have said it too.
 */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.UTC(2027, 0, 10, 12);

const DECIMALS = { MSG: 0, GB: 3 } as const;
type ProductKey = keyof typeof DECIMALS;
const PRODUCTS = Object.keys(DECIMALS) as ProductKey[];

/** What is sold, cheapest first for each product; the private and the withdrawn one are no help. */
const PACKS: Record<ProductKey, Array<{ sku: string; brings: bigint }>> = {
  MSG: [
    { sku: 'pack-10', brings: 10n },
    { sku: 'pack-100', brings: 100n },
  ],
  GB: [{ sku: 'disk', brings: 2_500n }],
};

const text = (smallest: bigint, decimals: number): string => {
  const sign = smallest < 0n ? '-' : '';
  const digits = String(smallest < 0n ? -smallest : smallest).padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, '');
  return sign + (fraction === '' ? whole : `${whole}.${fraction}`);
};
const units = (product: ProductKey, smallest: bigint): string => text(smallest, DECIMALS[product]);
/** Money of 10^-8, always with its 8 decimals. */
const money = (value: bigint): string => {
  const digits = String(value).padStart(9, '0');
  return `${digits.slice(0, -8)}.${digits.slice(-8)}`;
};
/** What a line says of its value: as its amount, it is negative where something goes. */
const signed = (line: { amount: bigint; value: bigint }): string =>
  `${line.amount < 0n && line.value > 0n ? '-' : ''}${money(line.value)}`;

interface ModelGrant {
  number: number;
  product: ProductKey;
  initial: bigint;
  left: bigint;
  /** Set aside by holds that are not on record as ended. */
  held: bigint;
  priority: number;
  from: number;
  until: number | null;
  /** In 10^-8 of a dollar. */
  value: bigint;
}

interface Part {
  grant: ModelGrant;
  amount: bigint;
}

interface ModelLine {
  kind: Entry['kind'];
  user: string;
  product: ProductKey;
  amount: bigint;
  from: Part[];
  value: bigint;
  at: number;
  /** Of a use, or negative of a restore. */
  overage?: bigint;
  /** The number of the line that this one settles, releases, restores, or expires units of. */
  cause?: number;
}

interface ModelHold {
  /** Its line's number. */
  number: number;
  payer: string;
  user: string;
  product: ProductKey;
  amount: bigint;
  parts: Part[];
  made: number;
  until: number;
  ended: { how: 'settled' | 'released' | 'expired'; at: number } | null;
  settled: bigint | null;
  answer: object | null;
}

interface Terms {
  limit: bigint | null;
  used: bigint;
}

interface Answer {
  allowed: boolean;
  reason: string | null;
  consumed: string;
  overage: string | null;
  remaining: string;
  entry: string | null;
  suggested: string[];
}

interface HoldSaid {
  allowed: boolean;
  reason: string | null;
  held: string;
  remaining: string;
  hold: string | null;
  until: string | null;
  suggested: string[];
}

interface SettleSaid {
  allowed: boolean;
  reason: string | null;
  consumed: string;
  uncovered: string;
  overage: string | null;
  remaining: string;
  entry: string | null;
}

interface ReleaseSaid {
  released: string;
  remaining: string;
  hold: string;
  entry: string;
}

interface HoldListed {
  hold: string;
  user: string;
  product: string;
  amount: string;
  until: string;
  status: string;
  made: string;
  ended: string | null;
  settled: string | null;
}

interface RestoreSaid {
  restored: string;
  expired: string;
  overage: string | null;
  remaining: string;
  entries: Array<{ entry: string; use: string; amount: string }>;
}

interface OverageSaid {
  limit: string | null;
  used: string;
}

interface FirstAnswer {
  request: string;
  answer: object;
  until: number;
}

type Outcome<T> = { error: string } | (T & { replayed: boolean });

/** The value that is left, on hold or not: value x units / units given, the half of 10^-8 rounded up. */
const valueLeft = (grant: ModelGrant): bigint =>
  (2n * grant.value * (grant.left + grant.held) + grant.initial) / (2n * grant.initial);

const atMost = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const sumOf = (amounts: bigint[]): bigint => amounts.reduce((sum, amount) => sum + amount, 0n);
const iso = (time: number): string => new Date(time).toISOString();

class Model {
  now = START;
  private readonly payers = new Map<string, string>();
  private readonly suspended = new Set<string>();
  private readonly grants = new Map<string, ModelGrant[]>();
  readonly lines = new Map<string, ModelLine[]>();
  readonly holds: ModelHold[] = [];
  private readonly terms = new Map<string, Terms>();
  private readonly answers = new Map<string, FirstAnswer>();

  addAccount(name: string): void {
    this.payers.set(name, name);
    this.grants.set(name, []);
    this.lines.set(name, []);
  }

  payerOf(name: string): string {
    return this.payers.get(name)!;
  }

  /** Holds of a pocket that are not on record as ended, though they may be over. */
  private pending(payer: string, product: ProductKey): ModelHold[] {
    return this.holds.filter(
      (hold) => hold.payer === payer && hold.product === product && hold.ended === null,
    );
  }

  /** Units of a grant that holds have given back by a moment, without that being on record. */
  private freed(payer: string, grant: ModelGrant, at: number): bigint {
    return sumOf(
      this.pending(payer, grant.product)
        .filter((hold) => hold.until <= at)
        .flatMap((hold) => hold.parts)
        .filter((part) => part.grant === grant)
        .map((part) => part.amount),
    );
  }

  /** Units of a product in force and on hold at a moment, and the first end among those in force. */
  balance(
    name: string,
    product: ProductKey,
    at: number,
  ): { available: string; held: string; expiresAt: string | null } {
    const payer = this.payerOf(name);
    const lines = this.lines.get(payer)!.filter((line) => line.at <= at);
    let sum = 0n;
    let held = 0n;
    let end: number | null = null;
    for (const grant of this.grants.get(payer)!) {
      if (grant.product !== product) continue;
      const freed = this.freed(payer, grant, at);
      let there = freed;
      held -= freed;
      for (const line of lines) {
        const signed = line.amount < 0n ? -1n : 1n;
        for (const part of line.from) {
          if (part.grant !== grant) continue;
          there += signed * part.amount;
          if (line.kind === 'hold' || line.kind === 'release') held -= signed * part.amount;
        }
      }
      if (grant.from > at || (grant.until !== null && grant.until <= at)) continue;
      sum += there;
      if (there > 0n && grant.until !== null && (end === null || grant.until < end)) {
        end = grant.until;
      }
    }
    return {
      available: units(product, sum),
      held: units(product, held),
      expiresAt: end === null ? null : iso(end),
    };
  }

  private usable(payer: string, product: ProductKey): ModelGrant[] {
    const never = Number.POSITIVE_INFINITY;
    return this.grants
      .get(payer)!
      .filter((grant) => grant.product === product && this.there(payer, grant) > 0n)
      .filter((grant) => grant.until === null || grant.until > this.now)
      .sort(
        (a, b) =>
          a.priority - b.priority ||
          (a.until === b.until ? 0 : (a.until ?? never) - (b.until ?? never)) ||
          a.number - b.number,
      );
  }

  /** What is left of a grant by the clock. */
  private there(payer: string, grant: ModelGrant): bigint {
    return grant.left + this.freed(payer, grant, this.now);
  }

  private available(payer: string, product: ProductKey): bigint {
    return sumOf(this.usable(payer, product).map((grant) => this.there(payer, grant)));
  }

  private termsOf(payer: string, product: ProductKey): Terms {
    return this.terms.get(`${payer} ${product}`) ?? { limit: 0n, used: 0n };
  }

  /** Of an amount, how much may be used beyond the grants. */
  private roomFor(payer: string, product: ProductKey, amount: bigint): bigint {
    const { limit, used } = this.termsOf(payer, product);
    if (limit === null) return amount;
    return limit <= used ? 0n : atMost(limit - used, amount);
  }

  private write(payer: string, line: ModelLine): number {
    return this.lines.get(payer)!.push(line);
  }

  /** Moves units of a grant and tells the value that went along, without its sign. */
  private static move(grant: ModelGrant, left: bigint, held: bigint): bigint {
    const before = valueLeft(grant);
    grant.left += left;
    grant.held += held;
    const moved = valueLeft(grant) - before;
    return moved < 0n ? -moved : moved;
  }

  private expire(payer: string, grant: ModelGrant, at: number, cause?: number): void {
    const { product, left: amount } = grant;
    if (amount === 0n) return;
    const value = Model.move(grant, -amount, 0n);
    const from = [{ grant, amount }];
    this.write(payer, {
      kind: 'expiry',
      user: payer,
      product,
      amount: -amount,
      from,
      value,
      at,
      cause,
    });
  }

  /** Units came back to grants: those whose time was over by then are lost at once. */
  private loseReturned(payer: string, parts: readonly Part[], at: number, cause: number): bigint {
    let lost = 0n;
    for (const { grant } of parts) {
      if (grant.until === null || grant.until > at) continue;
      lost += grant.left;
      this.expire(payer, grant, at, grant.until === at ? undefined : cause);
    }
    return lost;
  }

  private endHold(hold: ModelHold, how: 'settled' | 'released' | 'expired', at: number): number {
    const { payer, user, product, amount, parts: from, number: cause } = hold;
    for (const part of from) Model.move(part.grant, part.amount, -part.amount);
    hold.ended = { how, at };
    return this.write(payer, {
      kind: 'release',
      user,
      product,
      amount,
      from,
      value: 0n,
      at,
      cause,
    });
  }

  /**
   * The first writer after puts on record what the clock has done, instant by instant: holds end,
   * and grants whose time is over lose what is left of them.
   */
  private recordDue(payer: string, product: ProductKey): void {
    const grants = this.grants.get(payer)!.filter((grant) => grant.product === product);
    const holds = this.pending(payer, product).filter((hold) => hold.until <= this.now);
    const ends = grants
      .filter((grant) => grant.until !== null && grant.until <= this.now)
      .map((grant) => grant.until!);
    const instants = [...new Set([...ends, ...holds.map((hold) => hold.until)])];
    for (const instant of instants.sort((a, b) => a - b)) {
      for (const hold of holds.filter((one) => one.until === instant)) {
        this.endHold(hold, 'expired', instant);
        const before = hold.parts.filter(({ grant }) => grant.until !== instant);
        this.loseReturned(payer, before, instant, hold.number);
      }
      for (const grant of grants) if (grant.until === instant) this.expire(payer, grant, instant);
    }
  }

  check(
    name: string,
    product: ProductKey,
    amount: bigint,
    beyond = true,
  ): Omit<Answer, 'consumed' | 'overage' | 'entry'> {
    const payer = this.payerOf(name);
    const there = this.available(payer, product);
    const remaining = units(product, there);
    if (this.suspended.has(name) || this.suspended.has(payer)) {
      return { allowed: false, reason: 'account_suspended', remaining, suggested: [] };
    }
    const most = there + (beyond ? this.roomFor(payer, product, amount) : 0n);
    if (most >= amount) return { allowed: true, reason: null, remaining, suggested: [] };
    const suggested = PACKS[product]
      .filter((pack) => pack.brings >= amount - most)
      .map((pack) => pack.sku);
    // Where overage is allowed, it is its limit that was reached.
    const capped = beyond && (this.termsOf(payer, product).limit ?? 0n) > 0n;
    const reason = capped ? 'usage_limit' : 'insufficient_balance';
    return { allowed: false, reason, remaining, suggested };
  }

  /** Rule 3: the same key and request, the first answer; another request, a conflict. */
  private once<T extends object>(
    slot: string | null,
    request: string,
    work: () => T | { error: string },
  ): Outcome<T> {
    const first = slot === null ? undefined : this.answers.get(slot);
    if (first !== undefined && first.until > this.now) {
      if (first.request !== request) return { error: 'idempotency_conflict' };
      return { ...(first.answer as T), replayed: true };
    }
    const answer = work();
    if ('error' in answer) return answer;
    if (slot !== null) {
      const denied = 'allowed' in answer && answer.allowed === false;
      // As it was then: a grant that is used later was whole in its first answer.
      const kept = { ...answer };
      this.answers.set(slot, { request, answer: kept, until: this.now + (denied ? 1 : 90) * DAY });
    }
    return { ...answer, replayed: false };
  }

  /** Takes from parts first, then by the order of use, then as overage. */
  private take(
    payer: string,
    user: string,
    product: ProductKey,
    wanted: { amount: bigint; first: readonly Part[]; beyond: boolean; cause?: number },
  ): { number: number; overage: bigint; uncovered: bigint } {
    const taken = new Map<ModelGrant, bigint>();
    let missing = wanted.amount;
    let value = 0n;
    const takeFrom = (grant: ModelGrant, most: bigint): void => {
      const amount = atMost(most, missing);
      if (amount === 0n) return;
      value += Model.move(grant, -amount, 0n);
      missing -= amount;
      taken.set(grant, (taken.get(grant) ?? 0n) + amount);
    };
    for (const part of wanted.first) takeFrom(part.grant, part.amount);
    if (wanted.beyond) for (const grant of this.usable(payer, product)) takeFrom(grant, grant.left);
    const overage = wanted.beyond ? this.roomFor(payer, product, missing) : 0n;
    const uncovered = missing - overage;
    const terms = this.termsOf(payer, product);
    if (overage > 0n) terms.used += overage;
    const number = this.write(payer, {
      kind: 'use',
      user,
      product,
      amount: uncovered - wanted.amount,
      from: [...taken].map(([grant, amount]) => ({ grant, amount })),
      value,
      at: this.now,
      overage,
      cause: wanted.cause,
    });
    return { number, overage, uncovered };
  }

  consume(name: string, product: ProductKey, amount: bigint, key: string | null): Outcome<Answer> {
    const slot = key === null ? null : `consume ${name} ${key}`;
    return this.once<Answer>(slot, `${product} ${amount}`, () => {
      const standing = this.check(name, product, amount);
      if (!standing.allowed) return { ...standing, consumed: '0', overage: null, entry: null };
      const payer = this.payerOf(name);
      this.recordDue(payer, product);
      const used = this.take(payer, name, product, { amount, first: [], beyond: true });
      return {
        ...standing,
        consumed: units(product, amount),
        overage: used.overage === 0n ? null : units(product, used.overage),
        remaining: units(product, this.available(payer, product)),
        entry: `${payer}.${used.number}`,
      };
    });
  }

  grant(
    name: string,
    product: ProductKey,
    amount: bigint,
    terms: { priority: number; until: number | null; cents: number | null; key: string | null },
  ): Outcome<ModelGrant> {
    const slot = terms.key === null ? null : `grant ${name} ${terms.key}`;
    const { priority, until, cents } = terms;
    const request = [product, amount, priority, until, cents].join(' ');
    return this.once<ModelGrant>(slot, request, () => {
      if (terms.until !== null && terms.until <= this.now) return { error: 'invalid_input' };
      const payer = this.payerOf(name);
      this.recordDue(payer, product);
      const grant: ModelGrant = {
        number: this.lines.get(payer)!.length,
        product,
        initial: amount,
        left: amount,
        held: 0n,
        priority: terms.priority,
        from: this.now,
        until: terms.until,
        value: BigInt(terms.cents ?? 0) * 1_000_000n,
      };
      this.grants.get(payer)!.push(grant);
      const line = { kind: 'grant' as const, user: name, product, amount, value: grant.value };
      this.write(payer, { ...line, from: [{ grant, amount }], at: this.now });
      return grant;
    });
  }

  hold(
    name: string,
    product: ProductKey,
    amount: bigint,
    hours: number,
    key: string | null,
  ): Outcome<HoldSaid> {
    const slot = key === null ? null : `hold ${name} ${key}`;
    return this.once<HoldSaid>(slot, `${product} ${amount} ${hours}`, () => {
      const standing = this.check(name, product, amount, false);
      if (!standing.allowed) return { ...standing, held: '0', hold: null, until: null };
      const payer = this.payerOf(name);
      this.recordDue(payer, product);
      const parts: Part[] = [];
      let missing = amount;
      for (const grant of this.usable(payer, product)) {
        const aside = atMost(grant.left, missing);
        if (aside === 0n) break;
        Model.move(grant, -aside, aside);
        missing -= aside;
        parts.push({ grant, amount: aside });
      }
      const line = { kind: 'hold' as const, user: name, product, amount: -amount, value: 0n };
      const number = this.write(payer, { ...line, from: parts, at: this.now });
      const until = this.now + hours * HOUR;
      const made = this.now;
      const end = { until, ended: null, settled: null, answer: null };
      this.holds.push({ number, payer, user: name, product, amount, parts, made, ...end });
      return {
        ...standing,
        held: units(product, amount),
        remaining: units(product, this.available(payer, product)),
        hold: `${payer}.${number}`,
        until: iso(until),
      };
    });
  }

  /** A hold that may be ended, or why not. `by`: who says so, if anybody is named. */
  private found(id: string, by: string | null): ModelHold | { error: string } {
    const hold = this.holds.find((one) => `${one.payer}.${one.number}` === id);
    if (hold === undefined) return { error: 'unknown_hold' };
    if (by !== null && by !== hold.user && by !== hold.payer) return { error: 'unknown_hold' };
    return hold;
  }

  private isOpen(hold: ModelHold): boolean {
    return hold.ended === null && hold.until > this.now;
  }

  /** What is asked of a hold that is found: once for its key, and once for the hold itself. */
  private ofHold<T extends object>(
    kind: string,
    id: string,
    by: string | null,
    key: string | null,
    request: string,
    stands: (hold: ModelHold) => boolean,
    work: (hold: ModelHold) => T | { error: string },
  ): Outcome<T> {
    const hold = this.found(id, by);
    if ('error' in hold) return hold;
    let again = false;
    const slot = key === null ? null : `${kind} ${hold.user} ${key}`;
    const outcome = this.once<T>(slot, `${id} ${request}`, () => {
      if (stands(hold)) {
        again = true;
        return hold.answer as T;
      }
      return this.isOpen(hold) ? work(hold) : { error: 'hold_not_open' };
    });
    return 'error' in outcome ? outcome : { ...outcome, replayed: outcome.replayed || again };
  }

  settle(
    id: string,
    asked: bigint | null,
    options: { strict: boolean; by: string | null; key: string | null },
  ): Outcome<SettleSaid> {
    const { strict, by, key } = options;
    const amountOf = (hold: ModelHold): bigint => asked ?? hold.amount;
    const stands = (hold: ModelHold): boolean =>
      hold.ended?.how === 'settled' && hold.settled === amountOf(hold);
    return this.ofHold<SettleSaid>('settle', id, by, key, `${asked} ${strict}`, stands, (hold) => {
      const { payer, user, product } = hold;
      const amount = amountOf(hold);
      const suspended = this.suspended.has(user) || this.suspended.has(payer);
      const there = this.available(payer, product);
      const beyond = suspended ? 0n : there + this.roomFor(payer, product, amount);
      if (strict && hold.amount + beyond < amount) {
        return {
          allowed: false,
          reason: suspended ? 'account_suspended' : 'insufficient_balance',
          consumed: '0',
          uncovered: '0',
          overage: null,
          remaining: units(product, there),
          entry: null,
        };
      }
      this.recordDue(payer, product);
      this.endHold(hold, 'settled', this.now);
      hold.settled = amount;
      const cause = hold.number;
      const used = this.take(payer, user, product, {
        // What goes back is there for the order of use only where the hold was used up.
        amount,
        first: hold.parts,
        beyond: !suspended && amount > hold.amount,
        cause,
      });
      if (used.uncovered > 0n) {
        const line = { kind: 'uncovered' as const, user, product, amount: -used.uncovered };
        this.write(payer, { ...line, from: [], value: 0n, at: this.now, cause });
      }
      this.loseReturned(payer, hold.parts, this.now, cause);
      const answer: SettleSaid = {
        allowed: true,
        reason: null,
        consumed: units(product, amount - used.uncovered),
        uncovered: units(product, used.uncovered),
        overage: used.overage === 0n ? null : units(product, used.overage),
        remaining: units(product, this.available(payer, product)),
        entry: `${payer}.${used.number}`,
      };
      hold.answer = answer;
      return answer;
    });
  }

  release(id: string, by: string | null, key: string | null): Outcome<ReleaseSaid> {
    const stands = (hold: ModelHold): boolean => hold.ended?.how === 'released';
    return this.ofHold<ReleaseSaid>('release', id, by, key, '', stands, (hold) => {
      const { payer, product } = hold;
      this.recordDue(payer, product);
      const number = this.endHold(hold, 'released', this.now);
      this.loseReturned(payer, hold.parts, this.now, hold.number);
      const answer = {
        released: units(product, hold.amount),
        remaining: units(product, this.available(payer, product)),
        hold: id,
        entry: `${payer}.${number}`,
      };
      hold.answer = answer;
      return answer;
    });
  }

  extend(id: string, hours: number, by: string | null, key: string | null): Outcome<HoldListed> {
    const never = (): boolean => false;
    return this.ofHold<HoldListed>('extend', id, by, key, `${hours}`, never, (hold) => {
      const until = this.now + hours * HOUR;
      if (until <= hold.until) return { error: 'invalid_input' };
      hold.until = until;
      return this.listed(hold);
    });
  }

  private listed(hold: ModelHold): HoldListed {
    const ended =
      hold.ended ?? (this.isOpen(hold) ? null : { how: 'expired' as const, at: hold.until });
    return {
      hold: `${hold.payer}.${hold.number}`,
      user: hold.user,
      product: hold.product,
      amount: units(hold.product, hold.amount),
      until: iso(hold.until),
      status: ended?.how ?? 'open',
      made: iso(hold.made),
      ended: ended === null ? null : iso(ended.at),
      settled: hold.settled === null ? null : units(hold.product, hold.settled),
    };
  }

  holdsOf(name: string, open: boolean): HoldListed[] {
    return this.holds
      .filter((hold) => hold.user === name || hold.payer === name)
      .filter((hold) => !open || this.isOpen(hold))
      .map((hold) => this.listed(hold));
  }

  /** Units of a use that were not taken back yet, the last used first: null stands for overage. */
  private notRestored(
    payer: string,
    number: number,
  ): Array<{ grant: ModelGrant | null; amount: bigint }> {
    const use = this.lines.get(payer)![number - 1]!;
    let back = sumOf(
      this.lines
        .get(payer)!
        .filter((line) => line.kind === 'restore' && line.cause === number)
        .map((line) => line.amount),
    );
    const whole = [...use.from, { grant: null, amount: use.overage ?? 0n }].reverse();
    return whole.flatMap(({ grant, amount }) => {
      const gone = atMost(back, amount);
      back -= gone;
      return gone === amount ? [] : { grant, amount: amount - gone };
    });
  }

  private restoreUses(
    payer: string,
    product: ProductKey,
    uses: Array<{ number: number; amount: bigint }>,
  ): RestoreSaid {
    this.recordDue(payer, product);
    let [restored, expired, overage] = [0n, 0n, 0n];
    const entries = uses.map(({ number, amount }) => {
      const { user } = this.lines.get(payer)![number - 1]!;
      let missing = amount;
      let [beyond, value] = [0n, 0n];
      const from: Part[] = [];
      for (const { grant, amount: there } of this.notRestored(payer, number)) {
        const taken = atMost(there, missing);
        if (taken === 0n) break;
        missing -= taken;
        if (grant === null) beyond += taken;
        else {
          value += Model.move(grant, taken, 0n);
          from.push({ grant, amount: taken });
        }
      }
      if (beyond > 0n) this.termsOf(payer, product).used -= beyond;
      const line = { kind: 'restore' as const, user, product, amount, from, value, at: this.now };
      const entry = this.write(payer, { ...line, overage: -beyond, cause: number });
      const lost = this.loseReturned(payer, from, this.now, entry);
      overage += beyond;
      expired += lost;
      restored += amount - beyond - lost;
      return {
        entry: `${payer}.${entry}`,
        use: `${payer}.${number}`,
        amount: units(product, amount),
      };
    });
    return {
      restored: units(product, restored),
      expired: units(product, expired),
      overage: overage === 0n ? null : units(product, overage),
      remaining: units(product, this.available(payer, product)),
      entries,
    };
  }

  /** By the entry of one use: it stands in the ledger of who paid then. */
  restoreEntry(
    payer: string,
    number: number,
    asked: bigint | null,
    by: string | null,
    key: string | null,
  ): Outcome<RestoreSaid> {
    const use = this.lines.get(payer)![number - 1];
    if (use?.kind !== 'use') return { error: 'unknown_entry' };
    if (by !== null && by !== use.user && by !== payer) return { error: 'unknown_entry' };
    const slot = key === null ? null : `restore ${use.user} ${key}`;
    return this.once<RestoreSaid>(slot, `${payer}.${number} ${asked}`, () => {
      const left = sumOf(this.notRestored(payer, number).map(({ amount }) => amount));
      const amount = asked ?? left;
      if (amount > left || left === 0n) return { error: 'restore_exceeds_use' };
      return this.restoreUses(payer, use.product, [{ number, amount }]);
    });
  }

  /** By product and amount: of a payer all lines of its ledger, of a child its own there. */
  restoreLatest(
    name: string,
    product: ProductKey,
    amount: bigint,
    key: string | null,
  ): Outcome<RestoreSaid> {
    const slot = key === null ? null : `restore ${name} ${key}`;
    return this.once<RestoreSaid>(slot, `${product} ${amount}`, () => {
      const payer = this.payerOf(name);
      const uses: Array<{ number: number; amount: bigint }> = [];
      let missing = amount;
      for (const [index, line] of [...this.lines.get(payer)!.entries()].reverse()) {
        if (line.kind !== 'use' || line.product !== product) continue;
        if (payer !== name && line.user !== name) continue;
        const number = index + 1;
        const left = sumOf(this.notRestored(payer, number).map((part) => part.amount));
        const back = atMost(left, missing);
        missing -= back;
        if (back > 0n) uses.push({ number, amount: back });
      }
      if (missing > 0n) return { error: 'restore_exceeds_use' };
      return this.restoreUses(payer, product, uses);
    });
  }

  setOverage(
    name: string,
    product: ProductKey,
    limit: bigint | null,
    key: string | null,
  ): Outcome<OverageSaid> {
    const slot = key === null ? null : `overage ${name} ${key}`;
    return this.once<OverageSaid>(slot, `${product} ${limit}`, () => {
      const payer = this.payerOf(name);
      const { used } = this.termsOf(payer, product);
      this.terms.set(`${payer} ${product}`, { limit, used });
      return this.overage(name, product);
    });
  }

  overage(name: string, product: ProductKey): OverageSaid {
    const { limit, used } = this.termsOf(this.payerOf(name), product);
    return {
      limit: limit === null ? null : units(product, limit),
      used: units(product, used),
    };
  }

  suspend(name: string, suspended: boolean): void {
    if (suspended) this.suspended.add(name);
    else this.suspended.delete(name);
  }

  /** One level, and a child brings no units of its own, free or on hold. */
  attach(child: string, parent: string): { error: string } | null {
    if (this.payerOf(child) === parent && child !== parent) return null;
    const has =
      PRODUCTS.some((product) => this.usable(child, product).length > 0) ||
      this.holds.some((hold) => hold.payer === child && this.isOpen(hold));
    const isParent = [...this.payers].some(([other, payer]) => payer === child && other !== child);
    const isChild = this.payerOf(child) !== child;
    if (child === parent || this.payerOf(parent) !== parent || isChild || isParent || has) {
      return { error: 'merge_conflict' };
    }
    this.payers.set(child, parent);
    return null;
  }

  detach(child: string): void {
    this.payers.set(child, child);
  }

  grantsOf(payer: string): readonly ModelGrant[] {
    return this.grants.get(payer)!;
  }

  /** What is left and on hold of a grant by the clock, and what that is worth. */
  standingOf(payer: string, grant: ModelGrant): { left: bigint; held: bigint; value: bigint } {
    const freed = this.freed(payer, grant, this.now);
    const over = grant.until !== null && grant.until <= this.now;
    const left = over ? 0n : grant.left + freed;
    const held = grant.held - freed;
    return { left, held, value: valueLeft({ ...grant, left, held }) };
  }
}

/** `child` belongs to `parent` from the start; `guest` comes and goes. */
const ACCOUNTS = ['parent', 'child', 'other', 'guest'] as const;
type Name = (typeof ACCOUNTS)[number];

interface Use {
  name: Name;
  product: ProductKey;
  amount: bigint;
  key: string | null;
}

/** Names a hold, or a use: which of those made so far, and on whose behalf. */
interface OnHold {
  which: number;
  by: Name | null;
  key: string | null;
}

type Command =
  | ({ do: 'grant'; priority: number; hours: number | null; cents: number | null } & Use)
  | ({ do: 'consume' } & Use)
  | { do: 'consumeMany'; uses: Use[] }
  | ({ do: 'rush'; times: number } & Omit<Use, 'key'>)
  | ({ do: 'check' } & Use)
  | { do: 'balance'; name: Name; product: ProductKey; hoursAgo: number | null }
  | ({ do: 'hold'; hours: number } & Use)
  | ({ do: 'settle'; amount: bigint | null; strict: boolean } & OnHold)
  | ({ do: 'release' } & OnHold)
  | ({ do: 'extend'; hours: number } & OnHold)
  | { do: 'holds'; name: Name; open: boolean }
  | ({ do: 'restoreEntry'; amount: bigint | null } & OnHold)
  | ({ do: 'restoreLatest' } & Use)
  | { do: 'setOverage'; name: Name; product: ProductKey; limit: bigint | null; key: string | null }
  | { do: 'overage'; name: Name; product: ProductKey }
  | { do: 'wait'; milliseconds: number }
  | { do: 'suspend'; name: Name; suspended: boolean }
  | { do: 'attach'; child: Name; parent: Name }
  | { do: 'detach'; child: Name }
  /** The command so many steps before once more: with a key, a repeat. */
  | { do: 'again'; back: number };

const name = fc.constantFrom<Name>(...ACCOUNTS, 'parent', 'child');
const product = fc.constantFrom<ProductKey>('MSG', 'MSG', 'GB');
/** Few keys, so that they come again. */
const key = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constantFrom('k1', 'k2', 'k3') },
);
/** Little at a time, mostly, so that a program does not end in nothing but denials. */
const amount = fc.oneof(
  { weight: 6, arbitrary: fc.bigInt({ min: 1n, max: 12n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: 1n, max: 3_000n }) },
);
/** Small ones among them, so that a use or a hold draws on several. */
const quantity = fc.oneof(fc.bigInt({ min: 1n, max: 6n }), fc.bigInt({ min: 1n, max: 60n }));
const use = fc.record({ name, product, amount, key });
const onHold = {
  which: fc.nat(11),
  by: fc.oneof({ weight: 6, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: name }),
  key,
};
/** Null: all of it. */
const someOf = fc.option(amount, { freq: 3 });
const holdHours = fc.constantFrom(1, 1, 2, 24, 24, 48, 24 * 40);

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('grant' as const),
      name,
      product,
      amount: quantity,
      key,
      priority: fc.constantFrom(1, 50, 50, 50, 99),
      // From the start of the program: it may have passed already.
      hours: fc.option(fc.constantFrom(1, 2, 3, 24, 25, 26, 48, 24 * 30, 24 * 200), { freq: 1 }),
      cents: fc.option(fc.integer({ min: 0, max: 5_000 })),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('consume' as const), ...fields(use) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('consumeMany' as const),
      uses: fc.array(use, { minLength: 1, maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('rush' as const),
      name,
      product,
      amount: fc.bigInt({ min: 1n, max: 10n }),
      times: fc.integer({ min: 2, max: 8 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('check' as const), ...fields(use) }) },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('hold' as const), ...fields(use), hours: holdHours }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      ...onHold,
      amount: someOf,
      strict: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const), ...onHold }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('extend' as const), ...onHold, hours: holdHours }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('holds' as const), name, open: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('restoreEntry' as const), ...onHold, amount: someOf }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('restoreLatest' as const), ...fields(use) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('setOverage' as const),
      name,
      product,
      limit: fc.option(fc.bigInt({ min: 0n, max: 30n }), { freq: 6 }),
      key,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('overage' as const), name, product }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('balance' as const),
      name,
      product,
      hoursAgo: fc.option(fc.constantFrom(0, 1, 23, 24, 25, 24 * 30)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      milliseconds: fc.constantFrom(
        1,
        1,
        HOUR - 1,
        HOUR,
        HOUR,
        HOUR,
        HOUR,
        DAY - 1,
        DAY,
        DAY,
        30 * DAY,
        89 * DAY,
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('suspend' as const),
      name,
      suspended: fc.constantFrom(true, false, false, false),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('attach' as const),
      child: fc.oneof(fc.constant<Name>('guest'), name),
      parent: name,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('detach' as const), child: fc.constant('guest') }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('again' as const),
      back: fc.integer({ min: 1, max: 8 }),
    }),
  },
) as fc.Arbitrary<Command>;

/** The same fields, for another record. */
function fields(_of: typeof use): {
  name: typeof name;
  product: typeof product;
  amount: typeof amount;
  key: typeof key;
} {
  return { name, product, amount, key };
}

/** More with BILLING_MODEL_RUNS: thousands find what a few do not. */
const RUNS = Number.parseInt(process.env.BILLING_MODEL_RUNS ?? '40', 10);

onEachDatabase('ledger model', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let programs = 0;
  let commands = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
    const offer = (sku: string, price: string, item: object, more: object = {}) =>
      billing.catalog.saveOffer({
        sku,
        name: sku,
        price,
        currency: 'USD',
        items: [item as { product: string; quantity: string }],
        ...more,
      });
    await offer('pack-100', '20.00', { product: 'MSG', quantity: '100' });
    await offer('pack-10', '5.00', { product: 'MSG', quantity: '10' });
    await offer('disk', '1.00', { product: 'GB', quantity: '2.5' });
    await offer('secret', '0.00', { product: 'MSG', quantity: '100000' }, { public: false });
    await offer('withdrawn', '0.00', { product: 'MSG', quantity: '100000' }, { active: false });
  });

  const errorOf = (error: unknown): { error: string } => {
    if (isBillingError(error)) return { error: error.code };
    throw error;
  };

  /** One program on accounts of its own. */
  class Run {
    readonly model = new Model();
    private readonly ids = new Map<string, string>();

    async begin(): Promise<void> {
      programs += 1;
      clock.set(START);
      for (const account of ACCOUNTS) {
        const externalId = `${programs} ${account}`;
        const { accountId } = await billing.accounts.identify({ externalId });
        this.ids.set(account, accountId);
        this.model.addAccount(account);
      }
      expect(await this.attach('child', 'parent')).toBeNull();
      expect(this.model.attach('child', 'parent')).toBeNull();
    }

    /** Once by id, once by identity: both name the same account. */
    private account(of: string): string | { externalId: string } {
      commands += 1;
      return commands % 2 === 0 ? this.ids.get(of)! : { externalId: `${programs} ${of}` };
    }

    /** A ledger id, told by the account's name: 'parent.3'. */
    private named(id: string): string;
    private named(id: string | null): string | null;
    private named(id: string | null): string | null {
      if (id === null) return null;
      const [payer, sequence] = id.split('.');
      const [account] = [...this.ids].find(([, own]) => own === payer)!;
      return `${account}.${sequence}`;
    }

    private idOf(named: string): string {
      const [account, sequence] = named.split('.');
      return `${this.ids.get(account!)!}.${sequence}`;
    }

    private readonly spoken = (answer: ConsumeAnswer): Answer & { replayed: boolean } => ({
      allowed: answer.allowed,
      reason: answer.reason,
      consumed: answer.consumed,
      overage: answer.overage ?? null,
      remaining: answer.remaining!,
      entry: this.named(answer.entryId),
      suggested: answer.suggestedOffers.map((offer) => offer.sku),
      replayed: answer.replayed,
    });

    private readonly listed = (hold: HoldRecord): HoldListed => ({
      hold: this.named(hold.holdId),
      user: [...this.ids].find(([, own]) => own === hold.account)![0],
      product: hold.product,
      amount: hold.amount,
      until: hold.expiresAt,
      status: hold.status,
      made: hold.createdAt,
      ended: hold.endedAt,
      settled: hold.settled,
    });

    private readonly restored = (answer: RestoreAnswer): RestoreSaid & { replayed: boolean } => ({
      restored: answer.restored,
      expired: answer.expired,
      overage: answer.overage ?? null,
      remaining: answer.remaining!,
      entries: answer.entries.map(({ entryId, useId, amount: back }) => ({
        entry: this.named(entryId),
        use: this.named(useId),
        amount: back,
      })),
      replayed: answer.replayed,
    });

    /** A hold made before, or one that never was. */
    private holdNamed({ which, by, key: idempotencyKey }: OnHold): {
      name: string;
      product: ProductKey;
      request: {
        holdId: string;
        account?: string | { externalId: string };
        idempotencyKey?: string;
      };
    } {
      const { holds, now } = this.model;
      const open = holds.filter(({ ended, until }) => ended === null && until > now);
      const from = which < 8 && open.length > 0 ? open : holds;
      const hold = from[which % Math.max(1, from.length)];
      const name = hold === undefined ? 'parent.999' : `${hold.payer}.${hold.number}`;
      const account = by === null ? undefined : this.account(by);
      const holdId = this.idOf(name);
      const request = { holdId, account, idempotencyKey: idempotencyKey ?? undefined };
      return { name, product: hold?.product ?? 'MSG', request };
    }

    private attach(child: string, parent: string): Promise<{ error: string } | null> {
      return billing.accounts
        .attachChild({ child: this.account(child), parent: this.account(parent) })
        .then(() => null, errorOf);
    }

    private requestOf(wanted: Use): ConsumeRequest {
      return {
        account: this.account(wanted.name),
        product: wanted.product,
        amount: units(wanted.product, wanted.amount),
        idempotencyKey: wanted.key ?? undefined,
      };
    }

    async step(next: Command): Promise<void> {
      const { model } = this;
      switch (next.do) {
        case 'again':
          throw new Error('stands for another command');
        case 'wait':
          model.now += next.milliseconds;
          clock.advance(next.milliseconds);
          return;
        case 'grant': {
          const until = next.hours === null ? null : START + next.hours * HOUR;
          const said = await billing.ledger
            .grant({
              account: this.account(next.name),
              product: next.product,
              quantity: units(next.product, next.amount),
              priority: next.priority,
              expiresAt: until === null ? null : new Date(until),
              paid:
                next.cents === null
                  ? undefined
                  : { amount: text(BigInt(next.cents), 2), currency: 'USD' },
              idempotencyKey: next.key ?? undefined,
            })
            .then(
              ([grant]) => ({
                product: grant!.product,
                initial: grant!.initial,
                left: grant!.remaining,
                priority: grant!.priority,
                from: grant!.validFrom,
                until: grant!.expiresAt,
                value: grant!.value,
                replayed: grant!.replayed,
              }),
              errorOf,
            );
          const expected = model.grant(next.name, next.product, next.amount, { ...next, until });
          expect(said).toEqual(
            'error' in expected
              ? expected
              : {
                  product: expected.product,
                  initial: units(expected.product, expected.initial),
                  left: units(expected.product, expected.left),
                  priority: expected.priority,
                  from: new Date(expected.from).toISOString(),
                  until: expected.until === null ? null : new Date(expected.until).toISOString(),
                  value: money(expected.value),
                  replayed: expected.replayed,
                },
          );
          return;
        }
        case 'consume': {
          const said = await billing.ledger
            .consume(this.requestOf(next))
            .then(this.spoken, errorOf);
          expect(said).toEqual(model.consume(next.name, next.product, next.amount, next.key));
          return;
        }
        case 'consumeMany': {
          const said = await billing.ledger.consumeMany([
            ...next.uses.map((one) => this.requestOf(one)),
            { account: this.account('other'), product: 'NOTHING' },
          ]);
          expect(
            said.map((one) => (isFailed(one) ? { error: one.error.code } : this.spoken(one))),
          ).toEqual([
            ...next.uses.map((one) => model.consume(one.name, one.product, one.amount, one.key)),
            { error: 'unknown_product' },
          ]);
          return;
        }
        case 'rush': {
          // All alike and without keys: who comes first does not matter.
          const said = await Promise.all(
            Array.from({ length: next.times }, () =>
              billing.ledger.consume(this.requestOf({ ...next, key: null })).then(this.spoken),
            ),
          );
          const expected = said.map(() =>
            model.consume(next.name, next.product, next.amount, null),
          );
          const sorted = (answers: object[]): string[] =>
            answers.map((answer) => JSON.stringify(Object.entries(answer).sort())).sort();
          expect(sorted(said)).toEqual(sorted(expected));
          return;
        }
        case 'check': {
          const { idempotencyKey: _none, ...request } = this.requestOf(next);
          const said = await billing.ledger.check(request);
          const expected = model.check(next.name, next.product, next.amount);
          expect({
            allowed: said.allowed,
            reason: said.reason,
            remaining: said.remaining,
            suggested: said.suggestedOffers.map((offer) => offer.sku),
          }).toEqual(expected);
          expect(said.expiresAt).toBe(model.balance(next.name, next.product, model.now).expiresAt);
          return;
        }
        case 'balance': {
          const at = next.hoursAgo === null ? model.now : model.now - next.hoursAgo * HOUR;
          const said = await billing.ledger.balance({
            account: this.account(next.name),
            product: next.product,
            at: next.hoursAgo === null ? undefined : new Date(at),
          });
          expect(said).toEqual({
            product: next.product,
            unit: next.product === 'MSG' ? 'message' : 'GB',
            ...model.balance(next.name, next.product, at),
          });
          return;
        }
        case 'hold': {
          const said = await billing.ledger
            .hold({ ...this.requestOf(next), expiresIn: { unit: 'hour', count: next.hours } })
            .then(
              (answer) => ({
                allowed: answer.allowed,
                reason: answer.reason,
                held: answer.held,
                remaining: answer.remaining,
                hold: this.named(answer.holdId),
                until: answer.expiresAt,
                suggested: answer.suggestedOffers.map((offer) => offer.sku),
                replayed: answer.replayed,
              }),
              errorOf,
            );
          const { name: holder, product: of, amount: aside, hours, key: once } = next;
          expect(said).toEqual(model.hold(holder, of, aside, hours, once));
          return;
        }
        case 'settle': {
          const { name: id, product: of, request } = this.holdNamed(next);
          // An amount finer than the product allows would be refused: each is in its smallest units.
          const said = await billing.ledger
            .settle({
              ...request,
              amount: next.amount === null ? undefined : units(of, next.amount),
              strict: next.strict,
            })
            .then(
              (answer) => ({
                allowed: answer.allowed,
                reason: answer.reason,
                consumed: answer.consumed,
                uncovered: answer.uncovered,
                overage: answer.overage ?? null,
                remaining: answer.remaining,
                entry: this.named(answer.entryId),
                replayed: answer.replayed,
              }),
              errorOf,
            );
          expect(said).toEqual(model.settle(id, next.amount, next));
          return;
        }
        case 'release': {
          const { name: id, request } = this.holdNamed(next);
          const said = await billing.ledger.release(request).then(
            (answer) => ({
              released: answer.released,
              remaining: answer.remaining,
              hold: this.named(answer.holdId),
              entry: this.named(answer.entryId),
              replayed: answer.replayed,
            }),
            errorOf,
          );
          expect(said).toEqual(model.release(id, next.by, next.key));
          return;
        }
        case 'extend': {
          const { name: id, request } = this.holdNamed(next);
          const said = await billing.ledger
            .extend({ ...request, expiresIn: { unit: 'hours', count: next.hours } })
            .then((hold) => ({ ...this.listed(hold), replayed: hold.replayed }), errorOf);
          expect(said).toEqual(model.extend(id, next.hours, next.by, next.key));
          return;
        }
        case 'holds': {
          const said = await billing.ledger.holds({
            account: this.account(next.name),
            open: next.open,
          });
          // Newest first; of two ledgers those of one moment may come in either order.
          expect(said.map((hold) => hold.createdAt)).toEqual(
            said.map((hold) => hold.createdAt).sort((a, b) => (a < b ? 1 : a > b ? -1 : 0)),
          );
          const sorted = (list: HoldListed[]): HoldListed[] =>
            list.sort((a, b) => (a.hold < b.hold ? -1 : 1));
          expect(sorted(said.map(this.listed))).toEqual(
            sorted(model.holdsOf(next.name, next.open)),
          );
          return;
        }
        case 'restoreEntry': {
          const uses = [...model.lines].flatMap(([payer, lines]) =>
            lines.flatMap((line, index) =>
              line.kind === 'use' || line.kind === 'grant'
                ? { payer, number: index + 1, product: line.product }
                : [],
            ),
          );
          const found = uses[next.which % Math.max(1, uses.length)];
          const {
            payer,
            number,
            product: of,
          } = found ?? {
            payer: 'parent',
            number: 999,
            product: 'MSG' as const,
          };
          const said = await billing.ledger
            .restore({
              entryId: this.idOf(`${payer}.${number}`),
              account: next.by === null ? undefined : this.account(next.by),
              amount: next.amount === null ? undefined : units(of, next.amount),
              idempotencyKey: next.key ?? undefined,
            })
            .then(this.restored, errorOf);
          expect(said).toEqual(model.restoreEntry(payer, number, next.amount, next.by, next.key));
          return;
        }
        case 'restoreLatest': {
          const said = await billing.ledger
            .restore(this.requestOf(next))
            .then(this.restored, errorOf);
          expect(said).toEqual(model.restoreLatest(next.name, next.product, next.amount, next.key));
          return;
        }
        case 'setOverage': {
          const said = await billing.ledger
            .setOverage({
              account: this.account(next.name),
              product: next.product,
              limit: next.limit === null ? null : units(next.product, next.limit),
              idempotencyKey: next.key ?? undefined,
            })
            .then(({ limit, used, replayed }) => ({ limit, used, replayed }), errorOf);
          expect(said).toEqual(model.setOverage(next.name, next.product, next.limit, next.key));
          return;
        }
        case 'overage':
          expect(
            await billing.ledger.overage({
              account: this.account(next.name),
              product: next.product,
            }),
          ).toEqual({ product: next.product, ...model.overage(next.name, next.product) });
          return;
        case 'suspend':
          await billing.accounts.update({
            account: this.account(next.name),
            status: next.suspended ? 'suspended' : 'active',
          });
          model.suspend(next.name, next.suspended);
          return;
        case 'attach':
          expect(await this.attach(next.child, next.parent)).toEqual(
            model.attach(next.child, next.parent),
          );
          return;
        case 'detach':
          await billing.accounts.detachChild({ child: this.account(next.child) });
          model.detach(next.child);
          return;
      }
    }

    /** At the end: every grant and every line of every account, to the last digit. */
    async compareBooks(): Promise<void> {
      const { model } = this;
      const ownId = new Map([...this.ids].map(([account, id]) => [id, account]));
      for (const payer of ACCOUNTS) {
        if (model.payerOf(payer) !== payer) continue;
        const account = this.ids.get(payer)!;
        const grants = (await billing.ledger.grants({ account })).reverse();
        const expected = model.grantsOf(payer);
        expect(
          grants.map(({ product: of, initial, remaining, held, valueLeft: worth }) => [
            of,
            initial,
            remaining,
            held,
            worth,
          ]),
        ).toEqual(
          expected.map((grant) => {
            const { left, held, value } = model.standingOf(payer, grant);
            const said = [grant.initial, left, held].map((some) => units(grant.product, some));
            return [grant.product, ...said, money(value)];
          }),
        );
        const numberOf = new Map(grants.map((grant, index) => [grant.grantId, index]));
        const { items } = await billing.ledger.entries({ account, limit: 1_000 });
        const lines = model.lines.get(payer)!;
        const own = (line: { kind: string; product: string }): boolean => line.kind !== 'expiry';
        expect(
          items
            .filter((entry) => entry.entryId.startsWith(account) && own(entry))
            .reverse()
            .map((entry) => [
              entry.kind,
              ownId.get(entry.account),
              entry.product,
              entry.amount,
              entry.effectiveAt,
              entry.value,
              entry.overage,
              this.named(entry.causeId),
              entry.grants.map((part) => [numberOf.get(part.grantId), part.amount]),
            ]),
        ).toEqual(
          lines
            .filter(own)
            .map((line) => [
              line.kind,
              line.user,
              line.product,
              units(line.product, line.amount),
              iso(line.at),
              signed(line),
              line.overage ? units(line.product, line.overage) : null,
              line.cause === undefined ? null : `${payer}.${line.cause}`,
              line.from.map((part) => [
                expected.indexOf(part.grant),
                units(line.product, part.amount),
              ]),
            ]),
        );
        // Two that expired at one instant may be put on record in either order.
        const expiries = (list: unknown[][]): string[] =>
          list.map((one) => JSON.stringify(one)).sort();
        expect(
          expiries(
            items
              .filter((entry) => !own(entry))
              .map((entry) => [
                numberOf.get(entry.grants[0]!.grantId),
                entry.amount,
                entry.effectiveAt,
                entry.value,
                this.named(entry.causeId),
              ]),
          ),
        ).toEqual(
          expiries(
            lines
              .filter((line) => !own(line))
              .map((line) => [
                expected.indexOf(line.from[0]!.grant),
                units(line.product, line.amount),
                iso(line.at),
                signed(line),
                line.cause === undefined ? null : `${payer}.${line.cause}`,
              ]),
          ),
        );
        // Uses, expiries and restores end at exactly what the grants have lost of their value.
        const earned = items
          .filter((entry) => entry.entryId.startsWith(account))
          .filter(({ kind }) => ['use', 'expiry', 'restore'].includes(kind))
          .map(({ value }) => BigInt(value!.replace('.', '')));
        expect(-sumOf(earned)).toBe(sumOf(expected.map((grant) => grant.value - valueLeft(grant))));
      }
    }
  }

  test('random programs give the answers of the model', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(command, { minLength: 1, maxLength: 80, size: 'max' }),
        async (program) => {
          const run = new Run();
          await run.begin();
          for (const [index, next] of program.entries()) {
            let wanted: Command | undefined = next;
            for (let at = index; wanted?.do === 'again'; wanted = program[at]) at -= wanted.back;
            if (wanted !== undefined) await run.step(wanted);
          }
          await run.compareBooks();
        },
      ),
      { numRuns: runs(database.name, RUNS), unbiased: true },
    );
    // What was tried was worth trying.
    expect(commands).toBeGreaterThan(100);
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    // Long enough for fast-check to shrink a failing program and print its seed.
  }, 3_600_000);
});
