import fc from 'fast-check';

import { TestClock } from '../../../engine';
import { Decimal, parseLedgerId } from '../../../engine/kernel';
import { endGrants, openLedger, runDue, verifyLedger, withdrawUnits } from '../../../engine/ledger';
import { crossings, floorOf, isCrossed, levelOf } from '../../../engine/ledger/thresholds';
import { databaseKinds } from '../each-database';
import { openLedgerAlone, type LedgerAlone } from './ledger-alone';

/** What the ledger tells of balances: quota.low, usage.threshold, usage.uncovered. */

const START = Date.parse('2027-01-10T12:00:00Z');
const DAY = 86_400_000;

const READ_EVENTS = `
select type, data::text as data, account_id::text as account from {schema}.events
where payer_id = $1::uuid order by event_id`;

describe.each(databaseKinds)('quota events (%s)', (name) => {
  const clock = new TestClock(START);
  const ports: LedgerAlone['ports'] = { movedValue: () => Promise.resolve() };
  let opened: LedgerAlone;
  let ledger: LedgerAlone['ledger'];
  let other: LedgerAlone['ledger'];
  let counter = 0;

  beforeAll(async () => {
    opened = await openLedgerAlone(name, clock, ports);
    ({ ledger } = opened);
    const { context, catalog } = opened;
    const noOffers: Parameters<typeof openLedger>[1] = (_session, shortages) =>
      Promise.resolve(shortages.map(() => []));
    other = openLedger(
      { ...context, onAccountChange: [], onProductChange: [] },
      noOffers,
      ports,
    ).calls;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages', lowBalanceThreshold: 200 });
    await catalog.saveProduct({ key: 'B', name: 'B' });
    await catalog.saveProduct({
      key: 'GB',
      name: 'Storage',
      decimals: 1,
      usageThresholds: ['100', 50, '80.0', 50],
    });
  });

  beforeEach(() => clock.set(START));

  afterAll(async () => {
    try {
      expect(await verifyLedger(opened.context.database)).toMatchObject({ ok: true, problems: [] });
    } finally {
      await opened.context.database.close();
    }
  });

  const give = (account: string, quantity: number | string, terms: object = {}) =>
    ledger.grant({ account, product: 'MSG', quantity, ...terms });
  const newAccount = async (quantity = 0, product = 'MSG'): Promise<string> => {
    counter += 1;
    const { accountId } = await opened.accounts.identify({ externalId: `person-${counter}` });
    if (quantity > 0) await give(accountId, quantity, { product });
    return accountId;
  };
  const use = (account: string, amount: number | string = 1, product = 'MSG') =>
    ledger.consume({ account, product, amount });
  /** What was told of an account since it was asked last. */
  const told = new Map<string, number>();
  const events = async (account: string): Promise<string[]> => {
    const rows = await opened.context.database.query<{ type: string; data: string }>(READ_EVENTS, [
      account,
    ]);
    const fresh = rows.slice(told.get(account) ?? 0);
    told.set(account, rows.length);
    return fresh.map(({ type, data }) => {
      const { percent, used, granted, remaining, threshold, amount } = JSON.parse(data) as Record<
        string,
        string
      >;
      return [type, percent, used, granted, remaining, threshold, amount]
        .filter((part) => part !== undefined)
        .join(' ');
    });
  };
  const LOW = (left: number | string) => [`quota.low ${left} 200`];

  describe('quota.low', () => {
    test('I1: 3000 granted, threshold 200, 2900 used one by one: one event', async () => {
      const account = await newAccount(3000);
      for (let turn = 0; turn < 29; turn += 1) {
        const uses = Array.from({ length: 100 }, () => use(account));
        expect((await Promise.all(uses)).every(({ allowed }) => allowed)).toBe(true);
      }
      expect((await ledger.balance({ account, product: 'MSG' })).available).toBe('100');
      // Uses that were written together tell of what they left together.
      expect(await events(account)).toEqual([expect.stringMatching(/^quota\.low 1\d\d 200$/)]);
    });

    test('I1: two processes that use it at once tell of it once', async () => {
      const account = await newAccount(300);
      const uses = Array.from({ length: 200 }, (_, index) =>
        (index % 2 === 0 ? ledger : other).consume({ account, product: 'MSG' }),
      );
      expect((await Promise.all(uses)).every(({ allowed }) => allowed)).toBe(true);
      expect(await events(account)).toEqual([expect.stringMatching(/^quota\.low 1\d\d 200$/)]);
    });

    test('one use after the other, each known to be plain, tells at the right one', async () => {
      const account = await newAccount(203);
      for (const expected of [[], [], [], LOW(199), [], []]) {
        expect(await use(account)).toMatchObject({ allowed: true });
        expect(await events(account)).toEqual(expected);
      }
    });

    test('at the threshold nothing is told, and it is armed again at it', async () => {
      const account = await newAccount(300);
      await use(account, 100);
      expect(await events(account)).toEqual([]);
      await use(account, 5);
      expect(await events(account)).toEqual(LOW(195));
      await give(account, 4);
      await use(account, 4);
      expect(await events(account)).toEqual([]);
      await give(account, 5);
      await use(account, 1);
      expect(await events(account)).toEqual(LOW(199));
    });

    test('who never had so much is not told', async () => {
      const account = await newAccount(150);
      await use(account, 10);
      await give(account, 20);
      await use(account, 100);
      expect(await events(account)).toEqual([]);
    });

    test('a hold, a deduction, a transfer, a settlement above the hold and a refund tell of it', async () => {
      const expiresIn = { unit: 'hour', count: 1 } as const;
      const account = await newAccount(250);
      const { holdId } = await ledger.hold({ account, product: 'MSG', amount: 60, expiresIn });
      expect(await events(account)).toEqual(LOW(190));
      await ledger.release({ holdId: holdId! });
      await ledger.deduct({ account, product: 'MSG', amount: 51, reason: 'Sent twice' });
      expect(await events(account)).toEqual(LOW(199));
      await give(account, 100);
      const transfer = { account, product: 'MSG', amount: 150, toProduct: 'B', quantity: 1 };
      await ledger.transfer(transfer);
      expect(await events(account)).toEqual(LOW(149));
      const [grant] = await give(account, 61);
      const hold = await ledger.hold({ account, product: 'MSG', amount: 5, expiresIn });
      await ledger.settle({ holdId: hold.holdId!, amount: 20 });
      expect(await events(account)).toEqual(LOW(190));
      await give(account, 40);
      const sequence = BigInt(parseLedgerId(grant!.grantId)!.sequence);
      await opened.locked([account], (session, now) =>
        withdrawUnits(session, {
          payerId: account,
          accountId: account,
          grants: [{ sequence }],
          kind: 'refund',
          note: {},
          now,
        }),
      );
      expect(await events(account)).toEqual(LOW(169));
    });

    test('units that expire tell of it when that is written, and a use in between is not told', async () => {
      const expiresAt = new Date(START + DAY);
      const account = await newAccount(150);
      await give(account, 100, { expiresAt });
      clock.advance(DAY);
      await runDue(opened.context);
      expect(await events(account)).toEqual(LOW(150));
      await use(account);
      expect(await events(account)).toEqual([]);

      const another = await newAccount(150);
      await give(another, 100, { expiresAt: new Date(START + 2 * DAY) });
      clock.advance(DAY);
      await use(another);
      expect(await events(another)).toEqual(LOW(149));
    });

    test('what ends and begins in one change is one balance: a new period tells nothing', async () => {
      const account = await newAccount();
      await give(account, 1000, { expiresAt: new Date(START + DAY) });
      clock.advance(DAY);
      await give(account, 1000, { expiresAt: new Date(START + 2 * DAY) });
      expect(await events(account)).toEqual([]);
    });

    test('a replayed use and a denial tell nothing', async () => {
      const account = await newAccount(200);
      const request = { account, product: 'MSG', idempotencyKey: 'once' };
      await ledger.consume(request);
      expect(await events(account)).toEqual(LOW(199));
      expect(await ledger.consume(request)).toMatchObject({ replayed: true });
      expect(await use(account, 500)).toMatchObject({ allowed: false });
      expect(await events(account)).toEqual([]);
    });

    test('a change that is undone tells nothing', async () => {
      const account = await newAccount(200);
      const undone = new Error('undone');
      await expect(
        opened.context.database.begin(async (tx) => {
          await ledger.consume({ account, product: 'MSG', tx });
          throw undone;
        }),
      ).rejects.toBe(undone);
      expect(await events(account)).toEqual([]);
    });

    test("a child's use tells of the balance of its parent", async () => {
      const parent = await newAccount(200);
      const child = await newAccount();
      await opened.accounts.attachChild({ parent, child });
      await use(child);
      expect(await events(parent)).toEqual(LOW(199));
      expect(await events(child)).toEqual([]);
    });

    test('a threshold that is changed here counts from the next use on', async () => {
      const { catalog } = opened;
      await catalog.saveProduct({ key: 'LATER', name: 'Later' });
      const account = await newAccount(20, 'LATER');
      await use(account, 1, 'LATER');
      await use(account, 1, 'LATER');
      await catalog.saveProduct({ key: 'LATER', name: 'Later', lowBalanceThreshold: 18 });
      await use(account, 1, 'LATER');
      expect(await events(account)).toEqual(['quota.low 17 18']);
    });
  });

  describe('usage.threshold', () => {
    const gb = (account: string, amount: number | string) => use(account, amount, 'GB');
    const of = (percent: number, used: number | string, granted: number) =>
      `usage.threshold ${percent} ${used} ${granted}`;

    test('the percents are kept in order, each once', async () => {
      const product = await opened.catalog.getProduct({ key: 'GB' });
      expect(product.usageThresholds).toEqual(['50', '80', '100']);
    });

    test.each([
      ['0', { usageThresholds: [0] }],
      ['more than 100', { usageThresholds: ['100.5'] }],
      ['no list', { usageThresholds: 50 }],
      ['of something that is not counted', { kind: 'unlimited', usageThresholds: [50] }],
    ])('refused: %s', async (_what, fields) => {
      const request = { key: 'BAD', name: 'Bad', ...fields };
      await expect(
        opened.catalog.saveProduct(request as Parameters<LedgerAlone['catalog']['saveProduct']>[0]),
      ).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: expect.stringMatching(/^usageThresholds/) as string,
      });
    });

    test('each is told once, at the use that reaches it', async () => {
      const account = await newAccount(10, 'GB');
      await gb(account, '4.9');
      expect(await events(account)).toEqual([]);
      await gb(account, '0.1');
      expect(await events(account)).toEqual([of(50, 5, 10)]);
      await gb(account, 1);
      await gb(account, 1);
      expect(await events(account)).toEqual([]);
      await gb(account, 3);
      expect(await events(account)).toEqual([of(80, 10, 10), of(100, 10, 10)]);
    });

    test('many small uses at once tell each once', async () => {
      const account = await newAccount(10, 'GB');
      await Promise.all(Array.from({ length: 100 }, () => gb(account, '0.1')));
      expect((await events(account)).map((one) => one.split(' ')[1])).toEqual(['50', '80', '100']);
    });

    test('units that were used up count as long as their grant is in force', async () => {
      const account = await newAccount();
      await give(account, 5, { product: 'GB', expiresAt: new Date(START + DAY) });
      await give(account, 15, { product: 'GB' });
      await gb(account, 5);
      await gb(account, 4);
      expect(await events(account)).toEqual([]);
      await gb(account, 1);
      expect(await events(account)).toEqual([of(50, 10, 20)]);
      await gb(account, 1);
      expect(await events(account)).toEqual([]);
      // Five that were used are over: 6 of 15. The next half is reached again.
      clock.advance(DAY);
      await gb(account, 1);
      expect(await events(account)).toEqual([]);
      await gb(account, 1);
      expect(await events(account)).toEqual([of(50, 8, 15)]);
    });

    test('a refill that takes it below arms it again', async () => {
      const account = await newAccount(10, 'GB');
      await gb(account, 10);
      await events(account);
      await give(account, 20, { product: 'GB' });
      await gb(account, 4);
      expect(await events(account)).toEqual([]);
      await gb(account, 1);
      expect(await events(account)).toEqual([of(50, 15, 30)]);
    });

    test('units on hold are not used before they are settled', async () => {
      const account = await newAccount(10, 'GB');
      const expiresIn = { unit: 'hour', count: 1 } as const;
      const { holdId } = await ledger.hold({ account, product: 'GB', amount: 8, expiresIn });
      expect(await events(account)).toEqual([]);
      await ledger.settle({ holdId: holdId!, amount: 5 });
      expect(await events(account)).toEqual([of(50, 5, 10)]);
    });
  });

  test('usage.uncovered tells what nothing paid for, at the settlement', async () => {
    const account = await newAccount(10, 'B');
    const expiresIn = { unit: 'hour', count: 1 } as const;
    const { holdId } = await ledger.hold({ account, product: 'B', amount: 10, expiresIn });
    const settle = { holdId: holdId!, amount: 15 };
    expect(await ledger.settle(settle)).toMatchObject({ uncovered: '5' });
    expect(await ledger.settle(settle)).toMatchObject({ replayed: true });
    const rows = await opened.context.database.query<{ type: string; data: string }>(READ_EVENTS, [
      account,
    ]);
    expect(rows.map(({ type, data }) => [type, JSON.parse(data) as unknown])).toEqual([
      ['usage.uncovered', { product: 'B', holdId, amount: '5' }],
    ]);
  });

  test('a ledger that is moved away is not low', async () => {
    const [child, parent] = [await newAccount(300), await newAccount(300)];
    await opened.accounts.attachChild({ parent, child, moveUnits: true });
    expect(await events(child)).toEqual([]);
    await use(child, 401);
    expect(await events(parent)).toEqual(LOW(199));
  });

  test('an end that is brought forward tells of what is lost by it', async () => {
    const account = await newAccount(150);
    const [grant] = await give(account, 100);
    const sequence = BigInt(parseLedgerId(grant!.grantId)!.sequence);
    await opened.locked([account], (session, now) =>
      endGrants(session, [{ payerId: account, sequence, at: now }], now),
    );
    expect(await events(account)).toEqual(LOW(150));
  });
});

test('what is known to be plain is just what crosses nothing', () => {
  const whole = (max: number) => fc.integer({ min: 0, max }).map((n) => new Decimal(n));
  const grants = fc.array(fc.tuple(whole(50), whole(50), whole(50)), { maxLength: 4 }).map((list) =>
    list.map(([remaining, held, used], index) => ({
      sequence: BigInt(index + 1),
      remaining,
      held,
      initial: remaining.plus(held).plus(used),
      priority: 50,
      validFrom: 0,
      expiresAt: null,
    })),
  );
  const thresholds = fc.record({
    low: fc.option(whole(100)),
    percents: fc
      .uniqueArray(fc.integer({ min: 1, max: 100 }), { maxLength: 3 })
      .map((list) => list.sort((a, b) => a - b).map((n) => new Decimal(n))),
    spent: fc.array(fc.record({ endsAt: fc.constantFrom(null, 5, 20), units: whole(50) }), {
      maxLength: 2,
    }),
  });
  fc.assert(
    fc.property(grants, thresholds, whole(60), (given, limits, amount) => {
      const before = levelOf(given, limits, 10);
      fc.pre(before.there.greaterThanOrEqualTo(amount));
      let left = amount;
      const taken = given.map((grant) => {
        const part = Decimal.min(left, grant.remaining);
        left = left.minus(part);
        return { ...grant, remaining: grant.remaining.minus(part) };
      });
      const after = levelOf(taken, limits, 10);
      const floor = floorOf(limits, before, before.there);
      const plain = floor === null || !isCrossed(floor, before.there.minus(amount));
      fc.pre(amount.greaterThan(0));
      expect(crossings('A', limits, before, after).length === 0).toBe(plain);
    }),
    { numRuns: 2000 },
  );
});
