import type { Knex } from 'knex';
import pg from 'pg';

import { openBilling, type Billing } from '../../../engine';
import { databaseKinds, newSchema, serverUrl } from '../each-database';

/**
 * Calls that wait for a transaction which waits for them. Nobody but us can end such a wait, and it
 * always ends: in success where the call needs nothing that the transaction has, else in
 * lock_timeout. Whatever hangs runs into the time limit of its test.
 */
const SOON = 500;
const LONG = 20_000;

type Settled = { answer: unknown } | { code: string | undefined };

const settled = (call: Promise<unknown>): Promise<Settled> =>
  call.then(
    (answer) => ({ answer }),
    (error: { code?: string }) => ({ code: error.code }),
  );

describe.each(databaseKinds)('calls beside a transaction that waits for them (%s)', (kind) => {
  const isServer = kind === 'server';
  const name = `waiting-${newSchema()}`;
  const opened: Billing[] = [];
  let billing: Billing;
  let patient: Billing;
  /** Lines of an account that a call can follow up. */
  const made = new Map<string, { toSettle: string; toRelease: string; use: string }>();
  let accounts = 0;
  let held: string;
  let other: string;

  /** `patient` waits long for a lock: what ends soon there has not waited for one. */
  beforeAll(async () => {
    const schema = newSchema();
    const open = async (lockTimeout: number): Promise<Billing> => {
      const one = await openBilling({
        connection: isServer
          ? { connectionString: serverUrl(), application_name: name, poolSize: 6 }
          : { embedded: 'memory' },
        schema,
        lockTimeout,
      });
      opened.push(one);
      return one;
    };
    billing = await open(SOON);
    // In memory every engine has a database of its own.
    patient = isServer ? await open(LONG) : billing;
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
  });

  beforeEach(async () => {
    held = await newAccount();
    other = await newAccount();
    for (const account of [held, other]) {
      const hold = async (): Promise<string> => {
        const expiresIn = { unit: 'hour', count: 1 } as const;
        const { holdId } = await billing.ledger.hold({ account, product: 'MSG', expiresIn });
        return holdId!;
      };
      const use = { account, product: 'MSG', amount: 5 };
      const { entryId } = await billing.ledger.consume(use);
      made.set(account, { toSettle: await hold(), toRelease: await hold(), use: entryId! });
    }
  });

  afterAll(async () => {
    try {
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    } finally {
      if (isServer) await endConnections();
      for (const one of opened) await one.close();
    }
  });

  /** So that closing does not wait for a call that a failed test has left behind. */
  async function endConnections(): Promise<void> {
    const client = new pg.Client({ connectionString: serverUrl() });
    await client.connect();
    await client.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1',
      [name],
    );
    await client.end();
  }

  async function newAccount(): Promise<string> {
    accounts += 1;
    const { accountId: account } = await billing.accounts.identify({ externalId: `${accounts}` });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 1_000 });
    return account;
  }

  const left = async (account: string): Promise<number> =>
    Number((await billing.ledger.balance({ account, product: 'MSG' })).available);

  /** In a transaction of the caller's that has taken a unit of `held`. */
  async function holding<T>(work: (tx: Knex.Transaction) => Promise<T>): Promise<T> {
    const before = await left(held);
    const result = await billing.transaction(async (tx) => {
      await billing.ledger.consume({ account: held, product: 'MSG', tx });
      return work(tx);
    });
    expect(await left(held)).toBeLessThanOrEqual(before - 1);
    return result;
  }

  const changes: Array<[string, (account: string) => Promise<unknown>]> = [
    ['consume', (account) => billing.ledger.consume({ account, product: 'MSG' })],
    [
      'consume with a key',
      (account) => billing.ledger.consume({ account, product: 'MSG', idempotencyKey: 'key' }),
    ],
    ['consumeMany', (account) => billing.ledger.consumeMany([{ account, product: 'MSG' }])],
    ['grant', (account) => billing.ledger.grant({ account, product: 'MSG', quantity: 1 })],
    [
      'hold',
      (account) =>
        billing.ledger.hold({ account, product: 'MSG', expiresIn: { unit: 'hour', count: 1 } }),
    ],
    ['settle', (account) => billing.ledger.settle({ holdId: made.get(account)!.toSettle })],
    ['release', (account) => billing.ledger.release({ holdId: made.get(account)!.toRelease })],
    [
      'restore',
      (account) => billing.ledger.restore({ entryId: made.get(account)!.use, amount: 1 }),
    ],
  ];

  test.each(changes)(
    '%s on the account that the transaction holds: lock_timeout',
    async (_, call) => {
      const before = await left(held);
      expect(await holding(() => settled(call(held)))).toEqual({ code: 'lock_timeout' });
      // Neither then nor later, when the lock was free.
      expect(await left(held)).toBe(before - 1);
    },
  );

  test.each(changes)(
    isServer
      ? '%s on another account succeeds'
      : '%s on another account, without a second connection: lock_timeout',
    async (_, call) => {
      const outcome = await holding(() => settled(call(other)));
      if (isServer) expect(outcome).toEqual({ answer: expect.anything() as unknown });
      else expect(outcome).toEqual({ code: 'lock_timeout' });
      expect(await settled(call(other))).toEqual({ answer: expect.anything() as unknown });
    },
  );

  test('reading waits for no account', async () => {
    const request = { account: held, product: 'MSG' };
    const outcomes = await holding(() =>
      Promise.all([
        settled(billing.ledger.check(request)),
        settled(billing.ledger.balance(request)),
        settled(billing.ledger.grants(request)),
        settled(billing.ledger.entries(request)),
        settled(billing.ledger.holds(request)),
        settled(billing.verify()),
      ]),
    );
    const expected = isServer ? { answer: expect.anything() as unknown } : { code: 'lock_timeout' };
    expect(outcomes).toEqual(outcomes.map(() => expected));
  });

  test('a list fails where it must and nowhere else', async () => {
    const list = [held, other, held, other].map((account) => ({ account, product: 'MSG' }));
    const outcome = await holding(() => settled(billing.ledger.consumeMany(list)));
    const refused = { error: expect.objectContaining({ code: 'lock_timeout' }) as unknown };
    const taken = expect.objectContaining({ allowed: true }) as unknown;
    expect(outcome).toEqual(
      isServer ? { answer: [refused, taken, refused, taken] } : { code: 'lock_timeout' },
    );
  });

  if (isServer) {
    test('calls on other accounts do not wait for those that wait for the one held', async () => {
      const waiting: Array<Promise<Settled>> = [];
      let ended = 0;
      const wait = (): void => {
        const call = settled(patient.ledger.consume({ account: held, product: 'MSG' }));
        waiting.push(call);
        void call.then(() => (ended += 1));
      };
      await holding(async () => {
        // The transaction goes on only when these are done, and lets the first ones go only then.
        for (let round = 0; round < 10; round += 1) {
          wait();
          wait();
          const free = settled(patient.ledger.consume({ account: other, product: 'MSG' }));
          wait();
          expect(await free).toMatchObject({ answer: { allowed: true } });
        }
        expect(ended).toBe(0);
      });
      const outcomes = await Promise.all(waiting);
      expect(outcomes).toEqual(
        outcomes.map(() => ({ answer: expect.objectContaining({ allowed: true }) as unknown })),
      );
    });

    test('a hundred busy accounts leave the rest of the engine at work', async () => {
      const busy: string[] = [];
      for (let count = 0; count < 100; count += 1) busy.push(await newAccount());
      await billing.transaction(async (tx) => {
        const requests = busy.map((account) => ({ account, product: 'MSG' }));
        await billing.ledger.consumeMany(requests.map((request) => ({ ...request, tx })));
        const waiting = requests.map((request) => settled(billing.ledger.consume(request)));
        for (let use = 0; use < 5; use += 1) {
          const free = settled(billing.ledger.consume({ account: other, product: 'MSG' }));
          expect(await free).toMatchObject({ answer: { allowed: true } });
        }
        const outcomes = await Promise.all(waiting);
        expect(outcomes).toEqual(outcomes.map(() => ({ code: 'lock_timeout' })));
      });
      // And they, too, go on as soon as they are free.
      const after = await billing.ledger.consumeMany(
        busy.map((account) => ({ account, product: 'MSG' })),
      );
      expect(after).toEqual(
        after.map(() => expect.objectContaining({ remaining: '998' }) as unknown),
      );
    });
  }

  describe('a transaction inside a transaction', () => {
    const inner = (account: string): Promise<unknown> =>
      billing.transaction((tx) => billing.ledger.consume({ account, product: 'MSG', tx }));

    test('on the same account: lock_timeout, and the outer one stands', async () => {
      const before = await left(held);
      expect(await holding(() => settled(inner(held)))).toEqual({ code: 'lock_timeout' });
      expect(await left(held)).toBe(before - 1);
    });

    test('on another account: its own, where there is a second connection', async () => {
      const outcome = await holding(() => settled(inner(other)));
      if (isServer) expect(outcome).toMatchObject({ answer: { allowed: true } });
      else expect(outcome).toEqual({ code: 'lock_timeout' });
    });

    test("inside the outer one's connection it is a part of it, and falls alone", async () => {
      const before = await left(other);
      await billing.transaction(async (tx) => {
        const use = (inside: Knex.Transaction, amount: number): Promise<unknown> =>
          billing.ledger.consume({ account: other, product: 'MSG', amount, tx: inside });
        await use(tx, 1);
        await tx.transaction((part) => use(part, 10));
        await expect(
          tx.transaction(async (part) => {
            await use(part, 100);
            throw new Error('this part falls');
          }),
        ).rejects.toThrow('this part falls');
        await use(tx, 2);
      });
      expect(await left(other)).toBe(before - 13);
    });
  });
});
