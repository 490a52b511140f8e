import knexFactory, { type Knex } from 'knex';

import {
  TestClock,
  openBilling,
  type Billing,
  type ConsumeAnswer,
  type ConsumeRequest,
} from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { MIGRATIONS, SCHEMA_MAJOR, type Migration } from '../../../engine/database/migrations';
import { beginEmpty } from '../../postgres/migrated';
import { databaseKinds, newSchema, serverUrl } from '../each-database';
import { answerOf, localEngine } from './calls';
import { BillingProcess } from './processes';
import { installRelease, readRelease, releases, stepHash, type Release } from './releases/release';

/**
 * Every version that was released, as it left a database (releases/write.ts): this one opens it,
 * finds everything as it was, and goes on. So does the next one, with a step that is still to come.
 */

beginEmpty();

/** A step as the next may be: it adds, and writes a function that it changes anew as a whole. */
const NEXT: Migration = {
  id: 9_000,
  name: 'to come',
  major: SCHEMA_MAJOR,
  statements: `
alter table {schema}.accounts add column noted boolean not null default true;
create table {schema}.notes (
  payer_id uuid not null,
  sequence bigint not null,
  note text not null,
  primary key (payer_id, sequence)
);
insert into {schema}.notes (payer_id, sequence, note)
select e.payer_id, e.sequence, e.kind from {schema}.entries e;
create or replace function {schema}.follow_merges(p_ids uuid[])
returns uuid[] language sql stable as $$
  select coalesce(array_agg(coalesce(a.merged_into, r.id) order by r.n), '{}')
  from unnest(p_ids) with ordinality as r (id, n)
  left join {schema}.accounts a on a.account_id = r.id and a.noted
$$;`,
};

/** Runs work as a version of the engine that knows more steps. */
async function knowing<T>(steps: readonly Migration[], work: () => Promise<T>): Promise<T> {
  const known = MIGRATIONS as Migration[];
  known.push(...steps);
  try {
    return await work();
  } finally {
    known.splice(-steps.length);
  }
}

async function openKnex(name: string): Promise<{ knex: Knex; close: () => Promise<void> }> {
  if (name !== 'server') return openEmbedded('memory', 10_000);
  const knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 4 } });
  return { knex, close: () => knex.destroy() };
}

test.each(releases())('the steps of the schema are those of %s', (version) => {
  const { steps } = readRelease(version);
  const now = MIGRATIONS.filter(({ id }) => steps.some((step) => step.id === id));
  const found = now.map((step) => ({ id: step.id, hash: stepHash(step) }));
  const isSame = JSON.stringify(found) === JSON.stringify(steps);
  // A step that is published never changes. Until then:
  expect(isSame ? '' : 'run: npx tsx test/engine/database/releases/write.ts').toBe('');
});

test('a step writes functions as a whole, and never changes the text of an old one', () => {
  const touching = MIGRATIONS.filter(({ statements }) =>
    /pg_get_function|prosrc|pg_proc/.test(statements),
  );
  expect(touching.map(({ name }) => name)).toEqual([]);
});

/** An answer that was recorded, as it is read now: the value of an entry has the sign of its amount. */
function asReadNow<T>(recorded: T): T {
  if (typeof recorded !== 'object' || recorded === null) return recorded;
  if (Array.isArray(recorded)) return recorded.map(asReadNow) as T;
  const read = Object.fromEntries(
    Object.entries(recorded).map(([field, value]) => [field, asReadNow(value as unknown)]),
  );
  const { entryId, amount, value } = read;
  const isDebit = entryId !== undefined && typeof amount === 'string' && amount.startsWith('-');
  if (isDebit && typeof value === 'string' && /[1-9]/.test(value)) read.value = `-${value}`;
  return read as T;
}

/** What children were told of their parents in 0.1.0, and are no more (test/accidents/childs-view). */
const TOLD_CHILDREN = [
  'ledger.grants',
  'books.balances',
  'invoicing.accountCredit',
  'payments.methods',
];

function childrenIn({ rows }: Release): Set<unknown> {
  const accounts = rows
    .filter(({ table }) => table === 'accounts')
    .map(({ json }) => JSON.parse(json) as { account_id: string; payer_id: string });
  const children = accounts.filter((one) => one.payer_id !== one.account_id);
  return new Set(children.map((one) => one.account_id));
}

describe.each(databaseKinds)('upgrade (%s)', (name) => {
  describe.each(releases())('from %s', (version) => {
    const release = readRelease(version);
    const schema = newSchema();
    const clock = new TestClock(release.now);
    let knex: Knex;
    let close: () => Promise<void>;
    let billing: Billing;

    const open = (install = true): Promise<Billing> =>
      openBilling({ connection: knex, schema, clock, install });

    beforeAll(async () => {
      ({ knex, close } = await openKnex(name));
      await installRelease(knex, schema, release);
      billing = await open();
    });
    afterAll(async () => {
      await billing?.close();
      await close?.();
    });

    const appliedSteps = async (): Promise<number[]> => {
      const { rows } = await knex.raw<{ rows: Array<{ id: number }> }>(
        `select id from "${schema}".migrations order by id`,
      );
      return rows.map(({ id }) => id);
    };

    const answers = async (one: Billing, questions = release.questions): Promise<void> => {
      expect(questions.length).toBeGreaterThan(0);
      const children = version === '0.1.0' ? childrenIn(release) : new Set();
      for (const { call, request, answer } of questions) {
        const { account } = request as { account?: unknown };
        if (TOLD_CHILDREN.includes(call) && children.has(account)) continue;
        // Answers may have gained fields since.
        expect(await answerOf(localEngine(one), call, request)).toMatchObject(asReadNow(answer));
      }
    };
    const works = (one: Billing): Promise<void> => answers(one, release.questions.slice(0, 12));
    const holdsAll = async (one: Billing): Promise<void> => {
      const { problems, checked } = await one.verify();
      expect(problems).toEqual([]);
      const rowsOf = (table: string) => release.rows.filter((row) => row.table === table).length;
      for (const table of Object.keys(checked).filter((table) => rowsOf(table) > 0)) {
        expect([table, checked[table]]).toEqual([table, rowsOf(table)]);
      }
      await answers(one);
    };

    test('there is something of everything to upgrade', async () => {
      const { rows } = await knex.raw<{ rows: Array<{ name: string }> }>(
        `select relname as name from pg_class where relnamespace = ?::regnamespace and relkind = 'r'`,
        [schema],
      );
      const filled = new Set(release.rows.map(({ table }) => table));
      const empty = rows.map(({ name }) => name).filter((table) => !filled.has(table));
      const later = MIGRATIONS.filter(({ id }) => release.steps.every((step) => step.id !== id));
      const added = later.flatMap(({ statements }) =>
        [...statements.matchAll(/create table \{schema\}\.(\w+)/g)].map(([, table]) => table!),
      );
      // A schema that is a sandbox cannot be meant as well.
      expect(empty.sort()).toEqual([...added, 'sandbox'].sort());
    });

    test('finds all that was there, and answers what it answered', () => holdsAll(billing));

    test('a step that fails half-way leaves the schema as it was', async () => {
      const broken = { ...NEXT, statements: `${NEXT.statements} select 1 / 0;` };
      const before = await appliedSteps();
      await expect(knowing([broken], () => open())).rejects.toThrow(/SQLSTATE 22012/);
      expect(await appliedSteps()).toEqual(before);
      const { rows } = await knex.raw<{ rows: unknown[] }>(
        `select 1 from information_schema.tables where table_schema = ? and table_name = 'notes'`,
        [schema],
      );
      expect(rows).toEqual([]);
      await works(billing);
    });

    test('who may not install is told to let others upgrade first', async () => {
      await expect(knowing([NEXT], () => open(false))).rejects.toMatchObject({
        code: 'database_version',
        message: `The schema "${schema}" is older than this n8n-nodes-billing.`,
      });
    });

    test('the next step is taken once, by two that open at once, and all is as it was', async () => {
      if (name === 'server') {
        const task = { connection: serverUrl(), schema, steps: [NEXT] };
        const two = [new BillingProcess(task), new BillingProcess(task)];
        expect(await Promise.all(two.map((one) => one.end()))).toEqual([0, 0]);
        expect(two.map(({ lines }) => lines)).toEqual([[{ opened: true }], [{ opened: true }]]);
      } else {
        await knowing([NEXT], async () => {
          for (const one of await Promise.all([open(), open()])) await one.close();
        });
      }
      expect(await appliedSteps()).toEqual([...MIGRATIONS.map(({ id }) => id), NEXT.id]);
      const { rows } = await knex.raw<{ rows: Array<{ notes: string }> }>(
        `select count(*)::text as notes from "${schema}".notes`,
      );
      const entries = release.rows.filter(({ table }) => table === 'entries').length;
      expect(rows[0]!.notes).toBe(String(entries));
      const upgraded = await knowing([NEXT], () => open(false));
      await holdsAll(upgraded);
      await upgraded.close();
      // The process that was open all the while, and one that knows no more than it.
      await works(billing);
      await works(await open(false));
    });

    test('repeats the first answers to its keys, and refuses another request under them', async () => {
      const engine = localEngine(billing);
      expect(release.repeats.length).toBeGreaterThan(0);
      for (const { call, request, answer } of release.repeats) {
        const { accountId, ...again } = await answerOf<ConsumeAnswer>(engine, call, request);
        expect(again).toEqual({ ...answer, replayed: true });
        // Whose account it is they say since.
        expect(accountId).toEqual(expect.any(String));
        expect(
          await engine.perform({ call, request: { ...request, amount: '7777' } }),
        ).toMatchObject({ error: { code: 'idempotency_conflict' } });
      }
    });

    test('goes on: uses, grants, new accounts, and what had ended is written off', async () => {
      const { account } = release.repeats[0]!.request as ConsumeRequest;
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
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    });

    test('a newer major is refused', async () => {
      const major = { ...NEXT, id: NEXT.id + 1, major: SCHEMA_MAJOR + 1, statements: '' };
      await (await knowing([NEXT, major], () => open())).close();
      await expect(open()).rejects.toMatchObject({
        code: 'database_newer',
        message: expect.stringContaining(`is of version ${SCHEMA_MAJOR + 1}`) as string,
      });
    });
  });
});

test('there is a release to upgrade from', () => {
  expect(releases()).toContain('0.1.0');
});
