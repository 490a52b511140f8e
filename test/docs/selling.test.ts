import * as fs from 'node:fs';
import * as path from 'node:path';

import ts from 'typescript';

import * as engine from '../../engine';

const PAGE = path.join(__dirname, '../../docs/selling.md');

/** The examples of the page, which are one program. */
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

test('docs/selling.md: the examples run and give what they say', async () => {
  const page = fs.readFileSync(PAGE, 'utf8');
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
  expect(compares).toBeGreaterThan(50);
});
