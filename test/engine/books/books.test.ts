import * as fs from 'node:fs';
import * as path from 'node:path';

import fc from 'fast-check';
import knexFactory, { type Knex } from 'knex';

import { TestClock, openBilling, type Billing, type BookBalance } from '../../../engine';
import { BOOK_ACCOUNTS, POSTING_KINDS, post, type Leg, type Posting } from '../../../engine/books';
import { Database, type Session } from '../../../engine/database';
import { openEmbedded } from '../../../engine/database/embedded';
import { BillingError, Decimal, ZERO, newId } from '../../../engine/kernel';
import {
  databaseKinds,
  newSchema,
  onEachDatabase,
  openOnServer,
  serverUrl,
  runs,
} from '../each-database';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.parse('2027-01-10T12:00:00Z');
const NOTHING_EARNED = { expiries: 0, holds: 0, answers: 0, postings: 0 };

const leg = (account: string, amount: string, gateway?: string): Leg =>
  ({ account, amount: new Decimal(amount), ...(gateway === undefined ? {} : { gateway }) }) as Leg;

/** Balances in short: 'cash manual USD 47.00000000', with what is not posted yet in brackets. */
const short = (balances: readonly BookBalance[]): string[] =>
  balances.map(({ account, gateway, currency, balance, unposted }) =>
    [
      account,
      ...(gateway === null ? [] : [gateway]),
      currency,
      balance,
      ...(/[1-9]/.test(unposted) ? [`(${unposted})`] : []),
    ].join(' '),
  );

const sumOf = (balances: readonly BookBalance[]): string =>
  balances.reduce((sum, { balance }) => sum.plus(balance), ZERO).toFixed();

onEachDatabase('the money book', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    for (const key of ['MSG', 'CALL']) await billing.catalog.saveProduct({ key, name: key });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
  });
  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `books ${counter}` })).accountId;
  };
  const pay = (account: string, quantity: number, amount: string, more: object = {}) =>
    billing.ledger.grant({
      account,
      product: 'MSG',
      quantity,
      paid: { amount, currency: 'USD' },
      ...more,
    });
  const use = (account: string, amount: number, more: object = {}) =>
    billing.ledger.consume({ account, product: 'MSG', amount, ...more });
  const booked = async (account: string, more: object = {}) =>
    short(await billing.books.balances({ account, ...more }));
  /** What was posted, oldest first: 'earned 2027-01-10 deferred 1.5 revenue -1.5'. */
  const posted = async (account: string, more: object = {}): Promise<string[]> => {
    const { items } = await billing.books.postings({ account, limit: 1000, ...more });
    return items
      .map(({ kind, postedAt, currency, legs }) =>
        [
          kind,
          postedAt.slice(0, 10),
          currency,
          ...legs.map(({ account: name, amount }) => `${name} ${new Decimal(amount).toFixed()}`),
        ].join(' '),
      )
      .reverse();
  };

  test('has a chart: each account with a sentence on what stands there', async () => {
    const chart = await billing.books.accounts();
    expect(chart.map(({ account }) => account)).toEqual([...BOOK_ACCOUNTS]);
    for (const { description } of chart) expect(description).toMatch(/^[A-Z].{20,}\.$/);
    chart.pop();
    expect(await billing.books.accounts()).toHaveLength(BOOK_ACCOUNTS.length);
  });

  test('R1: what is used is earned at once for who reads the book, and posted by the day', async () => {
    const account = await newAccount();
    const [grant] = await pay(account, 314, '47.00');
    expect(grant!.unitValue).toBe('0.14968153');
    expect(await booked(account)).toEqual([
      'cash manual USD 47.00000000',
      'deferred USD -47.00000000',
    ]);
    await use(account, 100);

    const before = [
      'cash manual USD 47.00000000',
      'deferred USD -32.03184713 (14.96815287)',
      'revenue USD -14.96815287 (-14.96815287)',
    ];
    expect(await booked(account)).toEqual(before);
    expect(await posted(account)).toEqual(['outside_grant 2027-01-10 USD cash 47 deferred -47']);
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });

    expect((await billing.runDue()).postings).toBeGreaterThanOrEqual(1);
    expect(await booked(account)).toEqual(before.map((line) => line.replace(/ \(.*/, '')));
    const { items } = await billing.books.postings({ account });
    expect(items).toEqual([
      {
        postingId: expect.any(String) as string,
        payer: account,
        currency: 'USD',
        kind: 'earned',
        reference: { type: 'lines', id: `${account}.1-2` },
        postedAt: '2027-01-10T12:00:00.000Z',
        legs: [
          { account: 'deferred', gateway: null, amount: '14.96815287' },
          { account: 'revenue', gateway: null, amount: '-14.96815287' },
        ],
      },
      {
        postingId: expect.any(String) as string,
        payer: account,
        currency: 'USD',
        kind: 'outside_grant',
        reference: { type: 'grant', id: grant!.grantId },
        postedAt: '2027-01-10T12:00:00.000Z',
        legs: [
          { account: 'cash', gateway: 'manual', amount: '47.00000000' },
          { account: 'deferred', gateway: null, amount: '-47.00000000' },
        ],
      },
    ]);
    expect(await billing.runDue()).toMatchObject(NOTHING_EARNED);
  });

  test('however the units go, the whole of what was paid is earned in the end', async () => {
    const account = await newAccount();
    await pay(account, 7, '0.05');
    for (let turn = 0; turn < 7; turn += 1) await use(account, 1);
    expect(await booked(account)).toEqual([
      'cash manual USD 0.05000000',
      'deferred USD 0.00000000 (0.05000000)',
      'revenue USD -0.05000000 (-0.05000000)',
    ]);
  });

  test('each ledger is followed once a day, with one posting for each day and currency', async () => {
    const account = await newAccount();
    await pay(account, 100, '10.00');
    await pay(account, 100, '30.00', { product: 'CALL', paid: { amount: '30', currency: 'EUR' } });
    await use(account, 10);
    await use(account, 10);
    await use(account, 10, { product: 'CALL' });
    clock.set('2027-01-10T23:59:59.999Z');
    await use(account, 1);
    clock.set('2027-01-11T00:00:00Z');
    await use(account, 2);
    clock.set('2027-01-12T10:00:00Z');
    await use(account, 3);
    await billing.runDue();
    expect((await posted(account, { kind: 'earned' })).sort()).toEqual([
      'earned 2027-01-10 EUR deferred 3 revenue -3',
      'earned 2027-01-10 USD deferred 2.1 revenue -2.1',
      'earned 2027-01-11 USD deferred 0.2 revenue -0.2',
      'earned 2027-01-12 USD deferred 0.3 revenue -0.3',
    ]);
    // The rest of a day follows on the next; until then it is there for who reads.
    await use(account, 4);
    expect(await billing.runDue()).toMatchObject(NOTHING_EARNED);
    expect(await booked(account, { currency: 'USD' })).toEqual([
      'cash manual USD 10.00000000',
      'deferred USD -7.00000000 (0.40000000)',
      'revenue USD -3.00000000 (-0.40000000)',
    ]);
    clock.set('2027-01-13T00:00:00Z');
    await billing.runDue();
    expect(await posted(account, { kind: 'earned', from: '2027-01-12T00:00:00Z' })).toEqual([
      'earned 2027-01-12 USD deferred 0.3 revenue -0.3',
      'earned 2027-01-12 USD deferred 0.4 revenue -0.4',
    ]);
  });

  test('an expiry earns what was left, on the day of its end, whenever it was written', async () => {
    const account = await newAccount();
    await pay(account, 10, '9.99', { expiresAfter: { unit: 'day', count: 2 } });
    await use(account, 3);
    await billing.runDue();
    clock.advance(10 * DAY);
    // Nobody wrote it yet: still deferred, and as much is left in the grant.
    expect(await booked(account)).toEqual([
      'cash manual USD 9.99000000',
      'deferred USD -6.99300000',
      'revenue USD -2.99700000',
    ]);
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    await billing.runDue();
    expect(await posted(account, { kind: 'earned' })).toEqual([
      'earned 2027-01-10 USD deferred 2.997 revenue -2.997',
      'earned 2027-01-12 USD deferred 6.993 revenue -6.993',
    ]);
    expect(await booked(account)).toEqual([
      'cash manual USD 9.99000000',
      'deferred USD 0.00000000',
      'revenue USD -9.99000000',
    ]);
  });

  test('a restore takes back what was earned, after it was posted and before', async () => {
    const account = await newAccount();
    await pay(account, 10, '5.00');
    const used = await use(account, 10);
    await billing.runDue();
    clock.advance(DAY);
    await billing.ledger.restore({ entryId: used.entryId!, amount: 4 });
    expect(await booked(account)).toEqual([
      'cash manual USD 5.00000000',
      'deferred USD -2.00000000 (-2.00000000)',
      'revenue USD -3.00000000 (2.00000000)',
    ]);
    await billing.runDue();
    expect(await posted(account, { kind: 'earned' })).toEqual([
      'earned 2027-01-10 USD deferred 5 revenue -5',
      'earned 2027-01-11 USD deferred -2 revenue 2',
    ]);
    // Used and given back on one day: nothing was earned, and nothing is posted.
    clock.advance(DAY);
    const again = await use(account, 2);
    await billing.ledger.restore({ entryId: again.entryId! });
    await billing.runDue();
    expect(await posted(account)).toHaveLength(3);
    expect(await booked(account)).toEqual([
      'cash manual USD 5.00000000',
      'deferred USD -2.00000000',
      'revenue USD -3.00000000',
    ]);
  });

  test('units on hold earn nothing; what is settled does', async () => {
    const account = await newAccount();
    await pay(account, 10, '10.00');
    const { holdId } = await billing.ledger.hold({
      account,
      product: 'MSG',
      amount: 6,
      expiresIn: { unit: 'hour', count: 1 },
    });
    expect(await booked(account)).toEqual([
      'cash manual USD 10.00000000',
      'deferred USD -10.00000000',
    ]);
    await billing.ledger.settle({ holdId: holdId!, amount: '4' });
    expect(await booked(account, { to: '2027-01-11T00:00:00Z' })).toContain(
      'revenue USD -4.00000000 (-4.00000000)',
    );
  });

  test('what is free is not in the book, and is not looked at', async () => {
    const account = await newAccount();
    await billing.ledger.grant({ account, product: 'MSG', quantity: 10 });
    await pay(account, 5, '0');
    await use(account, 12);
    await billing.runDue();
    expect(await billing.books.balances({ account })).toEqual([]);
    expect(await billing.books.postings({ account })).toEqual({ items: [], nextCursor: null });
    // Paid for later: from then on it is, with the lines before.
    await pay(account, 5, '2.00');
    await use(account, 8);
    await billing.runDue();
    expect(await posted(account, { kind: 'earned' })).toEqual([
      'earned 2027-01-10 USD deferred 2 revenue -2',
    ]);
  });

  test('a child has no book: what it buys and uses is in that of its parent', async () => {
    const parent = await newAccount();
    const child = await newAccount();
    await billing.accounts.attachChild({ parent, child });
    await pay(child, 10, '1.00');
    await use(child, 1);
    const lines = [
      'cash manual USD 1.00000000',
      'deferred USD -0.90000000 (0.10000000)',
      'revenue USD -0.10000000 (-0.10000000)',
    ];
    expect(await booked(parent)).toEqual(lines);
    expect(await booked(child)).toEqual([]);
    expect(await billing.books.postings({ account: child })).toEqual({
      items: [],
      nextCursor: null,
    });
  });

  test('a transfer to another account takes what is deferred along, and earns nothing', async () => {
    const account = await newAccount();
    const other = await newAccount();
    await pay(account, 3, '10.00');
    await use(account, 1);
    const moved = await billing.ledger.transfer({
      account,
      product: 'MSG',
      amount: 1,
      toAccount: other,
    });
    expect(await booked(account)).toEqual([
      'cash manual USD 10.00000000',
      'deferred USD -3.33333333 (3.33333333)',
      'revenue USD -3.33333333 (-3.33333333)',
      'transfer USD -3.33333334',
    ]);
    expect(await booked(other)).toEqual(['deferred USD -3.33333334', 'transfer USD 3.33333334']);
    const { items } = await billing.books.postings({ account: other });
    expect(items).toMatchObject([
      { kind: 'transfer', reference: { type: 'entry', id: moved.entries[0]!.entryId } },
    ]);
    await use(other, 1);
    await billing.runDue();
    expect(await booked(other)).toEqual([
      'deferred USD 0.00000000',
      'revenue USD -3.33333334',
      'transfer USD 3.33333334',
    ]);
    const all = await billing.books.balances({ currency: 'USD' });
    expect(all.find((one) => one.account === 'transfer')?.balance).toBe('0.00000000');
  });

  test('a transfer within an account and an exchange are not posted; a deduction earns', async () => {
    const { catalog, ledger } = billing;
    const account = await newAccount();
    await catalog.saveProduct({ key: 'COINS', name: 'Coins', isCurrency: true });
    await catalog.saveOffer({
      sku: 'calls',
      name: 'Calls',
      price: '30',
      currency: 'COINS',
      items: [{ product: 'CALL', quantity: 5 }],
    });
    await pay(account, 100, '20.00', { product: 'COINS' });
    await ledger.exchange({ account, sku: 'calls' });
    await ledger.transfer({ account, product: 'COINS', amount: 10, toProduct: 'MSG', quantity: 4 });
    expect(await booked(account)).toEqual([
      'cash manual USD 20.00000000',
      'deferred USD -20.00000000',
    ]);
    await ledger.deduct({ account, product: 'MSG', amount: 2, reason: 'a mistake' });
    await ledger.consume({ account, product: 'CALL', amount: 5 });
    expect(await booked(account)).toEqual([
      'cash manual USD 20.00000000',
      'deferred USD -13.00000000 (7.00000000)',
      'revenue USD -7.00000000 (-7.00000000)',
    ]);
    expect(await posted(account)).toHaveLength(1);
  });

  test('merged: both books are read under the account that stays', async () => {
    const into = await newAccount();
    const from = await newAccount();
    await pay(into, 10, '1.00');
    await pay(from, 10, '3.00');
    await use(from, 5);
    await billing.runDue();
    await billing.accounts.merge({ into, from, prefer: 'into' });
    const lines = [
      'cash manual USD 4.00000000',
      'deferred USD -2.50000000',
      'revenue USD -1.50000000',
      'transfer USD 0.00000000',
    ];
    expect(await booked(into)).toEqual(lines);
    expect(await booked(from)).toEqual(lines);
    // What they have now: 15 units worth 2.50.
    await use(into, 15);
    clock.advance(DAY);
    await billing.runDue();
    expect(await booked(into)).toEqual([
      'cash manual USD 4.00000000',
      'deferred USD 0.00000000',
      'revenue USD -4.00000000',
      'transfer USD 0.00000000',
    ]);
    expect(await posted(from)).toEqual(await posted(into));
    const whole = await billing.accounts.export({ account: into });
    expect(whole).toMatchObject({ postings: expect.any(Array) as object[] });
  });

  test('a replayed grant is posted once, and one that was undone is not', async () => {
    const account = await newAccount();
    await pay(account, 10, '1.00', { idempotencyKey: 'once' });
    await pay(account, 10, '1.00', { idempotencyKey: 'once' });
    await expect(
      billing.transaction(async (tx) => {
        await pay(account, 10, '1.00', { tx });
        throw new Error('undo');
      }),
    ).rejects.toThrow('undo');
    expect(await posted(account)).toEqual(['outside_grant 2027-01-10 USD cash 1 deferred -1']);
  });

  test('reads a span of time: what counts in it, posted or not', async () => {
    const account = await newAccount();
    await pay(account, 100, '100.00');
    clock.advance(DAY);
    await use(account, 5);
    clock.advance(DAY);
    await use(account, 7);
    const second = { from: '2027-01-11T00:00:00Z', to: '2027-01-12T00:00:00Z' };
    expect(await booked(account, second)).toEqual([
      'deferred USD 5.00000000 (5.00000000)',
      'revenue USD -5.00000000 (-5.00000000)',
    ]);
    await billing.runDue();
    expect(await booked(account, second)).toEqual([
      'deferred USD 5.00000000',
      'revenue USD -5.00000000',
    ]);
    expect(await booked(account, { to: '2027-01-10T12:00:00Z' })).toEqual([]);
    expect(await booked(account, { to: '2027-01-10T12:00:00.001Z' })).toHaveLength(2);
  });

  test('postings come in pages, newest first, of one account or all, by kind and reference', async () => {
    const account = await newAccount();
    const grants: string[] = [];
    for (let index = 0; index < 7; index += 1) {
      const [grant] = await pay(account, 1, `${index + 1}.00`);
      grants.unshift(grant!.grantId);
      if (index % 2 === 0) clock.advance(HOUR);
    }
    const collect = async (request: object): Promise<string[]> => {
      const found: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await billing.books.postings({ ...request, cursor });
        expect(page.items.length).toBeLessThanOrEqual(3);
        found.push(...page.items.map(({ reference }) => reference!.id));
        cursor = page.nextCursor ?? undefined;
      } while (cursor !== undefined);
      return found;
    };
    // Within a millisecond ids keep the order; v7 ids of one process ascend.
    expect(await collect({ account, limit: 3 })).toEqual(grants);
    expect((await collect({ limit: 3 })).filter((id) => id.startsWith(account))).toEqual(grants);
    const reference = { type: 'grant', id: grants[2]! };
    expect(await collect({ reference, limit: 3 })).toEqual([grants[2]]);
    expect(await collect({ account, reference: { type: 'order', id: grants[2]! } })).toEqual([]);
    expect(await collect({ account, kind: 'earned' })).toEqual([]);
    expect(await collect({ account, currency: 'EUR' })).toEqual([]);
  });

  test('all accounts together: each currency sums to 0', async () => {
    const balances = await billing.books.balances();
    expect(balances.map(({ account }) => account)).toEqual(
      expect.arrayContaining(['cash', 'deferred', 'revenue']),
    );
    for (const currency of ['USD', 'EUR']) {
      expect(sumOf(await billing.books.balances({ currency }))).toBe('0');
    }
    expect(sumOf(balances)).toBe('0');
  });

  test('refuses what is no question', async () => {
    const { books } = billing;
    const wrong: Array<[() => Promise<unknown>, string, string]> = [
      [() => books.balances({ account: 'nobody' }), 'unknown_account', 'account'],
      [() => books.balances({ from: 'yesterday' }), 'invalid_input', 'from'],
      [() => books.balances({ kind: 'sale' } as object), 'invalid_input', 'kind'],
      [() => books.postings({ kind: 'theft' as never }), 'invalid_input', 'kind'],
      [() => books.postings({ limit: 0 }), 'invalid_input', 'limit'],
      [() => books.postings({ cursor: 'bm9uZQ' }), 'invalid_input', 'cursor'],
      [() => books.postings({ cursor: 'WyJub3ciLCJub3doZXJlIl0' }), 'invalid_input', 'cursor'],
      [
        () => books.postings({ reference: { type: 'order' } as never }),
        'invalid_input',
        'reference.id',
      ],
    ];
    for (const [question, code, parameter] of wrong) {
      await expect(question()).rejects.toMatchObject({ code, parameter });
    }
  });

  test('whatever is bought, used and given back: every book balances and agrees with its ledger', async () => {
    const step = fc.oneof(
      fc.record({
        do: fc.constant('pay' as const),
        quantity: fc.integer({ min: 1, max: 30 }),
        cents: fc.integer({ min: 0, max: 5_000 }),
        currency: fc.constantFrom('USD', 'EUR', 'JPY'),
        days: fc.option(fc.integer({ min: 1, max: 3 })),
      }),
      fc.record({ do: fc.constant('use' as const), amount: fc.integer({ min: 1, max: 20 }) }),
      fc.record({ do: fc.constant('restore' as const), amount: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ do: fc.constant('wait' as const), hours: fc.integer({ min: 1, max: 30 }) }),
      fc.record({ do: fc.constant('post' as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
        const account = await newAccount();
        const paid = new Map<string, Decimal>();
        for (const one of steps) {
          if (one.do === 'pay') {
            const decimals = one.currency === 'JPY' ? 0 : 2;
            const amount = new Decimal(one.cents).dividedBy(decimals === 0 ? 1 : 100);
            paid.set(one.currency, amount.plus(paid.get(one.currency) ?? 0));
            await pay(account, one.quantity, amount.toFixed(decimals), {
              paid: { amount: amount.toFixed(decimals), currency: one.currency },
              ...(one.days === null ? {} : { expiresAfter: { unit: 'day', count: one.days } }),
            });
          } else if (one.do === 'use') {
            await use(account, one.amount);
          } else if (one.do === 'restore') {
            await billing.ledger
              .restore({ account, product: 'MSG', amount: one.amount })
              .catch((error: BillingError) => expect(error.code).toBe('restore_exceeds_use'));
          } else if (one.do === 'wait') {
            clock.advance(one.hours * HOUR);
          } else {
            await billing.runDue();
          }
        }
        const grants = await billing.ledger.grants({ account });
        const earned = new Map<string, Decimal>();
        for (const { kind, value, currency } of (
          await billing.ledger.entries({ account, limit: 1000 })
        ).items) {
          if (kind === 'grant' || currency === null) continue;
          earned.set(currency, (earned.get(currency) ?? ZERO).minus(value!));
        }
        const mixed = (await billing.ledger.entries({ account, limit: 1000 })).items.some(
          ({ kind, value }) => kind !== 'grant' && value === null,
        );
        for (const [currency, amount] of paid) {
          const balances = await billing.books.balances({ account, currency });
          expect(sumOf(balances)).toBe('0');
          const on = (name: string): Decimal =>
            new Decimal(balances.find((one) => one.account === name)?.balance ?? 0);
          expect(on('cash').toFixed()).toBe(amount.toFixed());
          // Entries that mix currencies do not say their values: the sum of both is checked alone.
          if (!mixed) {
            expect(on('revenue').negated().toFixed()).toBe(
              (earned.get(currency) ?? ZERO).toFixed(),
            );
          }
          const own = grants.filter((grant) => grant.currency === currency);
          expect(own.length).toBeGreaterThan(0);
          expect(on('cash').plus(on('deferred')).plus(on('revenue')).toFixed()).toBe('0');
        }
      }),
      { numRuns: runs(database.name, 12) },
    );
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
  });
});

/** docs/money-book.md is what users read; it must name exactly what the types name. */
describe('docs/money-book.md', () => {
  const page = fs.readFileSync(path.join(__dirname, '../../../docs/money-book.md'), 'utf8');
  const firstCells = (heading: string): string[] => {
    const section = page.split(`## ${heading}\n`)[1]!.split('\n## ')[0]!;
    return [...section.matchAll(/^\| `([a-z_]+)`\s+\|/gm)].map((match) => match[1]!);
  };

  test('lists every account, and no other', () => {
    expect(firstCells('Accounts')).toEqual([...BOOK_ACCOUNTS]);
  });

  test('lists every kind of posting, and no other', () => {
    expect(firstCells('Postings')).toEqual([...POSTING_KINDS]);
  });
});

describe.each(databaseKinds)('postings (%s)', (name) => {
  let knex: Knex;
  let close: () => Promise<void>;
  let billing: Billing;
  let database: Database;
  let payer: string;
  const schema = newSchema();
  const quoted = `"${schema}"`;
  const clock = new TestClock(START);

  beforeAll(async () => {
    if (name === 'server') {
      knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 4 } });
      close = () => knex.destroy();
    } else {
      ({ knex, close } = await openEmbedded('memory', 10_000));
    }
    billing = await openBilling({ connection: knex, schema, clock });
    database = await Database.open({ connection: knex, schema });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    payer = (await billing.accounts.identify({ externalId: 'payer' })).accountId;
  });
  afterAll(async () => {
    await billing.close();
    await close();
  });

  const write = (posting: Partial<Posting>): Promise<string> =>
    database.transaction(undefined, (session: Session) =>
      post(session, {
        payerId: payer,
        currency: 'USD',
        at: START,
        kind: 'payment',
        reference: null,
        legs: [leg('cash', '5', 'test'), leg('receivable', '-5')],
        ...posting,
      }),
    );
  const count = async (): Promise<number> =>
    (await billing.books.postings({ account: payer, limit: 1000 })).items.length;
  const tamper = async (statement: string): Promise<void> => {
    await knex.transaction(async (tx) => {
      await tx.raw(`set local session_replication_role = replica`);
      await tx.raw(statement.replaceAll('{schema}', quoted));
    });
  };
  const problems = async (): Promise<string[]> =>
    (await billing.verify()).problems
      .map(({ code, table, id, message }) => {
        expect(message).toMatch(/^\w+ .+\.$/);
        expect(message).toContain(id);
        return `${code} ${table} ${id.replace(payer, 'payer')}`;
      })
      .sort();

  test('are read as they were written', async () => {
    const id = await write({
      currency: 'KWD',
      reference: { type: 'order', id: 'an "odd" {id}, with \\ and NULL' },
      legs: [
        leg('cash', '10.00000001', 'a "gate", {way} \\'),
        leg('fees', '0.5', 'NULL'),
        leg('receivable', '-10.50000001'),
      ],
    });
    expect((await billing.books.postings({ account: payer })).items[0]).toEqual({
      postingId: id,
      payer,
      currency: 'KWD',
      kind: 'payment',
      reference: { type: 'order', id: 'an "odd" {id}, with \\ and NULL' },
      postedAt: '2027-01-10T12:00:00.000Z',
      legs: [
        { account: 'cash', gateway: 'a "gate", {way} \\', amount: '10.00000001' },
        { account: 'fees', gateway: 'NULL', amount: '0.50000000' },
        { account: 'receivable', gateway: null, amount: '-10.50000001' },
      ],
    });
    expect(short(await billing.books.balances({ currency: 'KWD' }))).toEqual([
      'receivable KWD -10.50000001',
      'cash a "gate", {way} \\ KWD 10.00000001',
      'fees NULL KWD 0.50000000',
    ]);
  });

  test.each<[string, Partial<Posting>]>([
    ['does not balance', { legs: [leg('cash', '5'), leg('receivable', '-4.99999999')] }],
    ['one leg', { legs: [leg('cash', '5')] }],
    ['no legs', { legs: [] }],
    ['an empty leg', { legs: [leg('cash', '5'), leg('revenue', '0'), leg('receivable', '-5')] }],
    ['too fine', { legs: [leg('cash', '0.000000001'), leg('receivable', '-0.000000001')] }],
    ['no number', { legs: [leg('cash', 'NaN'), leg('receivable', 'NaN')] }],
    ['an unknown account', { legs: [leg('piggy_bank', '5'), leg('receivable', '-5')] }],
    ['an inherited name', { legs: [leg('toString', '5'), leg('receivable', '-5')] }],
    ['an unknown kind', { kind: 'theft' as never }],
    ['on its way, and no transfer', { legs: [leg('transfer', '5'), leg('deferred', '-5')] }],
  ])('refused: %s', async (_, posting) => {
    const before = await count();
    await expect(write(posting)).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'legs',
    });
    expect(await count()).toBe(before);
  });

  test.each<[string, string, RegExp]>([
    ['does not balance', `'{cash,revenue}', '{null,null}', '{5,-4}'`, /check/],
    ['one leg', `'{cash}', '{null}', '{0}'`, /check/],
    ['no legs', `'{}', '{}', '{}'`, /check/],
    ['an empty leg', `'{cash,revenue}', '{null,null}', '{0,0}'`, /check/],
    ['a leg of null', `'{cash,revenue,fees}', '{null,null,null}', '{5,-5,null}'`, /check/],
    ['too fine', `'{cash,revenue}', '{null,null}', '{0.000000001,-0.000000001}'`, /check/],
    ['no number', `'{cash,revenue}', '{null,null}', '{NaN,NaN}'`, /check/],
    ['a leg without account', `'{cash}', '{null,null}', '{5,-5}'`, /check/],
    ['a leg without gateway', `'{cash,revenue}', '{null}', '{5,-5}'`, /check/],
    ['an unknown account', `'{cash,piggy_bank}', '{null,null}', '{5,-5}'`, /check/],
  ])('refused by the database as well: %s', async (_, legs, message) => {
    await expect(
      knex.raw(
        `insert into ${quoted}.postings
           (payer_id, posting_id, currency, kind, posted_at, accounts, gateways, amounts)
         values ('${payer}', '${newId()}', 'USD', 'payment', '2027-01-10T12:00:00Z', ${legs})`,
      ),
    ).rejects.toThrow(message);
  });

  test.each([
    `update {schema}.postings set currency = 'EUR'`,
    `delete from {schema}.postings`,
    `truncate {schema}.postings`,
    `delete from {schema}.book_marks`,
    `truncate {schema}.book_marks`,
    `update {schema}.book_marks set payer_id = gen_random_uuid()`,
    `update {schema}.book_marks set posted_sequence = posted_sequence - 1`,
  ])('what is written stays: %s', async (statement) => {
    await billing.ledger.grant({
      account: payer,
      product: 'MSG',
      quantity: 1,
      paid: { amount: 1, currency: 'USD' },
    });
    clock.advance(DAY);
    await billing.runDue();
    await expect(knex.raw(statement.replaceAll('{schema}', quoted))).rejects.toThrow(
      /what is written there stays/,
    );
  });

  test('verify finds a book that was tampered with', async () => {
    await billing.ledger.grant({
      account: payer,
      product: 'MSG',
      quantity: 10,
      paid: { amount: 10, currency: 'USD' },
    });
    await billing.ledger.consume({ account: payer, product: 'MSG', amount: 4 });
    expect(await problems()).toEqual([]);
    const { checked } = await billing.verify();
    expect(checked).toMatchObject({ postings: await count(), book_marks: 1 });

    const insert = (id: string, kind: string, legs: string, of = payer): string =>
      `insert into {schema}.postings
         (payer_id, posting_id, currency, kind, posted_at, accounts, gateways, amounts)
       values ('${of}', '${id}', 'USD', '${kind}', '2027-01-10T12:00:00Z', ${legs})`;
    const id = newId();
    const undo = `delete from {schema}.postings where posting_id = '${id}'`;

    // Money that no grant holds, and value of a grant that nobody paid.
    await tamper(insert(id, 'sale', `'{receivable,deferred}', '{null,null}', '{5,-5}'`));
    expect(await problems()).toEqual(['deferred postings payer USD']);
    await tamper(undo);
    await tamper(
      `update {schema}.grants set value = value + 1, currency = 'USD' where initial = 10`,
    );
    expect(await problems()).toEqual(
      expect.arrayContaining(['deferred postings payer USD']) as string[],
    );
    await tamper(`update {schema}.grants set value = value - 1 where initial = 10`);

    // What stands on its way must arrive.
    await tamper(insert(id, 'transfer', `'{transfer,cash}', '{null,null}', '{5,-5}'`));
    expect(await problems()).toEqual(['transfer postings USD']);
    await tamper(undo);
    await tamper(insert(id, 'payment', `'{transfer,cash}', '{null,null}', '{5,-5}'`));
    expect(await problems()).toEqual([`posting postings payer.${id}`]);
    await tamper(undo);
    await tamper(insert(id, 'theft', `'{cash,revenue}', '{null,null}', '{5,-5}'`));
    expect(await problems()).toEqual([`posting postings payer.${id}`]);
    await tamper(undo);
    const stranger = newId();
    await tamper(insert(id, 'payment', `'{cash,revenue}', '{null,null}', '{5,-5}'`, stranger));
    expect(await problems()).toEqual([`unknown_payer postings ${stranger}`]);
    await tamper(undo);

    // Marks: beyond the ledger's end, gone, or past lines of which nothing was posted.
    const [{ rows }] = [
      await knex.raw<{ rows: Array<{ posted: string }> }>(
        `select posted_sequence::text as posted from ${quoted}.book_marks`,
      ),
    ];
    const reset = `update {schema}.book_marks set posted_sequence = ${rows[0]!.posted}`;
    await tamper(`update {schema}.book_marks set posted_sequence = 5000`);
    expect(await problems()).toEqual(['book_mark book_marks payer', 'deferred postings payer USD']);
    await tamper(reset);
    await tamper(`update {schema}.book_marks set posted_sequence = posted_sequence + 2`);
    expect(await problems()).toEqual(['deferred postings payer USD']);
    await tamper(reset);
    expect(await problems()).toEqual([]);
    await tamper(`delete from {schema}.book_marks`);
    expect(await problems()).toEqual(['book_mark book_marks payer', 'deferred postings payer USD']);
    await tamper(
      `insert into {schema}.book_marks values ('${payer}', ${rows[0]!.posted}, '2027-01-10T12:00:00Z')`,
    );
    expect(await problems()).toEqual([]);

    // A posting that does not balance needs a table without its check.
    await tamper(`
      create function {schema}.any_legs(numeric[]) returns boolean language sql immutable as 'select true'`);
    const [{ rows: checks }] = [
      await knex.raw<{ rows: Array<{ conname: string }> }>(
        `select conname from pg_constraint
         where conrelid = '${quoted}.postings'::regclass and pg_get_constraintdef(oid) like '%legs_balance%'`,
      ),
    ];
    await tamper(`alter table {schema}.postings drop constraint ${checks[0]!.conname}`);
    await tamper(insert(id, 'payment', `'{cash,revenue}', '{null,null}', '{5,-4}'`));
    expect(await problems()).toEqual([`posting postings payer.${id}`]);
    await tamper(undo);
    expect(await problems()).toEqual([]);
  });

  test('the limit of a run bounds the accounts that it follows', async () => {
    clock.advance(2 * DAY);
    await billing.runDue();
    const accounts: string[] = [];
    for (let index = 0; index < 5; index += 1) {
      const { accountId } = await billing.accounts.identify({ externalId: `limit ${index}` });
      const about = { account: accountId, product: 'MSG' };
      await billing.ledger.grant({ ...about, quantity: 2, paid: { amount: 2, currency: 'USD' } });
      await billing.ledger.consume(about);
      accounts.push(accountId);
    }
    expect(await billing.runDue({ limit: 2 })).toMatchObject({ ...NOTHING_EARNED, postings: 2 });
    expect(await billing.runDue({ limit: 2 })).toMatchObject({ ...NOTHING_EARNED, postings: 2 });
    expect(await billing.runDue({ limit: 2 })).toMatchObject({ ...NOTHING_EARNED, postings: 1 });
    expect(await billing.runDue({ limit: 2 })).toMatchObject(NOTHING_EARNED);
    for (const account of accounts) {
      expect(short(await billing.books.balances({ account }))).toContain('revenue USD -1.00000000');
    }
  });

  test('a ledger of very many lines is followed and read in slices', async () => {
    const { accountId: account } = await billing.accounts.identify({ externalId: 'long' });
    const lines = 45_000;
    await billing.ledger.grant({
      account,
      product: 'MSG',
      quantity: lines,
      paid: { amount: '450.00', currency: 'USD' },
    });
    await tamper(
      `insert into {schema}.entries (payer_id, sequence, account_id, product, kind, amount,
         grant_sequences, grant_amounts, grant_values, effective_at, recorded_at)
       select '${account}', n, '${account}', 'MSG', 'use', -1, '{1}', '{-1}', '{-0.01}', at, at
       from generate_series(2, ${lines}) as n
       cross join lateral (
         select timestamptz '${clock.now().toISOString()}' + n * interval '5 seconds' as at) as line`,
    );
    await tamper(`update {schema}.grants set remaining = 1 where payer_id = '${account}'`);
    clock.advance(3 * DAY);
    const expected = [
      'cash manual USD 450.00000000',
      'deferred USD -0.01000000 (449.99000000)',
      'revenue USD -449.99000000 (-449.99000000)',
    ];
    expect(short(await billing.books.balances({ account }))).toEqual(expected);
    expect(await problems()).toEqual([]);
    await billing.runDue();
    expect(short(await billing.books.balances({ account }))).toEqual(
      expected.map((line) => line.replace(/ \(.*/, '')),
    );
    const { items } = await billing.books.postings({ account, kind: 'earned' });
    expect(items.length).toBeGreaterThanOrEqual(3);
    expect(items.map(({ reference }) => reference!.id).at(-1)).toBe(`${account}.1-20000`);
    expect(await problems()).toEqual([]);
  });
});

if (databaseKinds.includes('server')) {
  describe('the money book, on a server', () => {
    const opened: Billing[] = [];
    afterAll(async () => {
      for (const billing of opened) {
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
        await billing.close();
      }
    });
    const accountsWithMoney = async (billing: Billing, many: number): Promise<string[]> => {
      await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      return Promise.all(
        Array.from({ length: many }, async (_, index) => {
          const { accountId } = await billing.accounts.identify({ externalId: `at once ${index}` });
          const about = { account: accountId, product: 'MSG' };
          await billing.ledger.grant({
            ...about,
            quantity: 100,
            paid: { amount: '50.00', currency: 'USD' },
          });
          await billing.ledger.consume({ ...about, amount: 10 });
          return accountId;
        }),
      );
    };
    const earnedOf = async (billing: Billing, account: string): Promise<string[]> =>
      (await billing.books.postings({ account, kind: 'earned' })).items.map(
        ({ legs }) => legs[0]!.amount,
      );

    test('many runs at once, beside writers, post everything once', async () => {
      const clock = new TestClock(START);
      const schema = newSchema();
      const billing = await openOnServer({ clock, schema });
      const other = await openOnServer({ clock, schema });
      opened.push(billing, other);
      const accounts = await accountsWithMoney(billing, 40);
      const uses = accounts.map((account) => billing.ledger.consume({ account, product: 'MSG' }));
      await Promise.all(
        Array.from({ length: 8 }, (_, index) => [billing, other][index % 2]!.runDue()),
      );
      await Promise.all(uses);
      clock.advance(DAY);
      await Promise.all([billing.runDue(), other.runDue()]);
      await billing.runDue();
      for (const account of accounts) {
        const sum = (await earnedOf(billing, account)).reduce((all, one) => all.plus(one), ZERO);
        expect(sum.toFixed()).toBe('5.5');
      }
      expect(await billing.runDue()).toMatchObject(NOTHING_EARNED);
    });

    test('an account that somebody is writing is left to the next run', async () => {
      const clock = new TestClock(START);
      const billing = await openOnServer({ clock, lockTimeout: 2_000 });
      opened.push(billing);
      const [busy] = await accountsWithMoney(billing, 2);
      await billing.transaction(async (tx) => {
        await billing.ledger.consume({ account: busy!, product: 'MSG', tx });
        expect(await billing.runDue()).toMatchObject({ ...NOTHING_EARNED, postings: 1 });
      });
      expect(await billing.runDue()).toMatchObject({ ...NOTHING_EARNED, postings: 1 });
      expect(await earnedOf(billing, busy!)).toEqual(['5.50000000']);
    });

    test('a run whose backend is killed leaves nothing half done', async () => {
      const clock = new TestClock(START);
      const schema = newSchema();
      const application_name = `books_${schema}`;
      const victim = await openBilling({
        connection: { connectionString: serverUrl(), application_name },
        schema,
        clock,
      });
      const billing = await openOnServer({ clock, schema });
      opened.push(billing);
      const accounts = await accountsWithMoney(billing, 60);
      const admin = knexFactory({ client: 'pg', connection: serverUrl() });
      try {
        const run = victim.runDue().catch((error: BillingError) => error.code);
        await admin.raw(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name = ?`,
          [application_name],
        );
        await run;
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
        await billing.runDue();
        for (const account of accounts) {
          expect(await earnedOf(billing, account)).toEqual(['5.00000000']);
        }
      } finally {
        await admin.destroy();
        await victim.close();
      }
    });

    test('whoever reads or verifies while others use and post sees every book balanced', async () => {
      const clock = new TestClock(START);
      const billing = await openOnServer({ clock });
      opened.push(billing);
      const accounts = await accountsWithMoney(billing, 10);
      let done = false;
      const work = accounts.map(async (account) => {
        while (!done) {
          const { entryId } = await billing.ledger.consume({ account, product: 'MSG' });
          if (entryId !== null) await billing.ledger.restore({ entryId });
        }
      });
      const posting = (async () => {
        while (!done) {
          clock.advance(DAY);
          await billing.runDue();
        }
      })();
      try {
        for (let turn = 0; turn < 10; turn += 1) {
          expect(sumOf(await billing.books.balances())).toBe('0');
          expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
        }
      } finally {
        done = true;
        await Promise.all([...work, posting]);
      }
    });
  });
}
