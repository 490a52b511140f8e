import { TestClock, type CheckAnswer, type ConsumeAnswer } from '../../../engine';
import { resolveAccount } from '../../../engine/accounts';
import { Decimal } from '../../../engine/kernel';
import {
  giveUnits,
  moveAllUnits,
  openLedger,
  setGates,
  setOverageTerms,
  verifyLedger,
  type GateReason,
  type PeriodOverage,
} from '../../../engine/ledger';
import { databaseKinds } from '../each-database';
import { openLedgerAlone, type LedgerAlone } from './ledger-alone';

/** What subscriptions have to say about uses, told to the ledger alone. */

const START = Date.parse('2027-01-10T12:00:00Z');

describe.each(databaseKinds)('gates (%s)', (name) => {
  const clock = new TestClock(START);
  /** Who asked for periods that are due, and what each does when it is asked. */
  const asked: Array<{ inChange: boolean; payers: readonly string[] }> = [];
  const due = new Map<string, number>();
  const ports: LedgerAlone['ports'] = {
    movedValue: () => Promise.resolve(),
    refresh: async (session, payers, now) => {
      asked.push({ inChange: session !== null, payers });
      const open = payers.filter((payer) => due.has(payer));
      const run: LedgerAlone['locked'] =
        session === null ? opened.locked : (_payers, work) => work(session, now);
      for (const accountId of open) {
        await run([accountId], async (inside, at) => {
          const account = await resolveAccount(inside, { accountId });
          const quantity = new Decimal(due.get(accountId)!);
          await giveUnits(inside, account, [order(quantity)], at);
        });
        due.delete(accountId);
      }
      return open.length > 0;
    },
  };
  const order = (quantity: Decimal) => ({
    product: 'A',
    quantity,
    priority: 50,
    ends: null,
    value: new Decimal(0),
    currency: null,
    source: 'period',
  });
  let opened: LedgerAlone;
  let ledger: LedgerAlone['ledger'];
  /** The same database, as another process knows it. */
  let other: LedgerAlone['ledger'];
  let accounts: LedgerAlone['accounts'];
  let counter = 0;

  beforeAll(async () => {
    opened = await openLedgerAlone(name, clock, ports);
    ({ accounts, ledger } = opened);
    const { context, catalog } = opened;
    const noOffers: Parameters<typeof openLedger>[1] = (_session, shortages) =>
      Promise.resolve(shortages.map(() => []));
    other = openLedger(
      { ...context, onAccountChange: [], onProductChange: [] },
      noOffers,
      ports,
    ).calls;
    await catalog.saveProduct({ key: 'A', name: 'A' });
    await catalog.saveProduct({ key: 'B', name: 'B' });
    await catalog.saveProduct({ key: 'COIN', name: 'Coins', isCurrency: true });
    await catalog.saveProduct({ key: 'TIME', name: 'Time', kind: 'period' });
    await catalog.saveOffer({
      sku: 'goods',
      name: 'Goods',
      price: 3,
      currency: 'COIN',
      items: [{ product: 'A', quantity: 7 }],
    });
  });

  beforeEach(() => {
    asked.length = 0;
    due.clear();
  });

  afterAll(async () => {
    try {
      expect(await verifyLedger(opened.context.database)).toMatchObject({ ok: true, problems: [] });
    } finally {
      await opened.context.database.close();
    }
  });

  const newAccount = async (quantity = 0): Promise<string> => {
    counter += 1;
    const { accountId } = await accounts.identify({ externalId: `person-${counter}` });
    if (quantity > 0) await ledger.grant({ account: accountId, product: 'A', quantity });
    return accountId;
  };
  const gate = (account: string, reason: GateReason | null, product = 'A') =>
    opened.locked([account], (session) =>
      setGates(session, [{ payerId: account, product, reason }]),
    );
  const said = ({ allowed, reason }: Pick<CheckAnswer, 'allowed' | 'reason'>) =>
    allowed ? 'yes' : reason;
  const use = (account: string, amount = 1, of = ledger, product = 'A'): Promise<ConsumeAnswer> =>
    of.consume({ account, product, amount });

  describe('F2: each its own reason', () => {
    test.each([
      'no_subscription',
      'subscription_ended',
      'subscription_cancelled',
      'subscription_paused',
    ] as const)('%s says why there is not enough, and denies nothing', async (reason) => {
      const account = await newAccount(10);
      await gate(account, reason);
      expect(said(await use(account, 4))).toBe('yes');
      expect(await use(account, 7)).toMatchObject({ allowed: false, reason, remaining: '6' });
      expect(said(await ledger.check({ account, product: 'A', amount: 7 }))).toBe(reason);
      expect(said(await ledger.check({ account, product: 'A', amount: 6 }))).toBe('yes');
      const expiresIn = { unit: 'hour', count: 1 } as const;
      const hold = { account, product: 'A', amount: 7, expiresIn };
      expect(said(await ledger.hold(hold))).toBe(reason);
      const deduction = { account, product: 'A', amount: 7, reason: 'Sent twice' };
      expect(said(await ledger.deduct(deduction))).toBe(reason);
      const transfer = { account, product: 'A', amount: 7, toProduct: 'B', quantity: 1 };
      expect(said(await ledger.transfer(transfer))).toBe(reason);
      // Of another product nothing is said.
      expect(said(await use(account, 1, ledger, 'B'))).toBe('insufficient_balance');
      await gate(account, null);
      expect(said(await use(account, 7))).toBe('insufficient_balance');
    });

    test('a gate is no limit of overage', async () => {
      const account = await newAccount(1);
      await ledger.setOverage({ account, product: 'A', limit: 2 });
      await gate(account, 'subscription_ended');
      expect(await use(account, 3)).toMatchObject({ allowed: true, overage: '2' });
      expect(said(await use(account))).toBe('usage_limit');
    });
  });

  describe('payment_overdue', () => {
    test('denies every use, whatever is there, and says how much that is', async () => {
      const account = await newAccount(10);
      await ledger.grant({ account, product: 'TIME', quantity: 1, expiresAfter: oneMonth });
      await ledger.grant({ account, product: 'COIN', quantity: 10 });
      await opened.locked([account], (session) =>
        setGates(session, [
          { payerId: account, product: 'A', reason: 'payment_overdue' },
          { payerId: account, product: 'TIME', reason: 'payment_overdue' },
          { payerId: account, product: 'COIN', reason: 'payment_overdue' },
        ]),
      );
      const denied = { allowed: false, reason: 'payment_overdue', suggestedOffers: [] };
      expect(await use(account)).toMatchObject({ ...denied, remaining: '10', consumed: '0' });
      expect(await ledger.check({ account, product: 'A' })).toMatchObject(denied);
      expect(await use(account, 1, ledger, 'TIME')).toMatchObject(denied);
      const expiresIn = { unit: 'hour', count: 1 } as const;
      expect(await ledger.hold({ account, product: 'A', expiresIn })).toMatchObject(denied);
      expect(await ledger.exchange({ account, sku: 'goods' })).toMatchObject(denied);
      const transfer = { account, product: 'A', amount: 1, toProduct: 'B', quantity: 1 };
      expect(said(await ledger.transfer(transfer))).toBe('payment_overdue');
      // People may take units away whatever is owed.
      expect(
        said(await ledger.deduct({ account, product: 'A', amount: 1, reason: 'By hand' })),
      ).toBe('yes');
      await gate(account, null);
      expect(await use(account, 9)).toMatchObject({ allowed: true, remaining: '0' });
      // What is owed may be of a subscription that is over by now.
      expect(asked.filter(({ inChange }) => inChange)).toHaveLength(5);
    });

    test('what is on hold is settled and released, and uses are restored', async () => {
      const account = await newAccount(10);
      const expiresIn = { unit: 'hour', count: 1 } as const;
      const hold = async () =>
        (await ledger.hold({ account, product: 'A', amount: 2, expiresIn })).holdId!;
      const [first, second, third] = [await hold(), await hold(), await hold()];
      const { entryId } = await use(account, 1);
      await gate(account, 'payment_overdue');
      // What goes beyond the hold is a use, and denied.
      expect(await ledger.settle({ holdId: first, amount: 3 })).toMatchObject({
        allowed: true,
        consumed: '2',
        uncovered: '1',
      });
      expect(await ledger.settle({ holdId: second, amount: 3, strict: true })).toMatchObject({
        allowed: false,
        reason: 'payment_overdue',
      });
      expect(await ledger.release({ holdId: third })).toMatchObject({ released: '2' });
      expect(await ledger.restore({ entryId: entryId! })).toMatchObject({ restored: '1' });
    });

    test('another process that knows the account as fit to use finds it denied, and fit again', async () => {
      const account = await newAccount(10);
      for (const one of [ledger, other]) {
        expect(said(await use(account, 1, one))).toBe('yes');
        expect(said(await use(account, 1, one))).toBe('yes');
      }
      await gate(account, 'payment_overdue');
      for (const one of [ledger, other]) {
        expect(said(await use(account, 1, one))).toBe('payment_overdue');
        expect(said(await one.check({ account, product: 'A' }))).toBe('payment_overdue');
      }
      const many = await other.consumeMany(
        Array.from({ length: 20 }, () => ({ account, product: 'A' })),
      );
      expect(many.map((answer) => said(answer as ConsumeAnswer))).toEqual(
        Array.from({ length: 20 }, () => 'payment_overdue'),
      );
      await gate(account, null);
      for (const one of [ledger, other]) expect(said(await use(account, 1, one))).toBe('yes');
    });

    test('a use of many at once finds the gate that was set after they were known', async () => {
      const [fit, denied] = [await newAccount(10), await newAccount(10)];
      for (const account of [fit, denied]) await use(account, 1, other);
      await gate(denied, 'payment_overdue');
      const answers = await other.consumeMany(
        [fit, denied, fit, denied].map((account) => ({ account, product: 'A' })),
      );
      expect(answers.map((answer) => said(answer as ConsumeAnswer))).toEqual([
        'yes',
        'payment_overdue',
        'yes',
        'payment_overdue',
      ]);
    });

    test('another product of the same payer is used all the same', async () => {
      const account = await newAccount(10);
      await ledger.grant({ account, product: 'B', quantity: 2 });
      await gate(account, 'payment_overdue');
      for (const left of ['1', '0']) {
        expect(await use(account, 1, ledger, 'B')).toMatchObject({
          allowed: true,
          remaining: left,
        });
      }
    });

    test("a child is denied by its parent's gate, known or not", async () => {
      const parent = await newAccount(10);
      const child = await newAccount();
      await accounts.attachChild({ parent, child });
      for (const one of [ledger, other]) expect(said(await use(child, 1, one))).toBe('yes');
      await gate(parent, 'payment_overdue');
      for (const one of [ledger, other]) {
        expect(said(await use(child, 1, one))).toBe('payment_overdue');
        expect(said(await one.check({ account: child, product: 'A' }))).toBe('payment_overdue');
      }
      await gate(parent, 'subscription_ended');
      expect(said(await use(child, 1, other))).toBe('yes');
      expect(said(await use(child, 100, other))).toBe('subscription_ended');
    });
  });

  test('gates move along with everything else, and the one that denies wins', async () => {
    const [from, into] = [await newAccount(5), await newAccount(5)];
    await opened.locked([from], (session) =>
      setGates(session, [
        { payerId: from, product: 'A', reason: 'payment_overdue' },
        { payerId: from, product: 'B', reason: 'subscription_ended' },
      ]),
    );
    await opened.locked([into], (session) =>
      setGates(session, [
        { payerId: into, product: 'A', reason: 'subscription_paused' },
        { payerId: into, product: 'B', reason: 'subscription_cancelled' },
      ]),
    );
    await opened.locked([from, into], async (session, now) =>
      moveAllUnits(
        session,
        {
          from: await resolveAccount(session, { accountId: from }),
          into: await resolveAccount(session, { accountId: into }),
          now,
          dryRun: false,
        },
        ports,
      ),
    );
    expect(said(await use(into))).toBe('payment_overdue');
    expect(said(await use(into, 1, ledger, 'B'))).toBe('subscription_cancelled');
    expect(said(await use(from))).toBe('insufficient_balance');
  });

  describe('periods that are due', () => {
    const oneHour = { unit: 'hour', count: 1 } as const;

    test.each<[string, (account: string) => Promise<{ allowed: boolean }>]>([
      ['check', (account) => ledger.check({ account, product: 'A', amount: 5 })],
      ['consume', (account) => use(account, 5)],
      ['hold', (account) => ledger.hold({ account, product: 'A', amount: 5, expiresIn: oneHour })],
      ['deduct', (account) => ledger.deduct({ account, product: 'A', amount: 5, reason: 'So' })],
      [
        'transfer',
        (account) =>
          ledger.transfer({ account, product: 'A', amount: 5, toProduct: 'B', quantity: 1 }),
      ],
    ])('%s is decided once more on what they bring', async (_name, ask) => {
      const account = await newAccount(1);
      await gate(account, 'subscription_ended');
      due.set(account, 4);
      expect(await ask(account)).toMatchObject({ allowed: true });
      expect(asked).toHaveLength(1);
      asked.length = 0;
      // Nothing is due any more: asked once, and denied.
      const again = await newAccount(1);
      expect(await ask(again)).toMatchObject({ allowed: false, reason: 'insufficient_balance' });
      expect(asked.map(({ payers }) => payers)).toEqual([[again]]);
    });

    test('an exchange is paid from what they bring', async () => {
      const account = await newAccount();
      await ledger.grant({ account, product: 'COIN', quantity: 3 });
      due.set(account, 4);
      expect(await ledger.exchange({ account, sku: 'goods' })).toMatchObject({ allowed: true });
      expect(asked).toEqual([]);
      expect(await ledger.exchange({ account, sku: 'goods' })).toMatchObject({ allowed: false });
      expect(asked).toHaveLength(1);
    });

    test('uses of one list are asked for once, and none is lost or taken twice', async () => {
      const [rich, poor] = [await newAccount(3), await newAccount()];
      due.set(rich, 2);
      const answers = await ledger.consumeMany(
        [rich, poor, rich, rich, rich, rich, rich].map((account, index) => ({
          account,
          product: 'A',
          idempotencyKey: `use ${index}`,
        })),
      );
      expect(answers.map((answer) => said(answer as ConsumeAnswer))).toEqual([
        'yes',
        'insufficient_balance',
        ...['yes', 'yes', 'yes', 'yes'],
        'insufficient_balance',
      ]);
      expect((await ledger.balance({ account: rich, product: 'A' })).available).toBe('0');
    });

    test('a denial that was decided once more is the one that is kept under its key', async () => {
      const account = await newAccount();
      due.set(account, 1);
      const request = { account, product: 'A', amount: 2, idempotencyKey: 'two' };
      expect(await ledger.consume(request)).toMatchObject({ allowed: false, remaining: '1' });
      expect(await ledger.consume(request)).toMatchObject({ remaining: '1', replayed: true });
    });

    test("in a caller's transaction they are opened there, and undone with it", async () => {
      const account = await newAccount();
      due.set(account, 4);
      const undone = new Error('undone');
      await expect(
        opened.context.database.begin(async (tx) => {
          expect(await ledger.consume({ account, product: 'A', tx })).toMatchObject({
            remaining: '3',
          });
          throw undone;
        }),
      ).rejects.toBe(undone);
      expect(asked.at(-1)).toEqual({ inChange: true, payers: [account] });
      expect((await ledger.balance({ account, product: 'A' })).available).toBe('0');
    });

    test('balances, grants and entries are read after it', async () => {
      const read = async (reader: (account: string) => Promise<unknown>) => {
        const account = await newAccount();
        due.set(account, 4);
        return reader(account);
      };
      expect(await read((account) => ledger.balance({ account }))).toMatchObject([
        { available: '4' },
      ]);
      expect(await read((account) => ledger.grants({ account }))).toHaveLength(1);
      expect(await read((account) => ledger.entries({ account }))).toMatchObject({
        items: [{ kind: 'grant' }],
      });
      expect(await read((account) => ledger.statement({ account }))).toMatchObject({ rows: 1 });
      expect(asked.every(({ inChange }) => !inChange)).toBe(true);
    });

    test('nobody asks while there is enough', async () => {
      const account = await newAccount(100);
      due.set(account, 4);
      for (let left = 0; left < 5; left += 1) await use(account);
      await ledger.check({ account, product: 'A' });
      expect(asked).toEqual([]);
    });
  });

  describe('overage of a period', () => {
    const terms = (account: string, ...given: PeriodOverage[]) =>
      opened.locked([account], (session) =>
        setOverageTerms(
          session,
          given.map((one) => ({ ...one, payerId: account })),
        ),
      );
    const alone = (limit: number | null) => {
      const own = limit === null ? null : new Decimal(limit);
      return { product: 'A', limit: own, inAll: own };
    };

    test('each has its own limit, counted from what was used before', async () => {
      const account = await newAccount(1);
      await terms(account, alone(2));
      expect(await use(account, 3)).toMatchObject({ allowed: true, overage: '2' });
      expect(said(await use(account))).toBe('usage_limit');
      await terms(account, alone(2));
      expect(await ledger.overage({ account, product: 'A' })).toEqual({
        product: 'A',
        limit: '4',
        used: '2',
      });
      expect(await use(account, 2)).toMatchObject({ allowed: true, overage: '2' });
      expect(said(await use(account))).toBe('usage_limit');
      await terms(account, alone(null));
      expect(await use(account, 1000)).toMatchObject({ allowed: true, overage: '1000' });
      await terms(account, { product: 'A', none: true });
      expect(said(await use(account))).toBe('insufficient_balance');
    });

    test('where several allow it, what others left counts on, up to what all allow', async () => {
      const account = await newAccount(1);
      const limit = async () => (await ledger.overage({ account, product: 'A' })).limit;
      const ofTwo = { product: 'A', limit: new Decimal(2), inAll: new Decimal(5) };
      await terms(account, { ...ofTwo, limit: new Decimal(3) });
      await terms(account, ofTwo);
      expect(await limit()).toBe('5');
      expect(await use(account, 5)).toMatchObject({ allowed: true, overage: '4' });
      // One that goes on has its own anew, beside the 1 that is left.
      await terms(account, ofTwo);
      expect(await limit()).toBe('7');
      await terms(account, ofTwo);
      expect(await limit()).toBe('9');
      await terms(account, ofTwo);
      expect(await limit()).toBe('9');
      await terms(account, { ...ofTwo, inAll: null });
      expect(await limit()).toBeNull();
      // Two that begin at once, after one without limit is over.
      await terms(account, ofTwo, { ...ofTwo, limit: new Decimal(1) });
      expect(await limit()).toBe('7');
    });

    test('what was never allowed needs no terms to be forbidden', async () => {
      const account = await newAccount();
      await terms(account, { product: 'A', none: true });
      expect(await ledger.overage({ account })).toEqual([]);
      await terms(account, alone(0));
      expect(said(await use(account))).toBe('insufficient_balance');
    });
  });

  test('verify names a payer that is marked as denied and is not', async () => {
    const account = await newAccount();
    const { database } = opened.context;
    const mark = (gated: boolean) =>
      database.query('update {schema}.accounts set gated = $2 where account_id = $1::uuid', [
        account,
        gated,
      ]);
    await mark(true);
    const { problems } = await verifyLedger(database);
    expect(problems).toMatchObject([{ code: 'gate', table: 'accounts', id: account }]);
    await mark(false);
  });
});

const oneMonth = { unit: 'month', count: 1 } as const;
