import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import { openBilling, type Billing } from '../../engine';
import { defaultFolder, optionsOf } from '../../nodes/shared/connection';

/**
 * The accident: files of the database may be read and written by whoever gets into its folder, and a
 * folder that was there before stayed open to all. What was put in the place of the lock crashed, hung
 * or spun the process.
 */

const NOBODY = 65_534;

describe('the folder of an embedded database', () => {
  let parent: string;
  let folder: string;
  const opened: Billing[] = [];

  const open = async (place = folder): Promise<Billing> => {
    const billing = await openBilling({ connection: { embedded: place } });
    opened.push(billing);
    return billing;
  };
  const close = async (): Promise<void> => {
    for (const billing of opened.splice(0)) {
      expect(await billing.verify()).toMatchObject({ ok: true });
      await billing.close();
    }
  };
  const rights = (place = folder): number => fs.statSync(place).mode & 0o777;
  const make = (mode: number, ...files: string[]): void => {
    fs.mkdirSync(folder);
    for (const file of files) fs.writeFileSync(path.join(folder, file), 'mine');
    fs.chmodSync(folder, mode);
  };
  const unavailable = (message: RegExp) => ({
    code: 'database_unavailable',
    parameter: 'connection.embedded',
    message: expect.stringMatching(message) as string,
  });

  beforeEach(() => {
    parent = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'billing-folder-')));
    folder = path.join(parent, 'billing');
  });

  afterEach(async () => {
    await close();
    fs.rmSync(parent, { recursive: true, force: true });
  });

  describe('is its owner’s alone', () => {
    test('when it was there, open to all', async () => {
      make(0o777);
      await open();
      expect(rights()).toBe(0o700);
    });

    test('when it is opened again after somebody opened it to all', async () => {
      await open();
      await close();
      fs.chmodSync(folder, 0o755);
      await open();
      expect(rights()).toBe(0o700);
    });

    test('or is refused and left as it is, when other things are in it', async () => {
      make(0o755, 'somebody’s work');
      await expect(open()).rejects.toMatchObject(unavailable(/Other users .* can get into/));
      expect([rights(), fs.readdirSync(folder)]).toEqual([0o755, ['somebody’s work']]);
    });

    test('or is refused, when it is another’s', async () => {
      const isRoot = process.getuid!() === 0;
      const place = isRoot ? folder : '/tmp';
      if (isRoot) {
        make(0o777);
        fs.chownSync(folder, NOBODY, NOBODY);
      }
      const before = rights(place);
      await expect(open(place)).rejects.toMatchObject({
        ...unavailable(/Other users .* can get into/),
        advice: expect.stringContaining(`chmod 700 ${place}`) as string,
      });
      expect(rights(place)).toBe(before);
    });
  });

  describe('is found', () => {
    test('by a link to it, as the same place', async () => {
      make(0o700);
      const link = path.join(parent, 'link');
      fs.symlinkSync(folder, link);
      await (await open(link)).catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      await expect(open()).rejects.toMatchObject({
        code: 'database_in_use',
        message: expect.stringContaining(folder) as string,
      });
      await close();
      expect(await (await open()).catalog.listProducts()).toMatchObject([{ key: 'MSG' }]);
    });

    test('by a path that begins at the working directory', async () => {
      await open(path.relative(process.cwd(), folder));
      expect(fs.existsSync(path.join(folder, 'PG_VERSION'))).toBe(true);
    });

    test('in a credential by a path that begins at n8n’s own folder', () => {
      const places = (written: string) => optionsOf({ folder: written }).connection;
      const beside = path.join(path.dirname(defaultFolder()), 'shop');
      expect(places('shop')).toEqual({ embedded: beside });
      // One that was made where n8n was started, before, stays there.
      make(0o700, 'PG_VERSION');
      expect(places(path.relative(process.cwd(), folder))).toEqual({ embedded: folder });
    });

    test.each(['', '   ', undefined, null, 7])('never by %p', async (place) => {
      const connection = { embedded: place as string };
      await expect(openBilling({ connection })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'connection.embedded',
      });
    });
  });

  describe('whose lock', () => {
    const lock = (): string => path.join(folder, 'billing.lock');

    test.each<[string, (file: string) => void]>([
      ['is a folder', (file) => fs.mkdirSync(file)],
      ['is a link that leads nowhere', (file) => fs.symlinkSync('nowhere', file)],
      ['is a link to itself', (file) => fs.symlinkSync(file, file)],
      ['is a pipe', (file) => execFileSync('mkfifo', [file])],
      ['is far too long', (file) => fs.writeFileSync(file, ' '.repeat(1_000_000))],
      ['names process 1 alone', (file) => fs.writeFileSync(file, '1')],
      ['names process 1 and no more', (file) => fs.writeFileSync(file, '{"pid":1}')],
      ['names no process', (file) => fs.writeFileSync(file, '{"token":"a","pid":-1}')],
      ['says null', (file) => fs.writeFileSync(file, 'null')],
      ['has other types', (file) => fs.writeFileSync(file, '{"token":1,"pid":"1","since":1}')],
    ])('%s: is refused, and says so', async (_, put) => {
      make(0o700);
      put(lock());
      await expect(open()).rejects.toMatchObject(unavailable(/^The lock .*billing\.lock/));
      expect(fs.lstatSync(lock())).toBeDefined();
    });

    test('cannot be read: is refused, and says so', async () => {
      make(0o700);
      fs.writeFileSync(lock(), '{}', { mode: 0 });
      // Root reads everything.
      const isRoot = process.getuid!() === 0;
      if (isRoot) {
        fs.chmodSync(parent, 0o755);
        for (const place of [folder, lock()]) fs.chownSync(place, NOBODY, NOBODY);
        process.seteuid!(NOBODY);
      }
      try {
        await expect(open()).rejects.toMatchObject(unavailable(/cannot be read: EACCES/));
      } finally {
        if (isRoot) process.seteuid!(0);
      }
    });

    test('names a process whose start nobody can see: it may be that one', async () => {
      await open();
      const held = JSON.parse(fs.readFileSync(lock(), 'utf8')) as object;
      await close();
      const holder = { ...held, token: 'another', pid: 1, started: null };
      fs.writeFileSync(lock(), JSON.stringify(holder));
      await expect(open()).rejects.toMatchObject({
        code: 'database_in_use',
        message: expect.stringMatching(/process 1 on /) as string,
      });
    });
  });
});
