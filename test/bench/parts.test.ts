import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';

/**
 * The benchmarks at a toy size, so that they do not rot unseen: each part ends, and verify() finds what
 * it wrote in order. Figures of such a size mean nothing. (`n8n` and `webhook` need a real one: test:n8n installs it.)
 */

const PARTS = ['uses', 'checks', 'two-processes', 'growth', 'verify', 'invoices', 'embedded'];

const TOY = {
  BENCH_ONLY: PARTS.join(','),
  BENCH_REPEATS: '1',
  BENCH_MILLISECONDS: '30',
  BENCH_ACCOUNTS: '10',
  // Packs of units that are used up, and one that is not.
  BENCH_ENTRIES: '3000',
  BENCH_INVOICES: '5',
  BENCH_MANY_INVOICES: '10',
};

interface Run {
  parts: Array<{ name: string; ok?: boolean; failed?: string; figures?: unknown[] }>;
}

describe('the benchmarks', () => {
  const folder = mkdtempSync(join(os.tmpdir(), 'billing-bench-'));
  let said = '';
  let code: number | null;

  beforeAll(async () => {
    const run = spawn(process.execPath, ['--import', 'tsx', 'bench/run.ts'], {
      cwd: join(__dirname, '../..'),
      env: { ...process.env, ...TOY, BENCH_FOLDER: folder, NODE_OPTIONS: '' },
    });
    run.stdout.on('data', (some: Buffer) => (said += some.toString()));
    run.stderr.on('data', (some: Buffer) => (said += some.toString()));
    code = await new Promise((resolve) => run.once('close', resolve));
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(PARTS)('%s ends, and all that it wrote is in order', (name) => {
    const { parts } = JSON.parse(readFileSync(join(folder, 'bench.json'), 'utf8')) as Run;
    const part = parts.find((one) => one.name === name);
    expect({ failed: part?.failed, ok: part?.ok, said: part?.ok === true ? '' : said }).toEqual({
      failed: undefined,
      ok: true,
      said: '',
    });
    expect(part!.figures).not.toHaveLength(0);
  });

  test('and the run says so', () => {
    expect([code, code === 0 ? '' : said]).toEqual([0, '']);
  });
});
