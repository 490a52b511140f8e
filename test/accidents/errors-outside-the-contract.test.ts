import { randomBytes } from 'node:crypto';
import * as net from 'node:net';
import { Writable } from 'node:stream';
import { inspect } from 'node:util';

import pg from 'pg';
import type { ICredentialTestFunctions, INode } from 'n8n-workflow';

import { run } from '../../cli/program';
import {
  ERROR_CODES,
  TestClock,
  isBillingError,
  openBilling,
  type Billing,
  type BillingError,
} from '../../engine';
import { parse } from '../../engine/kernel';
import { BillingDatabaseApi } from '../../credentials/BillingDatabaseApi.credentials';
import type { BillingDatabaseCredential } from '../../nodes/shared/connection';
import { billingDatabaseTest } from '../../nodes/shared/credentialTest';
import { engines } from '../../nodes/shared/engines';
import { itemError, nodeError } from '../../nodes/shared/itemErrors';
import { newSchema, onServer, serverUrl } from '../engine/each-database';
import { publicCalls, WITH_SECRETS, type PublicCall } from './public-calls';
import { Wire, type ServerError } from './wire';
import { seen } from '../engine/seen-schemas';

/**
 * The accident: what databases, networks and drivers say came out as it was, with the row that broke a
 * constraint in it, or the URL and its password.
 */

jest.mock('../../engine/kernel/validation', () =>
  jest.requireActual<typeof import('../engine/seen-schemas')>('../engine/seen-schemas').watched(),
);

const EMAIL = 'private-ann@example.com';

/** What the server's text may hold is told by its class: of these none holds a row, so they are shown. */
const SHOWN = /^(08|25P|28|3D|40|53|57|58|42501)/;

/** As a server says it, with a row wherever one may stand. */
const errorOf = (code: string): ServerError => ({
  S: 'ERROR',
  V: 'ERROR',
  C: code,
  M: SHOWN.test(code) ? `what ${code} says` : `value "${EMAIL}" is wrong`,
  D: `Key (provider, external_id)=(email, ${EMAIL}) already exists.`,
  H: `Perhaps you meant ${EMAIL}.`,
  W: `unnamed portal with parameters: $1 = '${EMAIL}'`,
  q: `insert into identities values ('${EMAIL}')`,
  s: 'billing',
  t: 'identities',
  n: 'identities_pkey',
});

/** One or more of each class in the list of Postgres. */
const STATES: Record<string, string> = {
  ...{
    '03000': 'internal_error',
    '08006': 'database_unavailable',
    '08P01': 'database_unavailable',
  },
  ...{ '09000': 'internal_error', '0A000': 'internal_error', '0F000': 'internal_error' },
  ...{ '20000': 'internal_error', '21000': 'internal_error', '22P02': 'internal_error' },
  ...{ '22001': 'internal_error', '23502': 'internal_error', '23514': 'internal_error' },
  ...{ '24000': 'internal_error', '25001': 'internal_error', '25006': 'database_unavailable' },
  ...{ '25P02': 'invalid_input', '25P03': 'database_unavailable', '27000': 'internal_error' },
  ...{
    '28P01': 'database_unavailable',
    '28000': 'database_unavailable',
    '2BP01': 'internal_error',
  },
  ...{ '2D000': 'internal_error', '2F005': 'internal_error', '34000': 'internal_error' },
  ...{ '38000': 'internal_error', '39P01': 'internal_error', '3B001': 'internal_error' },
  ...{ '3D000': 'database_unavailable', '3F000': 'internal_error', '40001': 'retry_transaction' },
  ...{ '40P01': 'retry_transaction', '42P01': 'internal_error', '42501': 'database_unavailable' },
  ...{ '42601': 'internal_error', '44000': 'internal_error', '53100': 'database_unavailable' },
  ...{
    '53200': 'database_unavailable',
    '53300': 'database_unavailable',
    '54001': 'internal_error',
  },
  ...{ '55P03': 'lock_timeout', '55000': 'internal_error', '57014': 'database_unavailable' },
  ...{ '57P01': 'database_unavailable', '57P03': 'database_unavailable' },
  ...{ '58030': 'database_unavailable', F0000: 'internal_error', HV000: 'internal_error' },
  ...{ P0001: 'internal_error', P0004: 'internal_error', XX000: 'internal_error' },
  ...{ XX001: 'internal_error' },
};

/** What Node says of a network, and of TLS. */
const NETWORK: Record<string, string> = {
  ECONNREFUSED: 'connect ECONNREFUSED 10.0.0.1:5432',
  ECONNRESET: 'read ECONNRESET',
  ETIMEDOUT: 'connect ETIMEDOUT 10.0.0.1:5432',
  ENOTFOUND: 'getaddrinfo ENOTFOUND db.example.com',
  EAI_AGAIN: 'getaddrinfo EAI_AGAIN db.example.com',
  EPIPE: 'write EPIPE',
  EHOSTUNREACH: 'connect EHOSTUNREACH 10.0.0.1:5432',
  ENETUNREACH: 'connect ENETUNREACH 10.0.0.1:5432',
  EMFILE: 'connect EMFILE 10.0.0.1:5432',
  EPROTO: 'write EPROTO 00:error:0A00010B:SSL routines:ssl3_get_record:wrong version number',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'self-signed certificate',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unable to verify the first certificate',
  CERT_HAS_EXPIRED: 'certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: "Hostname/IP does not match certificate's altnames",
};

const PASSWORD = (): string => decodeURIComponent(new URL(serverUrl()).password);

const context = { getNode: () => ({ name: 'Node' }) as INode };

/** All that is shown of an error, by whoever shows it: n8n, a console, a log. */
const allOf = (error: BillingError): string =>
  [error, JSON.stringify(error), error.stack, nodeError(context, itemError(error))]
    .map((shown) => inspect(shown, { depth: 20, showHidden: true }))
    .join();

/** @returns the code; or what is wrong with the error */
function judged(error: unknown): string {
  if (!isBillingError(error)) return `not ours: ${inspect(error)}`;
  if (!ERROR_CODES.includes(error.code)) return `no stable code: ${error.code}`;
  const secret = [EMAIL, PASSWORD()].find((one) => allOf(error).includes(one));
  return secret === undefined ? error.code : `tells a secret: ${allOf(error)}`;
}

const outcome = (call: Promise<unknown>): Promise<string> =>
  call.then((answer) => `answered ${JSON.stringify(answer)}`, judged);

onServer(() => {
  describe('errors outside the contract', () => {
    const schema = newSchema();
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const ended: Array<() => Promise<void>> = [];
    let calls: PublicCall[];

    beforeAll(async () => {
      calls = await publicCalls({ connection: serverUrl(), schema, clock }, seen);
    });

    afterAll(async () => {
      for (const end of ended.reverse()) await end();
      await engines.close();
    });

    async function open(connection: string | object): Promise<Billing> {
      const billing = await openBilling({
        connection: connection as string,
        schema,
        clock,
        ...WITH_SECRETS,
      });
      ended.push(() => billing.close());
      return billing;
    }

    async function onWire(): Promise<{ billing: Billing; wire: Wire }> {
      const wire = await Wire.to(serverUrl());
      ended.push(() => wire.close());
      return { wire, billing: await open(wire.url) };
    }

    test('each class of what a server says, at the first statement and within a transaction', async () => {
      const { billing, wire } = await onWire();
      const account = { externalId: 'ann' };
      const asked: Array<() => Promise<unknown>> = [
        () => billing.ledger.check({ account, product: 'MSG', amount: 5 }),
        () => billing.accounts.identify({ provider: 'email', externalId: EMAIL }),
        () => billing.ledger.grant({ account, product: 'MSG', quantity: 1 }),
      ];
      for (const [state, code] of Object.entries(STATES)) {
        const all: string[] = [];
        for (const ask of asked) {
          for (const at of [1, 2]) {
            wire.refuse(errorOf(state), { at });
            all.push(await outcome(ask()));
            wire.restore();
            // Undone, and the connection is fit for use or gone.
            await billing.catalog.listProducts();
          }
        }
        const told = all.filter((one) => !one.startsWith('answered'));
        expect([state, told]).toEqual([state, told.map(() => code)]);
        expect(told.length).toBeGreaterThan(3);
      }
    });

    test('every public call, whatever the server says at its first statement', async () => {
      const { billing, wire } = await onWire();
      const states = Object.keys(STATES);
      const wrong: unknown[] = [];
      for (const [index, { name, ask }] of calls.entries()) {
        for (const turn of [0, 1, 2]) {
          const state = states[(3 * index + turn) % states.length]!;
          wire.refuse(errorOf(state));
          const code = await outcome(ask(billing));
          wire.restore();
          // A lock is told by what was waited for.
          if (code !== STATES[state]) wrong.push([name, state, code]);
        }
      }
      expect(wrong).toEqual([]);
    });

    test('every public call, whatever the network does before and after connecting', async () => {
      let fault: { code: string; when: 'connect' | 'write' } | null = null;
      class Socket extends net.Socket {
        private fail(when: 'connect' | 'write'): boolean {
          if (fault?.when !== when) return false;
          const { code } = fault;
          const error = Object.assign(new Error(NETWORK[code]), { code, syscall: when });
          process.nextTick(() => this.destroy(error));
          return true;
        }
        override connect(...given: unknown[]): this {
          if (this.fail('connect')) return this;
          return super.connect(...(given as Parameters<net.Socket['connect']>)) as this;
        }
        override _write(...given: Parameters<net.Socket['_write']>): void {
          if (!this.fail('write')) super._write(...given);
        }
        override _writev(...given: Parameters<NonNullable<net.Socket['_writev']>>): void {
          if (!this.fail('write')) super._writev!(...given);
        }
      }
      const billing = await open({ connectionString: serverUrl(), stream: () => new Socket() });
      const codes = Object.keys(NETWORK);
      const wrong: unknown[] = [];
      for (const [index, { name, ask }] of calls.entries()) {
        for (const [turn, when] of (['write', 'connect'] as const).entries()) {
          const code = codes[(2 * index + turn) % codes.length]!;
          fault = { code, when };
          const told = await outcome(ask(billing));
          if (told !== 'database_unavailable') wrong.push([name, code, when, told]);
        }
        fault = null;
        await billing.catalog.listProducts();
      }
      expect(wrong).toEqual([]);
    });

    test('a read-only server is unavailable, and says why', async () => {
      const billing = await open({
        connectionString: serverUrl(),
        options: '-c default_transaction_read_only=on',
      });
      const account = { externalId: 'ann' };
      for (const ask of [
        () => billing.ledger.grant({ account, product: 'MSG', quantity: 1 }),
        () => billing.ledger.consume({ account, product: 'MSG' }),
        () => billing.accounts.identify({ externalId: 'new' }),
      ]) {
        await expect(ask()).rejects.toMatchObject({
          code: 'database_unavailable',
          message: expect.stringContaining('read-only') as string,
          advice: expect.stringContaining('takes changes') as string,
        });
      }
      expect(await billing.ledger.check({ account, product: 'MSG' })).toMatchObject({
        allowed: true,
      });
    });

    describe('a password', () => {
      const parts = ['s3cr', 'et-of-ann'];

      test.each(['/', '?', '#', '@', '/@', '?#', '/x@y#'])(
        'with %s in a URL is told to be written otherwise, and no part of it is told',
        async (sign) => {
          const connection = `postgres://ann:${parts.join(sign)}@127.0.0.1:1/db`;
          const error: unknown = await openBilling({ connection }).catch((one: unknown) => one);
          expect(judged(error)).toBe('invalid_input');
          expect(error).toMatchObject({
            parameter: 'connection',
            advice: expect.stringContaining('percent-encoded') as string,
          });
          for (const part of parts) expect(allOf(error as BillingError)).not.toContain(part);
          let said = '';
          const out = new Writable({ write: (chunk, _, done) => ((said += chunk), done()) });
          const around = { out, err: out, environment: { BILLING_DATABASE_URL: connection } };
          expect(await run(['readers'], around)).toBe(2);
          expect(said).toMatch(/^invalid_input: /);
          for (const part of parts) expect(said).not.toContain(part);
        },
      );

      test('with all of them, percent-encoded, is one', async () => {
        const admin = new pg.Client({ connectionString: serverUrl() });
        await admin.connect();
        const user = `ann_${randomBytes(4).toString('hex')}`;
        const password = 'a/b?c#d@e%f:g h&i=j';
        await admin.query(`create role ${user} login superuser password '${password}'`);
        const url = new URL(serverUrl());
        url.username = user;
        url.password = '';
        const connection = url.href.replace(`${user}@`, `${user}:${encodeURIComponent(password)}@`);
        const billing = await openBilling({ connection, schema });
        expect(await billing.catalog.listProducts()).not.toEqual([]);
        await billing.close();
        await admin.query(`drop role ${user}`);
        await admin.end();
      });

      test('that is guessed right is told by nothing that is said', async () => {
        const url = new URL(serverUrl());
        const server: BillingDatabaseCredential = {
          database: 'postgres',
          connectBy: 'fields',
          host: url.hostname,
          port: Number(url.port),
          databaseName: url.pathname.slice(1),
          user: decodeURIComponent(url.username),
          password: PASSWORD(),
          tls: 'disable',
        };
        const said = async (more: BillingDatabaseCredential, guess: string): Promise<string> => {
          const { message } = await billingDatabaseTest.call({} as ICredentialTestFunctions, {
            ...{ id: '1', name: 'Billing', type: new BillingDatabaseApi().name },
            data: { ...server, ...more },
          });
          expect(message).toContain(guess);
          return message.replaceAll(guess, 'what was guessed');
        };
        const byField = (guess: string) => said({ databaseName: guess }, guess);
        expect(await byField(PASSWORD())).toBe(await byField('another guess'));
        const inHost = (guess: string) => said({ host: `${guess}.invalid` }, guess);
        expect(await inHost('hush')).toBe(
          await said({ host: 'hush.invalid', password: 'hush' }, 'hush'),
        );
      });
    });

    test('what is wrong with a secret is said, and not the secret', async () => {
      const open = (secrets: object) =>
        openBilling({ connection: { embedded: 'memory' }, secrets } as never);
      for (const [secrets, parameter, words] of [
        [{ identity: 'short' }, 'secrets.identity', /16 characters or more/],
        [{ identity: [{ id: 'a', secret: 'short' }] }, 'secrets.identity[0].secret', /16 char/],
        [{ identity: 5 }, 'secrets.identity', /must be/],
        [{ webhooks: 'short' }, 'secrets.webhooks', /whsec_/],
        [{ webhooks: ['short'] }, 'secrets.webhooks[0]', /whsec_/],
      ] as const) {
        const error: unknown = await open(secrets).catch((one: unknown) => one);
        expect(error).toMatchObject({ code: 'invalid_input', parameter });
        expect((error as Error).message).toMatch(words);
        expect((error as Error).message).not.toMatch(/Invalid input|short/);
      }
    });

    test('no field of any request is refused in words that are not ours', () => {
      const foreign = new Set<string>();
      let tried = 0;
      for (const { name, schema: of, request } of calls) {
        if (of === undefined || typeof request !== 'object') continue;
        for (const field of Object.keys(request ?? {})) {
          for (const wrong of [null, 5, true, 'x', {}, [], [5], { x: 1 }]) {
            tried += 1;
            try {
              parse(of, { ...request, [field]: wrong });
            } catch (error) {
              const { message } = error as Error;
              if (/invalid input|invalid option|expected/i.test(message)) {
                foreign.add(`${name} ${message}`);
              }
            }
          }
        }
      }
      expect(tried).toBeGreaterThan(1_000);
      expect([...foreign]).toEqual([]);
    });
  });
});
