import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { openEmbedded } from '../../engine/database/embedded';

const ROOT = join(__dirname, '../..');

interface Ended {
  code: number | null;
  output: string;
}

/** Runs what `npm start` runs; sends a signal as soon as the output holds the given text. */
function runDemo(folder: string, kill?: { when: string; signal: NodeJS.Signals }): Promise<Ended> {
  return new Promise((done, failed) => {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', join(ROOT, 'scripts', 'demo.ts'), folder],
      { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let output = '';
    let sent = false;
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      if (kill === undefined || sent || !output.includes(kill.when)) return;
      sent = true;
      child.kill(kill.signal);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.on('error', failed);
    child.on('close', (code) => done({ code, output }));
  });
}

const count = (text: string, part: string): number => text.split(part).length - 1;

describe('npm start', () => {
  let home: string;
  let folder: string;

  /** A month passes in each run, in the same way, and leaves an invoice. */
  function expectAMonth(output: string): void {
    expect(output).toContain('TEST-000003  Ann  29.00 USD  paid');
    expect(output).toContain('TEST-000004  Ben  29.00 USD  card_declined');
    expect(output).toContain('a day later the workflow tries again: TEST-000004 is paid');
    expect(output).toContain('Four invoices, all paid');
    const [paper] = readdirSync(home).filter((file) => file.endsWith('.pdf'));
    expect(output).toContain(join(home, paper!));
    expect(readFileSync(join(home, paper!)).subarray(0, 5).toString()).toBe('%PDF-');
  }

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'billing-demo-'));
    folder = join(home, 'billing');
  });

  /** What the first test lets `npm start` do, the others need not wait for. */
  const make = async (): Promise<void> => (await openEmbedded(folder, 10_000)).close();

  afterEach(() => rmSync(home, { recursive: true, force: true }));

  it('gives ten answers and two refusals, and goes on from there with a purchase', async () => {
    const first = await runDemo(folder);
    expect(first.output).toContain('10 of 12 messages answered, 2 refused with an offer.');
    expect(count(first.output, '  Customer  ')).toBe(12);
    expect(count(first.output, '100 messages for 9.00 USD')).toBe(2);
    expect(first.output).toContain('ok, no problems');
    expectAMonth(first.output);
    expect(first.code).toBe(0);

    const second = await runDemo(folder);
    expect(second.output).toContain('10 messages paid for, balance 0 MESSAGES.');
    expect(second.output).toContain('granted: 100 MESSAGES');
    expect(second.output).toContain('messages 13 and 14');
    expect(second.output).toContain('98 left');
    expectAMonth(second.output);
    expect(second.code).toBe(0);
  });

  it('goes on where it was stopped or killed, and charges no message twice', async () => {
    await make();
    const stopped = await runDemo(folder, { when: '   3  Customer', signal: 'SIGINT' });
    expect(stopped.output).toContain('The next `npm start` goes on from here.');
    expect(stopped.code).toBe(130);

    // Killed in the middle of a message: it may be paid for without having been answered.
    const killed = await runDemo(folder, { when: '   8  Customer', signal: 'SIGKILL' });
    expect(killed.code).toBeNull();

    const last = await runDemo(folder);
    expect(last.output).toContain('10 of 12 messages answered, 2 refused with an offer.');
    expect(last.output).toContain('ok, no problems');
    expect(last.code).toBe(0);
  });

  it('does not begin while another run has the database open', async () => {
    await make();
    const runs = await Promise.all([runDemo(folder), runDemo(folder)]);
    const refused = runs.filter(({ code }) => code !== 0);
    // Mostly one of them meets the other's lock; on a slow machine they may run one after the other.
    expect(refused.length).toBeLessThan(2);
    for (const { code, output } of refused) {
      expect(code).toBe(1);
      expect(output).toContain('Not as expected:');
      expect(output).toContain(folder);
    }
    const next = await runDemo(folder);
    expect(next.output).toContain('ok, no problems');
    expect(next.code).toBe(0);
  });
});
