import { randomBytes } from 'node:crypto';

import {
  openBilling,
  type Billing,
  type BillingOptions,
  type Clock,
  type Connection,
} from '../../engine';

/** Engine suites run on a real Postgres and on the embedded database alike. */

export const serverUrl = (): string => {
  const url = process.env.BILLING_TEST_DATABASE_URL;
  if (url === undefined) throw new Error('The test Postgres is not running; see test/postgres.');
  return url;
};

export const newSchema = (): string => `test_${randomBytes(6).toString('hex')}`;

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
  /** Opens a billing on an empty database; verified and closed after the suite. */
  open(clock?: Clock, schema?: string, options?: Partial<BillingOptions>): Promise<Billing>;
}

const only = process.env.BILLING_TEST_ONLY?.split(',');

/** The databases that this run is for. */
export const databaseKinds = (['server', 'embedded'] as const).filter(
  (name) => only?.includes(name) ?? true,
);

/**
 * Runs a suite on each database. Everything it opened is verified at the end: whatever the tests
 * did, every balance must follow from the entries.
 */
export function onEachDatabase(suite: string, tests: (database: TestDatabase) => void): void {
  describe.each(databaseKinds)(`${suite} (%s)`, (name) => {
    const opened: Billing[] = [];
    afterAll(async () => {
      for (const billing of opened) {
        try {
          expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
        } finally {
          await billing.close();
        }
      }
    });
    tests({
      name,
      async open(clock, schema = newSchema(), options = {}) {
        const connection: Connection =
          name === 'server'
            ? { connectionString: serverUrl(), poolSize: 20 }
            : { embedded: 'memory' };
        const billing = await openBilling({ connection, schema, clock, ...options });
        opened.push(billing);
        return billing;
      },
    });
  });
}
