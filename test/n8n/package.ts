/** Builds and packs this package, away from the working tree: others may be using its `dist`. */
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { promisify } from 'node:util';
import { cleanEnvironment } from './install';

const execFileAsync = promisify(execFile);

export const ROOT = path.join(__dirname, '..', '..');
/** Not part of the package: what is installed, or written by programs. */
const LEFT_OUT = ['node_modules', '.git', 'output', 'coverage'];

export interface Packed {
  /** The tarball, as it would be published. */
  tarball: string;
  /** What `npm pack` says is in it. */
  files: string[];
  remove(): void;
}

/**
 * `npm pack` on a copy of the sources, in a temporary folder, after what is built there was brought
 * up to date: with the times of files copied too, the compiler sees what it has done before.
 */
export async function packPackage(): Promise<Packed> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-package-'));
  const remove = () => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  try {
    const source = path.join(folder, 'source');
    const omitted = LEFT_OUT.map((name) => path.join(ROOT, name));
    fs.cpSync(ROOT, source, {
      recursive: true,
      preserveTimestamps: true,
      filter: (file) => !omitted.includes(file),
    });
    fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(source, 'node_modules'), 'dir');
    await run('npm', ['run', 'compile'], source);
    await run('npm', ['run', 'sbom'], source);
    const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
    const [listing] = JSON.parse(await run('npm', pack, source)) as [
      { filename: string; files: { path: string }[] },
    ];
    return {
      tarball: path.join(folder, listing.filename),
      files: listing.files.map((file) => file.path),
      remove,
    };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Runs a command and returns what it printed; what it complained about is in the error. */
export async function run(
  command: string,
  args: readonly string[],
  folder: string,
): Promise<string> {
  try {
    const env = { ...cleanEnvironment(), npm_config_update_notifier: 'false' };
    const { stdout } = await execFileAsync(command, [...args], {
      cwd: folder,
      env,
      maxBuffer: 64_000_000,
    });
    return stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${[command, ...args].join(' ')} failed:\n${stdout ?? ''}${stderr ?? ''}`, {
      cause: error,
    });
  }
}
