import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import { openBilling, type Billing } from '../../../engine';
import { beginEmpty } from '../../postgres/migrated';
import { BillingProcess } from './processes';

describe('the embedded database', () => {
  let folder: string;
  const opened: Billing[] = [];
  const running: BillingProcess[] = [];

  const open = async (): Promise<Billing> => {
    const billing = await openBilling({ connection: { embedded: folder } });
    opened.push(billing);
    return billing;
  };
  /** So that the processes find a database, and need not make it. */
  const make = async (): Promise<void> =>
    (await openBilling({ connection: { embedded: folder } })).close();
  const start = (task: object): BillingProcess => {
    const child = new BillingProcess({ connection: { embedded: folder }, ...task });
    running.push(child);
    return child;
  };

  beforeEach(() => {
    folder = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'billing-embedded-')), 'deep', 'er');
  });

  afterEach(async () => {
    for (const child of running.splice(0)) await child.kill();
    for (const billing of opened.splice(0)) {
      expect(await billing.verify()).toMatchObject({ ok: true });
      await billing.close();
    }
    fs.rmSync(path.dirname(path.dirname(folder)), { recursive: true, force: true });
  });

  test('keeps its state in a folder that it creates, readable by its owner alone', async () => {
    const beginMigrated = beginEmpty();
    const first = await openBilling({ connection: { embedded: folder } });
    beginMigrated();
    await first.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await first.accounts.identify({ externalId: 'ann' });
    await first.ledger.grant({ account, product: 'MSG', quantity: 10 });
    await first.ledger.consume({ account, product: 'MSG', amount: 3 });
    await first.close();
    expect(fs.statSync(folder).mode & 0o077).toBe(0);

    const second = await open();
    expect(await second.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '7',
    });
  });

  test('a second process is refused and told who has it; once the first ends, it is let in', async () => {
    await make();
    const holder = start({ hold: true });
    await holder.said(1);
    const refused = await open().catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'database_in_use' });
    expect((refused as Error).message).toMatch(/process \d+ on .+ since \d{4}-/);
    await holder.kill();
    expect(await open()).toBeDefined();
  });

  test('the same process is refused too, since two engines in one folder corrupt it', async () => {
    await open();
    await expect(open()).rejects.toMatchObject({
      code: 'database_in_use',
      message: expect.stringContaining('this process') as string,
    });
  });

  test('of several processes that find a killed one, one gets the folder', async () => {
    await make();
    const killed = start({ hold: true });
    await killed.said(1);
    await killed.kill();
    const rivals = Array.from({ length: 4 }, () => start({ hold: true }));
    for (const rival of rivals) await rival.said(1);
    const codes = rivals.map((rival) =>
      rival.lines[0]!.opened === true ? 'opened' : rival.lines[0]!.code,
    );
    expect(codes.sort()).toEqual([
      'database_in_use',
      'database_in_use',
      'database_in_use',
      'opened',
    ]);
  });

  test('a process killed in the middle of its work loses nothing that it had answered', async () => {
    const setUp = await openBilling({ connection: { embedded: folder } });
    await setUp.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await setUp.accounts.identify({ externalId: 'ann' });
    await setUp.ledger.grant({ account, product: 'MSG', quantity: 100_000 });
    await setUp.close();

    const answered: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const worker = start({ consume: { account, product: 'MSG', prefix: `${round}:` } });
      await worker.said(20);
      await worker.kill();
      answered.push(...worker.lines.flatMap((line) => (line.idempotencyKey as string) ?? []));
    }

    const billing = await open();
    for (const idempotencyKey of answered) {
      const again = await billing.ledger.consume({ account, product: 'MSG', idempotencyKey });
      expect(again).toMatchObject({ allowed: true, replayed: true });
    }
    const { available } = await billing.ledger.balance({ account, product: 'MSG' });
    // At most one use of each round was committed and its answer cut off.
    const used = 100_000 - Number(available);
    expect(used).toBeGreaterThanOrEqual(answered.length);
    expect(used).toBeLessThanOrEqual(answered.length + 3);
  });

  /** A lock as another container would have left it: its pid means nothing here. */
  const foreignLock = {
    token: 'somebody else',
    pid: process.pid,
    started: '1',
    host: 'another-container',
    namespace: 'another boot',
    since: '2026-01-01T00:00:00.000Z',
  };

  test('a lock left by an earlier container, with our own pid, is taken over once it proves dead', async () => {
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, 'billing.lock'), JSON.stringify(foreignLock));
    expect(await open()).toBeDefined();
  });

  test('a lock that another container keeps touching is respected', async () => {
    fs.mkdirSync(folder, { recursive: true });
    const file = path.join(folder, 'billing.lock');
    fs.writeFileSync(file, JSON.stringify(foreignLock));
    const touching = setInterval(() => fs.utimesSync(file, new Date(), new Date()), 200);
    try {
      await expect(open()).rejects.toMatchObject({
        code: 'database_in_use',
        message: expect.stringContaining('another-container') as string,
      });
    } finally {
      clearInterval(touching);
    }
  });

  test('a lock file cut off in the middle is taken over', async () => {
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, 'billing.lock'), '{"token":"cut o');
    expect(await open()).toBeDefined();
  });

  test('a folder written by another Postgres version is refused, and nothing in it is touched', async () => {
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, 'PG_VERSION'), '15\n');
    const refused = await open().catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'database_version' });
    expect((refused as Error).message).toMatch(/Postgres 15.*Postgres 18/);
    expect(fs.readdirSync(folder)).toEqual(['PG_VERSION']);
  });

  test('the version that we say is embedded is the one that is, and fsync is on', async () => {
    const billing = await open();
    await billing.transaction(async (tx) => {
      const { rows } = (await tx.raw(
        `select current_setting('server_version_num')::int / 10000 as major, current_setting('fsync') as fsync`,
      )) as { rows: Array<{ major: number; fsync: string }> };
      expect(rows).toEqual([{ major: 18, fsync: 'on' }]);
    });
  });

  test('a folder that is a file, or may not be written, is refused in words', async () => {
    fs.mkdirSync(path.dirname(folder), { recursive: true });
    fs.writeFileSync(folder, 'a file');
    await expect(open()).rejects.toMatchObject({
      code: 'database_unavailable',
      parameter: 'connection.embedded',
    });
  });

  test('a folder that no one can make is refused too', async () => {
    await expect(openBilling({ connection: { embedded: '/proc/nowhere' } })).rejects.toMatchObject({
      code: 'database_unavailable',
      parameter: 'connection.embedded',
    });
  });

  test('a call beside an open transaction ends in lock_timeout, not in a hang', async () => {
    const billing = await openBilling({ connection: { embedded: folder }, lockTimeout: 2_000 });
    opened.push(billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 10 });
    await billing.transaction(async (tx) => {
      await billing.ledger.consume({ account, product: 'MSG', tx });
      await expect(billing.ledger.consume({ account, product: 'MSG' })).rejects.toMatchObject({
        code: 'lock_timeout',
      });
    });
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '9',
    });
  });
});
