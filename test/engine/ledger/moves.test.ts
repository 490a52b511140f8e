import fc from 'fast-check';

import { TestClock } from '../../../engine';
import { resolveAccount } from '../../../engine/accounts';
import type { Session } from '../../../engine/database';
import { Decimal, parseLedgerId, readClock } from '../../../engine/kernel';
import {
  EARNING_KINDS,
  endGrants,
  followGrants,
  moveAllUnits,
  readGrantStates,
  runDue,
  shareValue,
  verifyLedger,
  withdrawUnits,
  type MovedAll,
  type MovedValue,
  type Withdrawal,
} from '../../../engine/ledger';
import { splitAmong } from '../../../engine/ledger/spreading';
import { databaseKinds, runs } from '../each-database';
import { openLedgerAlone, type LedgerAlone } from './ledger-alone';

/** What later rooms ask of the ledger, on the ledger alone; and what people do by hand. */

const START = Date.parse('2027-01-10T12:00:00Z');
const DAY = 86_400_000;
const iso = (time: number): string => new Date(time).toISOString();

describe('shareValue', () => {
  const share = (shares: Array<number | null>, prices: Array<number | null>, value: string) =>
    shareValue(
      shares.map((one, index) => ({
        share: one === null ? null : new Decimal(one),
        price: prices[index] === null ? null : new Decimal(prices[index]!),
      })),
      new Decimal(value),
      2,
    ).map((part) => part.toFixed(2));

  test.each([
    ['by shares', [1, 2], [9, 1], '10.00', ['3.33', '6.67']],
    ['one without a share beside others gets nothing', [1, null], [1, 1], '5.00', ['5.00', '0.00']],
    ['else by prices', [null, null], [10, 30], '20.00', ['5.00', '15.00']],
    [
      'equally when one has no price',
      [null, null, null],
      [10, null, 1],
      '10.00',
      ['3.34', '3.33', '3.33'],
    ],
    ['equally when all are free', [null, null], [0, 0], '1.00', ['0.50', '0.50']],
    ['nobody shares nothing', [], [], '0.00', []],
  ] as const)('%s', (_what, shares, prices, value, parts) => {
    expect(share([...shares], [...prices], value)).toEqual(parts);
  });
});

test('splitAmong gives each part a unit, and adds up', () => {
  const weights = fc.array(fc.nat(1000), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(weights, fc.nat(1000), fc.nat(3), (given, total, decimals) => {
      const whole = new Decimal(total).div(new Decimal(10).pow(decimals));
      const parts = splitAmong(
        whole,
        given.map((weight) => new Decimal(weight)),
        decimals,
      );
      expect(parts === null).toBe(total < given.length);
      if (parts === null) return;
      expect(parts.every((part) => part.greaterThan(0))).toBe(true);
      expect(parts.reduce((sum, part) => sum.plus(part)).equals(whole)).toBe(true);
    }),
  );
});

describe.each(databaseKinds)('ledger moves (%s)', (name) => {
  const clock = new TestClock(START);
  const movedValues: MovedValue[] = [];
  const ports = {
    movedValue: (_session: Session, moved: MovedValue) => {
      movedValues.push(moved);
      return Promise.resolve();
    },
  };
  let opened: LedgerAlone;
  let database: LedgerAlone['context']['database'];
  let ledger: LedgerAlone['ledger'];
  let accounts: LedgerAlone['accounts'];
  let locked: LedgerAlone['locked'];
  let counter = 0;

  beforeAll(async () => {
    opened = await openLedgerAlone(name, clock, ports);
    ({ accounts, ledger, locked } = opened);
    ({ database } = opened.context);
    const { catalog } = opened;
    await catalog.saveProduct({ key: 'A', name: 'A' });
    await catalog.saveProduct({ key: 'B', name: 'B' });
    await catalog.saveProduct({ key: 'COIN', name: 'Coins', isCurrency: true });
    await catalog.saveProduct({ key: 'TIME', name: 'Time', kind: 'period' });
    await catalog.saveOffer({
      sku: 'goods',
      name: 'Goods',
      price: 3,
      currency: 'COIN',
      items: [
        { product: 'A', quantity: 7 },
        { product: 'B', quantity: 2 },
      ],
    });
  });

  beforeEach(() => clock.set(START));

  afterAll(async () => {
    try {
      expect(await verifyLedger(database)).toMatchObject({ ok: true, problems: [] });
    } finally {
      await database.close();
    }
  });

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await accounts.identify({ externalId: `person-${counter}` })).accountId;
  };
  const give = async (account: string, quantity: number, terms: object = {}): Promise<bigint> => {
    const [grant] = await ledger.grant({ account, product: 'A', quantity, ...terms });
    return BigInt(parseLedgerId(grant!.grantId)!.sequence);
  };
  const paid = (amount: string, currency = 'USD') => ({ paid: { amount, currency } });
  const use = async (account: string, amount: number, product = 'A') =>
    (await ledger.consume({ account, product, amount })).entryId!;
  const balance = (account: string, product = 'A') => ledger.balance({ account, product });
  const available = async (account: string, product = 'A') =>
    (await balance(account, product)).available;
  const kinds = async (account: string): Promise<string[]> =>
    (await ledger.entries({ account })).items
      .reverse()
      .map((line) => `${line.kind} ${line.amount}`);
  const withdraw = (
    account: string,
    grants: Withdrawal['grants'],
    options: { debt?: boolean } = {},
  ) =>
    locked([account], async (session, now) =>
      (
        await withdrawUnits(session, {
          payerId: account,
          accountId: account,
          grants,
          kind: 'refund',
          note: { source: 'order 1' },
          now,
          ...options,
        })
      ).map(({ sequence, product, ...amounts }) => [
        sequence,
        product,
        ...Object.values(amounts).map((amount) => amount.toFixed()),
      ]),
    );
  const writeDue = () => runDue(opened.context);
  const end = (account: string, sequences: bigint[], at: number) =>
    locked([account], (session, now) =>
      endGrants(
        session,
        sequences.map((sequence) => ({ payerId: account, sequence, at })),
        now,
      ),
    );
  const mergeInto = (from: string, into: string, dryRun = false): Promise<MovedAll> =>
    locked([from, into], async (session, now) =>
      moveAllUnits(
        session,
        {
          from: await resolveAccount(session, { accountId: from }),
          into: await resolveAccount(session, { accountId: into }),
          now,
          dryRun,
        },
        ports,
      ),
    );
  const states = async (account: string, sequences: bigint[]) =>
    (
      await locked([account], (session, now) => readGrantStates(session, account, sequences, now))
    ).map(({ sequence, remaining, held, valueLeft, expiresAt }) => ({
      sequence,
      remaining: remaining.toFixed(),
      held: held.toFixed(),
      valueLeft: valueLeft.toFixed(),
      expiresAt: expiresAt === null ? null : iso(expiresAt),
    }));

  describe('deductions and bonuses', () => {
    test('a deduction takes in the order of use, and keeps who said so and why', async () => {
      const account = await newAccount();
      await give(account, 10, { priority: 1, ...paid('5.00') });
      await give(account, 10);
      const request = { account, product: 'A', amount: 12, reason: 'Sent twice', author: 'Ada' };
      const answer = await ledger.deduct(request);
      expect(answer).toMatchObject({
        allowed: true,
        reason: null,
        deducted: '12',
        remaining: '8',
        replayed: false,
      });
      const [line] = (await ledger.entries({ account, limit: 1 })).items;
      expect(line).toMatchObject({
        entryId: answer.entryId,
        kind: 'deduction',
        amount: '-12',
        value: '-5.00000000',
        source: 'manual',
        reason: 'Sent twice',
        author: 'Ada',
      });
    });

    test('never below 0; also of a suspended account; once for its key', async () => {
      const account = await newAccount();
      await give(account, 10);
      const request = { account, product: 'A', reason: 'Test' };
      expect(await ledger.deduct({ ...request, amount: 11 })).toEqual({
        allowed: false,
        reason: 'insufficient_balance',
        deducted: '0',
        remaining: '10',
        entryId: null,
        replayed: false,
      });
      await accounts.update({ account, status: 'suspended' });
      const keyed = { ...request, amount: 4, idempotencyKey: 'k' };
      const first = await ledger.deduct(keyed);
      expect(first).toMatchObject({ allowed: true, remaining: '6' });
      expect(await ledger.deduct(keyed)).toEqual({ ...first, replayed: true });
      await expect(ledger.deduct({ ...keyed, reason: 'Other' })).rejects.toMatchObject({
        code: 'idempotency_conflict',
      });
      expect(await available(account)).toBe('6');
    });

    test.each([
      ['reason', { reason: undefined }],
      ['reason', { reason: '' }],
      ['amount', { amount: 0 }],
      ['amount', { amount: '1.5' }],
      ['product', { product: 'TIME' }],
      ['overdraw', { overdraw: true }],
    ])('bad input of a deduction: %s %j', async (parameter, wrong) => {
      const account = await newAccount();
      const request = { account, product: 'A', amount: 1, reason: 'Test', ...wrong };
      await expect(ledger.deduct(request as never)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter,
      });
    });

    test('a grant by hand keeps who said so and why', async () => {
      const account = await newAccount();
      await give(account, 10, { reason: 'Sorry', author: 'Ada' });
      const [line] = (await ledger.entries({ account })).items;
      expect(line).toMatchObject({
        kind: 'grant',
        source: 'manual',
        reason: 'Sorry',
        author: 'Ada',
      });
    });

    test('a bonus says where it comes from and is worth nothing', async () => {
      const account = await newAccount();
      const request = {
        account,
        product: 'A',
        quantity: 5,
        source: 'referral',
        idempotencyKey: 'k',
      };
      const [grant] = await ledger.bonus({
        ...request,
        priority: 10,
        expiresAfter: { unit: 'day', count: 1 },
      });
      expect(grant).toMatchObject({
        remaining: '5',
        source: 'referral',
        priority: 10,
        expiresAt: iso(START + DAY),
        value: '0.00000000',
        currency: null,
        replayed: false,
      });
      await expect(ledger.bonus(request)).rejects.toMatchObject({ code: 'idempotency_conflict' });
      const bad = { account, product: 'A', quantity: 5 };
      await expect(ledger.bonus(bad as never)).rejects.toMatchObject({ parameter: 'source' });
      await expect(
        ledger.bonus({ ...bad, source: 'x', ...paid('1.00') } as never),
      ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'paid' });
    });
  });

  describe('units taken back', () => {
    test('what is left goes, by one line for each product, with its value', async () => {
      const account = await newAccount();
      const [first, second] = [await give(account, 10, paid('4.00')), await give(account, 5)];
      const other = await give(account, 3, { product: 'B', ...paid('3.00') });
      await use(account, 4);
      expect(
        await withdraw(account, [{ sequence: second }, { sequence: first }, { sequence: other }]),
      ).toEqual([
        [second, 'A', '5', '0', '0'],
        [first, 'A', '6', '2.4', '4'],
        [other, 'B', '3', '3', '0'],
      ]);
      expect(await available(account)).toBe('0');
      expect((await kinds(account)).slice(4)).toEqual(['refund -11', 'refund -3']);
      // Again there is nothing left, and no line.
      expect(await withdraw(account, [{ sequence: first }])).toEqual([[first, 'A', '0', '0', '4']]);
      expect(await kinds(account)).toHaveLength(6);
    });

    test('a part of a grant goes, and it lives on; of another none is touched', async () => {
      const account = await newAccount();
      const [grant, other] = [await give(account, 10, paid('1.00')), await give(account, 10)];
      expect(await withdraw(account, [{ sequence: grant, amount: new Decimal(4) }])).toEqual([
        [grant, 'A', '4', '0.4', '0'],
      ]);
      expect(await states(account, [grant, other, 99n])).toEqual([
        { sequence: grant, remaining: '6', held: '0', valueLeft: '0.6', expiresAt: null },
        { sequence: other, remaining: '10', held: '0', valueLeft: '0', expiresAt: null },
      ]);
      const useId = await use(account, 6);
      expect(await ledger.restore({ entryId: useId })).toMatchObject({ restored: '6' });
      expect(await withdraw(account, [{ sequence: grant, amount: new Decimal(40) }])).toEqual([
        [grant, 'A', '6', '0.6', '0'],
      ]);
    });

    test('units of it that are restored afterwards are lost, and not usable', async () => {
      const account = await newAccount();
      const grant = await give(account, 10, paid('1.00'));
      const useId = await use(account, 4);
      await withdraw(account, [{ sequence: grant }]);
      expect(await ledger.restore({ entryId: useId, amount: 3 })).toMatchObject({
        restored: '0',
        expired: '3',
        remaining: '0',
      });
      expect(await ledger.consume({ account, product: 'A' })).toMatchObject({ allowed: false });
      expect((await kinds(account)).slice(-2)).toEqual(['restore 3', 'expiry -3']);
    });

    test.each(['released', 'over'])(
      'units on hold stay; those of a hold that is %s are lost',
      async (how) => {
        const account = await newAccount();
        const grant = await give(account, 10, paid('1.00'));
        const hold = {
          account,
          product: 'A',
          amount: 4,
          expiresIn: { unit: 'hour', count: 1 },
        } as const;
        const { holdId } = await ledger.hold(hold);
        expect(await withdraw(account, [{ sequence: grant }])).toEqual([
          [grant, 'A', '6', '0.6', '4'],
        ]);
        expect(await balance(account)).toMatchObject({ available: '0', held: '4' });
        if (how === 'released') await ledger.release({ holdId: holdId! });
        else clock.set(START + DAY);
        expect(await ledger.check({ account, product: 'A' })).toMatchObject({ allowed: false });
        expect(await ledger.consume({ account, product: 'A' })).toMatchObject({ allowed: false });
        expect(await balance(account)).toMatchObject({ available: '0', held: '0' });
        await writeDue();
        expect((await kinds(account)).slice(-2)).toEqual(['release 4', 'expiry -4']);
      },
    );

    test('units on hold of a grant that was taken back can still be settled', async () => {
      const account = await newAccount();
      const grant = await give(account, 10, paid('1.00'));
      const { holdId } = await ledger.hold({
        account,
        product: 'A',
        amount: 4,
        expiresIn: { unit: 'hour', count: 1 },
      });
      await withdraw(account, [{ sequence: grant }]);
      expect(await ledger.settle({ holdId: holdId!, amount: 3 })).toMatchObject({
        consumed: '3',
        uncovered: '0',
        remaining: '0',
      });
      expect((await kinds(account)).slice(-3)).toEqual(['release 4', 'use -3', 'expiry -1']);
    });

    test('what a process remembers of units that were taken back is not used', async () => {
      const account = await newAccount();
      const grant = await give(account, 10);
      await use(account, 1);
      await withdraw(account, [{ sequence: grant }]);
      expect(await ledger.consume({ account, product: 'A' })).toMatchObject({
        allowed: false,
        remaining: '0',
      });
    });

    test('of a grant whose time is over nothing is left to take', async () => {
      const account = await newAccount();
      const grant = await give(account, 10, { expiresAt: iso(START + DAY), ...paid('1.00') });
      await use(account, 2);
      clock.set(START + DAY);
      expect(await withdraw(account, [{ sequence: grant }])).toEqual([[grant, 'A', '0', '0', '2']]);
    });
  });

  describe('debts', () => {
    test('what was used is owed, and the next grants pay it first', async () => {
      const account = await newAccount();
      const grant = await give(account, 10, paid('1.00'));
      await use(account, 7);
      expect(await withdraw(account, [{ sequence: grant }], { debt: true })).toEqual([
        [grant, 'A', '3', '0.3', '7'],
      ]);
      expect(await balance(account)).toMatchObject({ available: '0', debt: '7' });
      expect(await ledger.check({ account, product: 'A' })).toMatchObject({ remaining: '0' });

      const [small] = await ledger.grant({ account, product: 'A', quantity: 4, ...paid('8.00') });
      expect(small).toMatchObject({ initial: '4', remaining: '0', valueLeft: '0.00000000' });
      expect(await balance(account)).toMatchObject({ available: '0', debt: '3' });
      const [big] = await ledger.grant({ account, product: 'A', quantity: 10 });
      expect(big).toMatchObject({ remaining: '7' });
      expect(await balance(account)).not.toHaveProperty('debt');
      expect((await kinds(account)).slice(2)).toEqual([
        'refund -3',
        'owed -7',
        'grant 4',
        'debt -4',
        'grant 10',
        'debt -3',
      ]);
      const [line] = (await ledger.entries({ account, kind: 'debt' })).items.reverse();
      expect(line).toMatchObject({ value: '-8.00000000', currency: 'USD' });
      expect(await use(account, 7)).toEqual(expect.any(String));
    });

    test('several debts are paid in their order; other products are not touched', async () => {
      const account = await newAccount();
      const grants = [await give(account, 2), await give(account, 3)];
      await use(account, 5);
      for (const sequence of grants) await withdraw(account, [{ sequence }], { debt: true });
      await give(account, 4, { product: 'B' });
      expect(await available(account, 'B')).toBe('4');
      await give(account, 4);
      expect(await balance(account)).toMatchObject({ available: '0', debt: '1' });
    });

    test('of a part only what is not there any more is owed, and no more than was used', async () => {
      const account = await newAccount();
      const grant = await give(account, 10);
      await use(account, 4);
      const part = [{ sequence: grant, amount: new Decimal(8) }];
      expect(await withdraw(account, part, { debt: true })).toEqual([[grant, 'A', '6', '0', '4']]);
      expect(await balance(account)).toMatchObject({ debt: '2' });
      const more = [{ sequence: grant, amount: new Decimal(50) }];
      await withdraw(account, more, { debt: true });
      expect(await balance(account)).toMatchObject({ debt: '6' });
    });

    test('units that come by a transfer pay, too', async () => {
      const [account, friend] = [await newAccount(), await newAccount()];
      const grant = await give(account, 5);
      await use(account, 5);
      await withdraw(account, [{ sequence: grant }], { debt: true });
      await give(friend, 9, paid('9.00'));
      const answer = await ledger.transfer({
        account: friend,
        product: 'A',
        amount: 9,
        toAccount: account,
      });
      expect(answer).toMatchObject({ received: '9', grants: [{ initial: '9', remaining: '4' }] });
      expect(await available(account)).toBe('4');
    });
  });

  describe('an earlier end', () => {
    test('now: what is left is lost, and what is on hold when it comes back', async () => {
      const account = await newAccount();
      const grant = await give(account, 10, paid('1.00'));
      const { holdId } = await ledger.hold({
        account,
        product: 'A',
        amount: 4,
        expiresIn: { unit: 'hour', count: 1 },
      });
      await end(account, [grant, grant], START);
      expect(await balance(account)).toMatchObject({ available: '0', held: '4' });
      await ledger.release({ holdId: holdId! });
      expect(await available(account)).toBe('0');
      expect((await kinds(account)).slice(2)).toEqual(['expiry -6', 'release 4', 'expiry -4']);
    });

    test('later: it counts until then, with its value, whatever comes back to it', async () => {
      const account = await newAccount();
      const grant = await give(account, 10, { priority: 7, ...paid('1.00') });
      const useId = await use(account, 2);
      await end(account, [grant], START + DAY);
      const followed = await locked([account], (session) =>
        followGrants(session, account, [grant]),
      );
      expect(followed.map(({ origin, payerId }) => [origin, payerId])).toEqual([
        [grant, account],
        [grant, account],
      ]);
      expect(followed[0]!.sequence).toBe(grant);
      expect(await states(account, [followed[1]!.sequence])).toMatchObject([
        { remaining: '8', valueLeft: '0.8', expiresAt: iso(START + DAY) },
      ]);
      await ledger.restore({ entryId: useId });
      expect(await balance(account)).toMatchObject({
        available: '10',
        expiresAt: iso(START + DAY),
      });
      clock.set(START + DAY - 1);
      expect(await available(account)).toBe('10');
      clock.set(START + DAY);
      expect(await available(account)).toBe('0');
      await writeDue();
      expect((await kinds(account)).slice(-2).sort()).toEqual(['expiry -2', 'expiry -8']);
    });

    test('one that ends before stays as it is', async () => {
      const account = await newAccount();
      const grant = await give(account, 10, { expiresAt: iso(START + DAY) });
      await end(account, [grant], START + 2 * DAY);
      expect(await kinds(account)).toEqual(['grant 10']);
    });
  });

  describe('all that an account has', () => {
    test('moves by pairs, with value, end, priority and anchors', async () => {
      const [from, into] = [await newAccount(), await newAccount()];
      await give(from, 10, { priority: 3, ...paid('1.00') });
      await give(from, 10, { expiresAt: iso(START + DAY) });
      const month = { expiresAfter: { unit: 'month', count: 1 } };
      clock.set(Date.parse('2027-01-31T12:00:00Z'));
      await give(from, 1, { product: 'TIME', ...month });
      await give(from, 1, { product: 'TIME', ...month });
      const useId = await use(from, 4);
      movedValues.length = 0;
      expect(await mergeInto(from, into, true)).toEqual({ grants: 3, debts: 0, overageTerms: 0 });
      expect(await available(into)).toBe('0');
      expect(await mergeInto(from, into)).toEqual({ grants: 3, debts: 0, overageTerms: 0 });
      const grants = await ledger.grants({ account: into });
      expect(
        grants.map((grant) => [
          grant.product,
          grant.initial,
          grant.value,
          grant.validFrom,
          grant.expiresAt,
        ]),
      ).toEqual([
        ['TIME', '1', '0.00000000', '2027-02-28T12:00:00.000Z', '2027-03-31T12:00:00.000Z'],
        ['TIME', '1', '0.00000000', '2027-01-31T12:00:00.000Z', '2027-02-28T12:00:00.000Z'],
        ['A', '6', '0.60000000', iso(START), null],
      ]);
      expect(grants[2]!.priority).toBe(3);
      expect(movedValues.map(({ value, currency }) => `${value.toFixed()} ${currency}`)).toEqual([
        '0.6 USD',
      ]);
      // Extended, it goes on with the day on which it began.
      await give(into, 1, { product: 'TIME', ...month });
      const [last] = await ledger.grants({ account: into, product: 'TIME' });
      expect(last!.expiresAt).toBe('2027-04-30T12:00:00.000Z');
      // What comes back to the old ledger is lost there.
      expect(await ledger.restore({ entryId: useId })).toMatchObject({
        restored: '0',
        expired: '4',
      });
      expect(await available(from)).toBe('0');
    });

    test('debts and terms of overage go along; what the other has stays', async () => {
      const [from, into] = [await newAccount(), await newAccount()];
      const grant = await give(from, 5);
      await use(from, 5);
      await withdraw(from, [{ sequence: grant }], { debt: true });
      await ledger.setOverage({ account: from, product: 'A', limit: 7 });
      await ledger.setOverage({ account: from, product: 'B', limit: 8 });
      await ledger.setOverage({ account: into, product: 'A', limit: 1 });
      expect(await mergeInto(from, into, true)).toEqual({ grants: 0, debts: 1, overageTerms: 1 });
      expect(await mergeInto(from, into)).toEqual({ grants: 0, debts: 1, overageTerms: 1 });
      expect(await ledger.overage({ account: into })).toEqual([
        { product: 'A', limit: '1', used: '0' },
        { product: 'B', limit: '8', used: '0' },
      ]);
      expect(await balance(from)).not.toHaveProperty('debt');
      expect(await balance(into)).toMatchObject({ debt: '5' });
      // And on to a third one.
      const third = await newAccount();
      await mergeInto(into, third);
      await give(third, 8);
      expect(await available(third)).toBe('3');
    });

    test('units on hold refuse', async () => {
      const [from, into] = [await newAccount(), await newAccount()];
      await give(from, 10);
      const { holdId } = await ledger.hold({
        account: from,
        product: 'A',
        amount: 4,
        expiresIn: { unit: 'hour', count: 1 },
      });
      await expect(mergeInto(from, into)).rejects.toMatchObject({
        code: 'merge_conflict',
        message: expect.stringContaining(holdId!) as string,
      });
      clock.set(START + DAY);
      expect(await mergeInto(from, into)).toMatchObject({ grants: 1 });
      expect(await available(into)).toBe('10');
    });
  });

  test('whatever is done, no value appears and none is lost', async () => {
    type Step = [what: number, who: number, product: number, amount: number, extra: number];
    const step = fc.tuple(
      fc.nat(9),
      fc.nat(1),
      fc.nat(2),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(5),
    );
    const run = async (steps: Step[]): Promise<void> => {
      const people = [await newAccount(), await newAccount()];
      const products = ['A', 'B', 'COIN'];
      const currencies = ['USD', 'EUR'];
      const paidIn = new Map<string, Decimal>();
      const uses: string[] = [];
      const given: Array<{ account: string; sequence: bigint }> = [];
      const known = (error: unknown): void => {
        const { code } = error as { code?: string };
        if (!['invalid_input', 'currency_mismatch', 'restore_exceeds_use'].includes(code ?? ''))
          throw error;
      };
      for (const [what, who, which, amount, extra] of steps) {
        const [account, product] = [people[who]!, products[which]!];
        if (what <= 2) {
          const currency = currencies[extra % 2]!;
          const price = new Decimal(amount * extra).div(4).plus('0.01');
          paidIn.set(currency, price.plus(paidIn.get(currency) ?? 0));
          const terms = { product, ...paid(price.toFixed(), currency), priority: extra };
          given.push({ account, sequence: await give(account, amount, terms) });
        } else if (what === 3) {
          const { entryId } = await ledger.consume({ account, product, amount });
          if (entryId !== null) uses.push(entryId);
        } else if (what === 4) {
          await ledger.deduct({ account, product, amount, reason: 'Test' });
        } else if (what === 5) {
          await ledger.exchange({ account, sku: 'goods' }).catch(known);
        } else if (what === 6) {
          const toAccount = people[extra % 2]!;
          const toProduct = products[extra % 3]!;
          const rate =
            toProduct === product ? {} : extra < 3 ? { quantity: extra + 1 } : { unitValue: '0.7' };
          await ledger
            .transfer({ account, product, amount, toAccount, toProduct, ...rate })
            .catch(known);
        } else if (what === 7 && uses.length > 0) {
          await ledger.restore({ entryId: uses[extra % uses.length]! }).catch(known);
        } else if (what === 8 && given.length > 0) {
          const { account: owner, sequence } = given[extra % given.length]!;
          const some = extra < 3 ? { amount: new Decimal(amount) } : {};
          await withdraw(owner, [{ sequence, ...some }], { debt: extra % 2 === 0 });
        } else if (what === 9 && given.length > 0) {
          const { account: owner, sequence } = given[extra % given.length]!;
          await end(owner, [sequence], readClock(clock) + extra * 1000);
          clock.advance(1000);
        }
      }
      await writeDue();
      const rows = await database.query<{ currency: string; role: string; value: string }>(
        `select g.currency,
                case when e.kind = any($2::text[]) then 'earned' when e.kind = 'refund' then 'refunded'
                     when e.kind in ('exchange', 'transfer') or e.cause_sequence is not null then 'moved'
                     else 'paid' end as role,
                sum(t.value)::text as value
         from {schema}.entries e
         cross join lateral unnest(e.grant_sequences, e.grant_values) as t (sequence, value)
         join {schema}.grants g on g.payer_id = e.payer_id and g.sequence = t.sequence
         where e.payer_id = any($1::uuid[]) and t.value <> 0 group by 1, 2`,
        [people, EARNING_KINDS],
      );
      const grants = (
        await Promise.all(people.map((account) => ledger.grants({ account })))
      ).flat();
      for (const currency of currencies) {
        const sum = (role: string) =>
          new Decimal(
            rows.find((row) => row.currency === currency && row.role === role)?.value ?? 0,
          );
        const left = grants
          .filter((grant) => grant.currency === currency)
          .reduce((all, grant) => all.plus(grant.valueLeft), new Decimal(0));
        const due = sum('paid').plus(sum('earned')).plus(sum('refunded'));
        expect(sum('moved').toFixed()).toBe('0');
        expect(sum('paid').toFixed()).toBe((paidIn.get(currency) ?? new Decimal(0)).toFixed());
        expect(due.toFixed()).toBe(left.toFixed());
      }
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 25 }), run), {
      numRuns: runs(name, 25),
    });
    expect(await verifyLedger(database)).toMatchObject({ ok: true, problems: [] });
  }, 120_000);
});
