import { execFileSync } from 'node:child_process';
import * as os from 'node:os';
import * as path from 'node:path';

import { openBilling, type Billing } from '../../engine';
import { holdsDatabase, moveIntoPlace, unpackImage } from '../../engine/database/image';
import { defaultFolder, optionsOf } from '../../nodes/shared/connection';
import { BillingProcess } from '../engine/database/processes';

/**
 * The accident: files of the database may be read and written by whoever gets into its folder, and a
 * folder that was there before stayed open to all. What was put in the place of the lock crashed, hung
 * or spun the process.
 */

/** The module itself, as the engine has it; an import would be a copy. */
const fs: typeof import('node:fs') = jest.requireActual('node:fs');

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

  describe('begins as a copy of an image', () => {
    /** Any database will do, in the place of the one that a build makes. */
    const image = (): Buffer => fs.readFileSync(process.env.BILLING_TEST_DUMP!);
    const names = (): string[] => fs.readdirSync(folder).sort();
    const STEPS = ['mkdirSync', 'renameSync', 'rmdirSync', 'rmSync'] as const;

    /** Lets so many steps be done; what comes after them fails, what cleans up among it, as after a kill. */
    function killAfter(steps: number): { isOver(): boolean } {
      let done = 0;
      const isOver = (): boolean => done > steps;
      const step = <T>(work: () => T): T => {
        done += 1;
        if (isOver()) throw new Error('killed');
        return work();
      };
      for (const name of STEPS) {
        const real = fs[name] as (...given: unknown[]) => unknown;
        const counted = (...given: unknown[]) => step(() => real(...given));
        jest.spyOn(fs, name).mockImplementation(counted as never);
      }
      const { writeFile } = fs.promises;
      jest.spyOn(fs.promises, 'writeFile').mockImplementation(async (...given) => {
        // Not whole, when it comes to that.
        if (done >= steps) await writeFile(given[0], 'half of', given[2]);
        await step(() => writeFile(...given));
      });
      return { isOver };
    }

    afterEach(() => jest.restoreAllMocks());

    /** A few folders and files, named as those of a database. */
    function small(): Buffer {
      const source = path.join(parent, 'source');
      for (const name of ['base/5', 'global']) {
        fs.mkdirSync(path.join(source, name), { recursive: true });
        for (const file of ['1', '2']) fs.writeFileSync(path.join(source, name, file), name);
      }
      fs.writeFileSync(path.join(source, 'PG_VERSION'), '18');
      return execFileSync('tar', ['--format=ustar', '-c', 'PG_VERSION', 'base', 'global'], {
        cwd: source,
      });
    }

    test('and a process killed at any step leaves no database, or a whole one', async () => {
      const tar = small();
      const whole = [...['base', 'base/5', 'base/5/1', 'base/5/2'], ...['global/1', 'global/2']];
      const all = (): string[] => fs.readdirSync(folder, { recursive: true }) as string[];
      let wasDone = false;
      for (let steps = 0; !wasDone; steps += 1) {
        fs.mkdirSync(folder, { mode: 0o700 });
        const killed = killAfter(steps);
        await unpackImage(tar, folder).catch(() => undefined);
        wasDone = !killed.isOver();
        jest.restoreAllMocks();
        if (holdsDatabase(folder)) expect(all()).toEqual(expect.arrayContaining(whole));
        moveIntoPlace(folder);
        if (!holdsDatabase(folder)) await unpackImage(tar, folder);
        expect(all().sort()).toEqual(['PG_VERSION', ...whole, 'global'].sort());
        expect(fs.readFileSync(path.join(folder, 'base/5/1'), 'utf8')).toBe('base/5');
        fs.rmSync(folder, { recursive: true });
      }
    });

    test('of which nothing is left when the disk was full', async () => {
      make(0o700);
      const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
      const { writeFile } = fs.promises;
      let files = 0;
      jest.spyOn(fs.promises, 'writeFile').mockImplementation((...given) => {
        files += 1;
        return files > 100 ? Promise.reject(full) : writeFile(...given);
      });
      await expect(unpackImage(image(), folder)).rejects.toBe(full);
      expect(names()).toEqual([]);
    });

    test('whose files are its owner’s alone', async () => {
      make(0o700);
      await unpackImage(image(), folder);
      const all = fs.readdirSync(folder, { recursive: true }) as string[];
      expect(all.filter((name) => (rights(path.join(folder, name)) & 0o077) !== 0)).toEqual([]);
      await open();
    });

    test('but not over what is left of a database', async () => {
      await open();
      await close();
      fs.rmSync(path.join(folder, 'PG_VERSION'));
      const before = names();
      await expect(open()).rejects.toMatchObject(unavailable(/"base" of a database is there/));
      expect(names()).toEqual(before);
    });

    test('nor where an image is cut off', async () => {
      make(0o700);
      const cut = image().subarray(0, 1_000_000);
      await expect(unpackImage(cut, folder)).rejects.toThrow('cut off');
      expect(names()).toEqual([]);
    });
  });

  test('is unlocked when its process ends without closing it', async () => {
    await open();
    await close();
    const child = new BillingProcess({ connection: { embedded: folder }, leave: true });
    await child.said(1);
    expect(await child.end()).toBe(0);
    expect(fs.readdirSync(folder)).not.toContain('billing.lock');
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
