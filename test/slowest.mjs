import * as path from 'node:path';

const SHOWN = 10;

/** Tells at the end of a run which suites took longest, so that who slows one sees it. */
export default class Slowest {
  onRunComplete(_contexts, { testResults }) {
    const suites = testResults
      .map(({ testFilePath, perfStats }) => ({ testFilePath, seconds: perfStats.runtime / 1000 }))
      .sort((left, right) => right.seconds - left.seconds);
    if (suites.length <= SHOWN) return;
    process.stderr.write('\nThe slowest suites, in seconds:\n');
    for (const { testFilePath, seconds } of suites.slice(0, SHOWN)) {
      const name = path.relative(process.cwd(), testFilePath);
      process.stderr.write(`${seconds.toFixed(1).padStart(7)}  ${name}\n`);
    }
  }
}
