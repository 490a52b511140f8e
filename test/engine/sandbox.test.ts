import { TestClock, type Billing } from '../../engine';
import {
  databaseKinds,
  newSchema,
  forRules,
  openOnServer,
  type TestDatabase,
} from './each-database';

const START = '2027-01-31T09:00:00.000Z';
const DAY = 24 * 3_600_000;
const after = (days: number): string => new Date(Date.parse(START) + days * DAY).toISOString();
const days = (count: number) => ({ unit: 'day', count }) as const;

forRules('sandbox', (database: TestDatabase) => {
  let billing: Billing;
  let meant: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(new TestClock(START), newSchema());
    meant = await database.open(new TestClock(START), newSchema(), { sandbox: false });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
  });

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `player-${counter}` })).accountId;
  };
  /** What the clock shows so many days from now. */
  const fromNow = async (): Promise<(count: number) => string> => {
    const now = Date.parse((await billing.sandbox.status()).now);
    return (count) => new Date(now + count * DAY).toISOString();
  };

  test('a schema is marked while it is empty, for good', async () => {
    expect(await billing.sandbox.status()).toEqual({ sandbox: false, now: START });
    await expect(billing.sandbox.advance({ by: days(1) })).rejects.toMatchObject({
      code: 'sandbox_only',
    });
    expect(await billing.sandbox.mark()).toEqual({ sandbox: true, now: START });
    await newAccount();
    expect(await billing.sandbox.mark()).toEqual({ sandbox: true, now: START });
    expect(await billing.sandbox.advance({ by: days(1) })).toMatchObject({ now: after(1) });
  });

  test('one that is meant is not, and its clock stays', async () => {
    await meant.accounts.identify({ externalId: 'one' });
    await expect(meant.sandbox.mark()).rejects.toMatchObject({
      code: 'forbidden',
      parameter: 'sandbox',
    });
    await expect(meant.sandbox.advance({ by: days(1) })).rejects.toMatchObject({
      code: 'sandbox_only',
    });
    expect(await meant.sandbox.status()).toEqual({ sandbox: false, now: START });
  });

  test('its clock is moved by a time or to a moment, and what is bought goes by it', async () => {
    const about = { account: await newAccount(), product: 'MSG' };
    const at = await fromNow();
    await billing.ledger.grant({ ...about, quantity: 10, expiresAfter: days(10) });
    await billing.ledger.grant({ ...about, quantity: 5 });
    expect(await billing.sandbox.advance({ by: days(9) })).toEqual({
      from: at(0),
      now: at(9),
      days: 0,
      done: {},
      failed: [],
    });
    expect(await billing.ledger.balance(about)).toMatchObject({ available: '15' });
    await billing.sandbox.advance({ to: at(10) });
    expect(await billing.sandbox.status()).toEqual({ sandbox: true, now: at(10) });
    expect(await billing.ledger.balance(about)).toMatchObject({ available: '5' });
    expect(await billing.ledger.consume(about)).toMatchObject({ allowed: true, remaining: '4' });
    const { items } = await billing.ledger.entries({ account: about.account });
    expect(items[0]).toMatchObject({ kind: 'use', effectiveAt: at(10) });
  });

  test('day by day: what is due is done on each', async () => {
    const account = await newAccount();
    // What is due from before is out of the way.
    await billing.runDue();
    const at = await fromNow();
    for (const count of [1, 2, 3]) {
      const expiresAfter = days(count);
      await billing.ledger.grant({ account, product: 'MSG', quantity: 1, expiresAfter });
    }
    const moved = await billing.sandbox.advance({ to: at(2.5), runCycle: true });
    expect(moved).toMatchObject({ from: at(0), now: at(2.5), days: 3, failed: [] });
    expect(moved.done.expiries).toBe(2);
    const recorded = (await billing.ledger.entries({ account })).items
      .filter(({ kind }) => kind === 'expiry')
      .map(({ recordedAt }) => recordedAt);
    expect(recorded).toEqual([at(2), at(1)]);
    expect(await billing.sandbox.advance({ by: days(5), runCycle: true })).toMatchObject({
      days: 5,
      done: { expiries: 1 },
      failed: [],
    });
  });

  test('it never goes back, and wants to know how far', async () => {
    const { sandbox } = billing;
    const { now } = await sandbox.status();
    const wrong = [
      [{ to: START }, 'to'],
      [{}, 'by'],
      [{ by: days(1), to: after(500) }, 'by'],
      [{ by: { unit: 'day', count: -1 } }, 'by.count'],
      [{ by: { unit: 'year', count: 4 }, runCycle: true }, 'by'],
      [{ days: 1 }, 'days'],
    ] as const;
    for (const [request, parameter] of wrong) {
      await expect(sandbox.advance(request as never)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter,
      });
    }
    expect(await sandbox.status()).toEqual({ sandbox: true, now });
  });

  test('calls in a transaction follow the clock, too', async () => {
    const account = await newAccount();
    await billing.ledger.grant({ account, product: 'MSG', quantity: 10 });
    await billing.sandbox.advance({ by: days(1) });
    const { now } = await billing.sandbox.status();
    await billing.transaction(async (tx) => {
      expect(await billing.ledger.consume({ account, product: 'MSG', tx })).toMatchObject({
        allowed: true,
      });
    });
    const [last] = (await billing.ledger.entries({ account })).items;
    expect(last!.effectiveAt).toBe(now);
  });
});

if (databaseKinds.includes('server')) {
  describe('sandbox, several processes (server)', () => {
    test('what one moves, all go by, also those that are opened later', async () => {
      const schema = newSchema();
      const opened: Billing[] = [];
      const open = async (sandbox?: boolean): Promise<Billing> => {
        const billing = await openOnServer({ schema, sandbox, clock: new TestClock(START) });
        opened.push(billing);
        return billing;
      };
      try {
        const one = await open(true);
        const other = await open();
        await one.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
        const { accountId: account } = await one.accounts.identify({ externalId: 'one' });
        const about = { account, product: 'MSG' };
        await one.ledger.grant({ ...about, quantity: 10, expiresAfter: days(10) });
        expect(await other.ledger.check(about)).toMatchObject({ allowed: true });
        await one.sandbox.advance({ by: days(10) });
        expect(await other.ledger.check(about)).toMatchObject({ allowed: false });
        expect(await (await open()).ledger.check(about)).toMatchObject({ allowed: false });
        await Promise.all(opened.map(({ sandbox }) => sandbox.advance({ by: days(1) })));
        const { now } = await one.sandbox.status();
        expect([after(11), after(12), after(13)]).toContain(now);
        for (const billing of opened) expect(await billing.sandbox.status()).toMatchObject({ now });
        expect(await one.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        for (const billing of opened) await billing.close();
      }
    });

    test('a transaction that sees the database as it was turns no clock back', async () => {
      const billing = await openOnServer({
        clock: new TestClock(START),
        schema: newSchema(),
        sandbox: true,
      });
      try {
        await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
        const { accountId: account } = await billing.accounts.identify({ externalId: 'one' });
        await billing.transaction(async (tx) => {
          await tx.raw('set transaction isolation level repeatable read');
          await billing.accounts.identify({ externalId: 'one', tx });
          await billing.sandbox.advance({ by: days(10) });
          const grant = { account, product: 'MSG', quantity: 1, tx };
          expect(await billing.ledger.grant(grant)).toMatchObject([{ validFrom: after(10) }]);
        });
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });

    test('asking for a sandbox where somebody has an account is refused at opening', async () => {
      const schema = newSchema();
      const meant = await openOnServer({ schema });
      try {
        await meant.accounts.identify({ externalId: 'one' });
        await expect(openOnServer({ schema, sandbox: true })).rejects.toMatchObject({
          code: 'forbidden',
        });
        expect(await meant.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await meant.close();
      }
    });

    test('who wants a sandbox and who makes the first account take turns', async () => {
      const schema = newSchema();
      const billing = await openOnServer({ schema });
      try {
        const [marked] = await Promise.allSettled([
          billing.sandbox.mark(),
          ...Array.from({ length: 5 }, (_, index) =>
            billing.accounts.identify({ externalId: `customer-${index}` }),
          ),
        ]);
        const { sandbox } = await billing.sandbox.status();
        expect(sandbox).toBe(marked.status === 'fulfilled');
      } finally {
        await billing.close();
      }
    });
  });
}
