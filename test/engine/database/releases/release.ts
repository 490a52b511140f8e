import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';

import type { Knex } from 'knex';

import { MIGRATIONS, type Migration } from '../../../../engine/database/migrations';
import type { Call } from '../calls';

/**
 * What a release leaves in a database, in `<version>.txt`: written by write.ts, upgraded by all that
 * follow (upgrade.test.ts). Each line is a word and JSON: `clock` the time it was, `step` a step of the
 * schema and the hash of its statements, `ask` a call and what it answered, `repeat` a keyed call and its
 * first answer, and else a table and one of its rows.
 */
export interface Release {
  now: string;
  steps: Array<{ id: number; hash: string }>;
  rows: Array<{ table: string; json: string }>;
  questions: Answered[];
  repeats: Answered[];
}

export interface Answered extends Call {
  answer: object;
}

const FOLDER = __dirname;

export const releaseFile = (version: string): string => path.join(FOLDER, `${version}.txt`);

export const releases = (): string[] =>
  fs
    .readdirSync(FOLDER)
    .filter((file) => file.endsWith('.txt'))
    .map((file) => path.basename(file, '.txt'));

export const stepHash = ({ statements }: Migration): string =>
  createHash('sha256').update(statements).digest('hex').slice(0, 16);

export function readRelease(version: string): Release {
  const release: Release = { now: '', steps: [], rows: [], questions: [], repeats: [] };
  for (const line of fs.readFileSync(releaseFile(version), 'utf8').trimEnd().split('\n')) {
    const space = line.indexOf(' ');
    const [word, json] = [line.slice(0, space), line.slice(space + 1)];
    if (word === 'clock') release.now = JSON.parse(json) as string;
    else if (word === 'step') release.steps.push(JSON.parse(json) as Release['steps'][0]);
    else if (word === 'ask') release.questions.push(JSON.parse(json) as Answered);
    else if (word === 'repeat') release.repeats.push(JSON.parse(json) as Answered);
    else release.rows.push({ table: word, json });
  }
  return release;
}

interface RawConnection {
  query(text: string): Promise<unknown>;
  exec?(text: string): Promise<unknown>;
}

/** Makes the tables as that version did, and fills them with its rows, whatever their triggers say. */
export async function installRelease(knex: Knex, schema: string, release: Release): Promise<void> {
  const quoted = `"${schema}"`;
  const tables = [...new Set(release.rows.map(({ table }) => table))];
  await knex.transaction(async (tx) => {
    await tx.raw(`create schema ${quoted}`);
    await tx.raw(`create table ${quoted}.migrations (id integer primary key, name text not null,
                    major integer not null, applied_at timestamptz not null)`);
    const client = tx.client as { acquireConnection(): Promise<RawConnection> };
    const connection = await client.acquireConnection();
    for (const { id, statements } of MIGRATIONS) {
      if (!release.steps.some((step) => step.id === id)) continue;
      const script = statements.replaceAll('{schema}', quoted);
      await (connection.exec?.(script) ?? connection.query(script));
    }
    const columns = await tx.raw<{ rows: Array<{ table: string; names: string }> }>(
      `select table_name as "table", string_agg(quote_ident(column_name), ', ') as names
       from information_schema.columns where table_schema = ? and is_generated = 'NEVER'
       group by table_name`,
      [schema],
    );
    const namesOf = new Map(columns.rows.map(({ table, names }) => [table, names]));
    for (const table of tables) {
      await tx.raw(`alter table ${quoted}.${table} disable trigger user`);
      await tx.raw(`delete from ${quoted}.${table}`);
    }
    for (const table of tables) {
      const rows = release.rows.filter((row) => row.table === table).map(({ json }) => json);
      const target = `${quoted}.${table}`;
      const names = namesOf.get(table)!;
      await tx.raw(
        `insert into ${target} (${names})
         select ${names} from json_populate_recordset(null::${target}, ?::json)`,
        [`[${rows.join(',')}]`],
      );
    }
    // Deferred foreign keys are looked at now: tables with such events pending cannot be altered.
    await tx.raw('set constraints all immediate');
    for (const table of tables) {
      await tx.raw(`alter table ${quoted}.${table} enable trigger user`);
    }
  });
}
