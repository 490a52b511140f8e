import { randomUUID } from 'node:crypto';

import fc from 'fast-check';

import { TestClock } from '../../../engine';
import { resolveAccount } from '../../../engine/accounts';
import {
  deferFees,
  endFees,
  moveFees,
  openBooks,
  postAll,
  postEarned,
  verifyBooks,
  type BooksReader,
  type DeferredFee,
} from '../../../engine/books';
import { Decimal, type Instant } from '../../../engine/kernel';
import { verifyLedger } from '../../../engine/ledger';
import { databaseKinds, runs } from '../each-database';
import { openLedgerAlone, type LedgerAlone } from '../ledger/ledger-alone';

/** Fees for a time: deferred when they are invoiced, earned by the day. */

const DAY = 86_400_000;
const START = Date.parse('2027-04-01T00:00:00Z');
const END = START + 30 * DAY;
const iso = (time: number): string => new Date(time).toISOString();

describe.each(databaseKinds)('fees in the book (%s)', (name) => {
  const clock = new TestClock(START);
  let opened: LedgerAlone;
  let database: LedgerAlone['context']['database'];
  let books: BooksReader;
  let counter = 0;

  beforeAll(async () => {
    opened = await openLedgerAlone(name, clock, { movedValue: () => Promise.resolve() });
    ({ database } = opened.context);
    books = openBooks(opened.context).calls;
    await opened.catalog.saveProduct({ key: 'A', name: 'A' });
  });

  beforeEach(() => clock.set(START));

  afterEach(async () => {
    expect((await verifyBooks(database)).problems).toEqual([]);
  });

  afterAll(async () => {
    try {
      expect(await verifyLedger(database)).toMatchObject({ ok: true, problems: [] });
    } finally {
      await database.close();
    }
  });

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await opened.accounts.identify({ externalId: `person-${counter}` })).accountId;
  };
  interface Charge {
    currency?: string;
    from?: Instant;
    to?: Instant;
    feeId?: string;
  }
  const feeOf = (
    payerId: string,
    amount: string,
    { currency = 'USD', from = START, to = END, feeId = randomUUID() }: Charge = {},
  ): DeferredFee => ({
    payerId,
    feeId,
    currency,
    amount: new Decimal(amount),
    from,
    to,
    reference: { type: 'invoice', id: 'invoice 1' },
  });
  /** As an invoice would: the sale goes to deferred, and the book remembers what for. */
  const charge = async (fees: readonly DeferredFee[]): Promise<void> => {
    await opened.locked(
      fees.map(({ payerId }) => payerId),
      async (session, now) => {
        await postAll(
          session,
          fees.map(({ payerId, currency, amount, reference }) => ({
            payerId,
            currency,
            at: now,
            kind: 'sale' as const,
            reference,
            legs: [
              { account: 'receivable' as const, amount },
              { account: 'deferred' as const, amount: amount.negated() },
            ],
          })),
        );
        await deferFees(session, fees);
      },
    );
  };
  /** Ends fees, and posts what is given back, as a credit would. */
  const end = (payerId: string, feeIds: string[], at: Instant): Promise<string[]> =>
    opened.locked([payerId], async (session, now) => {
      const left = await endFees(session, payerId, feeIds, at);
      await postAll(
        session,
        [...left]
          .filter(([, amount]) => !amount.isZero())
          .map(([id, amount]) => ({
            payerId,
            currency: 'USD',
            at: now,
            kind: 'credit' as const,
            reference: { type: 'fee', id },
            legs: [
              { account: 'deferred' as const, amount },
              { account: 'customer_credit' as const, amount: amount.negated() },
            ],
          })),
      );
      return feeIds.flatMap((id) => left.get(id)?.toFixed() ?? 'unknown');
    });
  const post = (limit?: number) => postEarned(opened.context, { limit });
  /** What is deferred (as owed), and what is revenue. */
  const standing = async (account: string, range: object = {}, currency = 'USD') => {
    const balances = await books.balances({ account, currency, ...range });
    const of = (wanted: string): string =>
      new Decimal(balances.find((one) => one.account === wanted)?.balance ?? 0).negated().toFixed();
    return { deferred: of('deferred'), revenue: of('revenue') };
  };
  const earnedPostings = async (account: string) =>
    (await books.postings({ account, kind: 'earned' })).items
      .reverse()
      .map(({ postedAt, legs }) => [postedAt, legs[0]!.amount]);

  test('a fee is earned evenly, posted or not', async () => {
    const account = await newAccount();
    await charge([feeOf(account, '30.00')]);
    expect(await standing(account)).toEqual({ deferred: '30', revenue: '0' });
    clock.set(START + 10 * DAY);
    expect(await standing(account)).toEqual({ deferred: '20', revenue: '10' });
    await post();
    expect(await standing(account)).toEqual({ deferred: '20', revenue: '10' });
    clock.set(START + 10 * DAY + DAY / 4);
    expect(await standing(account)).toEqual({ deferred: '19.75', revenue: '10.25' });
    await post();
    expect(await earnedPostings(account)).toHaveLength(10);
    expect(await standing(account)).toEqual({ deferred: '19.75', revenue: '10.25' });
    clock.set(END + 400 * DAY);
    expect(await standing(account)).toEqual({ deferred: '0', revenue: '30' });
    await post();
    await post();
    expect(await standing(account)).toEqual({ deferred: '0', revenue: '30' });
    const postings = await earnedPostings(account);
    expect(postings).toHaveLength(30);
    expect(postings[0]).toEqual(['2027-04-01T23:59:59.999Z', '1.00000000']);
    expect(postings.at(-1)).toEqual(['2027-04-30T23:59:59.999Z', '1.00000000']);
  });

  test('days of a month say the same before and after they are posted', async () => {
    const account = await newAccount();
    await charge([feeOf(account, '30.00', { from: START + DAY / 2, to: END + DAY / 2 })]);
    clock.set(END + DAY);
    const day = (index: number) => ({
      from: iso(START + index * DAY),
      to: iso(START + (index + 1) * DAY),
    });
    const days = async () =>
      Promise.all(
        [0, 1, 29, 30, 31].map(async (index) => (await standing(account, day(index))).revenue),
      );
    const before = await days();
    expect(before).toEqual(['0.5', '1', '1', '0.5', '0']);
    await post();
    expect(await days()).toEqual(before);
  });

  test('parts that do not divide add up to the fee, to the last of 8 decimals', async () => {
    const account = await newAccount();
    await charge([
      feeOf(account, '9.99', { from: START + 12_345_678, to: START + 31 * DAY + 1 }),
      feeOf(account, '0.01'),
      feeOf(account, '-3.33', { from: START + 5 * DAY }),
      feeOf(account, '1000', { currency: 'JPY' }),
    ]);
    for (let day = 1; day <= 33; day += 1) {
      clock.set(START + day * DAY + 1_234);
      await post();
    }
    expect(await standing(account)).toEqual({ deferred: '0', revenue: '6.67' });
    expect(await standing(account, {}, 'JPY')).toEqual({ deferred: '0', revenue: '1000' });
    // One posting a day and currency, whatever the number of fees.
    const jpy = await books.postings({ account, kind: 'earned', currency: 'JPY' });
    expect(jpy.items).toHaveLength(30);
  });

  test('a fee of 0 is left out, and one fee is deferred once', async () => {
    const account = await newAccount();
    const fee = feeOf(account, '1.00');
    await opened.locked([account], (session) => deferFees(session, [feeOf(account, '0.00')]));
    await charge([fee]);
    await expect(charge([fee])).rejects.toMatchObject({ cause: { code: '23505' } });
    expect(await standing(account)).toEqual({ deferred: '1', revenue: '0' });
  });

  describe('ending', () => {
    test('I7: 15 of 30 days left: half of it goes back', async () => {
      const account = await newAccount();
      const fee = feeOf(account, '30.00');
      await charge([fee]);
      clock.set(START + 15 * DAY);
      expect(await end(account, [fee.feeId], START + 15 * DAY)).toEqual(['15']);
      expect(await standing(account)).toEqual({ deferred: '0', revenue: '15' });
      clock.set(END);
      await post();
      expect(await standing(account)).toEqual({ deferred: '0', revenue: '15' });
      expect(await earnedPostings(account)).toHaveLength(15);
      // Again, or later: nothing is left to take off.
      expect(await end(account, [fee.feeId, randomUUID()], END)).toEqual(['0', 'unknown']);
    });

    test('beyond what is posted as earned: that is given back, too', async () => {
      const account = await newAccount();
      const fee = feeOf(account, '30.00');
      await charge([fee]);
      clock.set(START + 20 * DAY);
      await post();
      expect(await end(account, [fee.feeId], START + 5 * DAY)).toEqual(['25']);
      expect(await standing(account)).toEqual({ deferred: '0', revenue: '5' });
      expect((await earnedPostings(account)).at(4)).toEqual([
        iso(START + 5 * DAY - 1),
        '1.00000000',
      ]);
      expect(await earnedPostings(account)).toContainEqual([iso(START + 5 * DAY), '-15.00000000']);
      // Earlier still.
      expect(await end(account, [fee.feeId], START - DAY)).toEqual(['5']);
      expect(await standing(account)).toEqual({ deferred: '0', revenue: '0' });
    });

    test('before it begins, all of it; after it is over, nothing', async () => {
      const account = await newAccount();
      const [early, late] = [feeOf(account, '30.00'), feeOf(account, '-6.00')];
      await charge([early, late]);
      clock.set(END + DAY);
      await post();
      expect(await end(account, [late.feeId], END)).toEqual(['0']);
      expect(await end(account, [early.feeId], START)).toEqual(['30']);
      expect(await standing(account)).toEqual({ deferred: '0', revenue: '-6' });
    });

    test('in the middle of a day, and at a moment still to come', async () => {
      const account = await newAccount();
      const [now, later] = [feeOf(account, '30.00'), feeOf(account, '30.00')];
      await charge([now, later]);
      clock.set(START + DAY / 2);
      expect(await end(account, [now.feeId], START + DAY / 2)).toEqual(['29.5']);
      expect(await end(account, [later.feeId], START + 10 * DAY)).toEqual(['20']);
      expect(await standing(account)).toEqual({ deferred: '9.5', revenue: '1' });
      await post();
      clock.set(START + DAY);
      await post();
      clock.set(END);
      await post();
      expect(await standing(account)).toEqual({ deferred: '0', revenue: '10.5' });
    });
  });

  test('merging: what is not earned is earned by the other, under the same id', async () => {
    const [from, into] = [await newAccount(), await newAccount()];
    const [fee, over, ended] = [
      feeOf(from, '30.00'),
      feeOf(from, '7.00', { to: START + DAY }),
      feeOf(from, '30.00'),
    ];
    await charge([fee, over, ended]);
    clock.set(START + 10 * DAY);
    expect(await end(from, [ended.feeId], START + 20 * DAY)).toEqual(['10']);
    await opened.locked([from, into], async (session, now) => {
      const merge = {
        from: await resolveAccount(session, { accountId: from }),
        into: await resolveAccount(session, { accountId: into }),
        now,
      };
      expect(await moveFees(session, { ...merge, dryRun: true })).toEqual({ fees: 2 });
      expect(await moveFees(session, { ...merge, dryRun: false })).toEqual({ fees: 2 });
    });
    expect(await standing(from)).toEqual({ deferred: '0', revenue: '27' });
    expect(await standing(into)).toEqual({ deferred: '30', revenue: '0' });
    clock.set(START + 15 * DAY);
    await post();
    expect(await standing(into)).toEqual({ deferred: '20', revenue: '10' });
    expect(await end(into, [fee.feeId], START + 20 * DAY)).toEqual(['10']);
    clock.set(END);
    await post();
    expect(await standing(into)).toEqual({ deferred: '0', revenue: '20' });
    expect(await standing(from)).toEqual({ deferred: '0', revenue: '27' });
  });

  test('fees beside units that were paid for: both are earned, each in its way', async () => {
    const account = await newAccount();
    await opened.ledger.grant({
      account,
      product: 'A',
      quantity: 10,
      paid: { amount: 5, currency: 'USD' },
    });
    await opened.locked([account], (session, now) =>
      postAll(session, [
        {
          payerId: account,
          currency: 'USD',
          at: now,
          kind: 'outside_grant',
          reference: null,
          legs: [
            { account: 'cash', gateway: 'manual', amount: new Decimal(5) },
            { account: 'deferred', amount: new Decimal(-5) },
          ],
        },
      ]),
    );
    await charge([feeOf(account, '30.00')]);
    clock.set(START + 10 * DAY);
    await opened.ledger.consume({ account, product: 'A', amount: 4 });
    expect(await standing(account)).toEqual({ deferred: '23', revenue: '12' });
    await post();
    expect(await standing(account)).toEqual({ deferred: '23', revenue: '12' });
  });

  test('thousands of fees of hundreds of payers, several runs at once, one killed in between', async () => {
    const payers = await Promise.all(Array.from({ length: 40 }, () => newAccount()));
    const fees = payers.flatMap((payer) =>
      Array.from({ length: 60 }, () => feeOf(payer, '3.00', { to: START + 3 * DAY })),
    );
    await charge(fees);
    clock.set(START + 2 * DAY);
    await post(500);
    await Promise.all([post(), post()]);
    await post();
    clock.set(START + 9 * DAY);
    await Promise.all([post(), post()]);
    await post();
    for (const payer of payers.slice(0, 3)) {
      expect(await standing(payer)).toEqual({ deferred: '0', revenue: '180' });
      const amounts = (await earnedPostings(payer)).map(([, amount]) => amount);
      expect(amounts).toEqual(['60.00000000', '60.00000000', '60.00000000']);
    }
    expect(await post()).toEqual({ postings: 0 });
  });

  test('a clock that goes backwards takes nothing back', async () => {
    const account = await newAccount();
    await charge([feeOf(account, '30.00')]);
    clock.set(START + 10 * DAY);
    await post();
    clock.set(START + 5 * DAY);
    expect(await standing(account)).toEqual({ deferred: '20', revenue: '10' });
    await post();
    expect(await standing(account)).toEqual({ deferred: '20', revenue: '10' });
  });

  test('whatever ends when, and is posted when: all that was charged is earned or given back', async () => {
    const action = fc.record({
      days: fc.integer({ min: 0, max: 12 }),
      hours: fc.integer({ min: 0, max: 23 }),
      post: fc.boolean(),
      end: fc.option(fc.tuple(fc.nat(3), fc.integer({ min: -3, max: 2 })), { nil: null }),
    });
    const charges = fc.array(
      fc.record({
        cents: fc.integer({ min: -5_000, max: 20_000 }).filter((cents) => cents !== 0),
        from: fc.integer({ min: -40, max: 40 }),
        hours: fc.integer({ min: 1, max: 1500 }),
      }),
      { minLength: 1, maxLength: 4 },
    );
    await fc.assert(
      fc.asyncProperty(charges, fc.array(action, { maxLength: 5 }), async (list, actions) => {
        clock.set(START);
        const account = await newAccount();
        const fees = list.map(({ cents, from, hours }) =>
          feeOf(account, new Decimal(cents).div(100).toFixed(), {
            from: START + from * DAY + 7,
            to: START + from * DAY + hours * 3_600_000 + 13,
          }),
        );
        await charge(fees);
        let given = new Decimal(0);
        for (const { days, hours, post: runs, end: ends } of actions) {
          clock.advance(days * DAY + hours * 3_600_000);
          if (runs) await post();
          if (ends === null) continue;
          const fee = fees[ends[0] % fees.length]!;
          const [back] = await end(account, [fee.feeId], clock.now().getTime() + ends[1] * DAY);
          given = given.plus(back!);
        }
        const before = await standing(account);
        await post();
        expect(await standing(account)).toEqual(before);
        expect((await verifyBooks(database)).problems).toEqual([]);
        clock.advance(200 * DAY);
        await post();
        const charged = fees.reduce((sum, { amount }) => sum.plus(amount), new Decimal(0));
        expect(await standing(account)).toEqual({
          deferred: '0',
          revenue: charged.minus(given).toFixed(),
        });
      }),
      { numRuns: runs(name, 40) },
    );
  });

  describe('by hand', () => {
    const change = (statement: string) => database.query(statement, []);

    test('a fee is neither changed nor deleted, and ends once', async () => {
      const account = await newAccount();
      const fee = feeOf(account, '30.00');
      await charge([fee]);
      await end(account, [fee.feeId], START + DAY);
      const of = `where payer_id = '${account}'`;
      for (const statement of [
        `update {schema}.fees set amount = 1 ${of}`,
        `update {schema}.fees set ends_at = ends_at + interval '1 day' ${of}`,
        `update {schema}.fees set ended_at = null, kept = null ${of}`,
        `delete from {schema}.fees ${of}`,
        `truncate {schema}.fees`,
      ]) {
        await expect(change(statement)).rejects.toThrow();
      }
    });

    test('verify names a fee that is posted otherwise than it was earned', async () => {
      const account = await newAccount();
      await charge([feeOf(account, '30.00')]);
      const of = `where payer_id = '${account}'`;
      await change(`update {schema}.fees set posted = 1 ${of}`);
      const { problems } = await verifyBooks(database);
      expect(problems.map(({ code }) => code)).toEqual(['fee', 'deferred']);
      await change(`update {schema}.fees set posted = 0, due_at = null ${of}`);
      const { problems: idle } = await verifyBooks(database);
      expect(idle).toMatchObject([
        { code: 'fee', message: expect.stringContaining('due') as string },
      ]);
      await change(`update {schema}.fees set due_at = starts_at ${of}`);
    });
  });
});
