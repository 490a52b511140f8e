import type { Knex } from 'knex';

import { TestClock, type Billing, type HoldAnswer, type SettleAnswer } from '../../../engine';
import { onEachDatabase } from '../each-database';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.parse('2027-01-10T12:00:00Z');
const hours = (count: number): { unit: 'hour'; count: number } => ({ unit: 'hour', count });
const iso = (time: number): string => new Date(time).toISOString();

onEachDatabase('holds', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
    await billing.catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
    await billing.catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '10.00',
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 100 }],
    });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `person-${counter}` });
    return accountId;
  };
  const give = async (account: string, quantity: number, terms: object = {}): Promise<string> => {
    const [grant] = await billing.ledger.grant({ account, product: 'MSG', quantity, ...terms });
    return grant!.grantId;
  };
  const holding = (account: string, amount: number, more: object = {}): Promise<HoldAnswer> =>
    billing.ledger.hold({ account, product: 'MSG', amount, expiresIn: hours(1), ...more });
  /** A hold of an account with 100 messages. */
  const open = async (amount = 40): Promise<{ account: string; holdId: string }> => {
    const account = await newAccount();
    await give(account, 100);
    return { account, holdId: (await holding(account, amount)).holdId! };
  };
  const balance = async (account: string, at?: number): Promise<[string | null, string]> => {
    const { available, held } = await billing.ledger.balance({
      account,
      product: 'MSG',
      at: at === undefined ? undefined : new Date(at),
    });
    return [available, held];
  };
  /** The ledger's lines, oldest first: kind, amount, when it counts, what moved of which grant. */
  const lines = async (account: string): Promise<unknown[]> => {
    const { items } = await billing.ledger.entries({ account });
    return items
      .reverse()
      .map((entry) => [entry.kind, entry.amount, Date.parse(entry.effectiveAt) - START]);
  };

  test('L6: of 100, 40 on hold leave 60; another 61 are denied', async () => {
    const account = await newAccount();
    await give(account, 100);
    const held = await holding(account, 40);
    expect(held).toEqual({
      accountId: account,
      allowed: true,
      reason: null,
      held: '40',
      remaining: '60',
      holdId: expect.stringContaining(account) as string,
      expiresAt: iso(START + HOUR),
      replayed: false,
      suggestedOffers: [],
    });
    expect(await balance(account)).toEqual(['60', '40']);
    expect(await billing.ledger.check({ account, product: 'MSG', amount: 61 })).toMatchObject({
      allowed: false,
      remaining: '60',
    });
    expect(await holding(account, 61)).toEqual({
      accountId: account,
      allowed: false,
      reason: 'insufficient_balance',
      held: '0',
      remaining: '60',
      holdId: null,
      expiresAt: null,
      replayed: false,
      suggestedOffers: [
        {
          sku: 'pack',
          name: 'Pack',
          price: '10.00',
          listPrice: null,
          currency: 'USD',
          product: 'MSG',
          quantity: '100',
        },
      ],
    });
    const use = { account, product: 'MSG', amount: 61 };
    expect(await billing.ledger.consume(use)).toMatchObject({ allowed: false, remaining: '60' });
    expect(await billing.ledger.consume({ ...use, amount: 60 })).toMatchObject({
      allowed: true,
      remaining: '0',
    });
    const [grant] = await billing.ledger.grants({ account });
    expect(grant).toMatchObject({ initial: '100', remaining: '0', held: '40' });
  });

  test('L6: settled for less, the rest goes back', async () => {
    const { account, holdId } = await open();
    const settled = await billing.ledger.settle({ holdId, amount: 25, metadata: { job: 7 } });
    expect(settled).toEqual({
      allowed: true,
      reason: null,
      consumed: '25',
      uncovered: '0',
      remaining: '75',
      entryId: expect.stringContaining(account) as string,
      replayed: false,
    });
    expect(await balance(account)).toEqual(['75', '0']);
    expect(await lines(account)).toEqual([
      ['grant', '100', 0],
      ['hold', '-40', 0],
      ['release', '40', 0],
      ['use', '-25', 0],
    ]);
    const { items } = await billing.ledger.entries({ account, kind: 'use' });
    expect(items).toMatchObject([
      {
        entryId: settled.entryId,
        causeId: holdId,
        overage: null,
        metadata: { job: 7 },
        grants: [{ amount: '25' }],
      },
    ]);
  });

  test('L6: settled for more, the rest is taken by the order of use', async () => {
    const account = await newAccount();
    const first = await give(account, 50);
    const { holdId } = await holding(account, 40);
    const ahead = await give(account, 5, { priority: 1 });
    await give(account, 45);
    expect(await billing.ledger.settle({ holdId: holdId!, amount: 55 })).toMatchObject({
      allowed: true,
      consumed: '55',
      uncovered: '0',
      remaining: '45',
    });
    const [use] = (await billing.ledger.entries({ account, kind: 'use' })).items;
    expect(use!.grants).toEqual([
      { grantId: first, amount: '50' },
      { grantId: ahead, amount: '5' },
    ]);
  });

  test('settled for less, the first units on hold are used, the last go back', async () => {
    const account = await newAccount();
    const [first, second] = [await give(account, 5), await give(account, 5)];
    const { holdId } = await holding(account, 8);
    await billing.ledger.settle({ holdId: holdId!, amount: 6 });
    const [use] = (await billing.ledger.entries({ account, kind: 'use' })).items;
    expect(use!.grants).toEqual([
      { grantId: first, amount: '5' },
      { grantId: second, amount: '1' },
    ]);
    expect(await billing.ledger.grants({ account })).toMatchObject([
      { grantId: second, remaining: '4', held: '0' },
      { grantId: first, remaining: '0', held: '0' },
    ]);
  });

  test('L6: settled at 55 when 100 were there, 45 are left; without an amount all on hold', async () => {
    const { holdId } = await open();
    expect(await billing.ledger.settle({ holdId, amount: '55' })).toMatchObject({
      consumed: '55',
      remaining: '45',
    });
    const other = await open();
    const whole = await billing.ledger.settle({ holdId: other.holdId });
    expect(whole).toMatchObject({ consumed: '40', remaining: '60', replayed: false });
    // The same amount, said in words.
    expect(await billing.ledger.settle({ holdId: other.holdId, amount: 40 })).toEqual({
      ...whole,
      replayed: true,
    });
  });

  test('L6: released, all is back, and again is a replay', async () => {
    const { account, holdId } = await open();
    const released = await billing.ledger.release({ holdId });
    expect(released).toEqual({
      released: '40',
      remaining: '100',
      holdId,
      entryId: expect.stringContaining(account) as string,
      replayed: false,
    });
    expect(await balance(account)).toEqual(['100', '0']);
    await billing.ledger.consume({ account, product: 'MSG', amount: 30 });
    expect(await billing.ledger.release({ holdId })).toEqual({ ...released, replayed: true });
    expect(await billing.ledger.release({ holdId, idempotencyKey: 'r' })).toEqual({
      ...released,
      replayed: true,
    });
  });

  test('L6: a hold that is over frees itself, whoever looks first', async () => {
    const look: Array<(account: string) => Promise<unknown>> = [
      (account) => billing.ledger.check({ account, product: 'MSG', amount: 100 }),
      (account) => billing.ledger.consume({ account, product: 'MSG', amount: 100 }),
      (account) => holding(account, 100),
    ];
    for (const first of look) {
      clock.set(START);
      const { account, holdId } = await open();
      clock.set(START + HOUR - 1);
      expect(await billing.ledger.check({ account, product: 'MSG', amount: 100 })).toMatchObject({
        allowed: false,
        remaining: '60',
      });
      expect(await balance(account)).toEqual(['60', '40']);
      clock.set(START + HOUR);
      expect(await balance(account)).toEqual(['100', '0']);
      const [grant] = await billing.ledger.grants({ account });
      expect(grant).toMatchObject({ remaining: '100', held: '0' });
      expect(await billing.ledger.holds({ account })).toEqual([]);
      expect(await billing.ledger.holds({ account, open: false })).toMatchObject([
        { holdId, status: 'expired', endedAt: iso(START + HOUR) },
      ]);
      // Nothing was written for any of this.
      expect(await lines(account)).toHaveLength(2);
      clock.set(START + 2 * HOUR);
      expect(await first(account)).toMatchObject({ allowed: true });
      expect(await balance(account, START + HOUR - 1)).toEqual(['60', '40']);
      expect(await balance(account, START + HOUR)).toEqual(['100', '0']);
    }
  });

  test('the first writer after puts the end of a hold on record, as of its instant', async () => {
    const { account, holdId } = await open();
    clock.set(START + 3 * HOUR);
    await billing.ledger.consume({ account, product: 'MSG', amount: 70 });
    expect(await lines(account)).toEqual([
      ['grant', '100', 0],
      ['hold', '-40', 0],
      ['release', '40', HOUR],
      ['use', '-70', 3 * HOUR],
    ]);
    const [release] = (await billing.ledger.entries({ account, kind: 'release' })).items;
    expect(release).toMatchObject({
      causeId: holdId,
      recordedAt: iso(START + 3 * HOUR),
      value: '0.00000000',
    });
    expect(await billing.ledger.holds({ account, open: false })).toMatchObject([
      { status: 'expired', endedAt: iso(START + HOUR), settled: null },
    ]);
  });

  test('a denial leaves a hold that is over unwritten', async () => {
    const { account } = await open();
    clock.set(START + HOUR);
    expect(await billing.ledger.consume({ account, product: 'MSG', amount: 101 })).toMatchObject({
      allowed: false,
      remaining: '100',
    });
    expect(await holding(account, 101)).toMatchObject({ allowed: false, remaining: '100' });
    expect(await lines(account)).toHaveLength(2);
  });

  test('settling twice replays, with or without a key; another amount finds no open hold', async () => {
    const { account, holdId } = await open();
    const first = await billing.ledger.settle({ holdId, amount: 25, idempotencyKey: 'once' });
    const again = { ...first, replayed: true };
    await billing.ledger.consume({ account, product: 'MSG', amount: 10 });
    const same = [{}, { idempotencyKey: 'once' }, { idempotencyKey: 'other' }];
    for (const key of same) {
      expect(await billing.ledger.settle({ holdId, amount: '25.0', ...key })).toEqual(again);
    }
    await expect(billing.ledger.settle({ holdId, amount: 26 })).rejects.toMatchObject({
      code: 'hold_not_open',
      parameter: 'holdId',
    });
    await expect(
      billing.ledger.settle({ holdId, amount: 26, idempotencyKey: 'once' }),
    ).rejects.toMatchObject({ code: 'idempotency_conflict' });
    await expect(billing.ledger.settle({ holdId })).rejects.toMatchObject({
      code: 'hold_not_open',
    });
    await expect(billing.ledger.release({ holdId })).rejects.toMatchObject({
      code: 'hold_not_open',
    });
    expect(await balance(account)).toEqual(['65', '0']);
  });

  test('settled at 0 all goes back, on record as settled; again is a replay', async () => {
    const { account, holdId } = await open();
    const terms = { holdId, amount: 0, strict: true, metadata: { job: 'failed' } };
    const first = await billing.ledger.settle({ ...terms, idempotencyKey: 'nothing' });
    expect(first).toEqual({
      allowed: true,
      reason: null,
      consumed: '0',
      uncovered: '0',
      remaining: '100',
      entryId: null,
      replayed: false,
    });
    expect(await balance(account)).toEqual(['100', '0']);
    expect((await lines(account)).slice(1)).toEqual([
      ['hold', '-40', 0],
      ['release', '40', 0],
    ]);
    const { items } = await billing.ledger.entries({ account, limit: 1 });
    expect(items).toMatchObject([{ kind: 'release', metadata: { job: 'failed' } }]);
    const ended = { holdId, status: 'settled', settled: '0', endedAt: iso(START) };
    expect(await billing.ledger.holds({ account, open: false })).toMatchObject([ended]);

    await billing.ledger.consume({ account, product: 'MSG', amount: 10 });
    for (const key of [{}, { idempotencyKey: 'nothing' }, { idempotencyKey: 'again' }]) {
      const again = await billing.ledger.settle({ ...terms, amount: '0.0', ...key });
      expect(again).toEqual({ ...first, replayed: true });
    }
    for (const other of [{ amount: 1 }, {}]) {
      await expect(billing.ledger.settle({ holdId, ...other })).rejects.toMatchObject({
        code: 'hold_not_open',
      });
    }
    await expect(billing.ledger.release({ holdId })).rejects.toMatchObject({
      code: 'hold_not_open',
    });
  });

  test('settled at 0, units of a grant whose time is over are lost', async () => {
    const account = await newAccount();
    await give(account, 50, { expiresAt: new Date(START + HOUR) });
    const { holdId } = await holding(account, 30, { expiresIn: hours(3) });
    clock.set(START + 2 * HOUR);
    const settled = await billing.ledger.settle({ holdId: holdId!, amount: 0 });
    expect(settled).toMatchObject({ consumed: '0', remaining: '0' });
    expect((await lines(account)).slice(2)).toEqual([
      ['expiry', '-20', HOUR],
      ['release', '30', 2 * HOUR],
      ['expiry', '-30', 2 * HOUR],
    ]);
  });

  test('one that was released is not settled at 0', async () => {
    const { holdId } = await open();
    await billing.ledger.release({ holdId });
    await expect(billing.ledger.settle({ holdId, amount: 0 })).rejects.toMatchObject({
      code: 'hold_not_open',
    });
  });

  test('twenty who settle at once settle once', async () => {
    const { account, holdId } = await open();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => billing.ledger.settle({ holdId, amount: 33 })),
    );
    expect(answers.filter((answer) => !answer.replayed)).toHaveLength(1);
    expect(new Set(answers.map((answer) => answer.entryId)).size).toBe(1);
    expect(await balance(account)).toEqual(['67', '0']);
  });

  test('what is not there becomes an uncovered entry, and the balance stays at 0', async () => {
    const { account, holdId } = await open();
    await billing.ledger.consume({ account, product: 'MSG', amount: 50 });
    expect(await billing.ledger.settle({ holdId, amount: 65 })).toMatchObject({
      allowed: true,
      consumed: '50',
      uncovered: '15',
      remaining: '0',
    });
    expect(await balance(account)).toEqual(['0', '0']);
    expect((await lines(account)).slice(-3)).toEqual([
      ['release', '40', 0],
      ['use', '-50', 0],
      ['uncovered', '-15', 0],
    ]);
    const [uncovered] = (await billing.ledger.entries({ account, kind: 'uncovered' })).items;
    expect(uncovered).toMatchObject({ causeId: holdId, grants: [], value: '0.00000000' });
    const [record] = await billing.ledger.holds({ account, open: false });
    expect(record).toMatchObject({ status: 'settled', amount: '40', settled: '65' });
  });

  test('strict: what is not there is a denial, the hold stays open', async () => {
    const { account, holdId } = await open();
    await billing.ledger.consume({ account, product: 'MSG', amount: 50 });
    const settle = (amount: number, idempotencyKey?: string): Promise<SettleAnswer> =>
      billing.ledger.settle({ holdId, amount, strict: true, idempotencyKey });
    const denied = {
      allowed: false,
      reason: 'insufficient_balance',
      consumed: '0',
      uncovered: '0',
      remaining: '10',
      entryId: null,
    };
    expect(await settle(51, 'strict')).toEqual({ ...denied, replayed: false });
    expect(await balance(account)).toEqual(['10', '40']);
    expect(await lines(account)).toHaveLength(3);
    await give(account, 1);
    expect(await settle(51, 'strict')).toEqual({ ...denied, replayed: true });
    // A denial is kept for a day only; the hold must still be open to see it.
    await billing.ledger.extend({ holdId, expiresIn: { unit: 'days', count: 3 } });
    clock.set(START + DAY);
    expect(await settle(51, 'strict')).toMatchObject({
      allowed: true,
      consumed: '51',
      remaining: '0',
      replayed: false,
    });
  });

  test('strict counts overage as there', async () => {
    const { account, holdId } = await open();
    await billing.ledger.consume({ account, product: 'MSG', amount: 60 });
    await billing.ledger.setOverage({ account, product: 'MSG', limit: 10 });
    expect(await billing.ledger.settle({ holdId, amount: 51, strict: true })).toMatchObject({
      allowed: false,
      remaining: '0',
    });
    expect(await billing.ledger.settle({ holdId, amount: 50, strict: true })).toEqual({
      allowed: true,
      reason: null,
      consumed: '50',
      uncovered: '0',
      overage: '10',
      remaining: '0',
      entryId: expect.any(String) as string,
      replayed: false,
    });
  });

  test('beyond the hold come grants, then overage up to its limit, then uncovered', async () => {
    const { account, holdId } = await open();
    await billing.ledger.consume({ account, product: 'MSG', amount: 50 });
    await billing.ledger.setOverage({ account, product: 'MSG', limit: 10 });
    expect(await billing.ledger.settle({ holdId, amount: 65 })).toMatchObject({
      consumed: '60',
      overage: '10',
      uncovered: '5',
      remaining: '0',
    });
    const [use] = (await billing.ledger.entries({ account, kind: 'use', limit: 1 })).items;
    expect(use).toMatchObject({ amount: '-60', overage: '10', grants: [{ amount: '50' }] });
    expect(await billing.ledger.overage({ account, product: 'MSG' })).toEqual({
      product: 'MSG',
      limit: '10',
      used: '10',
    });
  });

  test('a hold is never overage', async () => {
    const account = await newAccount();
    await give(account, 10);
    await billing.ledger.setOverage({ account, product: 'MSG', limit: null });
    expect(await holding(account, 11)).toMatchObject({ allowed: false, remaining: '10' });
    expect(await holding(account, 10)).toMatchObject({ allowed: true, remaining: '0' });
  });

  test('extended, a hold lasts longer, counted from now', async () => {
    const { account, holdId } = await open();
    clock.set(START + HOUR / 2);
    const extended = await billing.ledger.extend({
      holdId,
      expiresIn: hours(2),
      idempotencyKey: 'more',
    });
    expect(extended).toEqual({
      holdId,
      account,
      product: 'MSG',
      amount: '40',
      expiresAt: iso(START + 2.5 * HOUR),
      status: 'open',
      createdAt: iso(START),
      endedAt: null,
      settled: null,
      replayed: false,
    });
    clock.set(START + 2 * HOUR);
    expect(await balance(account)).toEqual(['60', '40']);
    expect(
      await billing.ledger.extend({ holdId, expiresIn: hours(2), idempotencyKey: 'more' }),
    ).toEqual({ ...extended, replayed: true });
    // Not later than the present end, to the millisecond.
    clock.set(START + 1.5 * HOUR);
    await expect(billing.ledger.extend({ holdId, expiresIn: hours(1) })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'expiresIn',
    });
    clock.set(START + 2.5 * HOUR);
    await expect(billing.ledger.extend({ holdId, expiresIn: hours(1) })).rejects.toMatchObject({
      code: 'hold_not_open',
    });
    expect(await balance(account)).toEqual(['100', '0']);
  });

  test('units on hold do not expire until the hold ends', async () => {
    const account = await newAccount();
    const end = START + HOUR;
    await give(account, 50, { expiresAt: new Date(end), paid: { amount: '50', currency: 'USD' } });
    await give(account, 10);
    const { holdId } = await holding(account, 30, { expiresIn: hours(3) });
    clock.set(end);
    expect(await balance(account)).toEqual(['10', '30']);
    expect(await billing.ledger.grants({ account })).toMatchObject([
      { remaining: '10', held: '0' },
      { remaining: '0', held: '30', valueLeft: '30.00000000' },
    ]);
    // Settled for more: first what is on hold, though its grant's time is over, then by the order.
    clock.set(end + HOUR);
    expect(await billing.ledger.settle({ holdId: holdId!, amount: 25 })).toMatchObject({
      consumed: '25',
      remaining: '10',
    });
    expect(await lines(account)).toEqual([
      ['grant', '50', 0],
      ['grant', '10', 0],
      ['hold', '-30', 0],
      ['expiry', '-20', HOUR],
      ['release', '30', 2 * HOUR],
      ['use', '-25', 2 * HOUR],
      ['expiry', '-5', 2 * HOUR],
    ]);
    const expiries = (await billing.ledger.entries({ account, kind: 'expiry' })).items;
    expect(expiries.map((entry) => [entry.causeId, entry.value])).toEqual([
      [holdId, '-5.00000000'],
      [null, '-20.00000000'],
    ]);
    expect(await balance(account, end - 1)).toEqual(['30', '30']);
    expect(await balance(account, end)).toEqual(['10', '30']);
    expect(await balance(account, end + HOUR)).toEqual(['10', '0']);
  });

  test('released after its grant ended, a hold gives nothing back that could be used', async () => {
    const account = await newAccount();
    await give(account, 50, { expiresAt: new Date(START + HOUR) });
    const { holdId } = await holding(account, 30, { expiresIn: hours(3) });
    clock.set(START + 2 * HOUR);
    expect(await billing.ledger.release({ holdId: holdId! })).toMatchObject({
      released: '30',
      remaining: '0',
    });
    expect((await lines(account)).slice(2)).toEqual([
      ['expiry', '-20', HOUR],
      ['release', '30', 2 * HOUR],
      ['expiry', '-30', 2 * HOUR],
    ]);
    expect(await billing.ledger.grants({ account })).toMatchObject([
      { remaining: '0', held: '0', valueLeft: '0.00000000' },
    ]);
  });

  test('ends of holds and grants are put on record in the order in which they came', async () => {
    const account = await newAccount();
    await give(account, 10, { expiresAt: new Date(START + 2 * HOUR) });
    await give(account, 10, { expiresAt: new Date(START + 4 * HOUR) });
    await give(account, 10, { priority: 99 });
    await holding(account, 4, { expiresIn: hours(3) }); // over after the end of the first
    await holding(account, 1, { expiresIn: hours(1) }); // over before it
    await holding(account, 2, { expiresIn: hours(2) }); // over with it
    await holding(account, 9, { expiresIn: hours(4) }); // of both; over with the second
    clock.set(START + DAY);
    expect(await balance(account)).toEqual(['10', '0']);
    await billing.ledger.consume({ account, product: 'MSG', amount: 1 });
    expect((await lines(account)).slice(7)).toEqual([
      ['release', '1', HOUR],
      ['release', '2', 2 * HOUR],
      // One that is left, one and two that came back: 10 - 4 - 3, the three of the last hold still out.
      ['expiry', '-3', 2 * HOUR],
      ['release', '4', 3 * HOUR],
      ['expiry', '-4', 3 * HOUR],
      ['release', '9', 4 * HOUR],
      ['expiry', '-3', 4 * HOUR],
      ['expiry', '-10', 4 * HOUR],
      ['use', '-1', DAY],
    ]);
    for (const [at, expected] of [
      [0, ['14', '16']],
      [HOUR, ['15', '15']],
      [2 * HOUR, ['14', '13']],
      [3 * HOUR, ['14', '9']],
      [4 * HOUR, ['10', '0']],
    ] as const) {
      expect(await balance(account, START + at)).toEqual(expected);
    }
  });

  test('holds are listed by account and product, newest first', async () => {
    const parent = await newAccount();
    const child = await newAccount();
    await billing.accounts.attachChild({ child, parent });
    await give(parent, 100);
    await billing.ledger.grant({ account: parent, product: 'GB', quantity: '1.5' });
    const first = (await holding(parent, 1)).holdId;
    clock.advance(1);
    const second = (await holding(child, 2)).holdId;
    const third = (
      await billing.ledger.hold({
        account: child,
        product: 'GB',
        amount: '0.125',
        expiresIn: hours(1),
      })
    ).holdId;
    const ids = async (request: object): Promise<string[]> =>
      (await billing.ledger.holds({ account: parent, ...request })).map((hold) => hold.holdId);
    expect(await ids({})).toEqual([third, second, first]);
    expect(await ids({ product: 'MSG' })).toEqual([second, first]);
    expect(await ids({ account: child })).toEqual([third, second]);
    await billing.ledger.release({ holdId: second! });
    expect(await ids({})).toEqual([third, first]);
    expect(await ids({ open: false })).toEqual([third, second, first]);
    await expect(billing.ledger.holds({ account: parent, product: 'NONE' })).rejects.toMatchObject({
      code: 'unknown_product',
    });
    // A child that leaves still sees, settles and releases what it held there.
    await billing.accounts.detachChild({ child });
    expect(await ids({ account: child })).toEqual([third]);
    expect(await billing.ledger.settle({ holdId: third!, account: child })).toMatchObject({
      consumed: '0.125',
      remaining: '1.375',
    });
    expect((await billing.ledger.balance({ account: parent, product: 'GB' })).available).toBe(
      '1.375',
    );
  });

  test('a list has an end, and goes on behind it, also over two ledgers', async () => {
    const [parent, child] = [await newAccount(), await newAccount()];
    await give(child, 200);
    await give(parent, 200);
    const made: string[] = [];
    const holdAndRelease = async (): Promise<void> => {
      const { holdId } = await holding(child, 1);
      await billing.ledger.release({ holdId: holdId! });
      made.unshift(holdId!);
    };
    for (let n = 0; n < 70; n += 1) await holdAndRelease();
    clock.advance(1);
    await billing.ledger.deduct({ account: child, product: 'MSG', amount: 200, reason: 'test' });
    await billing.accounts.attachChild({ child, parent });
    for (let n = 0; n < 40; n += 1) await holdAndRelease();
    const ids = async (request: object): Promise<string[]> =>
      (await billing.ledger.holds({ account: child, open: false, ...request })).map(
        (hold) => hold.holdId,
      );
    expect(await ids({})).toEqual(made.slice(0, 100));
    expect(await ids({ cursor: made[99] })).toEqual(made.slice(100));
    expect(await ids({ limit: 30, cursor: made[24] })).toEqual(made.slice(25, 55));
    expect(await ids({ limit: 1000 })).toEqual(made);
    expect(await ids({ cursor: made.at(-1) })).toEqual([]);
    const exported = await billing.accounts.export({ account: child });
    expect(exported).toMatchObject({ holds: made.map((holdId) => ({ holdId })) });
    for (const cursor of ['x', `${parent}.999`]) {
      await expect(ids({ cursor })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'cursor',
      });
    }
    await expect(ids({ limit: 1001 })).rejects.toMatchObject({ parameter: 'limit' });
  });

  test('a suspended account may settle and release what it holds, and take no more', async () => {
    const { account, holdId } = await open();
    const other = await holding(account, 10);
    await billing.accounts.update({ account, status: 'suspended' });
    expect(await holding(account, 1)).toMatchObject({
      allowed: false,
      reason: 'account_suspended',
      remaining: '50',
    });
    expect(await billing.ledger.settle({ holdId, amount: 45, strict: true })).toMatchObject({
      allowed: false,
      reason: 'account_suspended',
    });
    expect(await billing.ledger.settle({ holdId, amount: 45 })).toMatchObject({
      allowed: true,
      consumed: '40',
      uncovered: '5',
      remaining: '50',
    });
    expect(await billing.ledger.release({ holdId: other.holdId! })).toMatchObject({
      released: '10',
      remaining: '60',
    });
  });

  test('settling a released, an expired, a foreign hold and none at all', async () => {
    const code = (promise: Promise<unknown>): Promise<unknown> =>
      promise.then(
        () => 'done',
        (error: { code: unknown }) => error.code,
      );
    const released = await open();
    await billing.ledger.release({ holdId: released.holdId });
    expect(await code(billing.ledger.settle({ holdId: released.holdId }))).toBe('hold_not_open');

    const parent = await newAccount();
    const [child, sibling] = [await newAccount(), await newAccount()];
    for (const one of [child, sibling]) await billing.accounts.attachChild({ child: one, parent });
    await give(parent, 10);
    const holdId = (await holding(child, 5)).holdId!;
    const grantId = (await billing.ledger.grants({ account: parent }))[0]!.grantId;
    for (const method of ['settle', 'release'] as const) {
      for (const wrong of [
        { holdId, account: sibling },
        { holdId, account: released.account },
        { holdId: grantId },
        { holdId: `${parent}.99` },
        { holdId: `${released.account}.2x` },
        { holdId: 'nonsense' },
        { holdId: '0190a6f0-0000-7000-8000-000000000000.1' },
      ]) {
        expect([wrong, await code(billing.ledger[method](wrong))]).toEqual([wrong, 'unknown_hold']);
      }
    }
    expect(
      await code(billing.ledger.extend({ holdId, account: sibling, expiresIn: hours(5) })),
    ).toBe('unknown_hold');
    expect(await code(billing.ledger.settle({ holdId, account: { externalId: 'nobody' } }))).toBe(
      'unknown_account',
    );
    expect(await code(billing.ledger.settle({ holdId, account: parent, amount: 1 }))).toBe('done');

    const expired = await open();
    clock.advance(HOUR);
    for (let time = 0; time < 2; time += 1) {
      const { account, holdId: over } = expired;
      expect(await code(billing.ledger.settle({ holdId: over, amount: 1 }))).toBe('hold_not_open');
      expect(await code(billing.ledger.release({ holdId: over }))).toBe('hold_not_open');
      expect(await code(billing.ledger.extend({ holdId: over, expiresIn: hours(9) }))).toBe(
        'hold_not_open',
      );
      // Once unwritten, once on record.
      await billing.ledger.consume({ account, product: 'MSG' });
    }
  });

  test('what is no request for a hold is refused', async () => {
    const { account, holdId } = await open();
    const refused = (parameter: string, promise: Promise<unknown>): Promise<void> =>
      expect(promise).rejects.toMatchObject({ code: 'invalid_input', parameter });
    const request = { account, product: 'MSG', amount: 1, expiresIn: hours(1) };
    await refused('amount', billing.ledger.hold({ ...request, amount: 0 }));
    await refused('amount', billing.ledger.hold({ ...request, amount: '0.5' }));
    await refused('product', billing.ledger.hold({ ...request, product: 'PRO' }));
    await refused('product', billing.ledger.hold({ ...request, product: 'ALL' }));
    await refused(
      'expiresIn',
      billing.ledger.hold({ ...request, expiresIn: { unit: 'year', count: 9_000 } }),
    );
    const { expiresIn: _none, ...without } = request;
    await refused('expiresIn', billing.ledger.hold(without as typeof request));
    await refused('amount', billing.ledger.settle({ holdId, amount: -1 }));
    await refused('amount', billing.ledger.settle({ holdId, amount: '1.25' }));
    await refused('holdId', billing.ledger.settle({} as { holdId: string }));
    await refused('strict', billing.ledger.settle({ holdId, strict: 'yes' as unknown as boolean }));
    await refused('amount', billing.ledger.release({ holdId, amount: 1 } as { holdId: string }));
    expect(await balance(account)).toEqual(['60', '40']);
  });

  test('one key for holding, settling, releasing and using is four different keys', async () => {
    const account = await newAccount();
    await give(account, 100);
    const idempotencyKey = 'same';
    const held = await holding(account, 10, { idempotencyKey });
    expect(await holding(account, 10, { idempotencyKey })).toEqual({ ...held, replayed: true });
    await expect(holding(account, 11, { idempotencyKey })).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    const second = (await holding(account, 20)).holdId!;
    const use = { account, product: 'MSG', amount: 5, idempotencyKey };
    expect(await billing.ledger.consume(use)).toMatchObject({ replayed: false });
    const holdId = held.holdId!;
    expect(
      await billing.ledger.extend({ holdId, expiresIn: hours(2), idempotencyKey }),
    ).toMatchObject({ replayed: false });
    expect(await billing.ledger.settle({ holdId, idempotencyKey })).toMatchObject({
      replayed: false,
    });
    expect(await billing.ledger.release({ holdId: second, idempotencyKey })).toMatchObject({
      replayed: false,
    });
    // The key of a settling belongs to the account, not to the hold.
    const third = (await holding(account, 1)).holdId!;
    await expect(billing.ledger.settle({ holdId: third, idempotencyKey })).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    expect(await balance(account)).toEqual(['84', '1']);
  });

  test("in a caller's transaction that is undone nothing of a hold is left", async () => {
    const { account, holdId } = await open();
    const undone = billing.transaction(async (tx) => {
      const other = await holding(account, 10, { tx, idempotencyKey: 'k' });
      await billing.ledger.settle({ holdId: other.holdId!, amount: 3, tx });
      await expect(
        billing.ledger.settle({ holdId: other.holdId!, amount: 4, tx }),
      ).rejects.toMatchObject({ code: 'hold_not_open' });
      await billing.ledger.release({ holdId, tx });
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    expect(await balance(account)).toEqual(['60', '40']);
    expect(await billing.ledger.holds({ account, open: false })).toHaveLength(1);
    expect(await holding(account, 10, { idempotencyKey: 'k' })).toMatchObject({ replayed: false });
  });

  test('a clock that goes backwards ends a hold no earlier and no later', async () => {
    const { account, holdId } = await open();
    clock.set(START + HOUR / 2);
    await give(account, 1);
    clock.set(START - DAY);
    expect(await billing.ledger.settle({ holdId, amount: 1 })).toMatchObject({ consumed: '1' });
    const { items } = await billing.ledger.entries({ account, limit: 2 });
    expect(items.map((entry) => entry.recordedAt)).toEqual([
      iso(START + HOUR / 2),
      iso(START + HOUR / 2),
    ]);
    const second = await holding(account, 2);
    expect(second.expiresAt).toBe(iso(START + 1.5 * HOUR));
  });

  test('a child with units on hold cannot be attached', async () => {
    const { account: child, holdId } = await open(100);
    const parent = await newAccount();
    await expect(billing.accounts.attachChild({ child, parent })).rejects.toMatchObject({
      code: 'merge_conflict',
    });
    await billing.ledger.settle({ holdId });
    await billing.accounts.attachChild({ child, parent });
    expect((await billing.accounts.get({ account: child })).parentId).toBe(parent);
  });

  test('what a hold is and how it ended cannot be changed by hand', async () => {
    const { account, holdId } = await open();
    await billing.ledger.settle({ holdId });
    const second = await holding(account, 1);
    const refused = async (statement: string): Promise<void> => {
      const done = billing.transaction((tx: Knex.Transaction) => tx.raw(statement));
      await expect(done).rejects.toThrow(/refused|violates check constraint/);
    };
    const schema = await billing.transaction(async (tx) => {
      const { rows } = (await tx.raw(
        `select table_schema as name from information_schema.tables
         where table_name = 'overage_terms' and table_schema like 'test_%'`,
      )) as { rows: Array<{ name: string }> };
      for (const { name } of rows) {
        const found = (await tx.raw(
          `select 1 from "${name}".accounts where account_id = '${account}'`,
        )) as { rows: unknown[] };
        if (found.rows.length > 0) return name;
      }
      throw new Error('no schema holds the account');
    });
    const [, sequence] = second.holdId!.split('.');
    const own = `where payer_id = '${account}' and sequence = ${sequence}`;
    for (const table of ['holds', 'entries', 'grants', 'overage_terms']) {
      await refused(`delete from "${schema}".${table}`);
      await refused(`truncate "${schema}".${table} cascade`);
    }
    await refused(`update "${schema}".holds set amount = 1000 ${own}`);
    await refused(`update "${schema}".holds set account_id = payer_id ${own}`);
    await refused(`update "${schema}".holds set settled = 5 ${own}`);
    await refused(
      `update "${schema}".holds set expires_at = expires_at where payer_id = '${account}' and ended_at is not null`,
    );
    await refused(`update "${schema}".grants set held = -1 where payer_id = '${account}'`);
    await refused(`update "${schema}".grants set held = 101 where payer_id = '${account}'`);
    await refused(`update "${schema}".entries set overage = 1`);
    await refused(`update "${schema}".entries set cause_sequence = 1`);
    await refused(`update "${schema}".overage_terms set product = 'GB'`);
    expect(await balance(account)).toEqual(['59', '1']);
  });
});
