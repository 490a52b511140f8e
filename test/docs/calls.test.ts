import * as fs from 'node:fs';
import * as path from 'node:path';

import { openBilling, type Billing } from '../../engine';

/** What the pages say of calls, held against an open engine. */

const root = path.join(__dirname, '../..');
const pages = [
  'README.md',
  ...fs
    .readdirSync(path.join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const page = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8');

/** A value as a page writes it; `…` is an id. */
const valueOf = (written: string): unknown => new Function(`return (${written});`)() as unknown;

let billing: Billing;
beforeAll(async () => {
  billing = await openBilling({ connection: { embedded: 'memory' } });
});
afterAll(() => billing.close());

describe('the pages', () => {
  it('name calls that are there', () => {
    const rooms = Object.entries(billing).filter(([, calls]) => typeof calls === 'object');
    const form = new RegExp(`\\b(${rooms.map(([room]) => room).join('|')})\\.(\\w+)\\(?`, 'g');
    const named = pages.flatMap((file) => {
      const text = page(file);
      const code = [...text.matchAll(/^```[jt]s\n(.*?)^```$/gms), ...text.matchAll(/`([^`\n]+)`/g)];
      return code.flatMap(([, part]) =>
        [...part!.matchAll(form)].map(([, room, call]) => ({ file, room: room!, call: call! })),
      );
    });
    expect(named.length).toBeGreaterThan(100);
    const calls = new Map<string, object>(rooms);
    // `events.map` of an example is an array's; `ledger.test.ts` is a file.
    const isOther = (call: string): boolean =>
      call in Array.prototype || ['json', 'md', 'test', 'ts'].includes(call);
    const gone = named.filter(({ room, call }) => !isOther(call) && !(call in calls.get(room)!));
    expect(gone).toEqual([]);
  });
});

describe('README.md', () => {
  it('shows what a use answers', async () => {
    const [, program] = /^```js\n(.*?)^```$/ms.exec(page('README.md'))!;
    const [, example] = program!.split("// or { connection: { embedded: './billing' } }");
    const [code, expected] = example!.split('// { allowed:');
    const run = new Function(
      'billing',
      `return (async () => { //${code}; return answer; })();`,
    ) as (given: Billing) => Promise<Record<string, unknown>>;
    const answer = await run(billing);
    const written = valueOf(`{ allowed:${expected!.split('\n')[0]!}`);
    expect({ ...answer, accountId: '…', entryId: '…' }).toEqual(written);
  });
});

describe('docs/invoicing.md', () => {
  it('has each setting with its default', async () => {
    const [, section] = page('docs/invoicing.md').split('\n## Settings\n');
    const rows = [
      ...section!.split('\n## ')[0]!.matchAll(/^\| (`\w+`(?:, `\w+`)*) +\| (`.+?`|none|\d+) +\|/gm),
    ];
    const { savedAt: _saved, ...settings } = await billing.invoicing.settings();
    const defaults = rows.flatMap(([, names, written]) =>
      [...names!.matchAll(/`(\w+)`/g)].map(([, name]) => {
        const cell = written!.replace(/^`|`$/g, '');
        if (cell === 'none') return [name!, null];
        return [name!, /^[a-z]+$/.test(cell) ? cell : valueOf(cell)];
      }),
    );
    expect(Object.fromEntries(defaults)).toEqual(settings);
  });
});
