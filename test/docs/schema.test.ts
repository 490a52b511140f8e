import * as fs from 'node:fs';
import * as path from 'node:path';

/** What the pages say of the schema, held against the schema (test/engine/database/schema.sql). */

const root = path.join(__dirname, '../..');
const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8');
const schema = read('test/engine/database/schema.sql');
const made = (kind: RegExp): string[] => [...schema.matchAll(kind)].map(([, name]) => name!).sort();
const namesIn = (text: string): string[] =>
  [...text.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name!).sort();

describe('docs/architecture.md', () => {
  const section = read('docs/architecture.md').split('\n## Tables\n')[1]!.split('\n## ')[0]!;
  const rooms = section.split('\n').filter((line) => line.startsWith('- `engine/'));
  const after = (word: RegExp): string[] =>
    rooms.flatMap((line) => namesIn(word.exec(line)?.[1] ?? '')).sort();

  test('lists every table, once, and no other', () => {
    expect(after(/: ([^;]*)/)).toEqual(made(/^create table billing\.(\w+)/gm));
  });

  test('lists every function but the triggers, once, and no other', () => {
    const functions = made(/^CREATE OR REPLACE FUNCTION billing\.(\w+)\(/gm);
    expect(after(/; functions (.*)/)).toEqual(
      functions.filter((name) => !name.startsWith('refuse_')),
    );
  });
});
