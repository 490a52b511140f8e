/** The shipped workflows in a real n8n, on a Postgres server that others may look into meanwhile. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openBilling, type Billing } from '../../engine';
import type { PostgresServer } from '../postgres/server.mjs' with { 'resolution-mode': 'import' };
import {
  billingCredential,
  expectTwelveServed,
  readCustomer,
  readShipped,
  send,
  setUpCatalog,
} from './chatbot';
import { RealN8n, type Workflow } from './real-n8n';
import { packedPackage } from './set-up';

const n8n = new RealN8n({ packages: [packedPackage()] });
// The first node that runs makes the tables; the test of a credential makes nothing.
const connected = {
  status: 'OK',
  message: expect.stringMatching(/^Connected; .*billing tables.*: schema "/) as string,
};
const customer = { provider: 'telegram', externalId: '42' };

let server: PostgresServer | undefined;
/** The same database, from outside n8n. */
let billing: Billing | undefined;
let chatbot: Workflow;

const running = (): PostgresServer => server!;

/** The settings a person types in; some of them wrong. */
function settings(wrong: Record<string, unknown> = {}) {
  const url = new URL(running().url);
  return {
    database: 'postgres',
    connectBy: 'fields',
    host: url.hostname,
    port: Number(url.port),
    databaseName: url.pathname.slice(1),
    user: url.username,
    password: url.password,
    tls: 'disable',
    poolSize: 4,
    schema: 'billing',
    ...wrong,
  };
}

const testOf = (data: Record<string, unknown>) => n8n.testCredential(billingCredential(data));

async function expectSound(): Promise<void> {
  const { ok, problems } = await billing!.verify();
  expect(problems).toEqual([]);
  expect(ok).toBe(true);
}

beforeAll(async () => {
  const postgres = await import('../postgres/server.mjs');
  server = await postgres.PostgresServer.create();
  await n8n.start();
});
afterAll(async () => {
  await billing?.close();
  await n8n.dispose();
  await server?.destroy();
});

describe('the credential’s test', () => {
  test('succeeds by fields and by URL', async () => {
    await n8n.importCredential(billingCredential(settings()));
    expect(await testOf(settings())).toEqual(connected);
    const { url } = running();
    expect(await testOf({ database: 'postgres', connectBy: 'url', url })).toEqual(connected);
  });

  test('says that the password is wrong, and does not repeat it', async () => {
    const { status, message } = await testOf(settings({ password: 'n0t-th1s' }));
    expect(status).toBe('Error');
    expect(message).toContain('password authentication failed for user "postgres"');
    expect(message).toContain('Check user, password and database name');
    expect(message).not.toContain('n0t-th1s');
  });

  test('says that no server answers at the port', async () => {
    // A port that was free a moment ago, so that nobody answers there.
    const probe = createServer();
    await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));

    const { status, message } = await testOf(settings({ port }));
    expect(status).toBe('Error');
    expect(message).toContain('No database server answers');
    expect(message).toContain(`127.0.0.1:${port}`);
    expect(message).toContain('Check host and port');
  });

  test('says that something else answers at the port', async () => {
    const { status, message } = await testOf(settings({ port: Number(new URL(n8n.url).port) }));
    expect(status).toBe('Error');
    expect(message).toMatch(/database/i);
  });

  test('says that there is no such database', async () => {
    const { status, message } = await testOf(settings({ databaseName: 'nowhere' }));
    expect(status).toBe('Error');
    expect(message).toContain('database "nowhere" does not exist');
    expect(message).toContain('Create that database, or correct its name');
  });

  test('names a field that is empty', async () => {
    expect(await testOf(settings({ host: '' }))).toEqual({
      status: 'Error',
      message: '"Host" of the credential is empty. Fill it in.',
    });
  });
});

describe('the shipped workflows', () => {
  test('are opened in the editor, saved and published, and the catalog is set up', async () => {
    const catalog = await n8n.createWorkflow(readShipped('set-up-catalog.json'));
    const offers = await setUpCatalog(n8n, catalog);
    expect(offers.map(({ sku }) => sku)).toEqual(['pack-100', 'pack-1000', 'welcome']);
    // Once more, as after a change of a price.
    expect(await setUpCatalog(n8n, catalog)).toHaveLength(3);
    const draft = await n8n.createWorkflow(readShipped('quota-gated-chatbot.json'));
    chatbot = await n8n.publish(draft);
    expect(chatbot.active).toBe(true);
  });

  test('answer ten of twelve messages, four at a time, and refuse two', async () => {
    await expectTwelveServed(n8n, chatbot, '42');
  });

  test('leave books in order, as another program sees while n8n runs', async () => {
    billing = await openBilling({ connection: running().url });
    await expectSound();
    const balance = await billing.ledger.balance({ account: customer, product: 'MESSAGES' });
    expect(balance).toMatchObject({ available: '0' });
    const { items } = await billing.ledger.entries({ account: customer });
    expect(items.filter((entry) => entry.kind === 'use')).toHaveLength(10);
  });

  test('go on after a restart of n8n where they were', async () => {
    const before = await readCustomer(n8n, '42');
    const [paid] = before.uses;
    await n8n.restart();

    expect(await readCustomer(n8n, '42')).toEqual(before);
    // A message that was paid for before the restart is still paid for; a new one is not.
    const messageId = Number(paid!.metadata['messageId']);
    expect(await send(n8n, '42', messageId)).toMatchObject({ allowed: true });
    expect(await send(n8n, '42', 13)).toMatchObject({ allowed: false, remaining: '0' });
    // What was bought outside of n8n counts at once.
    await billing!.sales.grantOffer({ account: customer, sku: 'pack-100', source: 'test' });
    expect(await send(n8n, '42', 14)).toMatchObject({ allowed: true, remaining: '99' });
    expect((await readCustomer(n8n, '42')).uses).toHaveLength(11);
    await expectSound();
  });

  test('fail while the database is away and go on, charged once, when it is back', async () => {
    const message = { chatId: '42', messageId: 15, text: 'Message 15' };
    await running().stop('SIGKILL');
    const answer = await n8n.callWebhook('quota-gated-chatbot', message);
    expect(answer.status).toBe(500);
    await running().start();
    expect(await send(n8n, '42', 15)).toMatchObject({ allowed: true, remaining: '98' });
    expect(await send(n8n, '42', 15)).toMatchObject({ allowed: true, remaining: '98' });
    await expectSound();
  });
});
