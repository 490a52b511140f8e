import { TestClock } from '../../../engine';
import { parseLedgerId } from '../../../engine/kernel';
import { followGrants, prolongGrants, runDue, verifyLedger } from '../../../engine/ledger';
import { databaseKinds } from '../each-database';
import { openLedgerAlone, type LedgerAlone } from '../ledger/ledger-alone';

/** Grants that get a later end: a plan that is bought again, a period that grows. */

const START = Date.parse('2027-01-31T12:00:00Z');
const DAY = 86_400_000;
const iso = (time: number): string => new Date(time).toISOString();

describe.each(databaseKinds)('prolonging grants (%s)', (name) => {
  const clock = new TestClock(START);
  let opened: LedgerAlone;
  let ledger: LedgerAlone['ledger'];
  let counter = 0;

  beforeAll(async () => {
    opened = await openLedgerAlone(name, clock, { movedValue: () => Promise.resolve() });
    ({ ledger } = opened);
    await opened.catalog.saveProduct({ key: 'A', name: 'A' });
    await opened.catalog.saveProduct({ key: 'TIME', name: 'Time', kind: 'period' });
  });

  beforeEach(() => clock.set(START));

  afterAll(async () => {
    try {
      expect(await verifyLedger(opened.context.database)).toMatchObject({ ok: true, problems: [] });
    } finally {
      await opened.context.database.close();
    }
  });

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await opened.accounts.identify({ externalId: `person-${counter}` })).accountId;
  };
  const give = async (account: string, quantity: number, terms: object = {}): Promise<bigint> => {
    const [grant] = await ledger.grant({ account, product: 'A', quantity, ...terms });
    return BigInt(parseLedgerId(grant!.grantId)!.sequence);
  };
  const prolong = (account: string, sequences: bigint[], until: number) =>
    opened.locked([account], (session, now) =>
      prolongGrants(
        session,
        sequences.map((sequence) => ({ payerId: account, sequence, until })),
        now,
      ),
    );
  const followed = async (account: string, sequence: bigint) =>
    (await opened.locked([account], (session) => followGrants(session, account, [sequence]))).map(
      (one) => one.sequence,
    );
  const balance = (account: string, product = 'A') => ledger.balance({ account, product });
  const in30Days = START + 30 * DAY;
  const in50Days = START + 50 * DAY;

  test('F1: what is left counts up to the later end, with its value and priority', async () => {
    const account = await newAccount();
    const paid = { amount: '10.00', currency: 'USD' };
    const first = await give(account, 500, { expiresAt: iso(in30Days), priority: 7, paid });
    const { entryId } = await ledger.consume({ account, product: 'A', amount: 200 });
    clock.advance(10 * DAY);
    await prolong(account, [first], in50Days);
    expect(await balance(account)).toMatchObject({ available: '300', expiresAt: iso(in50Days) });
    const [now, before] = await ledger.grants({ account });
    expect(now).toMatchObject({
      initial: '300',
      priority: 7,
      value: '6.00000000',
      currency: 'USD',
      expiresAt: iso(in50Days),
    });
    expect(before).toMatchObject({ remaining: '0', valueLeft: '0.00000000' });
    expect(await followed(account, first)).toEqual([
      first,
      BigInt(parseLedgerId(now!.grantId)!.sequence),
    ]);
    // What comes back to the old one ends with it.
    await ledger.restore({ entryId: entryId!, amount: 5 });
    expect((await balance(account)).available).toBe('305');
    clock.set(in30Days);
    expect((await balance(account)).available).toBe('300');
    clock.set(in50Days);
    expect((await balance(account)).available).toBe('0');
    await runDue(opened.context);
  });

  test('again and again: the units are found from the first grant on', async () => {
    const account = await newAccount();
    const first = await give(account, 10, { expiresAt: iso(START + DAY) });
    await prolong(account, [first], START + 2 * DAY);
    const [, second] = await followed(account, first);
    await prolong(account, [first, second!, second!], START + 3 * DAY);
    expect(await followed(account, first)).toHaveLength(3);
    clock.set(START + 3 * DAY - 1);
    expect((await balance(account)).available).toBe('10');
  });

  test('grants that never end, end later, are over or are used up stay as they are', async () => {
    const account = await newAccount();
    const endless = await give(account, 1);
    const later = await give(account, 1, { expiresAt: iso(START + 9 * DAY) });
    const over = await give(account, 1, { expiresAt: iso(START + DAY) });
    const usedUp = await give(account, 1, { expiresAt: iso(START + 5 * DAY), priority: 1 });
    await ledger.consume({ account, product: 'A' });
    clock.advance(DAY);
    await prolong(account, [endless, later, over, usedUp, 99n], START + 9 * DAY);
    expect((await ledger.grants({ account })).map(({ grantId }) => grantId)).toHaveLength(4);
    expect((await balance(account)).available).toBe('2');
    await prolong(account, [], in50Days);
  });

  describe('units on hold', () => {
    const setAside = async (account: string, amount: number, days: number): Promise<string> => {
      const expiresIn = { unit: 'day', count: days } as const;
      const { holdId } = await ledger.hold({ account, product: 'A', amount, expiresIn });
      return holdId!;
    };
    const stateOf = async (account: string) => {
      const { available, held } = await balance(account);
      return [available, held];
    };

    test('get the later end, too: what is not used counts up to it', async () => {
      const account = await newAccount();
      const paid = { amount: '10.00', currency: 'USD' };
      const first = await give(account, 10, { expiresAt: iso(START + DAY), priority: 7, paid });
      const holdId = await setAside(account, 4, 9);
      await prolong(account, [first], in30Days);
      expect(await ledger.holds({ account })).toMatchObject([
        { holdId, amount: '4', status: 'open', createdAt: iso(START) },
      ]);
      clock.advance(DAY);
      expect(await stateOf(account)).toEqual(['6', '4']);
      expect(await ledger.settle({ holdId, amount: 1 })).toMatchObject({ consumed: '1' });
      expect(await ledger.settle({ holdId, amount: 1 })).toMatchObject({ replayed: true });
      expect(await stateOf(account)).toEqual(['9', '0']);
      expect((await ledger.grants({ account }))[0]).toMatchObject({
        initial: '10',
        priority: 7,
        value: '10.00000000',
        valueLeft: '9.00000000',
      });
      expect(await ledger.holds({ account, open: false })).toMatchObject([
        { holdId, status: 'settled', settled: '1', createdAt: iso(START) },
      ]);
      clock.set(in30Days);
      expect(await stateOf(account)).toEqual(['0', '0']);
    });

    test('though nothing else is left, and again and again', async () => {
      const account = await newAccount();
      const first = await give(account, 10, { expiresAt: iso(START + DAY) });
      const other = await give(account, 5, { expiresAt: iso(START + 2 * DAY) });
      const holdId = await setAside(account, 12, 60);
      const late = await setAside(account, 3, 60);
      await prolong(account, [first], in30Days);
      clock.advance(DAY);
      await prolong(account, await followed(account, first), in50Days);
      expect((await ledger.holds({ account })).map((hold) => hold.holdId)).toEqual([late, holdId]);
      const older = await ledger.holds({ account, cursor: late, open: false });
      expect(older.map((hold) => hold.holdId)).toEqual([holdId]);
      clock.set(START + 3 * DAY);
      const sources = await followed(account, other);
      expect(sources).toEqual([other]);
      // Of those of the other grant, which is over, nothing comes back.
      expect(await ledger.release({ holdId })).toMatchObject({ holdId, released: '12' });
      expect(await ledger.release({ holdId })).toMatchObject({ holdId, replayed: true });
      expect(await stateOf(account)).toEqual(['10', '3']);
      clock.set(in50Days - 1);
      expect(await stateOf(account)).toEqual(['10', '3']);
    });

    test('that move while others of the hold are over stay where they are', async () => {
      const account = await newAccount();
      await give(account, 5, { expiresAt: iso(START + DAY) });
      const first = await give(account, 10, { expiresAt: iso(START + 2 * DAY) });
      const holdId = await setAside(account, 8, 60);
      clock.advance(DAY);
      await prolong(account, [first], in30Days);
      clock.set(START + 3 * DAY);
      expect(await ledger.settle({ holdId, amount: 6 })).toMatchObject({ consumed: '6' });
      expect(await stateOf(account)).toEqual(['9', '0']);
    });

    test('a hold that is over by itself gives back to the later end', async () => {
      const account = await newAccount();
      const first = await give(account, 10, { expiresAt: iso(START + DAY) });
      const holdId = await setAside(account, 4, 5);
      await prolong(account, [first], in30Days);
      await ledger.extend({ holdId, expiresIn: { unit: 'day', count: 6 } });
      clock.set(START + 6 * DAY);
      expect(await stateOf(account)).toEqual(['10', '0']);
      expect(await ledger.check({ account, product: 'A', amount: 10 })).toMatchObject({
        allowed: true,
      });
      await runDue(opened.context);
      expect(await stateOf(account)).toEqual(['10', '0']);
      expect(await ledger.holds({ account, open: false })).toMatchObject([
        { holdId, status: 'expired' },
      ]);
    });
  });

  test('L11: access for months keeps its first day', async () => {
    const account = await newAccount();
    const month = { product: 'TIME', expiresAfter: { unit: 'month', count: 1 } };
    const first = await give(account, 1, month);
    const ends = async () => (await balance(account, 'TIME')).expiresAt;
    expect(await ends()).toBe('2027-02-28T12:00:00.000Z');
    clock.advance(DAY);
    await prolong(account, [first], Date.parse('2027-03-31T12:00:00Z'));
    expect(await ends()).toBe('2027-03-31T12:00:00.000Z');
    expect(await balance(account, 'TIME')).toMatchObject({ available: '1' });
    await give(account, 1, month);
    expect(await ends()).toBe('2027-04-30T12:00:00.000Z');
  });

  test('access that ends at some other time begins a new count there', async () => {
    const account = await newAccount();
    const month = { product: 'TIME', expiresAfter: { unit: 'month', count: 1 } };
    const first = await give(account, 1, month);
    await prolong(account, [first], Date.parse('2027-03-05T12:00:00Z'));
    await give(account, 1, month);
    expect((await balance(account, 'TIME')).expiresAt).toBe('2027-04-05T12:00:00.000Z');
  });
});
