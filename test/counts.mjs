import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

/** Adds up what suites say that they tried, and tells it at the end of a run. */
export default class Counted {
  onRunStart() {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-counts-'));
    this.file = path.join(this.folder, 'counts');
    process.env.BILLING_TEST_COUNTS = this.file;
  }

  onRunComplete() {
    const lines = fs.existsSync(this.file) ? fs.readFileSync(this.file, 'utf8').split('\n') : [];
    fs.rmSync(this.folder, { recursive: true, force: true });
    const counts = new Map();
    for (const line of lines.filter((one) => one !== '')) {
      const [what, times] = JSON.parse(line);
      counts.set(what, (counts.get(what) ?? 0) + times);
    }
    if (counts.size === 0) return;
    process.stderr.write('\nTried:\n');
    for (const [what, times] of [...counts].sort()) {
      process.stderr.write(`${String(times).padStart(9)}  ${what}\n`);
    }
  }
}
