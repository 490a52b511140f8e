/** What is published, and the engine as a library for those who have no n8n. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawn, type ChildProcess } from 'node:child_process';
import { imageName } from '../engine/database/image';
import { packPackage, ROOT, run, type Packed } from './n8n/package';

interface Manifest {
  n8n: { nodes: string[]; credentials: string[] };
}

const MINUTES = 60_000;
const isIn = (folder: string, name: string): boolean => fs.existsSync(path.join(folder, name));

let packed: Packed;
beforeAll(async () => {
  packed = await packPackage();
}, 5 * MINUTES);
afterAll(() => packed?.remove());

describe('npm pack', () => {
  it('holds what is built, the docs, the workflows and the papers, and nothing else', () => {
    const places = new Set(packed.files.map((file) => file.split('/')[0]));
    expect([...places].sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'dist',
      'docs',
      'package.json',
      'sbom.cdx.json',
      'workflows',
    ]);
    const built = packed.files.filter((file) => file.startsWith('dist/'));
    expect(new Set(built.map((file) => file.split('/')[1]))).toEqual(
      new Set(['cli', 'credentials', 'engine', 'gateway', 'nodes']),
    );
    // Beside code and what n8n shows: the one image of the embedded database.
    const others = built.filter((file) => !/\.(js|js\.map|d\.ts|svg|node\.json)$/.test(file));
    expect(others).toEqual([`dist/engine/database/${imageName()}`]);
  });

  it('holds every node and credential, with icons for light and dark', () => {
    const manifest = JSON.parse(
      fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'),
    ) as Manifest;
    const { nodes, credentials } = manifest.n8n;
    expect(packed.files).toEqual(expect.arrayContaining([...nodes, ...credentials]));
    expect(packed.files).toEqual(
      expect.arrayContaining(nodes.map((file) => file.replace(/\.js$/, '.json'))),
    );
    for (const folder of new Set([...nodes, ...credentials].map((file) => path.dirname(file)))) {
      const icons = packed.files.filter(
        (file) => path.dirname(file) === folder && file.endsWith('.svg'),
      );
      expect(icons.filter((icon) => icon.endsWith('.dark.svg'))).toHaveLength(1);
      expect(icons.filter((icon) => !icon.endsWith('.dark.svg'))).toHaveLength(1);
    }
  });

  it('holds the workflows as they are in the repository', () => {
    const shipped = fs.readdirSync(path.join(ROOT, 'workflows')).map((file) => `workflows/${file}`);
    expect(packed.files.filter((file) => file.startsWith('workflows/')).sort()).toEqual(
      shipped.sort(),
    );
  });
});

describe('the engine as a library, without n8n', () => {
  let folder: string;
  const write = (file: string, content: string) =>
    fs.writeFileSync(path.join(folder, file), content);

  beforeAll(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-library-'));
    write('package.json', JSON.stringify({ name: 'customer', version: '1.0.0', private: true }));
    await run(
      'npm',
      [
        ...['install', '--omit=peer', '--ignore-scripts', '--no-audit', '--no-fund'],
        ...['--prefer-offline', packed.tarball],
      ],
      folder,
    );
  }, 5 * MINUTES);
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  it('brings nothing of n8n along', () => {
    const lock = JSON.parse(fs.readFileSync(path.join(folder, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { peer?: boolean }>;
    };
    expect(Object.keys(lock.packages)).toContain('node_modules/n8n-nodes-billing');
    const installed = Object.keys(lock.packages).filter((name) =>
      fs.existsSync(path.join(folder, name)),
    );
    expect(
      installed.filter((name) => /node_modules\/(n8n-(?!nodes-billing)|@n8n\/)/.test(name)),
    ).toEqual([]);
    expect(installed.length).toBeGreaterThan(5);
  });

  const program = `
    const billing = await openBilling({ connection: { embedded: 'memory' } });
    await billing.catalog.saveProduct({ key: 'CREDITS', name: 'Credits' });
    const { accountId: account } = await billing.accounts.identify({ externalId: '42' });
    await billing.ledger.grant({ account, product: 'CREDITS', quantity: '10', source: 'test' });
    const use = await billing.ledger.consume({ account, product: 'CREDITS', amount: '4' });
    const refusal = await billing.ledger.consume({ account, product: 'CREDITS', amount: '7' });
    const items = [{ description: 'Advice', unitPrice: '1.00' }];
    const { invoiceId } = await billing.invoicing.createInvoice({ account, currency: 'EUR', items });
    const paper = await billing.invoicing.renderInvoice({ invoiceId, format: 'pdf' });
    const isPdf = atob(paper.content).startsWith('%PDF-');
    const { ok } = await billing.verify();
    await billing.close();
    const { allowed, remaining } = use;
    console.log(JSON.stringify([allowed, remaining, refusal.allowed, refusal.remaining, isPdf, ok]));
  `;
  const outcome = [true, '6', false, '6', true, true];

  it.each([
    [
      'require',
      'program.cjs',
      `const { openBilling } = require('n8n-nodes-billing/engine');
       (async () => { ${program} })();`,
    ],
    ['import', 'program.mjs', `import { openBilling } from 'n8n-nodes-billing/engine'; ${program}`],
  ])(
    'bills after %s',
    async (_, file, content) => {
      write(file, content);
      expect(JSON.parse(await run(process.execPath, [file], folder))).toEqual(outcome);
    },
    2 * MINUTES,
  );

  it(
    'has a command line that runs: npx n8n-nodes-billing',
    async () => {
      const npx = (...args: string[]) =>
        run('npx', ['--no', '--', 'n8n-nodes-billing', ...args], folder);
      expect(await npx('--help')).toContain('run-due');
      write(
        'fill.cjs',
        `const { openBilling } = require('n8n-nodes-billing');
         (async () => {
           const billing = await openBilling({ connection: { embedded: 'data' } });
           await billing.catalog.saveProduct({ key: 'CREDITS', name: 'Credits' });
           const { accountId: account } = await billing.accounts.identify({ externalId: '42' });
           await billing.ledger.grant({ account, product: 'CREDITS', quantity: '10' });
           await billing.close();
         })();`,
      );
      await run(process.execPath, ['fill.cjs'], folder);
      const database = ['--embedded', 'data'];
      expect(JSON.parse(await npx('verify', '--json', ...database))).toMatchObject({
        ok: true,
        checked: { entries: 1, grants: 1 },
      });
      expect(await npx('statement', '--external-id', '42', ...database)).toContain(',grant,10,');
      expect(await npx('run-due', ...database)).toBe('Nothing was due\n');
    },
    2 * MINUTES,
  );

  /** Opens a folder, says so, and stays; or says why it could not. */
  const opening = (place: string): ChildProcess => {
    write(
      'open.cjs',
      `const { openBilling } = require('n8n-nodes-billing');
       openBilling({ connection: { embedded: process.argv[2] } }).then(async (billing) => {
         await billing.transaction(async (tx) => {
           const found = await tx.raw(
             'select system_identifier::text as id, min(applied_at)::text as made ' +
             'from pg_control_system(), billing.migrations group by 1',
           );
           console.log(JSON.stringify(found.rows[0]));
         });
         process.stdin.resume().once('end', () => billing.close());
       }, (error) => console.log(JSON.stringify(error.code)));`,
    );
    return spawn(process.execPath, ['open.cjs', place], { cwd: folder });
  };
  const said = (child: ChildProcess) =>
    new Promise<unknown>((resolve) =>
      child.stdout!.once('data', (line: Buffer) => resolve(JSON.parse(line.toString()))),
    );
  const ended = (child: ChildProcess) => new Promise((resolve) => child.once('close', resolve));

  it(
    'begins an embedded database as a copy of the image, killed meanwhile and two at once among it',
    async () => {
      const place = path.join(folder, 'killed');
      const killed = opening(place);
      const over = ended(killed);
      while (!['billing-unfinished', 'PG_VERSION'].some((name) => isIn(place, name)))
        await sleep(2);
      killed.kill('SIGKILL');
      await over;
      const began = new Date();
      const rivals = [opening(place), opening(place), opening(path.join(folder, 'another'))];
      const ends = rivals.map(ended);
      const heard = await Promise.all(rivals.map(said));
      for (const rival of rivals) rival.stdin!.end();
      await Promise.all(ends);
      const opened = heard.filter((one) => one !== 'database_in_use') as {
        id: string;
        made: string;
      }[];
      expect(opened).toHaveLength(2);
      // initdb gives each database another.
      expect(opened[0]!.id).toBe(opened[1]!.id);
      expect(new Date(opened[1]!.made) >= began).toBe(true);
      const database = ['--embedded', 'killed'];
      const npx = ['--no', '--', 'n8n-nodes-billing', 'verify', '--json', ...database];
      expect(JSON.parse(await run('npx', npx, folder))).toMatchObject({ ok: true });
      expect(fs.readdirSync(place).filter((name) => name.startsWith('billing'))).toEqual([
        'billing-identity.secret',
      ]);
    },
    5 * MINUTES,
  );

  it(
    'has types, for CommonJS and for ES modules',
    async () => {
      // A wrong use has to be refused: else all of it could be `any`.
      const content = `
        import { openBilling, type Billing, type CheckAnswer } from 'n8n-nodes-billing/engine';
        export async function remaining(): Promise<string | null> {
          const billing: Billing = await openBilling({ connection: { host: 'db', port: 5432 } });
          // @ts-expect-error a host is a name
          await openBilling({ connection: { host: 5432 } });
          const answer: CheckAnswer = await billing.ledger.check({ account: 'a', product: 'p' });
          // @ts-expect-error there is no such method
          billing.ledger.burn();
          // @ts-expect-error an answer is not a number
          const wrong: number = answer.remaining;
          return answer.remaining ?? String(wrong);
        }
      `;
      write('use.cts', content);
      write('use.mts', content);
      // A project for Node has these; the library's own declarations have to be complete beside them.
      fs.mkdirSync(path.join(folder, 'node_modules', '@types'), { recursive: true });
      fs.symlinkSync(
        path.join(ROOT, 'node_modules', '@types', 'node'),
        path.join(folder, 'node_modules', '@types', 'node'),
        'dir',
      );
      const options = { module: 'node16', moduleResolution: 'node16', target: 'es2022' };
      write(
        'tsconfig.json',
        JSON.stringify({
          compilerOptions: { ...options, strict: true, noEmit: true, types: ['node'] },
          files: ['use.cts', 'use.mts'],
        }),
      );
      const tsc = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
      expect(await run(process.execPath, [tsc, '-p', '.'], folder)).toBe('');
    },
    2 * MINUTES,
  );
});
