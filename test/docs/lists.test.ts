import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as path from 'node:path';
import { PassThrough } from 'node:stream';

import { run } from '../../cli/program';
import { BOOK_ACCOUNTS, POSTING_KINDS } from '../../engine/books';
import { COLUMNS, TABLES } from '../../engine/catalog/catalog-tables';
import { ENTRY_KINDS } from '../../engine/ledger';
import { TEST_TOKENS } from '../../engine/payments/adapters/test';
import { ATTEMPT_STATUSES } from '../../engine/payments/attempts';

/** What the pages list is what there is. */

const root = path.join(__dirname, '../..');
const page = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8');
const namesIn = (text: string): string[] =>
  [...text.matchAll(/`([^`\n]+)`/g)].map(([, name]) => name!);

/** What the first column of a section's table names. */
const firstCells = (text: string, heading: string): string[] => {
  const section = text.split(`## ${heading}\n`)[1]!.split('\n## ')[0]!;
  return [...section.matchAll(/^\| `(\w+)` +\|/gm)].map(([, name]) => name!);
};

describe('docs/concepts.md', () => {
  it('lists the kinds of entries', () => {
    const [, kinds] = /Every change is an \*\*entry\*\*: (.*?)\. Entries/.exec(
      page('docs/concepts.md'),
    )!;
    expect(namesIn(kinds!)).toEqual([...ENTRY_KINDS]);
  });
});

describe('the command line', () => {
  it.each(['README.md', 'docs/operations.md'])('is explained whole in %s', async (file) => {
    const out = new PassThrough({ encoding: 'utf8' });
    expect(await run(['--help'], { out, err: new PassThrough(), environment: {} })).toBe(0);
    const help = String(out.read()).split('Commands:')[1]!;
    const commands = [...help.matchAll(/^  ([a-z-]+) /gm)].map(([, command]) => command!);
    expect(commands).toContain('run-cycle');
    const [, section] = page(file).split(/^## (?:On the command|Command) line\n/m);
    const text = section!.split(/^## /m)[0]!;
    for (const command of commands.filter((name) => name !== 'help')) {
      expect(text).toMatch(new RegExp(`[\\s\`]${command}[\\s\`]`));
    }
  });
});

describe('docs/architecture.md', () => {
  const text = page('docs/architecture.md');

  it('names files that are there', () => {
    const named = namesIn(text).filter((name) => /^[\w/.-]+\/[\w.-]+\.(ts|sql|cjs)$/.test(name));
    expect(named.length).toBeGreaterThan(30);
    const gone = named.filter(
      (file) => ![file, `engine/${file}`].some((at) => fs.existsSync(path.join(root, at))),
    );
    expect(gone).toEqual([]);
  });

  it('names the rooms in the order in which they may import each other', () => {
    const { forbidden } = createRequire(__filename)('../../.dependency-cruiser.cjs') as {
      forbidden: Array<{ name: string }>;
    };
    const rooms = forbidden.flatMap(
      ({ name }) => /^(\w+)-imports-earlier-rooms-only$/.exec(name)?.[1] ?? [],
    );
    const listed = [...text.matchAll(/^\| `engine\/(\w+)`/gm)].map(([, room]) => room!);
    expect(listed).toEqual(rooms.filter((room) => fs.existsSync(path.join(root, 'engine', room))));
  });
});

describe('docs/ledger.md', () => {
  const text = page('docs/ledger.md');

  it('has each kind of line in its table', () => {
    expect(firstCells(text, 'Kinds of lines').sort()).toEqual([...ENTRY_KINDS].sort());
  });

  it('names tests that are there, in the folder of the one before where they have none', () => {
    const [, promises] = text.split('## Promises, and the tests that hold them\n');
    const rows = promises!.split('\n').filter((line) => line.startsWith('|'));
    const named = rows.flatMap((row) => {
      let folder = '';
      return namesIn(row)
        .filter((name) => name.startsWith('test/') || name.endsWith('.test.ts'))
        .map((name) => {
          if (name.includes('/')) folder = path.dirname(name);
          return path.join(folder, path.basename(name));
        });
    });
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((file) => !fs.existsSync(path.join(root, file)))).toEqual([]);
  });
});

describe('docs/money-book.md', () => {
  const text = page('docs/money-book.md');

  it('has each account in its table', () => {
    expect(firstCells(text, 'Accounts')).toEqual([...BOOK_ACCOUNTS]);
  });

  it('has each kind of posting in its table', () => {
    expect(firstCells(text, 'Postings')).toEqual([...POSTING_KINDS]);
  });
});

describe('docs/payments.md', () => {
  const text = page('docs/payments.md');

  it('has each status of an attempt in its table', () => {
    const statuses = firstCells(text, 'Paid once, whatever dies');
    expect([...statuses].sort()).toEqual([...ATTEMPT_STATUSES].sort());
  });

  it('has each token of the test gateway in its table', () => {
    expect(firstCells(text, 'The test gateway')).toEqual([...TEST_TOKENS]);
  });
});

describe('docs/selling.md', () => {
  it('lists the columns of each table of the catalog', () => {
    const rows = page('docs/selling.md').split('## A catalog in a table\n')[1]!;
    const columns = Object.fromEntries(
      [...rows.matchAll(/^\| (?:`(\w+)`|its items) +\| (.*) \|$/gm)].map(([, name, cells]) => [
        name ?? 'items',
        namesIn(cells!.split(';')[0]!.replace(/^.*?: /, '')),
      ]),
    );
    const { items, ...tables } = columns;
    const found = { ...tables, offers: [...tables.offers!, ...items!] };
    const there = TABLES.map((name) => [name, COLUMNS[name].map((column) => column.name)]);
    expect(found).toEqual(Object.fromEntries(there));
  });
});

describe('docs/operations.md', () => {
  it('says of each code of verify() what it means, or another page does', () => {
    const engine = path.join(root, 'engine');
    const sources = fs
      .readdirSync(engine, { recursive: true, encoding: 'utf8' })
      .filter((file) => /(^|\/)verify[\w-]*\.ts$/.test(file))
      .map((file) => page(path.join('engine', file)));
    // As an object, as the columns of a select, written or by `also`, or as members of JSON.
    const forms = [
      /\bcode: '(\w+)'/g,
      /\bselect '(\w+)'(?: as code)?, (?='|first\.)/g,
      /\balso\('(\w+)'/g,
      /'code', '(\w+)'/g,
    ];
    const codes = forms.flatMap((form) =>
      sources.flatMap((source) => [...source.matchAll(form)].map(([, code]) => code!)),
    );
    expect(new Set(codes).size).toBeGreaterThan(80);
    const explained = ['operations', 'money-book', 'invoicing'].flatMap((name) =>
      namesIn(page(`docs/${name}.md`)),
    );
    expect([...new Set(codes)].filter((code) => !explained.includes(code))).toEqual([]);
  });

  it('says where all lies that people write, or are known by', () => {
    const [, personal] = page('docs/operations.md').split('## What is personal\n');
    const named = namesIn(personal!.split(/^## /m)[0]!);
    const schema = page('test/engine/database/schema.sql');
    const tables = [...schema.matchAll(/^create table \w+\.(\w+) .*?^\)/gms)];
    const written = tables
      .filter(
        ([text, name]) =>
          /^ {2}(metadata jsonb|description text)/m.test(text) || /_details$/.test(name!),
      )
      .map(([, name]) => name!);
    expect(written.length).toBeGreaterThan(10);
    expect(written.filter((name) => !named.includes(name))).toEqual([]);
  });
});

describe('CONTRIBUTING.md and all other pages', () => {
  it('name scripts that package.json has', () => {
    const { scripts } = JSON.parse(page('package.json')) as { scripts: Record<string, string> };
    const docs = fs.readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md'));
    const pages = ['README.md', 'CONTRIBUTING.md', ...docs.map((name) => `docs/${name}`)];
    const named = pages.flatMap((file) =>
      [...page(file).matchAll(/\bnpm (?:run ([\w:]+)|(test|start)\b)/g)].map(
        ([, script, short]) => script ?? short!,
      ),
    );
    expect(named).toContain('test:n8n');
    expect(named.filter((script) => !(script in scripts))).toEqual([]);
  });
});

describe('docs/performance.md', () => {
  it('names the parts that can be run alone', () => {
    const [, row] = /^\| `BENCH_ONLY` +\| all +\| (.*) \|$/m.exec(page('docs/performance.md'))!;
    const parts = fs.readdirSync(path.join(root, 'bench/parts'));
    expect(namesIn(row!).sort()).toEqual(parts.map((file) => path.basename(file, '.ts')).sort());
  });
});

describe('README.md', () => {
  const readme = page('README.md');

  it('shows every workflow that is shipped', () => {
    const shown = [...readme.matchAll(/\]\((workflows\/[\w-]+\.json)\)/g)].map(([, file]) => file!);
    const shipped = fs
      .readdirSync(path.join(root, 'workflows'))
      .map((file) => `workflows/${file}`)
      .sort();
    expect([...new Set(shown)].sort()).toEqual(shipped);
  });

  it('has no table that a blank line breaks', () => {
    const files = ['README.md', ...fs.readdirSync(path.join(root, 'docs')).map((f) => `docs/${f}`)];
    for (const file of files.filter((name) => name.endsWith('.md'))) {
      // A row whose table has no head above it shows as text.
      const blocks = page(file).split(/\n\s*\n/);
      const tables = blocks.filter((block) => /^\s*\|/.test(block));
      for (const table of tables) expect(table).toMatch(/^\s*\|.*\n\s*\|[\s:|-]+\|/);
    }
  });

  it('leads only to pages that are there', () => {
    for (const file of ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md']) {
      const links = [...page(file).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, to]) => to!);
      for (const to of links.filter((link) => !/^\w+:/.test(link))) {
        expect({ to, there: fs.existsSync(path.join(root, to)) }).toEqual({ to, there: true });
      }
    }
    for (const name of fs.readdirSync(path.join(root, 'docs')).filter((f) => f.endsWith('.md'))) {
      const links = [...page(`docs/${name}`).matchAll(/\]\(([^)\s]+)\)/g)].map(([, to]) => to!);
      for (const to of links.filter((link) => !/^\w+:/.test(link))) {
        const [file, anchor] = to.split('#') as [string, string?];
        const target = file === '' ? `docs/${name}` : path.join('docs', file);
        expect({ name, to, there: fs.existsSync(path.join(root, target)) }).toMatchObject({
          there: true,
        });
        if (anchor !== undefined && target.endsWith('.md')) {
          const anchors = [...page(target).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
            heading!
              .toLowerCase()
              .replace(/[^\w\s-]/g, '')
              .trim()
              .replace(/\s/g, '-'),
          );
          expect({ name, to, anchors }).toEqual({
            name,
            to,
            anchors: expect.arrayContaining([anchor]) as unknown,
          });
        }
      }
    }
  });
});
