import knexFactory from 'knex';

import {
  TestClock,
  openBilling,
  type Billing,
  type BillingOptions,
  type Duration,
} from '../../../engine';
import { DELETE_ANSWERS } from '../../../engine/ledger/due';
import { newSchema, onEachDatabase, openOnServer, serverUrl } from '../each-database';

/** What comes due by itself is put on record by runDue(), and answers are kept for a time only. */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const hour = { unit: 'hour', count: 1 } as const;

const NOTHING = { expiries: 0, holds: 0, answers: 0, postings: 0, failed: [] };

onEachDatabase('what is due', (database) => {
  const open = async (): Promise<{ billing: Billing; clock: TestClock }> => {
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    return { billing, clock };
  };
  const newAccount = async (billing: Billing, externalId: string): Promise<string> =>
    (await billing.accounts.identify({ externalId })).accountId;

  test('expiries and ends of holds are written as of their own moment, once, and change no balance', async () => {
    const { billing, clock } = await open();
    const { ledger } = billing;
    const start = clock.now().getTime();
    const account = await newAccount(billing, 'one');
    const about = { account, product: 'MSG' };
    await ledger.grant({ ...about, quantity: 10, expiresAfter: hour });
    await ledger.grant({ ...about, quantity: 100 });
    await ledger.grant({ account, product: 'PRO', quantity: 1, expiresAfter: hour });
    await ledger.hold({ ...about, amount: 4, expiresIn: { unit: 'minute', count: 10 } });
    await ledger.hold({ ...about, amount: 2, expiresIn: { unit: 'hour', count: 2 } });
    const lines = async () => (await ledger.entries({ account, limit: 1000 })).items;

    expect(await billing.runDue()).toMatchObject(NOTHING);
    clock.set(start + 3 * HOUR);
    const before = await ledger.balance({ account });
    const past = await ledger.balance({ ...about, at: new Date(start + HOUR - 1) });
    expect(before).toMatchObject([{ available: '100', held: '0' }, { available: '0' }]);
    expect(past).toMatchObject({ available: '108', held: '2' });

    const known = (await lines()).length;
    expect(await billing.runDue()).toMatchObject({ ...NOTHING, expiries: 3, holds: 2 });
    const written = (await lines()).slice(0, -known).reverse();
    expect(
      written.map(({ product, kind, amount, effectiveAt }) => [
        product,
        kind,
        amount,
        new Date(effectiveAt).getTime() - start,
      ]),
    ).toEqual(
      expect.arrayContaining([
        ['MSG', 'release', '4', HOUR / 6],
        ['MSG', 'expiry', '-8', HOUR],
        ['MSG', 'release', '2', 2 * HOUR],
        ['MSG', 'expiry', '-2', 2 * HOUR],
        ['PRO', 'expiry', '-1', HOUR],
      ]),
    );
    expect(written).toHaveLength(5);
    expect(new Set(written.map(({ recordedAt }) => recordedAt))).toEqual(
      new Set([clock.now().toISOString()]),
    );
    expect(await ledger.balance({ account })).toEqual(before);
    expect(await ledger.balance({ ...about, at: new Date(start + HOUR - 1) })).toEqual(past);
    expect(await billing.runDue()).toMatchObject(NOTHING);
    expect(await lines()).toHaveLength(known + 5);
    expect(await ledger.consume({ ...about, amount: 100 })).toMatchObject({ remaining: '0' });
  });

  test('a use after it goes by what was written', async () => {
    const { billing, clock } = await open();
    const account = await newAccount(billing, 'goes on');
    const about = { account, product: 'MSG' };
    await billing.ledger.grant({ ...about, quantity: 10, expiresAfter: hour });
    await billing.ledger.grant({ ...about, quantity: 5 });
    expect(await billing.ledger.consume(about)).toMatchObject({ remaining: '14' });
    clock.advance(HOUR);
    expect(await billing.runDue()).toMatchObject({ ...NOTHING, expiries: 1 });
    expect(await billing.ledger.consume(about)).toMatchObject({ remaining: '4' });
    expect(await billing.ledger.consume({ ...about, amount: 5 })).toMatchObject({ allowed: false });
  });

  test('the limit bounds a run; runs together do everything, longest due first', async () => {
    const { billing, clock } = await open();
    for (let index = 0; index < 12; index += 1) {
      const account = await newAccount(billing, `many ${index}`);
      const expiresAfter: Duration = { unit: 'minute', count: 60 - index };
      await billing.ledger.grant({ account, product: 'MSG', quantity: 1, expiresAfter });
    }
    clock.advance(HOUR);
    expect(await billing.runDue({ limit: 5 })).toMatchObject({ ...NOTHING, expiries: 5 });
    // Those that had been due for longest are the last five accounts.
    const written: number[] = [];
    for (let index = 0; index < 12; index += 1) {
      const entries = await billing.ledger.entries({ account: { externalId: `many ${index}` } });
      if (entries.items.some(({ kind }) => kind === 'expiry')) written.push(index);
    }
    expect(written).toEqual([7, 8, 9, 10, 11]);
    expect(await billing.runDue({ limit: 5 })).toMatchObject({ ...NOTHING, expiries: 5 });
    expect(await billing.runDue({ limit: 5 })).toMatchObject({ ...NOTHING, expiries: 2 });
    expect(await billing.runDue({ limit: 5 })).toMatchObject(NOTHING);
  });

  test('more accounts than one transaction locks', async () => {
    const { billing, clock } = await open();
    const accounts = await Promise.all(
      Array.from({ length: 620 }, (_, index) => newAccount(billing, `crowd ${index}`)),
    );
    await billing.transaction(async (tx) => {
      for (const account of accounts) {
        await billing.ledger.grant({
          account,
          product: 'MSG',
          quantity: 1,
          expiresAfter: hour,
          tx,
        });
      }
    });
    clock.advance(HOUR);
    expect(await billing.runDue()).toMatchObject({ ...NOTHING, expiries: 620 });
    expect(await billing.runDue()).toMatchObject(NOTHING);
  });

  test('answers are kept 90 days, denials a day; then they are deleted, and the key is free', async () => {
    const { billing, clock } = await open();
    const account = await newAccount(billing, 'answers');
    const use = (idempotencyKey: string, amount: number) =>
      billing.ledger.consume({ account, product: 'MSG', amount, idempotencyKey });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 10, idempotencyKey: 'grant' });
    const used = await use('use', 1);
    const denied = await use('denied', 100);
    const hold = await billing.ledger.hold({
      account,
      product: 'MSG',
      amount: 100,
      expiresIn: hour,
      idempotencyKey: 'held',
    });
    expect([used.allowed, denied.allowed, hold.allowed]).toEqual([true, false, false]);

    clock.advance(DAY - 1);
    expect(await billing.runDue()).toMatchObject(NOTHING);
    expect(await use('denied', 100)).toEqual({ ...denied, replayed: true });
    clock.advance(1);
    expect(await billing.runDue()).toMatchObject({ ...NOTHING, answers: 2 });
    expect(await use('denied', 9)).toMatchObject({ allowed: true, replayed: false });
    expect(await use('use', 1)).toEqual({ ...used, replayed: true });

    clock.advance(89 * DAY - 1);
    expect(await billing.runDue()).toMatchObject(NOTHING);
    clock.advance(1);
    expect(await billing.runDue({ limit: 1 })).toMatchObject({ ...NOTHING, answers: 1 });
    expect(await billing.runDue()).toMatchObject({ ...NOTHING, answers: 1 });
    expect(await use('use', 1)).toMatchObject({ allowed: false, replayed: false });
  });

  test('refuses what is no limit', async () => {
    const { billing } = await open();
    for (const limit of [0, -1, 1.5, 'many', NaN]) {
      await expect(billing.runDue({ limit } as never)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'limit',
      });
    }
    await expect(billing.runDue({ most: 1 } as never)).rejects.toMatchObject({ parameter: 'most' });
  });
});

describe('what is due, on a server', () => {
  const opened: Billing[] = [];
  afterAll(async () => {
    for (const billing of opened) await billing.close();
  });
  const openWith = async (options: Partial<BillingOptions> & { poolSize?: number } = {}) => {
    const billing = await openOnServer(options);
    opened.push(billing);
    return billing;
  };

  test('many runs at once, beside writers, write everything once', async () => {
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const schema = newSchema();
    const engines = [
      await openWith({ clock, schema, poolSize: 8 }),
      await openWith({ clock, schema, poolSize: 8 }),
    ];
    const [billing] = engines as [Billing];
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const accounts = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const { accountId } = await billing.accounts.identify({ externalId: `at once ${index}` });
        const about = { account: accountId, product: 'MSG' };
        await billing.ledger.grant({ ...about, quantity: 7, expiresAfter: hour });
        await billing.ledger.grant({ ...about, quantity: 5 });
        await billing.ledger.hold({ ...about, amount: 9, expiresIn: { unit: 'hour', count: 2 } });
        return accountId;
      }),
    );
    clock.advance(3 * HOUR);
    const uses = accounts.map((account) => billing.ledger.consume({ account, product: 'MSG' }));
    const runs = await Promise.all(
      Array.from({ length: 8 }, (_, index) => engines[index % 2]!.runDue()),
    );
    expect((await Promise.all(uses)).map(({ remaining }) => remaining)).toEqual(
      accounts.map(() => '4'),
    );
    const last = await billing.runDue();
    const written = [...runs, last].reduce((sum, { holds }) => sum + holds, 0);
    expect(written).toBeLessThanOrEqual(60);
    expect(await billing.runDue()).toMatchObject(NOTHING);
    for (const account of accounts) {
      const { items } = await billing.ledger.entries({ account });
      const kinds = items.map(({ kind, amount }) => `${kind} ${amount}`);
      expect(kinds.sort()).toEqual(
        ['expiry -7', 'grant 5', 'grant 7', 'hold -9', 'release 9', 'use -1'].sort(),
      );
    }
    expect(await billing.verify()).toMatchObject({ ok: true });
  });

  test('an account that somebody is writing is left to them', async () => {
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const billing = await openWith({ clock, lockTimeout: 2_000 });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    for (const externalId of ['busy', 'free']) {
      const { accountId } = await billing.accounts.identify({ externalId });
      await billing.ledger.grant({
        account: accountId,
        product: 'MSG',
        quantity: 1,
        expiresAfter: hour,
      });
    }
    clock.advance(HOUR);
    await billing.transaction(async (tx) => {
      const account = { externalId: 'busy' };
      await billing.ledger.grant({ account, product: 'MSG', quantity: 1, tx });
      expect(await billing.runDue()).toMatchObject({ ...NOTHING, expiries: 1 });
    });
    expect(await billing.runDue()).toMatchObject(NOTHING);
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
  });

  test('a run whose backend is killed leaves nothing half done', async () => {
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const schema = newSchema();
    const application_name = `due_${schema}`;
    const victim = await openBilling({
      connection: { connectionString: serverUrl(), application_name },
      schema,
      clock,
    });
    opened.push(victim);
    const billing = await openWith({ clock, schema });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'killed' });
    await billing.transaction(async (tx) => {
      for (let index = 0; index < 300; index += 1) {
        await billing.ledger.grant({
          account,
          product: 'MSG',
          quantity: 1,
          expiresAfter: hour,
          tx,
        });
      }
    });
    clock.advance(HOUR);
    const admin = knexFactory({ client: 'pg', connection: serverUrl() });
    try {
      const run = victim.runDue().catch((error: { code: string }) => error.code);
      await admin.raw(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = ?`,
        [application_name],
      );
      const done = await run;
      const { items } = await billing.ledger.entries({ account, limit: 1000 });
      const expiries = items.filter(({ kind }) => kind === 'expiry').length;
      // All or nothing of the one transaction; and if it was answered, it is there.
      expect([0, 300]).toContain(expiries);
      if (typeof done !== 'string' && done.failed.length === 0) {
        expect(done).toMatchObject({ ...NOTHING, expiries });
      }
      const again = await billing.runDue();
      expect(again.expiries).toBe(300 - expiries);
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    } finally {
      await admin.destroy();
    }
  });

  test('deleting old answers reads what it deletes, however many are kept', async () => {
    const schema = newSchema();
    const billing = await openWith({ schema });
    const statement = DELETE_ANSWERS.replaceAll('{schema}', `"${schema}"`)
      .replace('$1', `'2027-01-02T01:00:00Z'`)
      .replace('$2', '5000');
    const undo = new Error('undone');
    const work = billing.transaction(async (tx) => {
      // One in ten is a denial and kept for a day, the others 90; of 30 denials the day is over.
      await tx.raw(
        `insert into "${schema}".answers (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
         select gen_random_uuid(), gen_random_uuid(), decode(md5(n::text), 'hex'), '', '{}',
                timestamptz '2027-01-01T00:00:00Z' + n * interval '12 seconds'
                + case n % 10 when 0 then interval '1 day' else interval '90 days' end
         from generate_series(1, 30000) as n`,
      );
      await tx.raw(`analyze "${schema}".answers`);
      const { rows } = await tx.raw<{ rows: Array<{ 'QUERY PLAN': Explained[] }> }>(
        `explain (analyze, buffers, timing off, format json) ${statement}`,
      );
      const { Plan: plan } = rows[0]!['QUERY PLAN'][0]!;
      const deleted = await tx.raw<{ rows: Array<{ kept: number; pages: number }> }>(
        `select count(*)::integer as kept,
                (pg_relation_size('"${schema}".answers') / 8192)::integer as pages
         from "${schema}".answers`,
      );
      const [{ kept, pages }] = deleted.rows as [{ kept: number; pages: number }];
      expect(kept).toBe(30_000 - 30);
      // The index, and three looks at each row: to find, to lock, to delete.
      const read = plan['Shared Hit Blocks'] + plan['Shared Read Blocks'];
      expect(read).toBeLessThan(30 * 8);
      expect(pages).toBeGreaterThan(300);
      throw undo;
    });
    await expect(work).rejects.toBe(undo);
  });

  test('how long answers are kept can be set', async () => {
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const billing = await openWith({
      clock,
      keep: { changes: { unit: 'week', count: 1 }, denials: { unit: 'minute', count: 5 } },
    });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', idempotencyKey: 'product' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'kept' });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 1, idempotencyKey: 'grant' });
    const use = () =>
      billing.ledger.consume({ account, product: 'MSG', amount: 2, idempotencyKey: 'use' });
    await use();
    clock.advance(5 * 60_000);
    expect(await use()).toMatchObject({ allowed: false, replayed: false });
    clock.advance(5 * 60_000);
    expect(await billing.runDue()).toMatchObject({ ...NOTHING, answers: 1 });
    clock.advance(7 * DAY);
    expect(await billing.runDue()).toMatchObject({ ...NOTHING, answers: 2 });
  });

  test.each([
    ['keep.changes', { changes: { unit: 'month', count: 1 } }],
    ['keep.denials', { denials: { unit: 'year', count: 1 } }],
    ['keep.changes.count', { changes: { unit: 'day', count: 0 } }],
    ['keep.forever', { forever: true }],
  ])('%s is refused', async (parameter, keep) => {
    await expect(
      openBilling({ connection: serverUrl(), schema: newSchema(), keep: keep as never }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter });
  });
});

interface Explained {
  Plan: { 'Shared Hit Blocks': number; 'Shared Read Blocks': number };
}
