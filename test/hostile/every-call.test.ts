import { TestClock, isBillingError, type Billing } from '../../engine';
import type { z } from '../../engine/kernel';
import { count } from '../counted';
import { isLong, newSchema, onEachDatabase, runs } from '../engine/each-database';
import { Random, seedOfRun } from '../faults/random';
import { seen } from '../engine/seen-schemas';

/**
 * Every public call with requests made up after its own schema: of what is there, of what is not, and
 * of what nobody should send. Whatever comes of it is an answer or a BillingError that tells nothing of
 * the database, and all books agree afterwards.
 */

jest.mock('../../engine/kernel/validation', () =>
  jest.requireActual<typeof import('../engine/seen-schemas')>('../engine/seen-schemas').watched(),
);

/** The same inputs in every short run; a long one says what it began with. */
const seed = isLong ? seedOfRun() : 1;

/** A long run takes as long as it takes. */
const HOURS = 3_600_000;

const NASTY: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1e308,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.MAX_SAFE_INTEGER,
  '',
  ' ',
  '\u0000',
  '\ud800',
  '0',
  '-0',
  '1e9',
  '9'.repeat(400),
  '0.000000000000000000001',
  "'; drop table entries; --",
  '$1',
  '{schema}',
  '%s\\%',
  '../../etc/passwd',
  '__proto__',
  'constructor',
  '\u202e\u200b\u0301',
  '\ud83d\ude00'.repeat(50),
  'x'.repeat(5_000),
  '2027-02-30T00:00:00Z',
  '-271821-04-20T00:00:00Z',
  '+275760-09-13T00:00:00.001Z',
  '00000000-0000-0000-0000-000000000000',
  [],
  {},
  [[[]]],
  [null],
  { toString: 1 },
  JSON.parse('{"__proto__": {"admin": true}}'),
  new Date(Number.NaN),
  new Uint8Array(3),
  10n,
  Symbol('none'),
  () => 'none',
];

/** What must not come out of it; of a CSV file that has another column we speak like Postgres. */
const TELLING =
  /undefined|\[object|syntax error|violates|invalid byte|relation "|(?<!: there is no )column "|\n/;

type Def = Record<string, unknown> & { type: string };
const defOf = (schema: unknown): Def => (schema as { _zod: { def: unknown } })._zod.def as Def;

/** What is there, by the names of fields that it may stand in. */
type Known = Record<string, unknown[]>;

class Requests {
  constructor(
    private readonly random: Random,
    private readonly known: Known,
  ) {}

  /** Something that a schema may have been meant for, or not. */
  of(schema: unknown, name = ''): unknown {
    const { random } = this;
    if (random.chance(0.05)) return random.pick(NASTY);
    const known = this.known[name];
    if (known !== undefined && random.chance(0.9)) return random.pick(known);
    const def = defOf(schema);
    switch (def.type) {
      case 'object':
        return this.object(def.shape as Record<string, unknown>);
      case 'array':
        return Array.from({ length: random.between(0, 3) }, () => this.of(def.element, name));
      case 'union':
        return this.of(random.pick(def.options as unknown[]), name);
      case 'enum':
        return random.pick(Object.values(def.entries as object));
      case 'literal':
        return random.pick(def.values as unknown[]);
      case 'boolean':
        return random.chance(0.5);
      case 'number':
        return random.between(0, 40);
      case 'string':
        return random.pick(['1', '2.5', 'some text', 'EUR', 'day', '2027-02-01T00:00:00Z']);
      case 'pipe':
        return this.of(defOf(def.in).type === 'custom' ? def.out : def.in, name);
      default:
        return def.innerType === undefined
          ? random.pick([1, '3', 'text', { unit: 'day', count: 2 }, '2027-01-20T00:00:00Z', {}])
          : this.of(def.innerType, name);
    }
  }

  private object(shape: Record<string, unknown>): object {
    const fields = Object.entries(shape).filter(([name]) => name !== 'tx' && name !== 'clock');
    const chosen = fields.filter(([, field]) => {
      const isLeftOut = ['optional', 'default', 'prefault'].includes(defOf(field).type);
      return this.random.chance(isLeftOut ? 0.35 : 0.98);
    });
    return Object.fromEntries(chosen.map(([name, field]) => [name, this.of(field, name)]));
  }
}

type Call = (request: unknown) => Promise<unknown>;

onEachDatabase('every call with all kinds of input', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const calls = new Map<string, { call: Call; schema: z.ZodType }>();
  const known: Known = {};
  let billing: Billing;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: true });
    await fill();
    for (const [room, value] of Object.entries(billing)) {
      if (typeof value !== 'object' || value === null || room === 'sandbox') continue;
      for (const [name, call] of Object.entries(value as Record<string, Call>)) {
        seen.length = 0;
        await call({}).catch(() => undefined);
        const [schema] = seen;
        if (schema !== undefined) calls.set(`${room}.${name}`, { call, schema });
      }
    }
  });

  async function fill(): Promise<void> {
    const { catalog, accounts, payments } = billing;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages', isCurrency: true });
    await catalog.saveProduct({ key: 'PRO', name: 'Access', kind: 'period' });
    const items = [{ product: 'MSG', quantity: 100 }];
    await catalog.saveOffer({ sku: 'pack', name: 'Pack', price: '5', currency: 'USD', items });
    await catalog.saveOffer({ sku: 'coins', name: 'Coins', price: '5', currency: 'MSG', items });
    await catalog.saveOffer({
      sku: 'plan',
      name: 'Plan',
      price: '30',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items,
    });
    await catalog.saveCoupon({ code: 'HALF', percent: '50', duration: 'forever' });
    const people = ['one', 'two', 'three'];
    const ids: string[] = [];
    for (const externalId of people) {
      const { accountId } = await accounts.identify({ externalId });
      await payments.saveMethod({ account: accountId, gateway: 'test', token: 'test_ok' });
      ids.push(accountId);
    }
    const references = [...ids, ...people.map((externalId) => ({ externalId }))];
    for (const name of ['account', 'toAccount', 'parent', 'child', 'into', 'referrer']) {
      known[name] = references;
    }
    known.product = ['MSG', 'MSG', 'PRO'];
    known.sku = ['pack', 'plan', 'coins'];
    known.coupon = ['HALF'];
    known.currency = ['USD', 'USD', 'EUR'];
    known.amount = [1, 2, '3', '5.00'];
    known.quantity = [1, 2, 10];
    known.gateway = ['test', 'manual'];
    known.token = ['test_ok', 'test_declined'];
    known.expiresIn = [{ unit: 'hour', count: 1 }];
    known.idempotencyKey = ['k1', 'k2', 'k3', 'k4'];
    known.confirm = ids;
  }

  /** Ids that an answer told, for what comes after. */
  function learn(answer: unknown): void {
    if (typeof answer !== 'object' || answer === null) return;
    for (const [name, value] of Object.entries(answer)) {
      if (typeof value !== 'string') learn(value);
      else if (/(?<!account|parent|payer)Id$/i.test(name)) {
        known[name] = [...(known[name] ?? []), value].slice(-20);
      }
    }
  }

  test(
    'gives an answer, or an error of ours that tells nothing',
    async () => {
      const random = new Random(seed);
      const requests = new Requests(random, known);
      const names = [...calls.keys()].filter((name) => name !== 'accounts.erase');
      expect(names.length).toBeGreaterThan(100);
      const wrong: unknown[] = [];
      const came = new Map<string, number>();
      const inputs = runs(database.name, isLong ? 20_000 : 600);
      for (let input = 0; input < inputs; input += 1) {
        if (input % 100 === 99) clock.advance(random.between(1, 3 * 86_400_000));
        const name = random.pick(names);
        const { call, schema } = calls.get(name)!;
        const request = requests.of(schema);
        try {
          learn(await call(request));
          came.set('answers', (came.get('answers') ?? 0) + 1);
        } catch (error) {
          const isOurs = isBillingError(error) && error.code !== 'internal_error';
          if (!isOurs || TELLING.test(error.message)) wrong.push([name, request, error]);
          else came.set(error.code, (came.get(error.code) ?? 0) + 1);
        }
        count(`inputs to public calls (${database.name})`);
      }
      if (wrong.length > 0) process.stderr.write(`every call: BILLING_FAULT_SEED=${seed}\n`);
      expect(wrong).toEqual([]);
      // Both the meant and the nasty ones got through to where they are looked at.
      expect(came.get('answers')).toBeGreaterThan(inputs / 20);
      expect(came.get('invalid_input')).toBeGreaterThan(inputs / 20);
      expect(came.size).toBeGreaterThan(5);
    },
    HOURS,
  );
});
