import * as os from 'node:os';
import * as path from 'node:path';

import { openBilling, type Billing } from '../../engine';

/**
 * The accident: after the disk of an embedded database was full once, every call waited out the lock
 * time-out and said that no connection was free, also when there was room again.
 */

/** The module itself, as the engine and the database have it; an import would be a copy. */
const fs: typeof import('node:fs') = jest.requireActual('node:fs');

const GIGABYTE = 1_073_741_824;

describe('a full disk under an embedded database', () => {
  let folder: string;
  let billing: Billing;
  let account: string;
  /** Whether files can grow; and what the disk says is left. */
  let hasRoom = true;
  let free = GIGABYTE;

  beforeAll(() => {
    const { writeSync, statfsSync } = fs;
    jest.spyOn(fs, 'writeSync').mockImplementation(((
      file: number,
      buffer: Uint8Array,
      offset: number,
      length: number,
      position: number | null,
    ) => {
      if (!hasRoom && (position ?? Infinity) + length > fs.fstatSync(file).size) {
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), {
          code: 'ENOSPC',
          errno: -os.constants.errno.ENOSPC,
        });
      }
      return writeSync(file, buffer, offset, length, position);
    }) as typeof writeSync);
    jest.spyOn(fs, 'statfsSync').mockImplementation(((place: string) => ({
      ...statfsSync(place),
      bsize: 1,
      blocks: 100 * GIGABYTE,
      bavail: free,
    })) as unknown as typeof statfsSync);
  });

  afterAll(() => jest.restoreAllMocks());

  const open = () => openBilling({ connection: { embedded: folder }, lockTimeout: 2_000 });

  beforeEach(async () => {
    hasRoom = true;
    free = GIGABYTE;
    folder = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'billing-full-')), 'billing');
    billing = await open();
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    ({ accountId: account } = await billing.accounts.identify({ externalId: 'ann' }));
    await grant(1_000);
  });

  afterEach(async () => {
    hasRoom = true;
    free = GIGABYTE;
    expect(await billing.verify()).toMatchObject({ ok: true });
    await billing.close();
    fs.rmSync(path.dirname(folder), { recursive: true, force: true });
  });

  const grant = (quantity = 1, metadata = {}) =>
    billing.ledger.grant({ account, product: 'MSG', quantity, metadata });
  const available = async () =>
    Number((await billing.ledger.balance({ account, product: 'MSG' })).available);
  const full = {
    code: 'database_unavailable',
    message: expect.stringMatching(/^The disk of .* is full: /) as string,
    advice: expect.stringContaining('Make room') as string,
  };

  test('a change that finds none is undone; reads go on, and all goes on when there is room', async () => {
    hasRoom = false;
    let granted = 1_000;
    const failures: unknown[] = [];
    for (let round = 0; round < 500 && failures.length < 5; round += 1) {
      await grant(1, { note: 'x'.repeat(8_000) }).then(
        () => (granted += 1),
        (error: unknown) => failures.push(error),
      );
    }
    expect(failures).toHaveLength(5);
    for (const error of failures) expect(error).toMatchObject(full);
    expect(await available()).toBe(granted);
    expect(await billing.ledger.check({ account, product: 'MSG' })).toMatchObject({
      allowed: true,
    });

    hasRoom = true;
    await grant(1, { note: 'x'.repeat(8_000) });
    await billing.ledger.consume({ account, product: 'MSG', amount: 2 });
    expect(await available()).toBe(granted - 1);
    await billing.close();
    billing = await open();
    expect(await available()).toBe(granted - 1);
  });

  test('nothing is begun that may write while hardly any is left', async () => {
    free = 10_000_000;
    const consume = { account, product: 'MSG' };
    const calls: Array<() => Promise<unknown>> = [
      () => grant(),
      () => billing.ledger.consume(consume),
      () => billing.ledger.consumeMany([consume, { ...consume, amount: 2 }]),
      () => billing.ledger.hold({ ...consume, amount: 1, expiresIn: { unit: 'hour', count: 1 } }),
      () => billing.accounts.identify({ externalId: 'bob' }),
      () => billing.catalog.saveProduct({ key: 'IMG', name: 'Pictures' }),
      () => billing.transaction((tx) => billing.ledger.consume({ ...consume, tx })),
    ];
    for (const call of calls) {
      await expect(call()).rejects.toMatchObject({
        ...full,
        message: expect.stringContaining('9 MB are left') as string,
      });
    }
    expect(await available()).toBe(1_000);
    expect(await billing.ledger.check(consume)).toMatchObject({ allowed: true });
    expect((await billing.ledger.entries({ account })).items).toHaveLength(1);
    // Work on what is due says what it could not do.
    expect((await billing.runDue()).failed).toContainEqual({
      part: 'ledger',
      code: full.code,
      message: full.message,
    });

    free = GIGABYTE;
    for (const call of calls) await call();
    expect(await available()).toBe(995);
  });

  test('to open is refused, and works once there is room', async () => {
    await billing.close();
    free = 0;
    await expect(open()).rejects.toMatchObject({ ...full, parameter: 'connection.embedded' });
    free = GIGABYTE;
    billing = await open();
    expect(await available()).toBe(1_000);
  });

  test('a new folder that cannot be filled is an error of ours, and begins once there is room', async () => {
    const connection = { embedded: path.join(path.dirname(folder), 'another') };
    hasRoom = false;
    await expect(openBilling({ connection })).rejects.toMatchObject({
      code: 'database_unavailable',
      parameter: 'connection.embedded',
    });
    hasRoom = true;
    const another = await openBilling({ connection });
    expect(await another.catalog.listProducts()).toEqual([]);
    await another.close();
  });

  test('where the lock cannot be written, the folder is said to be the cause', async () => {
    await billing.close();
    const { writeFileSync } = fs;
    const lock = jest.spyOn(fs, 'writeFileSync').mockImplementation((...given) => {
      if (String(given[0]).includes('billing.lock')) {
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), {
          code: 'ENOSPC',
        });
      }
      writeFileSync(...given);
    });
    try {
      await expect(open()).rejects.toMatchObject({
        code: 'database_unavailable',
        parameter: 'connection.embedded',
        message: expect.stringContaining('cannot be locked: ENOSPC') as string,
      });
    } finally {
      lock.mockRestore();
    }
    billing = await open();
  });
});
