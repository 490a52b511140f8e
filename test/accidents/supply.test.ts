import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import { isAllowed, lock, manifest, runtimePackages, type Manifest } from '../../scripts/supply';
import { ROOT, run } from '../n8n/package';

/** What is installed with this package: where it comes from, by which licences, and that nothing runs. */

const MINUTES = 60_000;

const packages = runtimePackages();
const namesOf = (all: readonly { place: string }[]): string[] => all.map(({ place }) => place);

describe('the lock file', () => {
  const { '': own, ...locked } = lock;

  it('is in step with package.json, and with what is installed', () => {
    const kinds = ['version', 'dependencies', 'devDependencies', 'peerDependencies'] as const;
    const of = (from: object): object =>
      Object.fromEntries(kinds.map((kind) => [kind, (from as Record<string, unknown>)[kind]]));
    expect(of(own!)).toEqual(of(manifest));
    expect(
      packages.filter((one) => one.manifest.version !== one.locked.version).map((one) => one.place),
    ).toEqual([]);
  });

  it('takes everything from the registry, by its SHA-512', () => {
    const odd = Object.entries(locked).filter(
      ([, { link, resolved, integrity }]) =>
        link === true ||
        // None is the registry that npm is set up with.
        !/^(https:\/\/registry\.npmjs\.org\/|$)/.test(resolved ?? '') ||
        !/^sha512-[\w+/]{86}==$/.test(integrity ?? ''),
    );
    expect(odd.map(([place]) => place)).toEqual([]);
    expect(Object.keys(locked).length).toBeGreaterThan(packages.length);
  });

  it('holds all that is installed with the package', () => {
    const direct = Object.keys(manifest.dependencies!).map((name) => `node_modules/${name}`);
    expect(namesOf(packages)).toEqual(expect.arrayContaining(direct));
    // By the other account of it: what npm marks as neither for development nor for peers.
    const marked = Object.entries(locked as Record<string, { dev?: true; peer?: true }>)
      .filter(([, { dev, peer }]) => dev !== true && peer !== true)
      .map(([place]) => place);
    expect(namesOf(packages)).toEqual(marked.sort());
  });
});

describe('nothing that is installed with the package', () => {
  it('runs while it is installed', () => {
    const runs = ({ scripts = {} }: Manifest): boolean =>
      ['preinstall', 'install', 'postinstall'].some((script) => script in scripts);
    const running = packages.filter(
      (one) =>
        one.locked.hasInstallScript === true ||
        runs(one.manifest) ||
        fs.existsSync(path.join(ROOT, one.place, 'binding.gyp')),
    );
    expect(namesOf(running)).toEqual([]);
    expect(runs(manifest)).toBe(false);
  });

  it('has a licence that nobody can sell under', () => {
    expect(packages.filter(({ license }) => !isAllowed(license)).map((one) => one.place)).toEqual(
      [],
    );
    expect(['GPL-3.0', 'MIT AND SSPL-1.0', 'none', 'SEE LICENSE IN x'].some(isAllowed)).toBe(false);
  });

  it.each(packages.filter((one) => one.manifest.license === undefined))(
    'names its licence nowhere: $place has it in its file',
    ({ place, license }) => {
      expect(license).toBe('MIT');
      const file = fs.readFileSync(path.join(ROOT, place, 'LICENSE'), 'utf8');
      expect(file).toContain('Permission is hereby granted, free of charge');
    },
  );
});

it(
  'npm run sbom writes all of it down',
  async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-sbom-'));
    try {
      const file = path.join(folder, 'sbom.json');
      await run('npm', ['run', '--silent', 'sbom', '--', file], ROOT);
      const bom = JSON.parse(fs.readFileSync(file, 'utf8')) as {
        bomFormat: string;
        metadata: { component: { purl: string } };
        components: Array<{ purl: string; hashes: unknown[]; licenses: unknown[] }>;
        dependencies: Array<{ ref: string; dependsOn?: string[] }>;
      };
      expect(bom.bomFormat).toBe('CycloneDX');
      const purls = packages.map(
        (one) => `pkg:npm/${one.manifest.name.replace('@', '%40')}@${one.manifest.version}`,
      );
      expect(bom.components.map(({ purl }) => purl).sort()).toEqual(purls.sort());
      for (const { hashes, licenses } of bom.components) {
        expect([hashes.length, licenses.length]).toEqual([1, 1]);
      }
      const own = bom.metadata.component.purl;
      expect(own).toBe(`pkg:npm/${manifest.name}@${manifest.version}`);
      // Whatever is in it is needed by something in it.
      const needed = new Set(bom.dependencies.flatMap(({ dependsOn = [] }) => dependsOn));
      expect([...needed].sort()).toEqual(purls);
      expect(bom.dependencies.find(({ ref }) => ref === own)!.dependsOn).toHaveLength(
        Object.keys(manifest.dependencies!).length,
      );
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  },
  2 * MINUTES,
);
