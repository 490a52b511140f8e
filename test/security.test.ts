import * as fs from 'node:fs';
import * as path from 'node:path';

/** SECURITY.md names tests: each is there, and each accident is named. */

const root = path.join(__dirname, '..');
const page = fs.readFileSync(path.join(root, 'SECURITY.md'), 'utf8');
const reliability = fs.readFileSync(path.join(root, 'docs/reliability.md'), 'utf8');
const section = page.split('\n## Accidents\n')[1]!.split('\n## ')[0]!;

/** The first column of the table. */
const named = [...section.matchAll(/^\| `([\w-]+)` +\|/gm)].map(([, name]) => name!);
const tested = fs
  .readdirSync(path.join(root, 'test/accidents'))
  .filter((file) => file.endsWith('.test.ts'))
  .map((file) => file.replace('.test.ts', ''));

it('each accident that it names has its test, and is told in docs/reliability.md', () => {
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !tested.includes(name))).toEqual([]);
  expect(named.filter((name) => !reliability.includes(`**\`${name}\`**`))).toEqual([]);
});

it('each test of an accident is named', () => {
  expect(tested.filter((name) => !named.includes(name))).toEqual([]);
});

it('the other files that it names are there', () => {
  const files = [...page.matchAll(/`(test\/[\w/.-]+\.ts)`|\]\(([\w/.-]+\.md)/g)];
  const gone = files
    .map(([, test, link]) => test ?? link!)
    .filter((file) => !fs.existsSync(path.join(root, file)));
  expect(files.length).toBeGreaterThan(2);
  expect(gone).toEqual([]);
});
