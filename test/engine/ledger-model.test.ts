import fc from 'fast-check';

import {
  TestClock,
  isBillingError,
  isFailed,
  type Billing,
  type ConsumeAnswer,
  type ConsumeRequest,
  type Entry,
} from '../../engine';
import { onEachDatabase } from './each-database';

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

interface ModelGrant {
  number: number;
  product: ProductKey;
  initial: bigint;
  left: bigint;
  priority: number;
  from: number;
  until: number | null;
  /** In 10^-8 of a dollar. */
  value: bigint;
}

interface ModelLine {
  kind: Entry['kind'];
  user: string;
  product: ProductKey;
  amount: bigint;
  from: Array<{ grant: ModelGrant; amount: bigint }>;
  value: bigint;
  at: number;
}

interface Answer {
  allowed: boolean;
  reason: string | null;
  consumed: string;
  remaining: string;
  suggested: string[];
}

interface FirstAnswer {
  request: string;
  answer: Answer | ModelGrant;
  until: number;
}

type Outcome<T> = { error: string } | (T & { replayed: boolean });

/** The value that is left: value x units left / units given, the half of 10^-8 rounded up. */
const valueLeft = (grant: ModelGrant): bigint =>
  (2n * grant.value * grant.left + grant.initial) / (2n * grant.initial);

class Model {
  now = START;
  private readonly payers = new Map<string, string>();
  private readonly suspended = new Set<string>();
  private readonly grants = new Map<string, ModelGrant[]>();
  readonly lines = new Map<string, ModelLine[]>();
  private readonly answers = new Map<string, FirstAnswer>();

  addAccount(name: string): void {
    this.payers.set(name, name);
    this.grants.set(name, []);
    this.lines.set(name, []);
  }

  payerOf(name: string): string {
    return this.payers.get(name)!;
  }

  /** Units of a product in force at a moment, and the first end among them. */
  balance(
    name: string,
    product: ProductKey,
    at: number,
  ): { available: string; expiresAt: string | null } {
    let sum = 0n;
    let end: number | null = null;
    for (const grant of this.grants.get(this.payerOf(name))!) {
      if (grant.product !== product || grant.from > at) continue;
      if (grant.until !== null && grant.until <= at) continue;
      let held = grant.initial;
      for (const line of this.lines.get(this.payerOf(name))!) {
        if (line.kind !== 'use' || line.at > at) continue;
        for (const part of line.from) if (part.grant === grant) held -= part.amount;
      }
      sum += held;
      if (held > 0n && grant.until !== null && (end === null || grant.until < end)) {
        end = grant.until;
      }
    }
    return {
      available: units(product, sum),
      expiresAt: end === null ? null : new Date(end).toISOString(),
    };
  }

  private usable(payer: string, product: ProductKey): ModelGrant[] {
    const never = Number.POSITIVE_INFINITY;
    return this.grants
      .get(payer)!
      .filter((grant) => grant.product === product && grant.left > 0n)
      .filter((grant) => grant.until === null || grant.until > this.now)
      .sort(
        (a, b) =>
          a.priority - b.priority ||
          (a.until === b.until ? 0 : (a.until ?? never) - (b.until ?? never)) ||
          a.number - b.number,
      );
  }

  /** The first writer after an expiry puts it on record, as of its instant. */
  private recordExpiries(payer: string, product: ProductKey): void {
    for (const grant of this.grants.get(payer)!) {
      if (grant.product !== product || grant.left === 0n) continue;
      if (grant.until === null || grant.until > this.now) continue;
      const lost = { grant, amount: grant.left };
      const value = valueLeft(grant);
      grant.left = 0n;
      const line = { kind: 'expiry' as const, user: payer, product, from: [lost], value };
      this.lines.get(payer)!.push({ ...line, amount: -lost.amount, at: grant.until });
    }
  }

  check(name: string, product: ProductKey, amount: bigint): Omit<Answer, 'consumed'> {
    const payer = this.payerOf(name);
    const there = this.usable(payer, product).reduce((sum, grant) => sum + grant.left, 0n);
    const remaining = units(product, there);
    if (this.suspended.has(name) || this.suspended.has(payer)) {
      return { allowed: false, reason: 'account_suspended', remaining, suggested: [] };
    }
    if (there >= amount) return { allowed: true, reason: null, remaining, suggested: [] };
    const suggested = PACKS[product]
      .filter((pack) => pack.brings >= amount - there)
      .map((pack) => pack.sku);
    return { allowed: false, reason: 'insufficient_balance', remaining, suggested };
  }

  /** Rule 3: the same key and request, the first answer; another request, a conflict. */
  private once<T extends Answer | ModelGrant>(
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
      const denied = 'allowed' in answer && !answer.allowed;
      // As it was then: a grant that is used later was whole in its first answer.
      const kept = { ...answer };
      this.answers.set(slot, { request, answer: kept, until: this.now + (denied ? 1 : 90) * DAY });
    }
    return { ...answer, replayed: false };
  }

  consume(name: string, product: ProductKey, amount: bigint, key: string | null): Outcome<Answer> {
    const slot = key === null ? null : `consume ${name} ${key}`;
    return this.once<Answer>(slot, `${product} ${amount}`, () => {
      const standing = this.check(name, product, amount);
      if (!standing.allowed) return { ...standing, consumed: '0' };
      const payer = this.payerOf(name);
      this.recordExpiries(payer, product);
      const from: ModelLine['from'] = [];
      let missing = amount;
      let value = 0n;
      for (const grant of this.usable(payer, product)) {
        if (missing === 0n) break;
        const taken = grant.left < missing ? grant.left : missing;
        const before = valueLeft(grant);
        grant.left -= taken;
        missing -= taken;
        value += before - valueLeft(grant);
        from.push({ grant, amount: taken });
      }
      const line = { kind: 'use' as const, user: name, product, from, value, at: this.now };
      this.lines.get(payer)!.push({ ...line, amount: -amount });
      return {
        ...standing,
        consumed: units(product, amount),
        remaining: this.check(name, product, 1n).remaining,
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
      this.recordExpiries(payer, product);
      const lines = this.lines.get(payer)!;
      const grant: ModelGrant = {
        number: lines.length,
        product,
        initial: amount,
        left: amount,
        priority: terms.priority,
        from: this.now,
        until: terms.until,
        value: BigInt(terms.cents ?? 0) * 1_000_000n,
      };
      this.grants.get(payer)!.push(grant);
      const line = { kind: 'grant' as const, user: name, product, amount, value: grant.value };
      lines.push({ ...line, from: [{ grant, amount }], at: this.now });
      return grant;
    });
  }

  suspend(name: string, suspended: boolean): void {
    if (suspended) this.suspended.add(name);
    else this.suspended.delete(name);
  }

  /** One level, and a child brings no units of its own. */
  attach(child: string, parent: string): { error: string } | null {
    if (this.payerOf(child) === parent && child !== parent) return null;
    const has = PRODUCTS.some((product) => this.usable(child, product).length > 0);
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

type Command =
  | ({ do: 'grant'; priority: number; hours: number | null; cents: number | null } & Use)
  | ({ do: 'consume' } & Use)
  | { do: 'consumeMany'; uses: Use[] }
  | ({ do: 'rush'; times: number } & Omit<Use, 'key'>)
  | ({ do: 'check' } & Use)
  | { do: 'balance'; name: Name; product: ProductKey; hoursAgo: number | null }
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
const quantity = fc.bigInt({ min: 1n, max: 60n });
const use = fc.record({ name, product, amount, key });

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('grant' as const),
      name,
      product,
      amount: quantity,
      key,
      priority: fc.constantFrom(1, 50, 50, 50, 99),
      // From the start of the program: it may have passed already.
      hours: fc.option(fc.constantFrom(1, 2, 24, 25, 48, 24 * 30, 24 * 200), { freq: 3 }),
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
        HOUR - 1,
        HOUR,
        HOUR,
        HOUR,
        DAY - 1,
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
      suspended: fc.boolean(),
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

  const spoken = (answer: ConsumeAnswer): Answer & { replayed: boolean } => ({
    allowed: answer.allowed,
    reason: answer.reason,
    consumed: answer.consumed,
    remaining: answer.remaining!,
    suggested: answer.suggestedOffers.map((offer) => offer.sku),
    replayed: answer.replayed,
  });

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
          const said = await billing.ledger.consume(this.requestOf(next)).then(spoken, errorOf);
          expect(said).toEqual(model.consume(next.name, next.product, next.amount, next.key));
          return;
        }
        case 'consumeMany': {
          const said = await billing.ledger.consumeMany([
            ...next.uses.map((one) => this.requestOf(one)),
            { account: this.account('other'), product: 'NOTHING' },
          ]);
          expect(
            said.map((one) => (isFailed(one) ? { error: one.error.code } : spoken(one))),
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
              billing.ledger.consume(this.requestOf({ ...next, key: null })).then(spoken),
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
            held: '0',
            ...model.balance(next.name, next.product, at),
          });
          return;
        }
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
        expect(grants.map((grant) => [grant.product, grant.initial, grant.remaining])).toEqual(
          expected.map((grant) => {
            const over = grant.until !== null && grant.until <= model.now;
            const left = over ? 0n : grant.left;
            return [grant.product, units(grant.product, grant.initial), units(grant.product, left)];
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
              new Date(line.at).toISOString(),
              money(line.value),
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
              ]),
          ),
        ).toEqual(
          expiries(
            lines
              .filter((line) => !own(line))
              .map((line) => [
                expected.indexOf(line.from[0]!.grant),
                units(line.product, line.amount),
                new Date(line.at).toISOString(),
                money(line.value),
              ]),
          ),
        );
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
      { numRuns: 40, unbiased: true },
    );
    // What was tried was worth trying.
    expect(commands).toBeGreaterThan(100);
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    // Long enough for fast-check to shrink a failing program and print its seed.
  }, 600_000);
});
