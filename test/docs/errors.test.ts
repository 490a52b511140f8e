import * as fs from 'node:fs';
import * as path from 'node:path';

import { DENIAL_REASONS, ERROR_CODES } from '../../engine';

/** docs/errors.md is what users read; it must name exactly what the types name. */
describe('docs/errors.md', () => {
  const page = fs.readFileSync(path.join(__dirname, '../../docs/errors.md'), 'utf8');
  const firstCells = (heading: string): string[] => {
    const section = page.split(`## ${heading}\n`)[1]!.split('\n## ')[0]!;
    return [...section.matchAll(/^\| `([a-z_]+)`\s+\|/gm)].map((match) => match[1]!);
  };

  test('lists every reason, and no other', () => {
    expect(firstCells('Reasons')).toEqual([...DENIAL_REASONS]);
  });

  test('lists every code, and no other', () => {
    expect(firstCells('Codes')).toEqual([...ERROR_CODES]);
  });

  test('no word is both a reason and a code', () => {
    const codes: readonly string[] = ERROR_CODES;
    expect(DENIAL_REASONS.filter((reason) => codes.includes(reason))).toEqual([]);
  });
});
