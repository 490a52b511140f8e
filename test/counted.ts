import * as fs from 'node:fs';

/** What a suite tried: added up over all suites, and told at the end of the run (counts.mjs). */
const counts = new Map<string, number>();

export function count(what: string, times = 1): void {
  counts.set(what, (counts.get(what) ?? 0) + times);
}

afterAll(() => {
  const file = process.env.BILLING_TEST_COUNTS;
  if (file === undefined) return;
  for (const one of counts) fs.appendFileSync(file, `${JSON.stringify(one)}\n`);
  counts.clear();
});
