import * as fs from 'node:fs';
import * as path from 'node:path';

import knexFactory, { type Knex } from 'knex';

import {
  TestClock,
  openBilling,
  type Billing,
  type ConsumeAnswer,
  type ConsumeRequest,
} from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { MIGRATIONS } from '../../../engine/database/migrations';
import { databaseKinds, newSchema, serverUrl } from '../each-database';

/**
 * Every version that was released, as it left a database (releases/write.ts): this one opens it,
 * finds everything as it was, and goes on.
 */

const FOLDER = path.join(__dirname, 'releases');
const releases = fs
  .readdirSync(FOLDER)
  .filter((file) => file.endsWith('.txt'))
  .map((file) => path.basename(file, '.txt'));

interface Question {
  call: 'balance' | 'entries';
  request: { account: string };
  answer: object;
}

interface Release {
  now: string;
  /** Of its schema. */
  major: number;
  rows: Array<{ table: string; json: string }>;
  questions: Question[];
  repeats: Array<{ request: ConsumeRequest; answer: ConsumeAnswer }>;
}

function readRelease(version: string): Release {
  const release: Release = { now: '', major: 0, rows: [], questions: [], repeats: [] };
  const lines = fs
    .readFileSync(path.join(FOLDER, `${version}.txt`), 'utf8')
    .trimEnd()
    .split('\n');
  for (const line of lines) {
    const space = line.indexOf(' ');
    const [word, json] = [line.slice(0, space), line.slice(space + 1)];
    if (word === 'clock') release.now = JSON.parse(json) as string;
    else if (word === 'ask') release.questions.push(JSON.parse(json) as Question);
    else if (word === 'repeat') release.repeats.push(JSON.parse(json) as Release['repeats'][0]);
    else release.rows.push({ table: word, json });
    if (word === 'migrations') release.major = (JSON.parse(json) as { major: number }).major;
  }
  return release;
}

/** Makes the tables as that version did, and fills them with its rows. */
async function install(knex: Knex, schema: string, { rows }: Release): Promise<void> {
  const applied = rows
    .filter(({ table }) => table === 'migrations')
    .map(({ json }) => (JSON.parse(json) as { id: number }).id);
  const quoted = `"${schema}"`;
  await knex.transaction(async (tx) => {
    await tx.raw(`create schema ${quoted}`);
    await tx.raw(`create table ${quoted}.migrations (id integer primary key, name text not null,
                    major integer not null, applied_at timestamptz not null)`);
    const client = tx.client as { acquireConnection(): Promise<RawConnection> };
    const connection = await client.acquireConnection();
    for (const { id, statements } of MIGRATIONS) {
      if (!applied.includes(id)) continue;
      const script = statements.replaceAll('{schema}', quoted);
      await (connection.exec?.(script) ?? connection.query(script));
    }
    for (const { table, json } of rows) {
      const target = `${quoted}.${table}`;
      await tx.raw(
        `insert into ${target} select * from json_populate_record(null::${target}, ?::json)`,
        [json],
      );
    }
  });
}

interface RawConnection {
  query(text: string): Promise<unknown>;
  exec?(text: string): Promise<unknown>;
}

describe.each(databaseKinds)('upgrade (%s)', (name) => {
  describe.each(releases)('from %s', (version) => {
    const release = readRelease(version);
    const schema = newSchema();
    const clock = new TestClock(release.now);
    let knex: Knex;
    let close: () => Promise<void>;
    let billing: Billing;

    beforeAll(async () => {
      if (name === 'server') {
        knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 4 } });
        close = () => knex.destroy();
      } else {
        ({ knex, close } = await openEmbedded('memory', 10_000));
      }
      await install(knex, schema, release);
      billing = await openBilling({ connection: knex, schema, clock });
    });
    afterAll(async () => {
      await billing?.close();
      await close?.();
    });

    const verified = async (): Promise<Record<string, number>> => {
      const { problems, checked } = await billing.verify();
      expect(problems).toEqual([]);
      return checked;
    };

    test('verifies all that was there', async () => {
      const checked = await verified();
      const rowsOf = (table: string) => release.rows.filter((row) => row.table === table).length;
      for (const table of ['accounts', 'entries', 'grants', 'products', 'offers', 'identities']) {
        expect([table, checked[table]]).toEqual([table, rowsOf(table)]);
        expect(checked[table]).toBeGreaterThan(0);
      }
    });

    test('answers what it answered', async () => {
      expect(release.questions.length).toBeGreaterThan(0);
      for (const { call, request, answer } of release.questions) {
        // Answers may have gained fields since.
        expect(await billing.ledger[call](request)).toMatchObject(answer);
      }
    });

    test('repeats the first answers to its keys, and refuses another request under them', async () => {
      expect(release.repeats.length).toBeGreaterThan(0);
      for (const { request, answer } of release.repeats) {
        expect(await billing.ledger.consume(request)).toEqual({ ...answer, replayed: true });
        await expect(billing.ledger.consume({ ...request, amount: '7777' })).rejects.toMatchObject({
          code: 'idempotency_conflict',
        });
      }
    });

    // A process that was open while another one upgraded goes on with the functions it knows.
    if (release.major === 1) {
      test('takes what a process of that version still writes', async () => {
        const { accountId } = await billing.accounts.identify({ externalId: 'old process' });
        await billing.ledger.grant({ account: accountId, product: 'MSG', quantity: 10 });
        const quoted = `"${schema}"`;
        const read = await knex.raw<{ rows: Array<{ view: { grants: unknown[][] } }> }>(
          `select ${quoted}.read_uses(array[?::uuid], array[null], array[null], array[1], array['MSG'],
             array[null::bytea]) as view`,
          [accountId],
        );
        expect(read.rows[0]!.view.grants).toHaveLength(1);
        const wrote = await knex.raw<{ rows: object[] }>(
          `select * from ${quoted}.write_lines(
             array[:id::uuid], array[1], array[10], array[7],
             array[:id::uuid], array[2], array[:id::uuid], array['MSG'], array['use'], array[-3],
             array['{1}'], array['{-3}'], array[null], array[:now::timestamptz], array[:now::timestamptz],
             array[null], array[null], '{}', '{}', '{}', '{}', '{}', :now::timestamptz, '{}')`,
          { id: accountId, now: release.now },
        );
        expect(wrote.rows).toEqual([{ changed: 1, written: 1, kept: 0 }]);
        expect(await billing.ledger.consume({ account: accountId, product: 'MSG' })).toMatchObject({
          allowed: true,
          remaining: '6',
        });
        await verified();
      });
    }

    test('goes on: uses, grants, new accounts, and what had ended is written off', async () => {
      const account = release.repeats[0]!.request.account;
      const before = await billing.ledger.balance({ account, product: 'MSG' });
      const used = await billing.ledger.consume({ account, product: 'MSG', amount: '2' });
      expect(used).toMatchObject({
        allowed: true,
        remaining: String(Number(before.available) - 2),
      });
      await billing.ledger.grant({ account, product: 'MSG', quantity: 3 });
      expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
        available: String(Number(before.available) + 1),
      });
      const { accountId } = await billing.accounts.identify({ externalId: 'new since' });
      await billing.sales.grantOffer({ account: accountId, sku: 'pack' });
      const many = await billing.ledger.consumeMany(
        Array.from({ length: 30 }, (_, index) => ({
          account: accountId,
          product: 'MSG',
          idempotencyKey: `since ${index}`,
        })),
      );
      expect(many.at(-1)).toMatchObject({ allowed: true, remaining: '70' });
      await verified();
    });
  });
});

test('there is a release to upgrade from', () => {
  expect(releases).toContain('0.1.0');
});
