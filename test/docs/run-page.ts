import * as fs from 'node:fs';
import * as path from 'node:path';

import ts from 'typescript';

import * as engine from '../../engine';

/** The examples of a page are one program, which a test runs. */

const blocks = (page: string): string[] =>
  [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!);

/** `expression; // what it gives` becomes a comparison; what stands before it may be a statement. */
const compared = (line: string): string =>
  line.replace(
    /^(?!\s|const |let |import |if |\/\/)(.+); \/\/ (.+)$/,
    (_whole, expression: string, expected: string) =>
      `same(${JSON.stringify(expression)}, (${expression}), (${expected}));`,
  );

/** What a reader imports is what is given to the program. */
function programOf(page: string): string {
  const code = blocks(page)
    .join('\n')
    .replace(/^import \{ (.+) \} from 'n8n-nodes-billing\/engine';$/gm, 'const { $1 } = engine;')
    .split('\n')
    .map(compared)
    .join('\n');
  return ts.transpileModule(`async function program() {\n${code}\n}`, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.None },
  }).outputText;
}

/**
 * Runs the examples of a page of docs/ and compares what they give with what they say.
 *
 * @returns how much was compared
 */
export async function runPage(name: string): Promise<number> {
  const page = fs.readFileSync(path.join(__dirname, '../../docs', name), 'utf8');
  const program = programOf(page);
  let compares = 0;
  const same = (expression: string, given: unknown, expected: unknown) => {
    compares += 1;
    expect({ [expression]: given }).toEqual({ [expression]: expected });
  };
  const run = new Function('engine', 'same', `${program}\nreturn program();`) as (
    given: typeof engine,
    compare: typeof same,
  ) => Promise<void>;
  const opened: engine.Billing[] = [];
  const openBilling = async (options: engine.BillingOptions) => {
    const billing = await engine.openBilling(options);
    opened.push(billing);
    return billing;
  };
  try {
    await run({ ...engine, openBilling }, same);
  } finally {
    // Also when an example failed before it closed what it opened.
    for (const billing of opened) await billing.close();
  }
  return compares;
}
