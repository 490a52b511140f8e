import { randomBytes } from 'node:crypto';

import {
  openBilling,
  type Billing,
  type BillingOptions,
  type Clock,
  type Connection,
} from '../../engine';
import type { OpenedKnex } from '../../engine/database/embedded';
import { openMigrated } from '../postgres/migrated';

/** Engine suites run on a real Postgres and on the embedded database alike. */

export const serverUrl = (): string => {
  const url = process.env.BILLING_TEST_DATABASE_URL;
  if (url === undefined) throw new Error('The test Postgres is not running; see test/postgres.');
  return url;
};

export const newSchema = (): string => `test_${randomBytes(6).toString('hex')}`;

/** `npm run test:long`: whatever is done at random is done at length everywhere. */
export const isLong = process.env.BILLING_TEST_LONG === '1';

/**
 * How often a long random test goes round: as often as it says on the server, and a fifth of that
 * on the embedded database, which answers the same statements from one process.
 */
export const runs = (database: TestDatabase['name'], all: number): number =>
  database === 'server' || isLong ? all : Math.ceil(all / 5);

/** A billing on a fresh schema of the test server; the caller closes it. */
export const openOnServer = (
  options: { poolSize?: number } & Omit<Partial<BillingOptions>, 'connection'> = {},
): Promise<Billing> => {
  const { poolSize, schema = newSchema(), ...rest } = options;
  return openBilling({
    connection: { connectionString: serverUrl(), poolSize },
    schema,
    ...rest,
  });
};

export interface TestDatabase {
  name: 'server' | 'embedded';
  /** Opens a billing on an empty schema; verified and closed after the suite. */
  open(clock?: Clock, schema?: string, options?: Partial<BillingOptions>): Promise<Billing>;
}

const only = process.env.BILLING_TEST_ONLY?.split(',');

/** The databases that this run is for. */
export const databaseKinds = (['server', 'embedded'] as const).filter(
  (name) => only?.includes(name) ?? true,
);

/**
 * Those for suites of business rules, in which the database plays no part (CONTRIBUTING says which):
 * the server, and both in a long run or when they are named.
 */
export const rulesKinds = isLong || only !== undefined ? databaseKinds : (['server'] as const);

/** What is asked of a server alone, as all that a file asks: jest wants a test of it in every run. */
export function onServer(tests: () => void): void {
  if (databaseKinds.includes('server')) tests();
  else test('asks a server alone', () => undefined);
}

/**
 * Runs a suite on each database. Everything it opened is verified at the end: whatever the tests
 * did, every balance must follow from the entries. What a suite opens embedded lies in one database,
 * in as many schemas: a database more costs a second and 150 MB.
 */
export function onEachDatabase(
  suite: string,
  tests: (database: TestDatabase) => void,
  kinds: ReadonlyArray<TestDatabase['name']> = databaseKinds,
): void {
  describe.each(kinds)(`${suite} (%s)`, (name) => {
    const opened: Billing[] = [];
    let embedded: Promise<OpenedKnex> | null = null;
    afterAll(async () => {
      for (const billing of opened) {
        try {
          expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
        } finally {
          await billing.close();
        }
      }
      await (await embedded)?.close();
    });
    const connect = async (schema: string): Promise<Connection> => {
      if (name === 'server') return { connectionString: serverUrl(), poolSize: 20 };
      embedded ??= openMigrated(schema);
      return (await embedded).knex;
    };
    tests({
      name,
      async open(clock, schema = newSchema(), options = {}) {
        const connection = await connect(schema);
        const billing = await openBilling({ connection, schema, clock, ...options });
        opened.push(billing);
        return billing;
      },
    });
  });
}

/** Runs a suite of business rules as `onEachDatabase` does, on both databases in a long run alone. */
export const forRules = (suite: string, tests: (database: TestDatabase) => void): void =>
  onEachDatabase(suite, tests, rulesKinds);
