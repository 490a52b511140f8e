import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Writable } from 'node:stream';

import knexFactory from 'knex';

import { run } from '../../cli/program';
import { TestClock, openBilling, type Billing } from '../../engine';
import { newSchema, openOnServer, serverUrl } from '../engine/each-database';
import { CountingGateway } from '../engine/payments/counting-gateway';

/** The command line: what it prints where, and how it ends. */

const ROOT = path.join(__dirname, '../..');

class Sink extends Writable {
  text = '';
  isTTY = false;
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

interface Ended {
  code: number;
  out: string;
  err: string;
}

async function cli(
  args: readonly string[],
  environment: Record<string, string> = {},
  isTTY = false,
): Promise<Ended> {
  const [out, err] = [new Sink(), new Sink()];
  err.isTTY = isTTY;
  const code = await run(args, { out, err, environment });
  return { code, out: out.text, err: err.text };
}

describe('the command line', () => {
  const schema = newSchema();
  const url = serverUrl();
  const environment = { BILLING_DATABASE_URL: url };
  const here = ['--schema', schema];
  let billing: Billing;
  let account: string;

  beforeAll(async () => {
    // What is due must be due by the system's clock, which is the command line's.
    billing = await openOnServer({ schema, clock: new TestClock('2024-01-10T12:00:00Z') });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    ({ accountId: account } = await billing.accounts.identify({
      provider: 'telegram',
      externalId: '42',
    }));
    const about = { account, product: 'MSG' };
    await billing.ledger.grant({ ...about, quantity: 10, expiresAfter: { unit: 'day', count: 1 } });
    await billing.ledger.hold({ ...about, amount: 2, expiresIn: { unit: 'hour', count: 1 } });
    await billing.ledger.consume({ ...about, idempotencyKey: 'kept' });
  });
  afterAll(() => billing.close());

  test('--help says what there is, how to connect and how it ends', async () => {
    const { code, out, err } = await cli(['--help']);
    expect([code, err]).toEqual([0, '']);
    for (const word of [
      'verify',
      'run-due',
      'run-cycle',
      'readers',
      'statement',
      'export',
      'migrate-identities',
      'BILLING_DATABASE_URL',
      'Exit codes',
    ]) {
      expect(out).toContain(word);
    }
    for (const command of [
      'verify',
      'run-due',
      'run-cycle',
      'readers',
      'statement',
      'export',
      'migrate-identities',
    ]) {
      const help = await cli([command, '--help']);
      expect(help.code).toBe(0);
      for (const option of ['--connection', '--embedded', '--schema']) {
        expect(help.out).toContain(option);
      }
    }
    const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(await cli(['--version'])).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });

  test('verify says on stderr how far it is, and ends with 0', async () => {
    const { code, out, err } = await cli(['verify', ...here], environment);
    expect([code, out]).toEqual([0, '']);
    expect(err).toMatch(/^100% \(\d+ of about \d+ rows\)$/m);
    expect(err).toMatch(/^No problems in .*1 accounts.*\.$/m);
    const terminal = await cli(['verify', '--connection', url, ...here], {}, true);
    expect(terminal.err).toContain('\r\u001b[K100%');
    expect(terminal.code).toBe(0);
  });

  test('verify --json writes the whole result, and nothing else, to stdout', async () => {
    const { code, out } = await cli(['verify', '--json', ...here], environment);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual(await billing.verify());
  });

  test('verify names problems on stdout and ends with 1', async () => {
    const broken = newSchema();
    const other = await openOnServer({ schema: broken });
    await other.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId } = await other.accounts.identify({ externalId: '1' });
    await other.ledger.grant({ account: accountId, product: 'MSG', quantity: 5 });
    await other.close();
    const knex = knexFactory({ client: 'pg', connection: url });
    await knex.raw(`update "${broken}".grants set remaining = 4`);
    await knex.destroy();
    const plain = await cli(['verify', '--schema', broken], environment);
    expect(plain.code).toBe(1);
    expect(plain.out).toBe(
      `grant_remaining: grants ${accountId}.1 says 4 are left, its entries say 5.\n`,
    );
    expect(plain.err).toMatch(/^1 problems in /m);
    const json = await cli(['verify', '--json', '--schema', broken], environment);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({
      ok: false,
      problems: [{ code: 'grant_remaining', table: 'grants', id: `${accountId}.1` }],
    });
  });

  test('statement writes all pages as one CSV file', async () => {
    const { accountId } = await billing.accounts.identify({ externalId: 'busy' });
    const about = { account: accountId, product: 'MSG' };
    await billing.ledger.grant({ ...about, quantity: 5000 });
    await billing.ledger.consumeMany(Array.from({ length: 2100 }, () => about));
    const { code, out, err } = await cli(
      ['statement', '--account', accountId, ...here],
      environment,
    );
    expect([code, err]).toEqual([0, '']);
    const lines = out.trimEnd().split('\r\n');
    expect(lines).toHaveLength(2102);
    expect(new Set(lines).size).toBe(2102);
    expect(lines[0]).toMatch(/^entryId,/);
    expect(lines.at(-1)).toContain(',grant,5000,');
  });

  test('export writes everything of an account as JSON, its ledger by pages', async () => {
    const { accountId } = await billing.accounts.identify({ externalId: 'exported', name: 'Ada' });
    const about = { account: accountId, product: 'MSG' };
    await billing.ledger.grant({ ...about, quantity: 5000 });
    await billing.ledger.consumeMany(Array.from({ length: 1100 }, () => about));
    await billing.catalog.saveProduct({ key: 'LOW', name: 'Scarce', lowBalanceThreshold: '5' });
    await billing.ledger.grant({ account: accountId, product: 'LOW', quantity: 6 });
    await billing.ledger.consume({ account: accountId, product: 'LOW', amount: 2 });
    const { code, out, err } = await cli(
      ['export', '--external-id', 'exported', ...here],
      environment,
    );
    expect([code, err]).toEqual([0, '']);
    const exported = JSON.parse(out) as Record<string, unknown>;
    const {
      entriesTruncated,
      exportedAt: _now,
      ...whole
    } = await billing.accounts.export({
      account: accountId,
    });
    expect(entriesTruncated).toBe(false);
    expect(exported).toMatchObject(whole);
    expect(exported.entries).toHaveLength(1103);
    expect(exported.events).toMatchObject([{ type: 'quota.low', account: accountId }]);
    // Somebody of whom there is nothing yet.
    const { accountId: nobody } = await billing.accounts.identify({ externalId: 'new' });
    const empty = await cli(['export', '--account', nobody, ...here], environment);
    expect(JSON.parse(empty.out)).toMatchObject({ account: { accountId: nobody }, entries: [] });
  });

  test('migrate-identities gives identities, and ends with 1 when some are taken', async () => {
    for (const [externalId, chat] of [
      ['m1', 'c1'],
      ['m2', 'c2'],
      ['m3', 'c1'],
    ] as const) {
      await billing.accounts.identify({ externalId, metadata: { chat } });
    }
    const migrate = (...args: string[]) =>
      cli(['migrate-identities', 'metadata.chat', 'chat', ...args, ...here], environment);
    const holder = async (externalId: string) =>
      (await billing.accounts.get({ account: { provider: 'chat', externalId } })).identities[0];
    const tried = await migrate('--dry-run');
    expect(tried).toMatchObject({ code: 1, err: '' });
    expect(tried.out).toMatch(/^[0-9a-f-]{36}: c1 is taken by [0-9a-f-]{36}\n2 would be given\n$/);
    await expect(holder('c1')).rejects.toMatchObject({ code: 'unknown_account' });
    expect(await migrate('--limit', '1')).toEqual({
      code: 0,
      out: '1 given; there are more\n',
      err: '',
    });
    expect(await holder('c1')).toMatchObject({ externalId: 'm1' });
    const json = await migrate('--json');
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({ given: 1, conflicting: 1, more: false });
    expect(await holder('c2')).toMatchObject({ externalId: 'm2' });
    const copied = await cli(['migrate-identities', 'identity.chat', 'copy', ...here], environment);
    expect(copied).toEqual({ code: 0, out: '2 given\n', err: '' });
    const wrong = await cli(['migrate-identities', 'chat', 'copy', ...here], environment);
    expect(wrong.code).toBe(2);
    expect(wrong.err).toMatch(/^invalid_input: There is no field "chat"\./);
  });

  test('statement finds an account by an identity, and filters', async () => {
    const who = ['--provider', 'telegram', '--external-id', '42'];
    const { code, out } = await cli(
      ['statement', ...who, '--kind', 'use', '--product', 'MSG', ...here],
      environment,
    );
    expect(code).toBe(0);
    expect(out.trimEnd().split('\r\n')).toHaveLength(2);
    const none = await cli(
      ['statement', ...who, '--to', '2024-01-01T00:00:00Z', ...here],
      environment,
    );
    expect(none.out.trimEnd().split('\r\n')).toHaveLength(1);
  });

  test('run-due writes what is due, and says what', async () => {
    expect(await cli(['run-due', ...here], environment)).toEqual({
      code: 0,
      out: '1 expiries, 1 holds, 1 answers\n',
      err: '',
    });
    const none = await cli(['run-due', '--json', '--limit', '5', ...here], environment);
    expect(none).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(none.out)).toEqual(await billing.runDue());
    expect(await cli(['run-due', ...here], environment)).toEqual({
      code: 0,
      out: 'Nothing was due\n',
      err: '',
    });
    expect(await billing.verify()).toMatchObject({ ok: true });
  });

  test('run-due says what could not be done, and ends with 1', async () => {
    const knex = knexFactory({ client: 'pg', connection: url });
    const rename = (from: string, to: string) =>
      knex.raw('alter table ??.?? rename to ??', [schema, from, to]);
    await rename('event_readers', 'away');
    const { code, out, err } = await cli(['run-due', ...here], environment);
    await rename('away', 'event_readers');
    await knex.destroy();
    expect([code, out]).toEqual([1, 'Nothing was due\n']);
    expect(err).toMatch(/^events: internal_error: .*42P01/);
  });

  test('run-cycle makes invoices, and says so', async () => {
    expect(await cli(['run-cycle', ...here], environment)).toEqual({
      code: 0,
      out: 'Nothing was to be invoiced\n',
      err: '',
    });
    const { code, out } = await cli(['run-cycle', '--json', ...here], environment);
    expect([code, JSON.parse(out)]).toMatchObject([0, { dispatched: { issued: 0 } }]);
  });

  test('run-cycle and run-due end with 1 where a gateway is not here, and say whose', async () => {
    const shopSchema = newSchema();
    const there = ['--schema', shopSchema];
    const gateway = new CountingGateway('stripe');
    const shop = await openOnServer({ schema: shopSchema, gateways: [gateway] });
    try {
      const { accountId: payer } = await shop.accounts.identify({ externalId: 'elsewhere' });
      await shop.payments.saveMethod({ account: payer, gateway: 'stripe', token: 'card' });
      const { invoiceId } = await shop.invoicing.createInvoice({
        account: payer,
        currency: 'USD',
        items: [{ description: 'Work', unitPrice: '25.00' }],
      });
      await shop.invoicing.finalizeInvoice({ invoiceId });
      const said = `gateway_missing: An invoice of ${payer} cannot be charged here: the gateway "stripe" is missing.\n`;
      expect(await cli(['run-cycle', ...there], environment)).toEqual({
        code: 1,
        out: 'Nothing was to be invoiced\n',
        err: `${payer}: ${said}`,
      });
      const json = await cli(['run-cycle', '--json', ...there], environment);
      expect([json.code, JSON.parse(json.out)]).toMatchObject([
        1,
        { dispatched: { sent: 0, problems: [{ gateway: 'stripe', payer, invoices: 1 }] } },
      ]);
      const due = await cli(['run-due', ...there], environment);
      expect([due.code, due.err]).toEqual([1, `collecting: ${said}`]);
      await shop.invoicing.dispatchInvoices();
      expect(await cli(['run-cycle', ...there], environment)).toMatchObject({ code: 0, err: '' });
    } finally {
      await shop.close();
    }
  });

  test('readers are listed and forgotten', async () => {
    await billing.events.poll({ reader: 'mailer' });
    const { code, out } = await cli(['readers', ...here], environment);
    expect([code, out]).toEqual([
      0,
      expect.stringMatching(/^mailer: 0 behind, 0 unacknowledged, last seen \d{4}-.*Z\n$/),
    ]);
    expect(JSON.parse((await cli(['readers', '--json', ...here], environment)).out)).toEqual(
      await billing.events.readers(),
    );
    const forget = ['readers', '--remove', 'mailer', ...here];
    expect((await cli(forget, environment)).out).toBe('mailer is forgotten\n');
    expect((await cli(forget, environment)).out).toBe('there is no reader mailer\n');
  });

  test('a webhook secret that is none is refused and not shown', async () => {
    const around = { ...environment, BILLING_WEBHOOK_SECRET: 'whsec_tooshort' };
    const { code, out, err } = await cli(['run-due', ...here], around);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(/^invalid_input: "secrets.webhooks/);
    expect(err).not.toContain('tooshort');
  });

  describe('ends with 2 and says why, on stderr,', () => {
    test.each<[string, string[], Record<string, string>, RegExp]>([
      [
        'without a database',
        ['verify'],
        {},
        /^invalid_input: No database was named\. .*BILLING_DATABASE_URL/,
      ],
      [
        'with two',
        ['verify', '--connection', 'postgres://x', '--embedded', '/tmp'],
        {},
        /cannot be used with/,
      ],
      [
        'with a server that is not there',
        ['verify', '--connection', 'postgres://u:secret@127.0.0.1:1/x'],
        {},
        /^database_unavailable: .*Check host and port/,
      ],
      [
        'with a folder that is not there',
        ['verify', '--embedded', '/nowhere/billing'],
        {},
        /^invalid_input: There is no database in \/nowhere\/billing\./,
      ],
      [
        'with a schema that is not there',
        ['verify', '--schema', 'nowhere'],
        environment,
        /^database_version: The schema "nowhere" is not there\./,
      ],
      [
        'without an account',
        ['statement', ...here],
        environment,
        /^invalid_input: An account is named/,
      ],
      [
        'with two accounts',
        ['statement', '--account', 'x', '--external-id', '1', ...here],
        environment,
        /^invalid_input: An account is named/,
      ],
      [
        'with an unknown account',
        ['statement', '--account', 'x', ...here],
        environment,
        /^unknown_account: /,
      ],
      [
        'with an unknown kind',
        ['statement', '--external-id', '42', '--provider', 'telegram', '--kind', 'gift', ...here],
        environment,
        /^invalid_input: "kind" must be one of/,
      ],
      [
        'with a limit that is none',
        ['run-due', '--limit', 'many', ...here],
        environment,
        /^invalid_input: "limit" must be a whole number/,
      ],
      ['with a command that does not exist', ['verfy'], environment, /unknown command 'verfy'/],
      [
        'with an option that does not exist',
        ['verify', '--fast'],
        environment,
        /unknown option '--fast'/,
      ],
      ['without a command', [], {}, /Usage: n8n-nodes-billing/],
    ])('%s', async (_what, args, around, said) => {
      const { code, out, err } = await cli(args, around);
      expect([code, out]).toEqual([2, '']);
      expect(err).toMatch(said);
      expect(err).not.toContain('secret');
    });

    test('and installs nothing', async () => {
      const knex = knexFactory({ client: 'pg', connection: url });
      const { rows } = await knex.raw<{ rows: unknown[] }>(
        `select 1 from pg_namespace where nspname in ('nowhere', 'billing')`,
      );
      await knex.destroy();
      expect(rows).toEqual([]);
    });
  });

  test('an older schema is left as it is', async () => {
    const older = newSchema();
    await (await openOnServer({ schema: older })).close();
    const knex = knexFactory({ client: 'pg', connection: url });
    try {
      await knex.raw(`delete from "${older}".migrations where id = 5`);
      const { code, err } = await cli(['verify', '--schema', older], environment);
      expect(code).toBe(2);
      expect(err).toMatch(
        /^database_version: The schema ".*" is older than this n8n-nodes-billing\./,
      );
    } finally {
      await knex.destroy();
    }
  });
});

describe('the command line on an embedded database', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-cli-'));
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  /** The program as people start it. */
  const started = (args: readonly string[]): Promise<Ended> =>
    new Promise((resolve, reject) => {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', path.join(ROOT, 'cli/index.ts'), ...args],
        { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] },
      );
      const said = { out: '', err: '' };
      child.stdout.on('data', (chunk: Buffer) => (said.out += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (said.err += chunk.toString()));
      child.once('error', reject);
      child.once('close', (code) => resolve({ code: code!, ...said }));
    });

  test('says who has it open, and verifies it once it is free', async () => {
    const billing = await openBilling({ connection: { embedded: folder } });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId } = await billing.accounts.identify({ externalId: '1' });
    await billing.ledger.grant({ account: accountId, product: 'MSG', quantity: 5 });
    const args = ['verify', '--embedded', folder];
    const busy = await started(args);
    expect(busy).toMatchObject({ code: 2, out: '' });
    expect(busy.err).toMatch(/^database_in_use: /);
    await billing.close();
    const free = await started([...args, '--json']);
    expect(free.code).toBe(0);
    expect(JSON.parse(free.out)).toMatchObject({ ok: true, checked: { entries: 1 } });
  });
});
