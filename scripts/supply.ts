import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What is installed with this package, and by which licences: read from the lock file, as `npm ci` reads it. */

const root = join(__dirname, '..');

const read = <T>(file: string): T => JSON.parse(readFileSync(join(root, file), 'utf8')) as T;

/** What of a `package.json` is looked at. */
export interface Manifest {
  name: string;
  version: string;
  license?: string;
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/** A package in the lock file. */
interface Locked extends Omit<Manifest, 'name'> {
  resolved?: string;
  integrity?: string;
  link?: boolean;
  hasInstallScript?: boolean;
}

/** By the place in which each is installed; '' is this package. */
export const lock = read<{ packages: Record<string, Locked> }>('package-lock.json').packages;

export const manifest = read<Manifest>('package.json');

export interface RuntimePackage {
  place: string;
  locked: Locked;
  manifest: Manifest;
  license: string;
  /** Where those are that it needs. */
  needs: string[];
}

/** Where Node finds a package from a place: in its own folder, or in that of one above. */
function find(name: string, from: string): string | null {
  for (let place = from; ; place = place.slice(0, place.lastIndexOf('node_modules'))) {
    place = place.replace(/\/$/, '');
    const found = `${place === '' ? '' : `${place}/`}node_modules/${name}`;
    if (found in lock) return found;
    if (place === '') return null;
  }
}

/** Of a package whose `package.json` names none: by the file LICENSE beside it. */
const BY_FILE: Readonly<Record<string, string>> = { 'png-js': 'MIT' };

/** Names of before SPDX. */
const OLD_NAMES: Readonly<Record<string, string>> = { 'MIT/X11': 'MIT' };

/** May be used in a package under MIT, by whoever sells with it. */
const ALLOWED = [
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
  'Zlib',
];

/** Whether all licences of an expression of SPDX's are allowed. */
export const isAllowed = (license: string): boolean =>
  license
    .replace(/[()]/g, ' ')
    .split(/\s+(?:AND|OR)\s+/)
    .every((one) => ALLOWED.includes(one.trim()));

function needsOf(place: string): string[] {
  const { dependencies, optionalDependencies } = lock[place]!;
  return Object.keys({ ...dependencies, ...optionalDependencies }).map((name) => {
    const found = find(name, place);
    if (found === null) throw new Error(`The lock file lacks ${name}, which ${place} needs.`);
    return found;
  });
}

/** Every package that a user of this one installs, development's left out. */
export function runtimePackages(): RuntimePackage[] {
  const places = new Set(needsOf(''));
  for (const place of places) for (const needed of needsOf(place)) places.add(needed);
  return [...places].sort().map((place) => {
    const installed = read<Manifest>(`${place}/package.json`);
    const named = installed.license ?? BY_FILE[installed.name] ?? 'none';
    const license = OLD_NAMES[named] ?? named;
    return { place, locked: lock[place]!, manifest: installed, license, needs: needsOf(place) };
  });
}
