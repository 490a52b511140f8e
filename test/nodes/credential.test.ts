import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

import { NodeHelpers, type ICredentialTestFunctions } from 'n8n-workflow';
import { Client } from 'pg';

import { BillingDatabaseApi } from '../../credentials/BillingDatabaseApi.credentials';
import {
  defaultFolder,
  optionsOf,
  type BillingDatabaseCredential,
} from '../../nodes/shared/connection';
import { billingDatabaseTest } from '../../nodes/shared/credentialTest';
import { engines } from '../../nodes/shared/engines';

const ok = (message: string) => ({ status: 'OK', message });
const ready = (place: string) => ok(`Connected; the billing tables are ready: ${place}`);
const missing = (place: string) =>
  ok(`Connected; the first node that runs makes the billing tables: ${place}`);

const test = (data: BillingDatabaseCredential) =>
  billingDatabaseTest.call({} as ICredentialTestFunctions, {
    id: '1',
    name: 'Billing',
    type: new BillingDatabaseApi().name,
    data: { ...data },
  });

afterAll(() => engines.close());

describe('the settings of a credential', () => {
  const server: BillingDatabaseCredential = {
    database: 'postgres',
    connectBy: 'fields',
    host: 'db.example.com',
    port: 5433,
    databaseName: 'n8n',
    user: 'ann',
    password: 'secret',
    tls: 'disable',
    poolSize: 7,
    schema: 'shop',
  };

  it('stand for the embedded database beside n8n’s data when left alone', () => {
    expect(optionsOf({})).toEqual({ connection: { embedded: defaultFolder() }, schema: 'billing' });
    expect(defaultFolder()).toMatch(/[\\/]\.n8n[\\/]billing$/);
    expect(optionsOf({ folder: '  ', schema: '' })).toEqual(optionsOf({}));
    expect(optionsOf({ folder: defaultFolder() })).toEqual(optionsOf({}));
    expect(optionsOf({ folder: '/data/a/../billing' })).toEqual(
      optionsOf({ folder: '/data/billing' }),
    );
    expect(optionsOf({ folder: 'memory' }).connection).toEqual({ embedded: 'memory' });
  });

  it('stand for a server by fields, with its choices of TLS', () => {
    expect(optionsOf(server)).toEqual({
      connection: {
        host: 'db.example.com',
        port: 5433,
        database: 'n8n',
        user: 'ann',
        password: 'secret',
        ssl: false,
        poolSize: 7,
      },
      schema: 'shop',
    });
    const ssl = (more: BillingDatabaseCredential) => optionsOf({ ...server, ...more }).connection;
    expect(ssl({ tls: 'unverified' })).toMatchObject({ ssl: { rejectUnauthorized: false } });
    expect(ssl({ tls: 'verify', ca: 'PEM' })).toMatchObject({
      ssl: { rejectUnauthorized: true, ca: 'PEM' },
    });
    expect(ssl({ tls: 'verify', ca: ' ' })).toMatchObject({
      ssl: { rejectUnauthorized: true, ca: undefined },
    });
  });

  it('stand for a server by URL', () => {
    const url = 'postgresql://ann:secret@db.example.com/n8n';
    expect(optionsOf({ database: 'postgres', connectBy: 'url', url })).toEqual({
      connection: { connectionString: url, poolSize: 4 },
      schema: 'billing',
    });
  });

  it('give the engine the secret by which it recognises who had a trial', () => {
    const present = 'sixteen letters!';
    const secrets = (more: BillingDatabaseCredential) => optionsOf({ ...server, ...more }).secrets;
    expect(secrets({ identitySecret: ' ', previousIdentitySecret: '' })).toBeUndefined();
    expect(secrets({ identitySecret: ` ${present} ` })).toEqual({ identity: present });
    expect(
      secrets({ identitySecret: present, previousIdentitySecret: 'the one before it' }),
    ).toEqual({ identity: [{ secret: present }, { secret: 'the one before it' }] });
    // Another secret is another engine.
    expect(optionsOf({ identitySecret: present })).not.toEqual(optionsOf({}));
    for (const wrong of [
      { identitySecret: 'short one' },
      { identitySecret: present, previousIdentitySecret: 'short one' },
      { previousIdentitySecret: present },
    ]) {
      expect(() => secrets(wrong)).toThrow('Identity Secret" of the credential');
      expect(() => secrets(wrong)).not.toThrow(/short one|sixteen/);
    }
  });

  it.each([
    ['Connection URL', { ...server, connectBy: 'url' as const, url: ' ' }],
    ['Host', { ...server, host: '' }],
    ['Database Name', { ...server, databaseName: '' }],
    ['User', { ...server, user: undefined }],
    ['Port', { ...server, port: 99_999 }],
    ['Pool Size', { ...server, poolSize: 0 }],
    ['Connection URL', { ...server, connectBy: 'url' as const, url: 'hello' }],
    ['Connection URL', { ...server, connectBy: 'url' as const, url: 'https://db.example.com/n8n' }],
    ['Connection URL', { ...server, connectBy: 'url' as const, url: 'db.example.com:5432/n8n' }],
    ['Connection URL', { ...server, connectBy: 'url' as const, url: 'postgresql://' }],
    ['Host', { ...server, host: 'https://' }],
    ['Host', { ...server, host: 'postgresql://ann:secret@db.example.com/n8n' }],
    ['Host', { ...server, host: 'db.example.com:5432' }],
    ['Host', { ...server, host: 'db.example.com/n8n' }],
    ['Host', { ...server, host: 'db example' }],
  ])('name a %s that is wrong, rather than fall back on the environment', (field, settings) => {
    expect(() => optionsOf(settings)).toThrow(`"${field}" of the credential`);
    expect(() => optionsOf(settings)).not.toThrow('secret');
  });

  it.each(['db.example.com', '127.0.0.1', '::1', 'fe80::1%eth0', '/var/run/postgresql'])(
    'take %s for a host',
    (host) => expect(optionsOf({ ...server, host })).toMatchObject({ connection: { host } }),
  );

  it.each([
    'postgres://h/d',
    'POSTGRESQL://h',
    'postgresql:///d?host=/run',
    'socket:/run?db=d',
    '/run d',
  ])('take %s for a connection URL', (url) =>
    expect(optionsOf({ ...server, connectBy: 'url', url })).toMatchObject({
      connection: { connectionString: url },
    }),
  );
});

describe('the form of a credential', () => {
  const { properties } = new BillingDatabaseApi();
  /** What n8n makes of what is saved, when it saves it and when a node asks. */
  const given = (saved: object) =>
    NodeHelpers.getNodeParameters(properties, { ...saved }, true, false, null, null)!;
  const shown = (saved: object) => {
    const defaults = Object.fromEntries(
      properties.map(({ name, default: value }) => [name, value]),
    );
    const filled = { ...defaults, ...saved };
    return properties
      .filter((property) => NodeHelpers.displayParameter(filled, property, null, null))
      .map(({ displayName, type }) => (type === 'notice' ? type : displayName));
  };
  const secrets = [
    'Identity Secret',
    'Previous Identity Secret',
    'Webhook Secret',
    'Previous Webhook Secret',
  ];

  it('has nothing to fill in for the embedded database, and says so', () => {
    expect(shown({})).toEqual(['Database', 'notice', 'Sandbox', 'Advanced']);
    // One that was made is told what it is, and where else to go.
    expect(shown({ sandbox: true })).toEqual([
      'Database',
      'notice',
      'Sandbox',
      'notice',
      'Advanced',
    ]);
    expect(optionsOf(given({}))).toEqual(optionsOf({}));
  });

  it('shows a server what it takes to connect, and the rest under Advanced', () => {
    const connecting = ['Host', 'Port', 'Database Name', 'User', 'Password', 'TLS'];
    const first = ['Database', 'Connect By', ...connecting, 'Sandbox', 'Advanced'];
    const rest = ['Schema', ...secrets];
    expect(shown({ database: 'postgres' })).toEqual(first);
    expect(shown({ database: 'postgres', advanced: true })).toEqual([
      ...first,
      'Pool Size',
      ...rest,
    ]);
    expect(shown({ advanced: true })).toEqual([
      'Database',
      'notice',
      'Sandbox',
      'Advanced',
      'Folder',
      ...rest,
    ]);
  });

  const secret = 'a secret of sixteen';
  const old: BillingDatabaseCredential = {
    schema: 'shop',
    identitySecret: secret,
    previousIdentitySecret: secret,
    webhookSecret: secret,
    previousWebhookSecret: secret,
    sandbox: true,
  };
  const url = 'postgresql://ann@db.example.com/n8n';

  it.each<[string, BillingDatabaseCredential]>([
    ['embedded', { ...old, database: 'embedded', folder: '/data/shop' }],
    ['on a server', { ...old, database: 'postgres', connectBy: 'url', url, poolSize: 7 }],
  ])('keeps all that was saved before there was Advanced: %s', (_, saved) => {
    const { database: _database, connectBy: _connectBy, ...rest } = saved;
    expect(given(saved)).toMatchObject(saved);
    expect(optionsOf(given(saved))).toEqual(optionsOf(saved));
    expect(shown(saved)).toEqual(expect.arrayContaining([...secrets, 'Schema', 'Sandbox']));
    // Each alone, too: none is kept by another.
    for (const [name, value] of Object.entries(rest)) {
      const alone = { database: saved.database, connectBy: saved.connectBy, [name]: value };
      expect(given(alone)).toMatchObject({ [name]: value });
      expect(given({ ...alone, advanced: true })).toMatchObject({ [name]: value });
    }
  });
});

describe('the test of a credential', () => {
  let folder: string;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-credential-'))));
  afterEach(async () => {
    await engines.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  it('makes no embedded database, and says where it will be and is', async () => {
    const place = path.join(folder, 'sub');
    const settings = { folder: place };
    expect(await test(settings)).toEqual(missing(`schema "billing" in ${place}`));
    expect(fs.readdirSync(folder)).toEqual([]);
    const verified = engines.use(optionsOf(settings), (billing) => billing.verify());
    expect(await verified).toMatchObject({ ok: true });
    expect(await test(settings)).toEqual(ready(`schema "billing" in ${place}`));

    // Closed it is opened for the look alone, and nobody who comes meanwhile is turned away.
    await engines.close();
    const slip = { ...settings, schema: 'biling' };
    expect(await test(slip)).toEqual(
      missing(`schema "biling" in ${place}. There are billing tables already in "billing"`),
    );
    const [looked, used] = await Promise.all([
      test(settings),
      engines.use(optionsOf(settings), (billing) => billing.catalog.listProducts()),
    ]);
    expect([looked, used]).toEqual([ready(`schema "billing" in ${place}`), []]);
  });

  it('says where a folder lies that is no whole path: below that of n8n', async () => {
    const place = path.join(path.dirname(defaultFolder()), 'shop-of-nobody');
    expect(await test({ folder: 'shop-of-nobody' })).toEqual(
      missing(`schema "billing" in ${place}`),
    );
    expect(fs.existsSync(place)).toBe(false);
  });

  it('says which folder cannot be used, and what to do', async () => {
    const file = path.join(folder, 'file');
    fs.writeFileSync(file, '');
    const { status, message } = await test({ folder: path.join(file, 'sub') });
    expect(status).toBe('Error');
    expect(message).toContain(path.join(file, 'sub'));
    expect(message).toContain('Name a folder that this process may create and write to.');
  });

  it('says that a folder holds data of another Postgres version', async () => {
    fs.writeFileSync(path.join(folder, 'PG_VERSION'), '12\n');
    expect(await test({ folder })).toEqual({
      status: 'Error',
      message: expect.stringContaining('holds a database of Postgres 12'),
    });
  });

  it('says which field is empty', async () => {
    expect(await test({ database: 'postgres', host: 'localhost', user: 'ann' })).toEqual({
      status: 'Error',
      message: '"Database Name" of the credential is empty. Fill it in.',
    });
  });

  it('says that no server answers', async () => {
    const settings = { host: '127.0.0.1', port: 1, databaseName: 'n8n', user: 'ann' };
    const { status, message } = await test({ database: 'postgres', ...settings, password: 'hush' });
    expect(status).toBe('Error');
    expect(message).toMatch(/^No database server answers/);
    expect(message).toContain('Check host and port');
    expect(message).not.toContain('hush');
  });

  describe('on a Postgres server', () => {
    const url = () => new URL(process.env.BILLING_TEST_DATABASE_URL!);
    /** Whether there is a schema of the name. */
    const schemas = async (name: string) => {
      const client = new Client({ connectionString: url().href });
      await client.connect();
      try {
        const find = 'select nspname from pg_namespace where nspname = $1';
        return (await client.query(find, [name])).rows;
      } finally {
        await client.end();
      }
    };
    const server = (more: BillingDatabaseCredential = {}): BillingDatabaseCredential => ({
      database: 'postgres',
      connectBy: 'fields',
      host: url().hostname,
      port: Number(url().port),
      databaseName: url().pathname.slice(1),
      user: decodeURIComponent(url().username),
      password: decodeURIComponent(url().password),
      tls: 'disable',
      schema: 'test_credential',
      ...more,
    });

    it('connects by fields and by URL, and makes nothing', async () => {
      const schema = 'test_credential_none';
      const message = `schema "${schema}"`;
      const byUrl = server({ connectBy: 'url', url: url().href, schema });
      expect((await test(server({ schema }))).message).toContain(message);
      expect(await test(byUrl)).toMatchObject({
        status: 'OK',
        message: expect.stringContaining(missing(message).message) as string,
      });
      expect(await schemas(schema)).toEqual([]);
    });

    it('tells the tables that are there, and a sandbox that cannot be one', async () => {
      await engines.use(optionsOf(server()), (billing) =>
        billing.accounts.identify({ externalId: 'somebody' }),
      );
      await engines.close();
      expect(await test(server())).toEqual(ready('schema "test_credential"'));
      expect(await test(server({ sandbox: true }))).toEqual({
        status: 'Error',
        message: expect.stringContaining('There are accounts in this schema') as string,
      });
      expect((await test(server({ schema: 'test_credentail' }))).message).toMatch(
        /makes the billing tables: schema "test_credentail"\. There are .*"test_credential"/,
      );
      expect(await schemas('test_credentail')).toEqual([]);
    });

    it('says that the password is wrong, without repeating it', async () => {
      const wrong = 'wr0ng/p@ss';
      const refused = await test(server({ password: wrong }));
      expect(refused).toEqual({
        status: 'Error',
        message: expect.stringMatching(/^The database refused the log-in.*Check user, password/),
      });
      expect(refused.message).not.toContain(wrong);
      const inUrl = url();
      inUrl.password = wrong;
      const { status, message } = await test(server({ connectBy: 'url', url: inUrl.href }));
      expect(status).toBe('Error');
      expect(message).not.toContain(wrong);
      expect(message).not.toContain(inUrl.password);
    });

    it('says that there is no such database, and that the server offers no TLS', async () => {
      expect((await test(server({ databaseName: 'nowhere' }))).message).toContain(
        'database "nowhere" does not exist',
      );
      expect((await test(server({ tls: 'verify' }))).message).toMatch(/TLS|SSL/);
    });
  });
});
